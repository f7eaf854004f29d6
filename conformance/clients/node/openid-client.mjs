// openid-client, with jose for the tokens, as a client of an authorization server with mutual TLS.
// Usage: node openid-client.mjs SETUP
import assert from "node:assert/strict";
import { fetchAs, mustBeGood, passed, setup, verify, versionOf } from "./interop.mjs";

// After interop.mjs, which completes Node 18.
const oidc = await import("openid-client");

// One configuration for a client and the certificate that its connections show.
function discover(client, holder, algorithm) {
  return oidc.discovery(
    new URL(setup.issuer),
    client.client_id,
    { use_mtls_endpoint_aliases: true },
    oidc.TlsClientAuth(),
    { algorithm, [oidc.customFetch]: fetchAs(holder) },
  );
}

async function lifeOfAToken(client) {
  const { method } = client;
  const mine = await discover(client, client, "oauth2");
  const { access_token: token, token_type: type } = await oidc.clientCredentialsGrant(mine);
  assert.equal(type, "bearer");
  // The issuer's own endpoints never see a certificate: that there is a token shows the alias at work.
  passed("alias", method);
  passed("token", method);

  await verify(mine.serverMetadata().jwks_uri, token, client);
  passed("jwt", method);

  const server = await discover(setup.resource_server, setup.resource_server, "oauth2");
  mustBeGood(await oidc.tokenIntrospection(server, token), client);
  passed("introspection", method);
  await oidc.tokenRevocation(mine, token);
  passed("revocation", method);
  assert.deepEqual(await oidc.tokenIntrospection(server, token), { active: false });
  passed("inactive", method);

  const another = await discover(client, setup.resource_server, "oauth2");
  const refusal = await oidc.clientCredentialsGrant(another).then(
    () => assert.fail("a token for the certificate of another"),
    (error) => error,
  );
  assert.ok(refusal instanceof oidc.ResponseBodyError, refusal);
  assert.equal(refusal.error, "invalid_client");
  passed("refusal", method);
}

console.log(`client: ${versionOf("openid-client")} (${versionOf("jose")}, ${versionOf("undici")})`);
const [found, named] = await Promise.all(
  ["oauth2", "oidc"].map((algorithm) => discover(setup.clients[0], undefined, algorithm)),
);
passed("rfc8414", "-");
assert.deepEqual(found.serverMetadata().token_endpoint, named.serverMetadata().token_endpoint);
passed("openid", "-");
for (const client of setup.clients) await lifeOfAToken(client);

// oauth4webapi, with jose for the tokens, as a client of an authorization server with mutual TLS. It verifies signed
// introspection responses (RFC 9701) by itself; its validateJwtAccessToken knows DPoP only and refuses every token that
// is bound to a certificate.
// Usage: node oauth4webapi.mjs SETUP
import assert from "node:assert/strict";
import { fetchAs, mustBeGood, passed, setup, verify, versionOf } from "./interop.mjs";

// After interop.mjs, which completes Node 18.
const oauth = await import("oauth4webapi");
const issuer = new URL(setup.issuer);
const authentication = oauth.TlsClientAuth();
const as = (holder) => ({ [oauth.customFetch]: fetchAs(holder) });

async function discover(algorithm) {
  const answer = await oauth.discoveryRequest(issuer, { algorithm, ...as() });
  return oauth.processDiscoveryResponse(issuer, answer);
}

const identity = ({ client_id }, more) => ({ client_id, use_mtls_endpoint_aliases: true, ...more });

async function fetchToken(metadata, client, holder) {
  const me = identity(client);
  const answer = await oauth.clientCredentialsGrantRequest(metadata, me, authentication, {}, as(holder));
  return oauth.processClientCredentialsResponse(metadata, me, answer);
}

async function introspect(metadata, token, signed) {
  const server = setup.resource_server;
  const me = identity(server, signed && { introspection_signed_response_alg: "ES256" });
  const options = { requestJwtResponse: Boolean(signed), ...as(server) };
  const answer = await oauth.introspectionRequest(metadata, me, authentication, token, options);
  const claims = await oauth.processIntrospectionResponse(metadata, me, answer);
  if (signed) await oauth.validateApplicationLevelSignature(metadata, answer, as());
  return claims;
}

async function lifeOfAToken(metadata, client) {
  const { method } = client;
  const { access_token: token } = await fetchToken(metadata, client, client);
  // The issuer's own endpoints never see a certificate: that there is a token shows the alias at work.
  passed("alias", method);
  passed("token", method);

  const request = new Request(setup.audience, { headers: { authorization: `Bearer ${token}` } });
  await assert.rejects(oauth.validateJwtAccessToken(metadata, request, setup.audience, as()), {
    message: "unsupported JWT Confirmation method",
  });
  await verify(metadata.jwks_uri, token, client);
  passed("jwt", method);

  mustBeGood(await introspect(metadata, token), client);
  passed("introspection", method);
  mustBeGood(await introspect(metadata, token, "signed"), client);
  passed("signed", method);

  const me = identity(client);
  const answer = await oauth.revocationRequest(metadata, me, authentication, token, as(client));
  await oauth.processRevocationResponse(answer);
  passed("revocation", method);
  assert.deepEqual(await introspect(metadata, token), { active: false });
  passed("inactive", method);

  const refusal = await fetchToken(metadata, client, setup.resource_server).then(
    () => assert.fail("a token for the certificate of another"),
    (error) => error,
  );
  assert.ok(refusal instanceof oauth.ResponseBodyError, refusal);
  assert.equal(refusal.error, "invalid_client");
  passed("refusal", method);
}

console.log(`client: ${versionOf("oauth4webapi")} (${versionOf("jose")}, ${versionOf("undici")})`);
const found = await discover("oauth2");
passed("rfc8414", "-");
assert.deepEqual(await discover("oidc"), found);
passed("openid", "-");
for (const client of setup.clients) await lifeOfAToken(found, client);

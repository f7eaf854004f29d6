// node-oidc-provider with mutual TLS, client credentials, introspection, revocation and dynamic registration, as its
// documentation configures them. Two listeners: that of the issuer asks for no certificate, that of the aliases does.
import { createPrivateKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { errors, Provider } from "oidc-provider";

const { DIRECTORY, FORMAT, PUBLIC, MTLS, INITIAL_ACCESS_TOKEN } = process.env;
const read = (name) => readFileSync(`${DIRECTORY}/${name}`);
const issuer = `https://localhost:${PUBLIC}`;
const mtls = `https://localhost:${MTLS}`;
const resources = ["https://api.suite.example", "https://second.suite.example"];
const signing = createPrivateKey(read("signing.key")).export({ format: "jwk" });

// Once per connection, so that the certificate is parsed once.
function certificateOf(ctx) {
  const { socket } = ctx.req;
  socket.shown ??= socket.getPeerX509Certificate?.();
  return socket.shown;
}

// The distinguished name as RFC 4514 writes it: the last of the certificate first, special characters escaped.
function distinguishedName(certificate) {
  const escaped = (value) =>
    value.replace(/[,+"\\<>;=]/g, "\\$&").replace(/^[ #]/, "\\$&").replace(/ $/, "\\ ");
  const pairs = certificate.subject.split("\n").reverse();
  return pairs.map((pair) => pair.replace(/^([^=]+)=(.*)$/s, (_, type, value) => `${type}=${escaped(value)}`)).join(",");
}

// Node writes subjectAltName as `DNS:a, URI:b`, and puts what has a comma or a quote in it into JSON strings.
function alternativeNames(certificate, kind) {
  const entries = certificate.subjectAltName?.match(/[A-Za-z ]+:(?:"(?:[^"\\]|\\.)*"|[^,]*)/g) ?? [];
  const values = entries.map((entry) => entry.trim()).filter((entry) => entry.startsWith(`${kind}:`));
  return values
    .map((entry) => entry.slice(kind.length + 1))
    .map((value) => (value.startsWith('"') ? JSON.parse(value) : value));
}

const provider = new Provider(issuer, {
  jwks: { keys: [{ ...signing, alg: "ES256", use: "sig", kid: "signing" }] },
  scopes: ["read", "write"],
  ttl: { ClientCredentials: 300 },
  clientAuthMethods: ["tls_client_auth", "self_signed_tls_client_auth"],
  clientDefaults: {
    grant_types: ["client_credentials"],
    response_types: [],
    redirect_uris: [],
    id_token_signed_response_alg: "ES256",
    introspection_signed_response_alg: "ES256",
    tls_client_certificate_bound_access_tokens: true,
  },
  // Its dispatcher connects to no special-use address, loopback among them, where the suite publishes its jwks_uri.
  fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
  enabledJWA: { introspectionSigningAlgValues: ["ES256"] },
  discovery: {
    mtls_endpoint_aliases: {
      token_endpoint: `${mtls}/token`,
      introspection_endpoint: `${mtls}/token/introspection`,
      revocation_endpoint: `${mtls}/token/revocation`,
    },
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    // A resource server is a client that gets no tokens.
    introspection: {
      enabled: true,
      allowedPolicy: (ctx, client, token) => client.grantTypes.length === 0 || token.clientId === client.clientId,
    },
    jwtIntrospection: { enabled: true },
    revocation: { enabled: true },
    registration: { enabled: true, initialAccessToken: INITIAL_ACCESS_TOKEN },
    mTLS: {
      enabled: true,
      tlsClientAuth: true,
      selfSignedTlsClientAuth: true,
      certificateBoundAccessTokens: true,
      getCertificate: certificateOf,
      certificateAuthorized: (ctx) => ctx.req.socket.authorized,
      certificateSubjectMatches(ctx, property, expected) {
        const certificate = certificateOf(ctx);
        switch (property) {
          case "tls_client_auth_subject_dn":
            return distinguishedName(certificate) === expected;
          case "tls_client_auth_san_dns":
            return alternativeNames(certificate, "DNS").some((name) => name.toLowerCase() === expected.toLowerCase());
          case "tls_client_auth_san_uri":
            return alternativeNames(certificate, "URI").includes(expected);
          case "tls_client_auth_san_ip":
            return alternativeNames(certificate, "IP Address").includes(expected);
          case "tls_client_auth_san_email":
            return alternativeNames(certificate, "email").includes(expected);
          default:
            return false;
        }
      },
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: (ctx, client, oneOf) => oneOf ?? resources[0],
      getResourceServerInfo(ctx, resource) {
        if (!resources.includes(resource)) throw new errors.InvalidTarget();
        const info = { scope: "read write", audience: resource, accessTokenTTL: 300, accessTokenFormat: FORMAT };
        return FORMAT === "jwt" ? { ...info, jwt: { sign: { alg: "ES256" } } } : info;
      },
    },
  },
});
provider.on("server_error", (ctx, error) => console.error(error));

const tls = { key: read("server.key"), cert: read("server.pem") };
// What does not verify is let in and marked: registered certificates are nobody's but the client's.
const asking = { ...tls, ca: read("client-ca.pem"), requestCert: true, rejectUnauthorized: false };
createServer(tls, provider.callback()).listen(PUBLIC, "127.0.0.1");
createServer(asking, provider.callback()).listen(MTLS, "127.0.0.1");

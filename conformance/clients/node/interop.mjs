// What the foreign clients in Node share: the set-up they are given, and how they say what went right.
import assert from "node:assert/strict";
import { webcrypto, X509Certificate, createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { Agent, fetch } from "undici";

// Node 18 has it, but not by this name.
globalThis.crypto ??= webcrypto;

export const setup = JSON.parse(readFileSync(process.argv[2], "utf8"));

export const versionOf = (name) => {
  const file = new URL(`./node_modules/${name}/package.json`, import.meta.url);
  return `${name} ${JSON.parse(readFileSync(file, "utf8")).version}`;
};

// `how` is `library`, or `hand` where the library has no such function.
export const passed = (step, method, how = "library") => console.log(step, method, how);

// A fetch that trusts the server's CA and shows the certificate of `holder`.
export function fetchAs(holder) {
  const connect = { ca: readFileSync(setup.ca), timeout: 10_000 };
  if (holder) {
    connect.cert = readFileSync(holder.certificate);
    connect.key = readFileSync(holder.key);
  }
  const dispatcher = new Agent({ connect });
  return (url, options) => fetch(url, { ...options, dispatcher });
}

// x5t#S256 of a certificate (RFC 8705 §3.1).
export function thumbprint(holder) {
  const { raw } = new X509Certificate(readFileSync(holder.certificate));
  return createHash("sha256").update(raw).digest("base64url");
}

export function mustBeGood(introspection, client) {
  assert.equal(introspection.active, true);
  assert.equal(introspection.client_id, client.client_id);
  assert.deepEqual(introspection.cnf, { "x5t#S256": thumbprint(client) });
}

// A token, with jose and the published keys.
export async function verify(url, token, client) {
  const jose = await import("jose");
  const keys = jose.createRemoteJWKSet(new URL(url), { [jose.customFetch]: fetchAs() });
  const { payload } = await jose.jwtVerify(token, keys, {
    issuer: setup.issuer,
    audience: setup.audience,
    typ: "at+jwt",
    requiredClaims: ["exp", "iat", "sub", "client_id", "jti", "cnf"],
  });
  assert.equal(payload.client_id, client.client_id);
  assert.deepEqual(payload.cnf, { "x5t#S256": thumbprint(client) });
}

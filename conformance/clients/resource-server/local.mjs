// Verifies tokens here (RFC 9068 §4, RFC 8705 §3), with Node's own crypto module.
import { constants, createHash, createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { get } from "node:https";

const ALGORITHMS = new Map([
  ["ES256", { hash: "sha256", dsaEncoding: "ieee-p1363" }],
  ["PS256", { hash: "sha256", padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }],
  ["RS256", { hash: "sha256" }],
  ["EdDSA", { hash: null }],
]);

function fetchJson(url, options) {
  return new Promise((resolve, reject) => {
    const outgoing = get(url, options, async (response) => {
      try {
        let body = "";
        for await (const chunk of response.setEncoding("utf8")) body += chunk;
        resolve(JSON.parse(body));
      } catch (error) {
        reject(error);
      }
    });
    outgoing.on("timeout", () => outgoing.destroy(new Error("the server does not answer")));
    outgoing.on("error", reject);
  });
}

export function checkFor(issuer) {
  const options = { ca: readFileSync("pki/ca.pem"), timeout: 5_000 };
  let keys = [];
  let fetched = -Infinity;

  async function keyOf(kid) {
    // The set changes with each rotation. A made-up name is no reason to fetch it more than now and then.
    const age = performance.now() - fetched;
    if (age > 300_000 || (age > 10_000 && !keys.some((key) => key.kid === kid))) {
      ({ keys } = await fetchJson(`${issuer}/jwks`, options));
      fetched = performance.now();
    }
    return keys.find((key) => key.kid === kid);
  }

  // What the token says, or null if it is not good in these hands.
  return async (token, certificate) => {
    const [header, claims, signature, ...more] = token.split(".");
    const { typ, alg, kid, crit } = parse(header) ?? {};
    if (typ !== "at+jwt" || crit !== undefined) return null;
    const key = await keyOf(kid);
    // The key says which algorithm it is for, never the token.
    const algorithm = key?.alg === alg && ALGORITHMS.get(alg);
    if (!algorithm || !signature || more.length > 0) return null;
    const { hash, ...how } = algorithm;
    const signer = { key: createPublicKey({ key, format: "jwk" }), ...how };
    if (!verify(hash, Buffer.from(`${header}.${claims}`), signer, Buffer.from(signature, "base64url"))) return null;
    const says = parse(claims);
    const thumbprint = certificate && createHash("sha256").update(certificate).digest("base64url");
    const bound = thumbprint && says?.cnf?.["x5t#S256"] === thumbprint;
    return bound && says.iss === issuer && says.exp > Date.now() / 1000 ? says : null;
  };
}

function parse(part) {
  try {
    return JSON.parse(Buffer.from(part, "base64url"));
  } catch {
    return null;
  }
}

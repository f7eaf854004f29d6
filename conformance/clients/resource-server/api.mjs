// An API for tokens that are bound to client certificates, with Node's own https module.
// Usage: node api.mjs (introspection | local) PORT ISSUER, in the directory of certbound.yaml
import { readFileSync } from "node:fs";
import { createServer } from "node:https";

const RESOURCE = "https://api.example.com";
const SCOPE = "invoices:read";

class Refused extends Error {
  constructor(status, code) {
    super(code);
    this.status = status;
  }
}

function bearerToken(request) {
  if (new URLSearchParams(request.url.split("?")[1]).has("access_token")) throw new Refused(400, "invalid_request");
  const headers = request.headersDistinct.authorization ?? [];
  const [scheme, ...rest] = (headers[0] ?? "").split(" ");
  if (headers.length < 2 && scheme.toLowerCase() !== "bearer") throw new Refused(401);
  const tokens = rest.filter((word) => word !== "");
  if (headers.length > 1 || tokens.length !== 1) throw new Refused(400, "invalid_request");
  return tokens[0];
}

async function admit(check, request) {
  const claims = await check(bearerToken(request), request.socket.getPeerX509Certificate()?.raw);
  if (claims?.aud !== RESOURCE) throw new Refused(401, "invalid_token");
  if (!(claims.scope ?? "").split(" ").includes(SCOPE)) throw new Refused(403, "insufficient_scope");
  return claims;
}

function answer(response, status, document, challenge) {
  response.statusCode = status;
  response.setHeader("Content-Type", "application/json");
  if (challenge !== undefined) response.setHeader("WWW-Authenticate", `Bearer realm="${RESOURCE}"${challenge}`);
  response.end(JSON.stringify(document));
}

const [way, port, issuer] = process.argv.slice(2);
const { checkFor } = await import(`./${way}.mjs`);
const check = checkFor(issuer);
const settings = {
  cert: readFileSync("pki/server.pem"),
  key: readFileSync("pki/server.key"),
  // Asked for and not judged: certbound judged it before it bound a token to it. That the peer holds its key is
  // proven in the handshake all the same.
  requestCert: true,
  rejectUnauthorized: false,
};
const server = createServer(settings, async (request, response) => {
  try {
    const claims = await admit(check, request);
    answer(response, 200, { client_id: claims.client_id });
  } catch (error) {
    if (error instanceof Refused) {
      const code = error.message;
      answer(response, error.status, code ? { error: code } : {}, code ? `, error="${code}"` : "");
    } else {
      console.error(error.message); // nobody to ask, or an answer that is none
      answer(response, 503, { error: "temporarily_unavailable" });
    }
  }
});
server.listen(Number(port), "127.0.0.1", () => console.log(`listening on 127.0.0.1:${server.address().port}`));

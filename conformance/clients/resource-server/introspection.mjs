// Asks certbound about each token, with the certificate that its bearer showed (RFC 7662, RFC 8705 §3).
import { readFileSync } from "node:fs";
import { request } from "node:https";

export function checkFor(issuer) {
  const options = {
    method: "POST",
    headers: { "Content-Type": "application/x-www-form-urlencoded" },
    cert: readFileSync("pki/api.pem"),
    key: readFileSync("pki/api.key"),
    ca: readFileSync("pki/ca.pem"),
    timeout: 5_000,
  };
  const ask = (form) =>
    new Promise((resolve, reject) => {
      const outgoing = request(`${issuer}/introspect`, options, async (response) => {
        try {
          let body = "";
          for await (const chunk of response.setEncoding("utf8")) body += chunk;
          if (response.statusCode === 200) resolve(JSON.parse(body));
          else reject(new Error(`introspection: ${response.statusCode} ${body}`));
        } catch (error) {
          reject(error);
        }
      });
      outgoing.on("timeout", () => outgoing.destroy(new Error("the server does not answer")));
      outgoing.on("error", reject);
      outgoing.end(form.toString());
    });

  // What the token says, or null if it is not good in these hands.
  return async (token, certificate) => {
    // Empty where no certificate was shown. Left out, it would mean that nobody asks about the binding.
    const shown = certificate?.toString("base64") ?? "";
    const form = new URLSearchParams({ client_id: "api-gateway", token, client_certificate: shown });
    const answer = await ask(form);
    return answer.active === true ? answer : null;
  };
}

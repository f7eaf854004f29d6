// A token with Node's own https module.
// Usage: node node.mjs URL CLIENT_ID CERTIFICATE KEY CA
import { readFileSync } from "node:fs";
import { request } from "node:https";

function fetchToken(url, clientId, certificate, key, ca) {
  const form = new URLSearchParams({ grant_type: "client_credentials", client_id: clientId });
  const options = {
    method: "POST",
    headers: { "Content-Type": "application/x-www-form-urlencoded" },
    cert: readFileSync(certificate),
    key: readFileSync(key),
    ca: readFileSync(ca),
    timeout: 10_000,
  };
  return new Promise((resolve, reject) => {
    const outgoing = request(url, options, async (response) => {
      try {
        let body = "";
        for await (const chunk of response.setEncoding("utf8")) body += chunk;
        const answer = JSON.parse(body);
        if (response.statusCode === 200) resolve(answer);
        else reject(new Error(`${answer.error}: ${answer.error_description}`));
      } catch (error) {
        reject(error);
      }
    });
    outgoing.on("timeout", () => outgoing.destroy(new Error("the server does not answer")));
    outgoing.on("error", reject);
    outgoing.end(form.toString());
  });
}

try {
  console.log(JSON.stringify(await fetchToken(...process.argv.slice(2))));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}

#!/usr/bin/env python3
"""Drives the foreign clients against a certbound that it starts, and prints what each of them could do.

Usage: matrix.py CERTBOUND BUILT
BUILT is where scripts/interop has put what the clients need. Ends with 1 if anything failed.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
METHODS = ("tls_client_auth", "self_signed_tls_client_auth")
P12_PASSWORD = "changeit"

# What a program says it has done (`STEP METHOD HOW`), and the column it counts for. In the order of the programs.
COLUMNS = {
    "RFC 8414": [("rfc8414", "-")],
    "OpenID name": [("openid", "-")],
    "aliases": [("alias", method) for method in METHODS],
    "CA-issued": [("token", METHODS[0])],
    "self-signed": [("token", METHODS[1])],
    "JWT": [("jwt", method) for method in METHODS],
    "introspection": [("introspection", method) for method in METHODS],
    "RFC 9701": [("signed", method) for method in METHODS],
    "revocation": [("revocation", method) for method in METHODS],
    "inactive": [("inactive", method) for method in METHODS],
    "refusal": [("refusal", method) for method in METHODS],
}

# Not every library has it, and without it nothing else is missing.
OPTIONAL = "RFC 9701"

# Debian's; none of them names what it needs itself.
JARS = (
    "google-oauth-client",
    "google-http-client",
    "google-http-client-gson",
    "gson",
    "guava",
    "opencensus-api",
    "opencensus-contrib-http-util",
    "grpc-context",
)


def programs(built):
    """Name and command of each client; where it cannot be run, the reason in place of the command."""
    python, node = str(built / "python/bin/python"), ["node"]
    jars = ":".join(f"/usr/share/java/{jar}.jar" for jar in JARS)
    yield "curl", [str(HERE / "curl/curl_jose.sh")]
    yield "Python", [python, str(HERE / "python/authlib_httpx.py")]
    yield "Python", [python, str(HERE / "python/requests_oauthlib_pyjwt.py")]
    yield "Node", node + [str(built / "node/openid-client.mjs")]
    yield "Node", node + [str(built / "node/oauth4webapi.mjs")]
    yield "Go", [str(built / "go/client")]
    yield "Java", ["java", "-cp", f"{built / 'java'}:{jars}", "GoogleOauthClient"]
    nimbus = built / "nimbus/classpath"
    if nimbus.exists():
        yield "Java", ["java", "-cp", f"{built / 'nimbus/classes'}:{nimbus.read_text().strip()}", "NimbusClient"]
    else:
        yield "Java", "Nimbus oauth2-oidc-sdk: not run, no Maven registry"
    yield "Rust", [str(built / "rust/debug/certbound-interop-rust")]


def main():
    certbound, built = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        server, setup = start(certbound, Path(scratch))
        try:
            written = Path(scratch) / "setup.json"
            written.write_text(json.dumps(setup, indent=2), encoding="utf-8")
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                rows = list(pool.map(lambda program: row(*program, written), programs(built)))
        finally:
            server.terminate()
            ended = server.wait(timeout=30)
    for line in table(rows):
        print(line)
    failures = [text for _, text in rows if text] + ([f"the server ended with {ended}"] if ended else [])
    for text in failures:
        print(f"\n{text}", file=sys.stderr)
    sys.exit(1 if failures else 0)


def row(language, command, setup):
    """The cells of one client, and what it said if it failed."""
    if isinstance(command, str):
        return [language, command] + [""] * len(COLUMNS), None
    environment = os.environ | {"P12_PASSWORD": P12_PASSWORD, "INTEROP_VERSIONS": debian_versions(language)}
    try:
        ran = subprocess.run(
            [*command, str(setup)], capture_output=True, text=True, timeout=120, env=environment, check=False
        )
        said, status = ran.stdout, f"ended with {ran.returncode}:\n{ran.stderr.strip()}"
        good = ran.returncode == 0
    except (OSError, subprocess.TimeoutExpired) as error:
        said, status, good = "", str(error), False
    name = next((line[8:] for line in said.splitlines() if line.startswith("client: ")), Path(command[-1]).name)
    done = {(step, method): how for step, method, how in steps(said)}
    cells = [cell(column, wanted, done) for column, wanted in COLUMNS.items()]
    if not good and "FAILED" not in cells:
        cells[-1] = "FAILED"
    failure = f"{name} {status}" if "FAILED" in cells else None
    return [language, name, *cells], failure


def steps(said):
    for line in said.splitlines():
        words = line.split()
        if len(words) == 3 and words[2] in ("library", "hand"):
            yield words


def cell(column, wanted, done):
    found = [done.get(step) for step in wanted]
    if column == OPTIONAL and not any(found):
        return "–"
    if None in found:
        return "FAILED"
    return "by hand" if "hand" in found else "yes"


def table(rows):
    """A table in Markdown, its columns in line."""
    lines = [["", "client", *COLUMNS], *(cells for cells, _ in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
    lines.insert(1, ["-" * width for width in widths])
    for line in lines:
        yield "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths)) + " |"


def debian_versions(language):
    packages = {
        "Go": ["golang-golang-x-oauth2-dev", "golang-github-coreos-go-oidc-dev", "golang-gopkg-square-go-jose.v2-dev"],
        "Java": ["libgoogle-oauth-client-java"],
    }.get(language, [])
    found = [version(package) for package in packages]
    return f"{found[0]} (go-oidc {found[1]}, go-jose {found[2]})" if language == "Go" else "".join(found)


def version(package):
    asked = subprocess.run(["dpkg-query", "-Wf", "${Version}", package], capture_output=True, text=True, check=False)
    return asked.stdout.rsplit("-", 1)[0] or "?"


def start(certbound, scratch):
    """A server made by `certbound init`, with one change: the issuer's own endpoints are on a listener that never asks
    for a certificate, so that whoever gets a token has used mtls_endpoint_aliases."""
    made = scratch / "as"
    subprocess.run([certbound, "init", made], check=True, stdout=subprocess.DEVNULL)
    configuration = made / "certbound.yaml"
    text = configuration.read_text(encoding="utf-8")
    for _ in range(5):
        public, mtls = free_ports()
        issuer = f"https://localhost:{public}"
        tls = "tls: { certificate: pki/server.pem, key: pki/server.key }"
        changed = text.replace("issuer: https://localhost:8443", f"issuer: {issuer}\nmtls_base_url: https://localhost:{mtls}")
        changed = changed.replace("127.0.0.1:8443", f"127.0.0.1:{mtls}").replace(":9090", ":0")
        changed = changed.replace("listeners:\n", f"listeners:\n  - kind: public\n    bind: 127.0.0.1:{public}\n    {tls}\n")
        configuration.write_text(changed, encoding="utf-8")
        log = open(scratch / "log", "w", encoding="utf-8")
        # The signal ends the server when this program is killed.
        command = ["setpriv", "--pdeathsig", "TERM", certbound, "-c", configuration, "serve"]
        server = subprocess.Popen(command, stderr=log, stdout=subprocess.DEVNULL)
        if listens(server, public, mtls):
            return server, setup_of(made, issuer)
        server.terminate()
        server.wait()
    sys.exit(f"the server does not start:\n{(scratch / 'log').read_text(encoding='utf-8')}")


def free_ports():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def listens(server, *ports):
    until = time.monotonic() + 20
    waiting = list(ports)
    while waiting and server.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", waiting[0]), timeout=1).close()
            waiting.pop(0)
        except OSError:
            time.sleep(0.05)
    return not waiting and server.poll() is None


def setup_of(made, issuer):
    pki = made / "pki"

    def holder(name, client_id, method, certificate):
        bundle = pki / f"{name}.p12"
        command = ["openssl", "pkcs12", "-export", "-in", certificate, "-inkey", pki / f"{name}.key", "-out", bundle]
        subprocess.run([*command, "-passout", f"pass:{P12_PASSWORD}"], check=True)
        return {
            "client_id": client_id,
            "method": method,
            "certificate": str(certificate),
            "key": str(pki / f"{name}.key"),
            "pkcs12": str(bundle),
        }

    return {
        "issuer": issuer,
        "ca": str(pki / "ca.pem"),
        "audience": "https://api.example.com",
        "clients": [
            holder("billing", "billing", METHODS[0], pki / "billing.pem"),
            holder("edge-7", "edge-7", METHODS[1], made / "clients.d/edge-7.pem"),
        ],
        "resource_server": holder("api", "api-gateway", METHODS[0], pki / "api.pem"),
    }


if __name__ == "__main__":
    main()

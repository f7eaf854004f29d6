#!/usr/bin/env python3
"""An API for tokens that are bound to client certificates, with Python's standard library.

Usage: api.py (introspection | local) PORT ISSUER, in the directory of certbound.yaml
"""

import importlib
import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

RESOURCE = "https://api.example.com"
SCOPE = "invoices:read"


class Refused(Exception):
    """With the status and, where the client should hear one, the error code."""


class Api(BaseHTTPRequestHandler):
    timeout = 10

    def do_GET(self):
        try:
            claims = self.check(self.bearer_token(), self.connection.getpeercert(binary_form=True))
            if claims is None or claims.get("aud") != RESOURCE:
                raise Refused(401, "invalid_token")
            if SCOPE not in claims.get("scope", "").split():
                raise Refused(403, "insufficient_scope")
            self.answer(200, {"client_id": claims["client_id"]})
        except Refused as refused:
            status, *error = refused.args
            self.answer(status, {"error": error[0]} if error else {}, [f'error="{code}"' for code in error])
        except (OSError, ValueError) as fault:  # nobody to ask, or an answer that is none
            self.log_error("%s", fault)
            self.answer(503, {"error": "temporarily_unavailable"})

    def bearer_token(self):
        if "access_token" in parse_qs(urlsplit(self.path).query, keep_blank_values=True):
            raise Refused(400, "invalid_request")
        headers = self.headers.get_all("Authorization", [])
        scheme, _, token = (headers or [""])[0].partition(" ")
        if len(headers) < 2 and scheme.lower() != "bearer":
            raise Refused(401)
        if len(headers) > 1 or len(token.split()) != 1:
            raise Refused(400, "invalid_request")
        return token.strip()

    def answer(self, status, document, error=()):
        body = json.dumps(document).encode()
        self.send_response(status)
        if status in (400, 401, 403):
            self.send_header("WWW-Authenticate", ", ".join([f'Bearer realm="{RESOURCE}"', *error]))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    way, port, issuer = sys.argv[1:]
    Api.check = staticmethod(importlib.import_module(way).Check(issuer))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain("pki/server.pem", "pki/server.key")
    tls.verify_mode = ssl.CERT_OPTIONAL  # asked for; who has none is told so in HTTP
    tls.load_verify_locations("pki/clients.pem")
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Api)
    # The handshake is for the thread of the connection, so that a slow peer keeps nobody else waiting.
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()

"""Asks certbound about each token, with the certificate that its bearer showed (RFC 7662, RFC 8705 §3)."""

import base64
import json
import ssl
from http.client import HTTPSConnection
from urllib.parse import urlencode, urlsplit


class Check:
    def __init__(self, issuer):
        self.endpoint = urlsplit(issuer + "/introspect")
        self.tls = ssl.create_default_context(cafile="pki/ca.pem")
        self.tls.load_cert_chain("pki/api.pem", "pki/api.key")

    def __call__(self, token, certificate):
        """What the token says, or None if it is not good in these hands."""
        # Empty where no certificate was shown. Left out, it would mean that nobody asks about the binding.
        shown = base64.b64encode(certificate or b"")
        form = urlencode({"client_id": "api-gateway", "token": token, "client_certificate": shown})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        connection = HTTPSConnection(self.endpoint.hostname, self.endpoint.port, context=self.tls, timeout=5)
        try:
            connection.request("POST", self.endpoint.path, form, headers)
            response = connection.getresponse()
            answer = json.load(response)
        finally:
            connection.close()
        if response.status != 200:
            raise OSError(f"introspection: {response.status} {answer}")
        return answer if answer["active"] is True else None

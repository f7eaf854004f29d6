"""Verifies tokens here (RFC 9068 §4, RFC 8705 §3). Needs the package `cryptography`."""

import base64
import hashlib
import json
import ssl
import time
from urllib.request import urlopen

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256


class Check:
    def __init__(self, issuer):
        self.issuer, self.keys, self.fetched = issuer, {}, -300
        self.tls = ssl.create_default_context(cafile="pki/ca.pem")

    def __call__(self, token, certificate):
        """What the token says, or None if it is not good in these hands."""
        try:
            signed, _, signature = token.rpartition(".")
            header, claims = (json.loads(decode(part)) for part in signed.split("."))
            # Another `signing.algorithm` than ES256 needs another line here, and never a choice by the token.
            if (header["typ"], header["alg"], "crit" in header) != ("at+jwt", "ES256", False):
                return None
            r, s = number(decode(signature)[:32]), number(decode(signature)[32:])
            key = self.key(header["kid"])
            key.verify(utils.encode_dss_signature(r, s), signed.encode(), ec.ECDSA(SHA256()))
            thumbprint = base64.urlsafe_b64encode(hashlib.sha256(certificate or b"").digest()).rstrip(b"=")
            bound = certificate is not None and claims["cnf"]["x5t#S256"] == thumbprint.decode()
            return claims if bound and claims["iss"] == self.issuer and claims["exp"] > time.time() else None
        except (InvalidSignature, KeyError, TypeError, ValueError):
            return None

    def key(self, kid):
        # The set changes with each rotation. A made-up name is no reason to fetch it more than now and then.
        age = time.monotonic() - self.fetched
        if age > 300 or (kid not in self.keys and age > 10):
            with urlopen(self.issuer + "/jwks", context=self.tls, timeout=5) as answer:
                keys = json.load(answer)["keys"]
            self.fetched, self.keys = time.monotonic(), {key["kid"]: public(key) for key in keys if is_p256(key)}
        return self.keys[kid]


def is_p256(key):
    return (key["kty"], key.get("crv"), key.get("alg")) == ("EC", "P-256", "ES256")


def public(key):
    numbers = ec.EllipticCurvePublicNumbers(number(decode(key["x"])), number(decode(key["y"])), ec.SECP256R1())
    return numbers.public_key()


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def number(octets):
    return int.from_bytes(octets, "big")

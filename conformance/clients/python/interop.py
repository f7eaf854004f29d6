"""What the foreign clients in Python share: the set-up they are given, and how they say what went right."""

import base64
import hashlib
import json
import ssl
import sys

SETUP = json.load(open(sys.argv[1], encoding="utf-8"))


def client_is(name):
    print("client:", name, flush=True)


def passed(step, method, how):
    """`how` is `library`, or `hand` where the library has no such function."""
    print(step, method, how, flush=True)


def tls(holder):
    """TLS that trusts the server's CA and shows the certificate of `holder`."""
    context = ssl.create_default_context(cafile=SETUP["ca"])
    if holder is not None:
        context.load_cert_chain(holder["certificate"], holder["key"])
    return context


def thumbprint(holder):
    """`x5t#S256` of a certificate (RFC 8705 §3.1)."""
    with open(holder["certificate"], encoding="ascii") as pem:
        der = ssl.PEM_cert_to_DER_cert(pem.read())
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def must_be(seen, expected, what):
    if seen != expected:
        sys.exit(f"{what}: {seen!r} in place of {expected!r}")

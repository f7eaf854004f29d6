#!/usr/bin/env python3
"""A token with Python's standard library.

Usage: python.py URL CLIENT_ID CERTIFICATE KEY CA
"""

import json
import ssl
import sys
from http.client import HTTPSConnection
from urllib.parse import urlencode, urlsplit


def fetch_token(url, client_id, certificate, key, ca):
    tls = ssl.create_default_context(cafile=ca)
    tls.load_cert_chain(certificate, key)

    endpoint = urlsplit(url)
    connection = HTTPSConnection(endpoint.hostname, endpoint.port, context=tls, timeout=10)
    form = urlencode({"grant_type": "client_credentials", "client_id": client_id})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    try:
        connection.request("POST", endpoint.path, form, headers)
        response = connection.getresponse()
        answer = json.load(response)
    finally:
        connection.close()
    if response.status != 200:
        raise PermissionError(f"{answer['error']}: {answer['error_description']}")
    return answer


if __name__ == "__main__":
    try:
        print(json.dumps(fetch_token(*sys.argv[1:])))
    except PermissionError as refusal:
        sys.exit(str(refusal))

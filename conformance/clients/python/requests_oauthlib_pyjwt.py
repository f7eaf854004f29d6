#!/usr/bin/env python3
"""requests-oauthlib, with PyJWT for the tokens, as a client of an authorization server with mutual TLS.

The library has neither discovery nor introspection: these are plain requests here.

Usage: requests_oauthlib_pyjwt.py SETUP
"""

from importlib.metadata import version

import jwt
import requests
from oauthlib.oauth2 import BackendApplicationClient, InvalidClientError
from requests_oauthlib import OAuth2Session

from interop import SETUP, client_is, must_be, passed, thumbprint, tls


def discover(name, step):
    answer = requests.get(f"{SETUP['issuer']}/.well-known/{name}", verify=SETUP["ca"], timeout=10)
    metadata = answer.json()
    must_be(metadata["issuer"], SETUP["issuer"], f"issuer of {name}")
    passed(step, "-", "hand")
    return metadata


def files(holder):
    return (holder["certificate"], holder["key"])


def fetch(session, url, holder):
    # include_client_id: without it the library sends HTTP Basic.
    return session.fetch_token(url, include_client_id=True, cert=files(holder), verify=SETUP["ca"], timeout=10)


def life_of_a_token(metadata, client):
    method = client["method"]
    aliases = metadata["mtls_endpoint_aliases"]
    passed("alias", method, "hand")

    application = BackendApplicationClient(client_id=client["client_id"])
    session = OAuth2Session(client=application)
    token = fetch(session, aliases["token_endpoint"], client)["access_token"]
    passed("token", method, "library")

    keys = jwt.PyJWKClient(metadata["jwks_uri"], ssl_context=tls(None))
    key = keys.get_signing_key_from_jwt(token)
    claims = jwt.decode(
        token,
        key,
        algorithms=["ES256", "PS256", "EdDSA", "RS256"],
        audience=SETUP["audience"],
        issuer=metadata["issuer"],
        options={"require": ["iss", "exp", "aud", "sub", "client_id", "iat", "jti", "cnf"]},
    )
    must_be(jwt.get_unverified_header(token)["typ"], "at+jwt", "typ")
    must_be(claims["cnf"], {"x5t#S256": thumbprint(client)}, "cnf")
    passed("jwt", method, "library")

    def ask():
        server = SETUP["resource_server"]
        form = {"client_id": server["client_id"], "token": token}
        url = aliases["introspection_endpoint"]
        return requests.post(url, form, cert=files(server), verify=SETUP["ca"], timeout=10).json()

    seen = ask()
    must_be((seen["active"], seen["client_id"]), (True, client["client_id"]), "introspection")
    must_be(seen["cnf"], claims["cnf"], "cnf of the introspection")
    passed("introspection", method, "hand")

    url, headers, body = application.prepare_token_revocation_request(
        aliases["revocation_endpoint"], token, client_id=client["client_id"]
    )
    # withhold_token: the session would send the token as Authorization too.
    answer = session.post(
        url, body, headers=headers, withhold_token=True, cert=files(client), verify=SETUP["ca"], timeout=10
    )
    must_be(answer.status_code, 200, "revocation")
    passed("revocation", method, "library")
    must_be(ask(), {"active": False}, "introspection afterwards")
    passed("inactive", method, "hand")

    try:
        another = OAuth2Session(client=BackendApplicationClient(client_id=client["client_id"]))
        fetch(another, aliases["token_endpoint"], SETUP["resource_server"])
        must_be("a token", "a refusal", "the certificate of another")
    except InvalidClientError:
        passed("refusal", method, "library")


client_is(f"requests-oauthlib {version('requests-oauthlib')} (oauthlib {version('oauthlib')}, PyJWT {version('PyJWT')})")
found = discover("oauth-authorization-server", "rfc8414")
must_be(discover("openid-configuration", "openid"), found, "the OpenID name")
for registered in SETUP["clients"]:
    life_of_a_token(found, registered)

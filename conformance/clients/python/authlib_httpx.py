#!/usr/bin/env python3
"""Authlib with httpx as a client of an authorization server with mutual TLS.

Usage: authlib_httpx.py SETUP
"""

from importlib.metadata import version

import httpx
from authlib.integrations.httpx_client import OAuth2Client, OAuthError
from authlib.oauth2.auth import encode_none
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator

from interop import SETUP, client_is, must_be, passed, thumbprint, tls


class Metadata(AuthorizationServerMetadata):
    """Authlib's own validation, but for one member: it refuses an empty `response_types_supported`, and a server that
    is for machines alone has no response type."""

    def validate_response_types_supported(self):
        must_be(self["response_types_supported"], [], "response_types_supported")


class AccessTokens(JWTBearerTokenValidator):
    """Authlib's own validation of RFC 9068 tokens, with the published keys."""

    def __init__(self, metadata):
        super().__init__(issuer=metadata["issuer"], resource_server=SETUP["audience"])
        self.jwks = httpx.get(metadata["jwks_uri"], verify=tls(None)).json()

    def get_jwks(self):
        return self.jwks


def discover(name, step):
    url = get_well_known_url(SETUP["issuer"], external=True, suffix=name)
    metadata = Metadata(httpx.get(url, verify=tls(None)).raise_for_status().json())
    metadata.validate()
    must_be(metadata["issuer"], SETUP["issuer"], f"issuer of {name}")
    passed(step, "-", "library")
    return metadata


def session(client, holder):
    """For Authlib a way to authenticate is a function that may change the request: here client_id is added."""
    method = client["method"]
    made = OAuth2Client(
        client["client_id"],
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
        verify=tls(holder),
    )
    made.register_client_auth_method((method, encode_none))
    return made


def life_of_a_token(metadata, client):
    method = client["method"]
    aliases = metadata["mtls_endpoint_aliases"]
    passed("alias", method, "hand")

    mine = session(client, client)
    answer = mine.fetch_token(aliases["token_endpoint"], grant_type="client_credentials")
    must_be(answer["token_type"], "Bearer", "token_type")
    token = answer["access_token"]
    passed("token", method, "library")

    validator = AccessTokens(metadata)
    claims = validator.authenticate_token(token)
    validator.validate_token(claims, [], None)
    must_be(claims.header["typ"], "at+jwt", "typ")
    must_be(claims["cnf"], {"x5t#S256": thumbprint(client)}, "cnf")
    passed("jwt", method, "library")

    server = session(SETUP["resource_server"], SETUP["resource_server"])
    ask = lambda: server.introspect_token(aliases["introspection_endpoint"], token=token).json()
    seen = ask()
    must_be((seen["active"], seen["client_id"]), (True, client["client_id"]), "introspection")
    must_be(seen["cnf"], claims["cnf"], "cnf of the introspection")
    passed("introspection", method, "library")

    must_be(mine.revoke_token(aliases["revocation_endpoint"], token=token).status_code, 200, "revocation")
    passed("revocation", method, "library")
    must_be(ask(), {"active": False}, "introspection afterwards")
    passed("inactive", method, "library")

    try:
        session(client, SETUP["resource_server"]).fetch_token(
            aliases["token_endpoint"], grant_type="client_credentials"
        )
        must_be("a token", "a refusal", "the certificate of another")
    except OAuthError as refusal:
        must_be(refusal.error, "invalid_client", "error")
    passed("refusal", method, "library")


client_is(f"Authlib {version('Authlib')} (httpx {version('httpx')}, joserfc {version('joserfc')})")
found = discover("oauth-authorization-server", "rfc8414")
must_be(discover("openid-configuration", "openid"), found, "the OpenID name")
for registered in SETUP["clients"]:
    life_of_a_token(found, registered)

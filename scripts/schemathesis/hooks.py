"""What the document cannot say: a client, a token and a reference that are there. Without them every answer would be the
same refusal."""

import os
import re

import schemathesis
from schemathesis.core.failures import MalformedJson
from schemathesis.openapi.checks import MissingContentType

TOKEN = os.environ["CERTBOUND_TOKEN"]
LEAF = os.environ["CERTBOUND_LEAF"]
REFERENCE = os.environ["CERTBOUND_REFERENCE"]
CLIENTS = {"/token": "billing", "/revoke": "billing", "/introspect": "api-gateway"}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Requests come from a registered client; those that should be good name what it may have, half of them a live token."""
    path = case.operation.path
    good = case.meta is not None and case.meta.generation.mode.is_positive
    if path in CLIENTS and isinstance(case.body, dict):
        form(case.body, CLIENTS[path], good)
    if path == "/api/v1/refusals/{reference}" and good and half(case.path_parameters["reference"]):
        case.path_parameters["reference"] = REFERENCE
    if path == "/api/v1/tokens/revoke" and good and half(case.body["token"]):
        case.body["token"] = TOKEN


def form(body, client, good):
    if re.fullmatch("[ -~]{1,255}", str(body.get("client_id", ""))):
        body["client_id"] = client
    if not good:
        return
    if half(body.get("token", "")):
        body["token"] = TOKEN
    if body.get("scope"):
        body["scope"] = "invoices:read"
    if body.get("resource"):
        body["resource"] = ["https://api.example.com" if one else "" for one in body["resource"][:8]]
    if body.get("client_certificate"):
        body["client_certificate"] = LEAF


def half(text):
    return len(text) % 2 == 1


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Whether a failure is one. The document marks the answers that may have no body, and then they have no type."""
    answer = case.operation.responses.find_by_status_code(response.status_code)
    may_be_empty = answer is not None and answer.definition.get("x-body") == "optional"
    is_of_the_body = isinstance(failure, (MissingContentType, MalformedJson))
    return not (may_be_empty and not response.content and is_of_the_body)


@schemathesis.deserializer("application/token-introspection+jwt", "application/jsonl")
def as_text(ctx, response):
    return response.text

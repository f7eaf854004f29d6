#!/usr/bin/env bash
# curl, with jose (José) for the tokens and jq for JSON, as a client of an authorization server with mutual TLS.
# Usage: curl_jose.sh SETUP
set -euo pipefail

setup=$1
of() { jq -er "$1" "$setup"; }
issuer=$(of .issuer) ca=$(of .ca) audience=$(of .audience)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

passed() { echo "$1" "$2" library; }

die() {
    echo "$*" >&2
    exit 1
}

# ask HOLDER URL FORM…: a form with the certificate of HOLDER, a path in the set-up. The status is the last line.
ask() {
    local holder=$1 url=$2 field
    shift 2
    local form=()
    for field in "$@"; do form+=(--data-urlencode "$field"); done
    curl -sS --max-time 10 --cacert "$ca" --cert "$(of "$holder.certificate")" --key "$(of "$holder.key")" \
        -w '\n%{http_code}' "${form[@]}" "$url"
}

ok() {
    local answer
    answer=$(ask "$@")
    [[ ${answer##*$'\n'} == 200 ]] || die "$2: $answer"
    echo "${answer%$'\n'*}"
}

discover() {
    curl -sS --fail --max-time 10 --cacert "$ca" "$issuer/.well-known/$1" >"$scratch/$1"
    [[ $(jq -r .issuer "$scratch/$1") == "$issuer" ]] || die "the issuer of $1 is another"
}

introspect() {
    ok .resource_server "$(alias introspection)" "client_id=$(of .resource_server.client_id)" "token=$1"
}

alias() { jq -er ".mtls_endpoint_aliases.${1}_endpoint" "$scratch/oauth-authorization-server"; }

life_of_a_token() {
    local holder=$1 id method token thumbprint seen refusal
    id=$(of "$holder.client_id") method=$(of "$holder.method")
    alias token >/dev/null
    passed alias "$method"
    token=$(ok "$holder" "$(alias token)" grant_type=client_credentials "client_id=$id" | jq -er .access_token)
    passed token "$method"

    curl -sS --fail --cacert "$ca" "$(jq -r .jwks_uri "$scratch/oauth-authorization-server")" >"$scratch/jwks"
    printf %s "$token" | jose jws ver -i- -k "$scratch/jwks" -O "$scratch/claims" || die "the signature does not hold"
    printf %s "${token%%.*}" | jose b64 dec -i- | jq -e '.typ == "at+jwt"' >/dev/null || die "typ"
    thumbprint=$(openssl x509 -in "$(of "$holder.certificate")" -outform DER | openssl dgst -sha256 -binary |
        jose b64 enc -I-)
    jq -e --arg iss "$issuer" --arg aud "$audience" --arg id "$id" --arg x5t "$thumbprint" \
        '.iss == $iss and .aud == $aud and .client_id == $id and .cnf == {"x5t#S256": $x5t} and .exp > now' \
        "$scratch/claims" >/dev/null || die "claims: $(<"$scratch/claims")"
    passed jwt "$method"

    seen=$(introspect "$token")
    jq -e --arg id "$id" --arg x5t "$thumbprint" \
        '.active == true and .client_id == $id and .cnf == {"x5t#S256": $x5t}' <<<"$seen" >/dev/null ||
        die "introspection: $seen"
    passed introspection "$method"
    ok "$holder" "$(alias revocation)" "client_id=$id" "token=$token" >/dev/null
    passed revocation "$method"
    seen=$(introspect "$token")
    [[ $(jq -c . <<<"$seen") == '{"active":false}' ]] || die "introspection afterwards: $seen"
    passed inactive "$method"

    refusal=$(ask .resource_server "$(alias token)" grant_type=client_credentials "client_id=$id")
    [[ ${refusal##*$'\n'} == 400 && $(jq -r .error <<<"${refusal%$'\n'*}") == invalid_client ]] ||
        die "the certificate of another: $refusal"
    passed refusal "$method"
}

jose_version=$(dpkg-query -Wf '${Version}' jose 2>/dev/null || echo '?')
echo "client: curl $(curl --version | awk 'NR == 1 { print $2 }') (jose ${jose_version%-*})"
discover oauth-authorization-server
passed rfc8414 -
discover openid-configuration
cmp -s "$scratch/oauth-authorization-server" "$scratch/openid-configuration" || die "the OpenID name differs"
passed openid -
for index in $(jq -r '.clients | keys[]' "$setup"); do life_of_a_token ".clients[$index]"; done

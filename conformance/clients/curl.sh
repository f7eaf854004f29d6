#!/bin/sh
# A token with curl.
# Usage: curl.sh URL CLIENT_ID CERTIFICATE KEY CA
set -eu

# --fail-with-body: the answer is printed, and a refusal is exit code 22.
curl --silent --show-error --fail-with-body \
    --cacert "$5" --cert "$3" --key "$4" \
    --data-urlencode grant_type=client_credentials \
    --data-urlencode client_id="$2" \
    "$1"

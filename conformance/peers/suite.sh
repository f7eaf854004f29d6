# Sourced by the scripts of the peers: free ports, and a run of the suite against a server that `start` starts.

free_ports() {
    python3 - "$1" <<'END'
import socket, sys
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(one.getsockname()[1] for one in held))
END
}

# answers CA URL: waits until it does, for as long as the process $server lives.
answers() {
    local end=$((SECONDS + 60))
    until curl -sf --max-time 5 --cacert "$1" -o /dev/null "$2"; do
        if ! kill -0 "$server" 2>/dev/null || ((SECONDS > end)); then return 1; fi
        sleep 0.2
    done
}

# check_peer HERE JSON [VARIANT]: certificates, `start`, the suite, and the end of what was started. The text of the suite,
# with the evidence of each failure, goes beside the JSON. $THREADS is how many checks run side by side.
check_peer() {
    local here=$1 json=$2 variant=${3:-}
    local scratch server status=0
    : "${CONFORMANCE:?the program certbound-conformance}"
    scratch=$(mktemp -d)
    "$here/../certificates" "$scratch"
    # In a group of its own, so that everything that it starts ends with it.
    setsid "$here/start" "$scratch" ${variant:+"$variant"} >"$scratch/server.log" 2>&1 &
    server=$!
    # Expanded now: at the end these names are gone.
    trap "kill -TERM -- -$server 2>/dev/null || true; rm -rf '$scratch'" EXIT
    local end=$((SECONDS + 180))
    until [[ -e $scratch/suite.yaml ]]; do
        if ! kill -0 "$server" 2>/dev/null || ((SECONDS > end)); then
            cat "$scratch/server.log" >&2
            return 2
        fi
        sleep 0.2
    done
    if ! answers "$scratch/server-ca.pem" "$(sed -n 's/^metadata: //p' "$scratch/suite.yaml")"; then
        cat "$scratch/server.log" >&2
        return 2
    fi
    # 1 is that something failed, which is what one wants to know of a peer.
    "$CONFORMANCE" --config "$scratch/suite.yaml" --json "$json" \
        --threads "${THREADS:-8}" >"${json%.json}.txt" || status=$?
    kill -TERM -- -"$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    rm -rf "$scratch"
    trap - EXIT
    ((status <= 1))
}

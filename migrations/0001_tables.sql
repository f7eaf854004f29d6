-- Everything certbound keeps in a database. Moments are Unix seconds. Plain SQL, so that whatever speaks the protocol
-- can do it; `certbound.migrations` was made before this runs.

-- One row: what is true of the store as a whole.
CREATE TABLE certbound.store (
    singleton smallint PRIMARY KEY DEFAULT 1 CHECK (singleton = 1),
    id bytea NOT NULL,                          -- 16 octets, the name that `store-id` has
    forgotten_before bigint,                    -- every token issued up to here has ended, whoever has it
    roll_version bigint NOT NULL DEFAULT 0,     -- changes whenever a client is marked as gone
    keys_generation bigint NOT NULL DEFAULT 0,  -- changes with the signing keys
    seal bytea                                  -- which key seals them
);

-- Tokens that were ended one by one.
CREATE TABLE certbound.ended_tokens (
    jti bytea PRIMARY KEY,
    ended_at bigint NOT NULL,
    until bigint NOT NULL,                      -- when it would have ended by itself
    due bigint NOT NULL                         -- not needed from here on
);
CREATE INDEX ended_tokens_due ON certbound.ended_tokens (due);

-- Clients whose tokens ended that were issued up to `ended_at`.
CREATE TABLE certbound.ended_clients (
    client text PRIMARY KEY,
    ended_at bigint NOT NULL,
    until bigint NOT NULL,
    due bigint NOT NULL
);
CREATE INDEX ended_clients_due ON certbound.ended_clients (due);

-- Clients that are registered somewhere, or were until lately.
CREATE TABLE certbound.clients (
    client text PRIMARY KEY,
    gone_since bigint
);

-- Certificates that served a client.
CREATE TABLE certbound.sightings (
    client text NOT NULL,
    thumbprint bytea NOT NULL,
    chain bytea NOT NULL,
    first_seen bigint NOT NULL,
    last_seen bigint NOT NULL,
    PRIMARY KEY (client, thumbprint)
);
CREATE INDEX sightings_last_seen ON certbound.sightings (last_seen);

-- Refusals that can be explained. The record is JSON as octets: strangers write NUL, which text does not take.
CREATE TABLE certbound.refusals (
    reference text PRIMARY KEY,
    at bigint NOT NULL,
    client text,                                -- the registered client; null for a stranger
    record bytea NOT NULL
);
CREATE INDEX refusals_at ON certbound.refusals (at);

-- Signing keys, sealed. One for each moment at which a key begins to sign.
CREATE TABLE certbound.signing_keys (
    kid text PRIMARY KEY,
    algorithm text NOT NULL,
    signs_from bigint NOT NULL UNIQUE,
    sealed bytea NOT NULL,
    removed bigint                              -- since when it counts for nothing; null: it counts
);

-- The processes at work.
CREATE TABLE certbound.nodes (
    id bytea PRIMARY KEY,
    name text NOT NULL,
    started bigint NOT NULL,
    seen bigint NOT NULL,
    beat bigint NOT NULL,
    config_hash text NOT NULL,
    keys_generation bigint NOT NULL,
    skew_ms bigint NOT NULL
);

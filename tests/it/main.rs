//! Everything that is tested from outside a module: one binary, one file per promise.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where something is not as it should be"
)]

mod support;

mod anchors;
mod authentication;
mod binding;
mod clients;
mod cluster;
mod commands;
mod discovery;
mod durability;
mod edge_cases;
mod ending;
mod evidence;
mod explain;
mod forwarded;
mod hostile;
mod house;
mod introspect;
mod limbo;
mod limits;
mod nodes;
mod ocsp;
mod openapi;
mod openssl_certificates;
mod postgres;
mod proxies;
mod proxy_check;
mod radar;
mod reload;
mod resource_server;
mod revocation;
mod revoke;
mod rotation;
mod signed_introspection;
mod simulation;
mod standing;
mod store_contract;
mod tls;
mod token;
mod verify;
mod wire;

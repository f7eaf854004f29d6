//! Everything that is tested from outside a module: one binary, one file per promise.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where something is not as it should be"
)]

mod support;

mod authentication;
mod binding;
mod clients;
mod commands;
mod discovery;
mod durability;
mod hostile;
mod house;
mod introspect;
mod limits;
mod openssl_certificates;
mod reload;
mod revoke;
mod rotation;
mod store_contract;
mod tls;
mod token;
mod wire;

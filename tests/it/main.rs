//! Everything that is tested from outside a module: one binary, one file per promise.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where something is not as it should be"
)]

mod house;
mod store_contract;

//! certbound: an OAuth 2.0 authorization server for machines.
//!
//! Its clients prove who they are with a certificate in the TLS handshake (RFC 8705) and get tokens
//! bound to that certificate (RFC 9068 with `cnf`). Every check yields a value that only the check can
//! make, and the next room opens only with it. The modules, in the order in which they may import
//! each other (`tests/it/house.rs` holds them to it; the walk through them is in `ARCHITECTURE.md`):

pub mod clock;
pub mod document;
pub mod reload;

pub mod database;
pub mod oauth;
pub mod pki;

pub mod cluster;
pub mod registry;
pub mod store;

pub mod authn;
pub mod keys;

pub mod plan;
pub mod radar;
pub mod token;

pub mod grant;

pub mod telemetry;

pub mod http;

pub mod admin;

pub mod config;

pub mod app;
pub mod cli;
pub mod tasks;
pub mod world;

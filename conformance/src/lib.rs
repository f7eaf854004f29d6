//! A black-box checker for OAuth 2.0 authorization servers with mutual TLS (RFC 8705 and what it stands on).
//!
//! [`register`] has the requirements, [`mod@checks`] one function for each that can be seen from outside, [`lab`] what a check
//! works with, [`run`] runs them side by side, and [`report`] shows the result. [`wire`] speaks HTTP/1.1 over TLS and records
//! every octet; [`pki`] makes certificates, the odd ones too; [`start`] sets up a server of this project to be checked.
//! Nothing here knows the source of any server.

pub mod api;
pub mod arguments;
pub mod check;
pub mod checks;
pub mod clock;
pub mod config;
pub mod der;
pub mod jose;
pub mod lab;
pub mod mutant;
pub mod pki;
pub mod register;
pub mod report;
pub mod run;
pub mod start;
pub mod wire;

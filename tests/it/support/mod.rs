//! What the tests stand on: a PKI made at run time, a real server on port 0 in this process or
//! in its own, and a client that can misbehave.

pub(crate) mod api;
pub(crate) mod client;
pub(crate) mod crl;
pub(crate) mod pki;
pub(crate) mod postgres;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod responder;
pub(crate) mod server;
pub(crate) mod upstream;
pub(crate) mod web;

pub(crate) use client::{Connection, Response, TlsVersion};
pub(crate) use pki::{Pki, Shown};
pub(crate) use server::{Server, Setup};

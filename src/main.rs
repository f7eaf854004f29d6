//! The binary: hands the arguments to [`certbound::cli`] and its answer to the operating system.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Every rustls configuration here names its provider; this is for the HTTP client, which asks for the
    // process's own. An error means that one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    ExitCode::from(certbound::cli::run(std::env::args_os()))
}

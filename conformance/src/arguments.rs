//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Checks an OAuth 2.0 authorization server from outside: RFC 8705 and what it stands on.
#[derive(Debug, Parser)]
#[command(name = "certbound-conformance", version)]
pub struct Arguments {
    /// The issuer of the server to check.
    #[arg(long, value_name = "URL", requires = "config", conflicts_with = "start")]
    pub target: Option<String>,
    /// What the suite is told of that server.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Starts this program of ours on free ports of the loopback, checks it and ends it.
    #[arg(long, value_name = "PROGRAM", conflicts_with = "config")]
    pub start: Option<PathBuf>,
    /// The demo resource server to start with it, for the requirements that bind those.
    #[arg(long, value_name = "PROGRAM", requires = "start")]
    pub resource_server: Option<PathBuf>,
    /// Only these: requirements (RFC8705-2-a), specifications (RFC8705) or names of checks.
    #[arg(long, value_name = "ID", num_args = 1..)]
    pub only: Vec<String>,
    /// Writes the results as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Writes the results as `JUnit` XML.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Writes the results as one HTML page.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// How many checks run side by side.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub threads: usize,
    /// Prints what every check sent and saw, not only of those that failed.
    #[arg(long)]
    pub verbose: bool,
    /// Prints the names of the checks and their requirements, and runs none.
    #[arg(long)]
    pub list: bool,
}

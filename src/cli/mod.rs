//! The command line: what can be typed, and which exit code comes back (contract of the commands: 0 done or
//! accepted, 1 refused or problems found, 2 wrong usage or an unusable file, 3 a damaged store).
//!
//! Every command is a file beside this one with its arguments and a `run`. Results go to standard output,
//! diagnostics to standard error. What a command decides is decided by the modules below, never here.

pub mod cert;
mod check;
mod client;
mod clients;
mod completions;
mod control;
mod demo;
mod explain;
mod files;
mod init;
mod keys;
mod output;
mod plan;
mod proxy_check;
mod revoke;
mod serve;
mod store;
mod token;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use output::WRONG_USAGE;

/// How a result is printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document, for programs.
    Json,
}

/// Runs the command that `arguments` (the program's name first) ask for, and gives its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    match Cli::try_parse_from(arguments) {
        Ok(cli) => dispatch(cli.command, &cli.globals),
        Err(error) => {
            // Help and version come this way too. A reader who has left is no failure.
            let _ = error.print();
            u8::try_from(error.exit_code()).unwrap_or(WRONG_USAGE)
        }
    }
}

fn dispatch(command: Command, globals: &Globals) -> u8 {
    match command {
        Command::Demo(args) => demo::run(&args, globals),
        Command::Init(args) => init::run(&args, globals),
        Command::Serve => serve::run(globals),
        Command::Check(args) => check::run(&args, globals),
        Command::Explain(args) => explain::run(&args, globals),
        Command::Plan(args) => plan::run(&args, globals),
        Command::Client { command } => clients::run(&command, globals),
        Command::Cert { command } => cert::run(command, globals.format),
        Command::Keys { command } => keys::run(&command, globals),
        Command::Revoke(args) => revoke::run(&args, globals),
        Command::Store { command } => store::run(&command, globals),
        Command::Token(args) => token::run(&args, globals),
        Command::ProxyCheck(args) => proxy_check::run(&args, globals),
        Command::Completions(args) => completions::run(&args),
    }
}

/// An OAuth 2.0 authorization server for machines: mutual TLS in, certificate-bound tokens out (RFC 8705).
#[derive(Debug, Parser)]
#[command(
    name = "certbound",
    version,
    max_term_width = 100,
    after_help = "Examples:\n  certbound demo                 see it work, nothing needed before it\n  \
                  certbound init ./as            make a set-up of your own\n  \
                  certbound -c as/certbound.yaml serve\n\n\
                  Exit codes: 0 done or accepted, 1 refused or problems found, 2 wrong usage or an \
                  unusable file, 3 the store is damaged."
)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args, Debug)]
struct Globals {
    /// The configuration
    #[arg(
        short = 'c',
        long = "config",
        value_name = "FILE",
        default_value = "certbound.yaml",
        global = true
    )]
    config: PathBuf,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t, global = true)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the main job: a throw-away set-up, the real server, and every step over real mutual TLS
    #[command(after_help = "Example:\n  certbound demo --serve")]
    Demo(demo::DemoArgs),
    /// Make a set-up that `serve` runs at once: configuration, certificates, clients
    #[command(after_help = "Example:\n  certbound init ./as && certbound -c as/certbound.yaml serve")]
    Init(init::InitArgs),
    /// Run the server
    #[command(after_help = "Example:\n  certbound -c /etc/certbound/certbound.yaml serve")]
    Serve,
    /// Say everything that `serve` would refuse, with file, line and what to write instead
    #[command(after_help = "Example:\n  certbound check --format json")]
    Check(check::CheckArgs),
    /// Say why a client was refused, or whether a certificate is accepted for it, check by check
    #[command(
        after_help = "Examples:\n  certbound explain 7Q2M-4XKD-PW0C-93FH\n  certbound explain --client billing \
                      --cert billing.pem"
    )]
    Explain(explain::ExplainArgs),
    /// Say which clients would stop or start working under another configuration, told from what was seen
    #[command(
        after_help = "Examples:\n  certbound plan                              the files as they are now\n  \
                      certbound plan --candidate next/certbound.yaml"
    )]
    Plan(plan::PlanArgs),
    /// The registered clients and their certificates
    #[command(
        after_help = "Example:\n  certbound client list\n  certbound client add-certificate edge-7 edge-7.next.pem"
    )]
    Client {
        #[command(subcommand)]
        command: clients::ClientCommand,
    },
    /// Show, verify and make certificates
    #[command(
        after_help = "Example:\n  certbound cert show billing.pem\n  certbound cert verify --anchor ca.pem \
                      leaf.pem"
    )]
    Cert {
        #[command(subcommand)]
        command: cert::CertCommand,
    },
    /// The keys that sign tokens
    #[command(after_help = "Example:\n  certbound keys list")]
    Keys {
        #[command(subcommand)]
        command: keys::KeysCommand,
    },
    /// End one token, or every token of a client
    #[command(after_help = "Example:\n  certbound revoke --client billing")]
    Revoke(revoke::RevokeArgs),
    /// The memory of what was revoked
    #[command(after_help = "Example:\n  certbound store export > store.jsonl")]
    Store {
        #[command(subcommand)]
        command: store::StoreCommand,
    },
    /// Ask a server for a token as a client would, and show what was sent and what came back
    #[command(
        after_help = "Example:\n  certbound token --url https://localhost:8443/token --client-id billing \\\n\
                      \x20   --cert pki/billing.pem --key pki/billing.key --ca pki/ca.pem"
    )]
    Token(token::TokenArgs),
    /// Try from outside whether the proxy before a server believes what clients write into its headers
    #[command(
        after_help = "Example:\n  certbound proxy-check https://mtls.example.com/token --client-id billing \\\n\
                      \x20   --cert billing.pem --key billing.key --dialect nginx"
    )]
    ProxyCheck(proxy_check::ProxyCheckArgs),
    /// Print the completions of a shell
    #[command(after_help = "Example:\n  certbound completions bash > /etc/bash_completion.d/certbound")]
    Completions(completions::CompletionsArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn exit_of(arguments: &[&str]) -> u8 {
        run(std::iter::once("certbound").chain(arguments.iter().copied()).map(OsString::from))
    }

    #[test]
    fn the_command_line_is_consistent_with_itself() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_contract_is_there() {
        let names: Vec<_> =
            Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        let expected = [
            "demo",
            "init",
            "serve",
            "check",
            "explain",
            "plan",
            "client",
            "cert",
            "keys",
            "revoke",
            "store",
            "token",
            "proxy-check",
            "completions",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn every_command_shows_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("certbound "), "{} has no example", command.get_name());
        }
    }

    #[test]
    fn wrong_usage_is_two_and_help_is_none() {
        assert_eq!(exit_of(&[]), 2);
        assert_eq!(exit_of(&["no-such-command"]), 2);
        assert_eq!(exit_of(&["revoke"]), 2);
        assert_eq!(exit_of(&["revoke", "--client", "a", "--token", "b"]), 2);
        assert_eq!(exit_of(&["store", "init"]), 2);
        assert_eq!(exit_of(&["--help"]), 0);
        assert_eq!(exit_of(&["--version"]), 0);
    }
}

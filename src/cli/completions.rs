//! `certbound completions`: the completions of a shell, generated from the command line itself.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;
use super::output::{Answer, DONE, conclude};

/// The arguments of `completions`.
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// Prints the completions.
pub(crate) fn run(args: &CompletionsArgs) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "certbound", &mut script);
    conclude(Ok(Answer { code: DONE, text: String::from_utf8_lossy(&script).into_owned() }))
}

//! The command `certbound-conformance-mutant`: an authorization server that is wrong as it is told, for the suite to find.

use std::path::PathBuf;
use std::process::ExitCode;

use certbound_conformance::mutant::{self, Fault};
use clap::Parser;

/// Serves on free ports of the loopback until it is ended, and prints the file for --config of the suite.
#[derive(Debug, Parser)]
#[command(name = "certbound-conformance-mutant", version)]
struct Arguments {
    /// What is wrong with it; several may be named. Without, nothing is.
    #[arg(long = "break", value_name = "NAME", value_parser = fault)]
    faults: Vec<Fault>,
    /// Lists the names, and serves nothing.
    #[arg(long)]
    list: bool,
    /// An empty directory, for certificates and keys.
    #[arg(value_name = "DIRECTORY", required_unless_present = "list")]
    directory: Option<PathBuf>,
}

fn fault(name: &str) -> Result<Fault, String> {
    let known = Fault::ALL.iter().find(|fault| fault.name() == name);
    known.copied().ok_or_else(|| "no such fault: --list has them".to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(directory) = arguments.directory.filter(|_| !arguments.list) else {
        for fault in Fault::ALL {
            println!("{}  ({})  {}", fault.name(), fault.place(), fault.rows().join(" "));
        }
        return ExitCode::SUCCESS;
    };
    match mutant::lay_out(&directory).and_then(|()| mutant::serve(&directory, &arguments.faults)) {
        Ok(config) => println!("{}", config.display()),
        Err(error) => {
            eprintln!("certbound-conformance-mutant: {error}");
            return ExitCode::FAILURE;
        }
    }
    loop {
        std::thread::park();
    }
}

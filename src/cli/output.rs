//! What every command ends with: an answer on standard output or a fault on standard error, and an exit code.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};

use super::Format;

/// Done or accepted.
pub(super) const DONE: u8 = 0;
/// Refused, or problems found.
pub(super) const REFUSED: u8 = 1;
/// Wrong usage, or a file named on the command line that is missing, unreadable or holds nothing usable.
pub(super) const WRONG_USAGE: u8 = 2;
/// The store is damaged, has vanished, or does not open in time.
pub(super) const DAMAGED: u8 = 3;

/// Why a command did not do what was asked; the variant is the exit code.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Fault {
    /// Exit code 1.
    #[error("{0}")]
    Refused(String),
    /// Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Exit code 3.
    #[error("{0}")]
    Damaged(String),
}

impl Fault {
    pub(super) const fn code(&self) -> u8 {
        match self {
            Self::Refused(_) => REFUSED,
            Self::Usage(_) => WRONG_USAGE,
            Self::Damaged(_) => DAMAGED,
        }
    }
}

/// The result of a command: what to print, and whether it is a yes.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: u8,
    pub(super) text: String,
}

impl Answer {
    /// A yes: `text` for people, or `json` for programs.
    pub(super) fn done(format: Format, text: impl FnOnce() -> String, json: &serde_json::Value) -> Self {
        Self::with_code(DONE, format, text, json)
    }

    /// The same with another exit code.
    pub(super) fn with_code(
        code: u8,
        format: Format,
        text: impl FnOnce() -> String,
        json: &serde_json::Value,
    ) -> Self {
        let text = match format {
            Format::Text => text(),
            Format::Json => format!("{json:#}"),
        };
        Self { code, text }
    }
}

/// Rows with their columns below each other; the last column has no end to be kept.
pub(super) fn table(rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let lines = rows.iter().map(|row| {
        let cells =
            row.iter().enumerate().map(|(column, cell)| format!("{cell:<width$}", width = width(column)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Prints the answer or the fault; gives the exit code.
pub(super) fn conclude(result: Result<Answer, Fault>) -> u8 {
    match result {
        // What was printed piece by piece leaves nothing for the end.
        Ok(answer) if answer.text.is_empty() => answer.code,
        Ok(answer) => match say(answer.text.trim_end()) {
            Ok(()) => answer.code,
            Err(fault) => conclude(Err(fault)),
        },
        Err(fault) => {
            complain(&fault);
            fault.code()
        }
    }
}

/// Writes a line to standard output. A reader who has left (`| head`) is no fault; a full disk is.
pub(super) fn say(text: impl Display) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    written(writeln!(out, "{text}").and_then(|()| out.flush()))
}

/// Writes bytes to standard output as they are.
pub(super) fn say_bytes(bytes: &[u8]) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    written(out.write_all(bytes).and_then(|()| out.flush()))
}

fn written(result: io::Result<()>) -> Result<(), Fault> {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Fault::Usage(format!("standard output takes no more: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a diagnostic to standard error; nobody is left to be told if that fails.
pub(super) fn complain(what: impl Display) {
    let _ = writeln!(io::stderr().lock(), "certbound: {what}");
}

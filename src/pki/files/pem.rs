//! The textual encoding of RFC 7468, by label, with the RFC 1421 headers of old encrypted keys let through.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::FileError;

/// One block between its `-----BEGIN` and `-----END` lines.
pub(super) struct Block {
    /// What it says it is.
    pub(super) label: String,
    /// The whole block, boundaries included.
    pub(super) text: Zeroizing<String>,
    body: Zeroizing<String>,
}

impl Block {
    /// The octets in it.
    pub(super) fn contents(&self) -> Result<Zeroizing<Vec<u8>>, FileError> {
        let without_blanks = || -> Zeroizing<String> {
            Zeroizing::new(self.body.chars().filter(|c| !c.is_ascii_whitespace()).collect())
        };
        STANDARD
            .decode(self.body.as_bytes())
            // blanks within a line are rare, and looking for them in the megabytes of a CRL takes longer than all else
            .or_else(|_| STANDARD.decode(without_blanks().as_bytes()))
            .map(Zeroizing::new)
            .map_err(|error| FileError::Malformed(format!("the {} block is not base64: {error}", self.label)))
    }
}

/// Every block of a file. Text around the blocks is let be (RFC 7468 §5.2, explanatory text).
pub(super) fn blocks(bytes: &[u8]) -> Result<Vec<Block>, FileError> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in String::from_utf8_lossy(bytes).lines().map(str::trim) {
        match open.as_mut() {
            None => {
                open = boundary(line, "BEGIN").map(|label| Block {
                    label: label.into(),
                    text: Zeroizing::new(format!("{line}\n")),
                    body: Zeroizing::new(String::new()),
                });
            }
            Some(block) => {
                block.text.push_str(line);
                block.text.push('\n');
                match boundary(line, "END") {
                    Some(label) if label == block.label => blocks.extend(open.take()),
                    Some(label) => {
                        let begun = &block.label;
                        return Err(FileError::Malformed(format!("a {begun} block ends as {label}")));
                    }
                    None => block.body.push_str(line),
                }
            }
        }
    }
    match open {
        Some(block) => Err(FileError::Malformed(format!("the {} block has no end", block.label))),
        None => Ok(blocks),
    }
}

/// Writes a block, 64 characters a line (RFC 7468 §2).
pub(super) fn write(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for (position, character) in body.chars().enumerate() {
        if position > 0 && position % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str("\n-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

fn boundary<'a>(line: &'a str, which: &str) -> Option<&'a str> {
    line.strip_prefix("-----")?.strip_prefix(which)?.strip_prefix(' ')?.strip_suffix("-----")
}

//! Where a client's certificates stand in its document, for the commands that add one to the list and take one
//! out of it.
//!
//! Places are those of the file as it was read; to write to it, and to compare what comes out with what was
//! meant, is the command's.

use std::path::PathBuf;

use crate::document::At;
use crate::pki::Thumbprint;

/// The certificates of one client as its document has them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificatePlaces {
    /// Where the document begins; its `file` is the client file.
    pub document: At,
    /// Where the list `certificates` begins: its bracket, or the dash of its first entry. `None` for a client
    /// that has another credential, and whose certificates nobody can add to by a file.
    pub list: Option<At>,
    /// What is in the list, in its order.
    pub entries: Vec<CertificatePlace>,
}

/// One entry of `certificates`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificatePlace {
    /// The file as the document names it.
    pub name: String,
    /// The file: the name, seen from the directory of the document.
    pub path: PathBuf,
    /// Of the certificate in it; `None` while the file is away.
    pub thumbprint: Option<Thumbprint>,
    /// Where the name begins: its quotation mark, if it has one.
    pub at: At,
}

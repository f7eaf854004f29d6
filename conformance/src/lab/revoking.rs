//! The CA whose certificates the server asks a revocation list about.

use serde_json::{Map, Value};

use super::{Document, Lab};
use crate::check::{Halt, untestable};
use crate::config::Revoking;
use crate::pki::Authority;

impl Lab {
    /// That CA, and the serial number that its list has. A CA below it has no list.
    ///
    /// # Errors
    /// `Untestable` if there is none.
    pub fn revoking_ca(&self) -> Result<(Authority, Vec<u8>), Halt> {
        let revoking = self.revoking()?;
        let (Ok(certificate), Ok(key)) = (std::fs::read(&revoking.certificate), std::fs::read(&revoking.key))
        else {
            return untestable("the files of revoking cannot be read");
        };
        let serial = openssl::bn::BigNum::from_hex_str(&revoking.revoked_serial)?.to_vec();
        Ok((Authority::read(&certificate, &key)?, serial))
    }

    /// A document of a client of that CA, whose certificates the server asks about.
    ///
    /// # Errors
    /// As [`Lab::revoking_ca`].
    pub fn asked_about(&self, document: Document) -> Result<Document, Halt> {
        Ok(with(document, &self.revoking()?.members))
    }

    /// A document of a client of that CA, whose certificates the server does not ask about.
    ///
    /// # Errors
    /// As [`Lab::revoking_ca`].
    pub fn not_asked_about(&self, document: Document) -> Result<Document, Halt> {
        Ok(with(document, &self.revoking()?.unasked))
    }

    fn revoking(&self) -> Result<&Revoking, Halt> {
        match &self.target().config.revoking {
            Some(revoking) => Ok(revoking),
            None => untestable("the suite was given no CA that revokes (revoking)"),
        }
    }
}

fn with(document: Document, members: &Map<String, Value>) -> Document {
    members.iter().fold(document, |document, (name, value)| document.with(name, value.clone()))
}

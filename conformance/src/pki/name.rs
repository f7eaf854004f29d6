//! Distinguished names in the order of their encoding, each value with the string type that is asked for.

use crate::der;

/// A Name (RFC 5280 §4.1.2.4): RDNs from the most to the least significant, as encoded. RFC 4514 prints them reversed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Name {
    rdns: Vec<Vec<u8>>,
    whole: Option<Vec<u8>>,
}

/// One `AttributeTypeAndValue`, DER.
pub type Rdn = Vec<u8>;

/// An attribute by its OID, with a value that is DER already ([`der::utf8`], [`der::printable`], ...).
#[must_use]
pub fn attribute(oid: &str, value: &[u8]) -> Rdn {
    der::sequence(&[&der::oid(oid), value])
}

impl Name {
    /// The empty name.
    #[must_use]
    pub const fn new() -> Self {
        Self { rdns: Vec::new(), whole: None }
    }

    /// A name that is encoded already.
    #[must_use]
    pub const fn from_der(whole: Vec<u8>) -> Self {
        Self { rdns: Vec::new(), whole: Some(whole) }
    }

    /// Adds CN, `UTF8String`.
    #[must_use]
    pub fn cn(self, value: &str) -> Self {
        self.utf8("2.5.4.3", value)
    }

    /// Adds O, `UTF8String`.
    #[must_use]
    pub fn o(self, value: &str) -> Self {
        self.utf8("2.5.4.10", value)
    }

    /// Adds OU, `UTF8String`.
    #[must_use]
    pub fn ou(self, value: &str) -> Self {
        self.utf8("2.5.4.11", value)
    }

    /// Adds C, `PrintableString`.
    #[must_use]
    pub fn c(self, value: &str) -> Self {
        self.rdn(&[attribute("2.5.4.6", &der::printable(value))])
    }

    /// Adds an attribute, `UTF8String`.
    #[must_use]
    pub fn utf8(self, oid: &str, value: &str) -> Self {
        self.rdn(&[attribute(oid, &der::utf8(value))])
    }

    /// Adds an RDN of one or several attributes.
    #[must_use]
    pub fn rdn(mut self, attributes: &[Rdn]) -> Self {
        self.rdns.push(der::set(attributes));
        self
    }

    /// The same RDNs the other way round.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        self.rdns.reverse();
        self
    }

    /// The encoding.
    #[must_use]
    pub fn der(&self) -> Vec<u8> {
        self.whole.clone().unwrap_or_else(|| der::element(0x30, &self.rdns.concat()))
    }
}

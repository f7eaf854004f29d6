//! RFC 9440 §2: `Client-Cert` is an Item and `Client-Cert-Chain` a List of structured fields (RFC 9651, which obsoletes
//! RFC 8941), and each certificate a Byte Sequence.
//!
//! The syntax is the business of `sfv`: a missing padding and pad bits that are not zero pass there, as RFC 9651 §4.2.7
//! wants it, and blanks, line ends and the other alphabet do not. Parameters of the Item are ignored (§3.3 there); those
//! of a member are refused, because RFC 9440 gives members none.

use std::convert::Infallible;

use sfv::visitor::{EntryVisitor, InnerListVisitor, ItemVisitor, ListVisitor, Never, ParameterVisitor};
use sfv::{BareItemFromInput, KeyRef, Parser};

use super::{Fault, der};

/// The certificate in an Item.
pub(super) fn item(value: &[u8]) -> Result<Vec<u8>, Fault> {
    let octets = Parser::new(value).parse_item::<Vec<u8>>();
    der::one(octets.map_err(|_| Fault::Malformed("is no byte sequence of RFC 9651"))?)
}

/// The certificates in a List, whose lines were joined by commas (RFC 9651 §4.2).
pub(super) fn list(value: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    let members = Parser::new(value).parse_list::<Members>();
    let members = members.map_err(|_| Fault::Malformed("is no list of byte sequences of RFC 9651"))?;
    members.0.into_iter().map(der::one).collect()
}

/// Collects the members of a List that may have byte sequences only.
#[derive(Default)]
struct Members(Vec<Vec<u8>>);

/// A member of another type, or with parameters.
#[derive(Debug, thiserror::Error)]
#[error("not a byte sequence without parameters")]
struct NotBare;

struct Member<'m>(&'m mut Vec<Vec<u8>>);

struct NoParameters;

impl<'de> ListVisitor<'de> for Members {
    type Out = Self;
    type Error = Infallible;

    fn entry(&mut self) -> Result<impl EntryVisitor<'de>, Infallible> {
        Ok(Member(&mut self.0))
    }

    fn finish(self) -> Result<Self, Infallible> {
        Ok(self)
    }
}

impl<'de> EntryVisitor<'de> for Member<'_> {
    type Error = NotBare;

    fn item(self) -> Result<impl ItemVisitor<'de>, NotBare> {
        Ok(self)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'de>, NotBare> {
        Err::<Never, _>(NotBare)
    }
}

impl<'de> ItemVisitor<'de> for Member<'_> {
    type Out = ();
    type Error = NotBare;

    fn bare_item(
        self,
        item: BareItemFromInput<'de>,
    ) -> Result<impl ParameterVisitor<'de, Out = ()>, NotBare> {
        let BareItemFromInput::ByteSequence(octets) = item else { return Err(NotBare) };
        self.0.push(octets);
        Ok(NoParameters)
    }
}

impl<'de> ParameterVisitor<'de> for NoParameters {
    type Out = ();
    type Error = NotBare;

    fn parameter(&mut self, _: &'de KeyRef, _: BareItemFromInput<'de>) -> Result<(), NotBare> {
        Err(NotBare)
    }

    fn finish(self) -> Result<(), NotBare> {
        Ok(())
    }
}

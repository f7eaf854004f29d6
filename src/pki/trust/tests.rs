//! What is trusted and what is not, with certificates made here, by OpenSSL where the workshop is too well
//! behaved.

mod anchors;
mod forge;
mod hostile;
mod names;
mod paths;
mod second_opinion;
mod store;

use super::*;
use forge::{Made, make};

const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);

fn certificate(made: &Made) -> Certificate {
    Certificate::parse(&made.der()).unwrap()
}

fn set(anchors: &[&Made], profile: Profile) -> AnchorSet {
    AnchorSet::unchecked(anchors.iter().map(|made| certificate(made)).collect(), Vec::new(), profile)
}

/// Leaf first.
fn chain(certificates: &[&Made]) -> Chain {
    let ders: Vec<_> = certificates.iter().map(|made| made.der()).collect();
    Chain::parse(&ders, 64).unwrap()
}

/// In the profile `compatible`, for a client, now.
fn verdict(anchors: &[&Made], presented: &[&Made]) -> Result<Vec<PathEntry>, TrustError> {
    set(anchors, Profile::Compatible).verify_path(&chain(presented), Purpose::Client, NOW)
}

fn kind(anchors: &[&Made], presented: &[&Made]) -> Option<TrustErrorKind> {
    verdict(anchors, presented).err().map(|error| error.kind)
}

//! Which addresses lie outside, and which of the others may be reached all the same.
//!
//! After the special-purpose registries of IANA (RFC 6890). An IPv6 address that carries an IPv4 address (mapped,
//! RFC 4291 §2.5.5.2; 6to4, RFC 3056 §2; NAT64, RFC 6052 §2.1) is what that one is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// A block of addresses, such as `10.1.0.0/16` (RFC 4632 §3.1, RFC 4291 §2.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AddressBlock {
    /// The first address.
    pub base: IpAddr,
    /// How many leading bits count.
    pub prefix: u8,
}

/// Not an address block.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AddressBlockError {
    /// No address, or a prefix that such an address cannot have.
    #[error("an address block is written 10.1.0.0/16 or 2001:db8::/32, or as one address")]
    Malformed,
    /// Bits are set that do not count.
    #[error("{written} is an address within the block {block}; write {block}, or the address alone")]
    WithinBlock {
        /// As written.
        written: AddressBlock,
        /// The block that it lies in.
        block: AddressBlock,
    },
}

impl AddressBlock {
    /// Whether the address is in the block; IPv4-mapped addresses count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let counts = mask(self.prefix_of_canonical(), 32);
                u128::from(base.to_bits() ^ address.to_bits()) & counts == 0
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                (base.to_bits() ^ address.to_bits()) & mask(self.prefix, 128) == 0
            }
            _ => false,
        }
    }

    /// The prefix within the IPv4 address, if the base is mapped.
    fn prefix_of_canonical(&self) -> u8 {
        if self.base.is_ipv6() { self.prefix.saturating_sub(96) } else { self.prefix }
    }

    /// The block with this prefix around the base.
    fn trimmed(self) -> Self {
        let base = match self.base {
            IpAddr::V4(base) => {
                let low = u32::try_from(u128::from(base.to_bits()) & mask(self.prefix, 32));
                IpAddr::V4(Ipv4Addr::from_bits(low.unwrap_or(0)))
            }
            IpAddr::V6(base) => IpAddr::V6(Ipv6Addr::from_bits(base.to_bits() & mask(self.prefix, 128))),
        };
        Self { base, ..self }
    }
}

/// The leading `prefix` of the lowest `width` bits; all of them if there are fewer.
fn mask(prefix: u8, width: u8) -> u128 {
    let all = u128::MAX.checked_shr(128 - u32::from(width)).unwrap_or(0);
    let rest = all.checked_shr(u32::from(prefix.min(width))).unwrap_or(0);
    all & !rest
}

/// As it is written.
impl fmt::Display for AddressBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl FromStr for AddressBlock {
    type Err = AddressBlockError;

    fn from_str(text: &str) -> Result<Self, AddressBlockError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let base: IpAddr = address.parse().map_err(|_| AddressBlockError::Malformed)?;
        let longest = if base.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(digits) => {
                decimal(digits).filter(|bits| *bits <= longest).ok_or(AddressBlockError::Malformed)?
            }
        };
        let written = Self { base, prefix };
        let block = written.trimmed();
        if block != written {
            return Err(AddressBlockError::WithinBlock { written, block });
        }
        Ok(block)
    }
}

/// Digits alone, and no zero before others.
fn decimal(digits: &str) -> Option<u8> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let padded = digits.len() > 1 && digits.starts_with('0');
    if plain && !padded { digits.parse().ok() } else { None }
}

/// Why an address is not asked: one of a kind that lies inside, or a name that nobody knows.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(pub(super) String);

/// Whether the address may be reached.
pub(super) fn permitted(address: IpAddr, allow: &[AddressBlock]) -> Result<(), Refused> {
    let Some(kind) = inside(address) else { return Ok(()) };
    if allow.iter().any(|block| block.contains(address)) {
        return Ok(());
    }
    Err(Refused(format!("{kind}; name it in outgoing.allow if it is meant")))
}

/// Resolves names to addresses that may be reached, and to no others. The connection is made to what this gives, so that
/// a name cannot mean another address a moment later.
pub(super) struct Resolver {
    pub(super) allow: Arc<[AddressBlock]>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow = Arc::clone(&self.allow);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let found =
                found.map_err(|_| Refused("is a name that cannot be resolved to an address".to_owned()))?;
            let addresses: Addrs = Box::new(choose(found, &allow)?.into_iter());
            Ok(addresses)
        })
    }
}

/// Those that may be reached; if there are none, why the first may not.
fn choose(
    found: impl Iterator<Item = SocketAddr>,
    allow: &[AddressBlock],
) -> Result<Vec<SocketAddr>, Refused> {
    let mut why = Refused("is a name without any address".to_owned());
    let mut chosen = Vec::new();
    for address in found {
        match permitted(address.ip(), allow) {
            Ok(()) => chosen.push(address),
            Err(_) if !chosen.is_empty() => {}
            Err(Refused(kind)) => why = Refused(format!("resolves to {}, {kind}", address.ip())),
        }
    }
    if chosen.is_empty() { Err(why) } else { Ok(chosen) }
}

/// What kind of address this is, unless it is one of the Internet.
fn inside(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => inside_v4(address),
        IpAddr::V6(address) => inside_v6(address),
    }
}

const UNSPECIFIED: &str = "an unspecified address";
const LOOPBACK: &str = "a loopback address";
const PRIVATE: &str = "a private address";
const SHARED: &str = "an address of a carrier's own network (RFC 6598)";
const LINK_LOCAL: &str = "a link-local address";
const DOCUMENTATION: &str = "an address for documentation";
const MULTICAST: &str = "a multicast address";
const BROADCAST: &str = "a broadcast address";
const RESERVED: &str = "a reserved address";

fn inside_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, 0, 0, 0] => Some(UNSPECIFIED),
        [127, ..] => Some(LOOPBACK),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some(PRIVATE),
        [100, 64..=127, ..] => Some(SHARED),
        [169, 254, ..] => Some(LINK_LOCAL),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Some(DOCUMENTATION),
        [224..=239, ..] => Some(MULTICAST),
        [255, 255, 255, 255] => Some(BROADCAST),
        // "This network", IETF protocols, the relays of 6to4, benchmarks, and what was never given out.
        [0 | 240..=255, ..] | [192, 0, 0, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => Some(RESERVED),
        _ => None,
    }
}

fn inside_v6(address: Ipv6Addr) -> Option<&'static str> {
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        inside_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some(UNSPECIFIED),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(LOOPBACK),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        [0x64, 0xff9b, 1, ..] | [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Some(PRIVATE),
        [0xfe80..=0xfebf, ..] => Some(LINK_LOCAL),
        [0xff00..=0xffff, ..] => Some(MULTICAST),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some(DOCUMENTATION),
        // IETF protocols, Teredo among them.
        [0x2001, 0..=0x1ff, ..] => Some(RESERVED),
        // All that is given out is in 2000::/3.
        [0x2000..=0x3fff, ..] => None,
        _ => Some(RESERVED),
    }
}

#[cfg(test)]
mod tests;

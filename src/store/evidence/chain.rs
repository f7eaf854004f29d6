//! The chain of a sighting as octets, for stores.

const VERSION: u8 = 1;

/// As octets: each certificate after its length.
pub(in crate::store) fn encode_chain(chain: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    for certificate in chain {
        bytes.extend(u32::try_from(certificate.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(certificate);
    }
    bytes
}

/// Reads what [`encode_chain`] writes.
pub(in crate::store) fn parse_chain(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = bytes.strip_prefix(&[VERSION])?;
    let mut chain = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk()?;
        let (certificate, after) =
            after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        chain.push(certificate.to_vec());
        rest = after;
    }
    Some(chain)
}

//! Laws: what a proxy encodes is what is decoded, and nothing makes a decoder panic.

use actix_web::http::header::HeaderValue;
use proptest::prelude::*;

use super::super::{CERTIFICATE_HEADERS, Dialect, bare, der, escaped, pem, structured, xfcc};
use super::{certificate, encoded, has_chain, read, value};

fn dialect() -> impl Strategy<Value = Dialect> {
    prop::sample::select(Dialect::ALL.to_vec())
}

/// Certificates of which no two are equal.
fn chain() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let contents = prop::collection::btree_set(prop::collection::vec(any::<u8>(), 0..700), 1..5);
    contents.prop_map(|contents| contents.iter().map(|content| certificate(content)).collect())
}

/// Octets that may be a field value, more often than not those that decoders look for.
fn field_value() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "-----BEGIN CERTIFICATE-----",
        "-----BEGIN%20CERTIFICATE-----%0A",
        "%0A-----END%20CERTIFICATE-----",
        " -----END CERTIFICATE-----",
        "Cert=\"",
        "Chain=",
        "MIIB",
        "MAIwAA==",
        ":",
        ";",
        ",",
        "\\\"",
        "\"",
        "%",
        "=",
        "(",
    ]);
    let piece = prop_oneof![
        pieces.prop_map(|piece| piece.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..4)
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_a_proxy_encodes_is_decoded_to_the_same_octets(dialect in dialect(), chain in chain()) {
        let expected = if has_chain(dialect) { &chain[..] } else { &chain[..1] };
        prop_assert_eq!(read(dialect, &encoded(dialect, &chain)), Ok(Some(expected.to_vec())));
    }

    #[test]
    fn what_is_decoded_is_a_frame_each(dialect in dialect(), octets in field_value()) {
        prop_assume!(HeaderValue::from_bytes(&octets).is_ok());
        for certificate in value(dialect, &octets).ok().flatten().into_iter().flatten() {
            prop_assert_eq!(der::one(certificate.clone()), Ok(certificate));
        }
    }

    #[test]
    fn no_octets_make_a_decoder_panic(octets in field_value(), any in prop::collection::vec(any::<u8>(), 0..64)) {
        for octets in [octets, any] {
            let _ = (bare::list(&octets), bare::concatenated(&octets), xfcc::certificates(&octets));
            let _ = (pem::escaped(&octets), pem::folded(&octets), escaped::decode(&octets));
            let _ = (structured::item(&octets), structured::list(&octets));
            let _ = (der::several(&octets), der::one(octets));
        }
    }

    #[test]
    fn a_header_of_one_dialect_is_never_read_in_two(
        dialect in dialect(),
        other in prop::sample::select(CERTIFICATE_HEADERS.to_vec()),
        octets in field_value(),
        chain in chain(),
    ) {
        prop_assume!(HeaderValue::from_bytes(&octets).is_ok() && !octets.trim_ascii().is_empty());
        prop_assume!(other != dialect.header() && dialect.companion() != Some(other));
        let mut lines = encoded(dialect, &chain);
        lines.push((other, String::from_utf8_lossy(&octets).into_owned()));
        prop_assert!(read(dialect, &lines).is_err());
    }
}

//! The rules that every dialect shares: one header, once, under its own name, and one certificate in DER.

use super::super::{CERTIFICATE_HEADERS, Dialect, HeaderNameError, HeaderReader, UnknownDialect};
use super::{base64, certificate, encoded, headers, issuer, leaf, read, sequence, structured, value};
use crate::pki::Chain;

/// The headers of a good request, and more of them.
fn with(dialect: Dialect, more: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
    let mut lines = encoded(dialect, &[leaf()]);
    lines.extend_from_slice(more);
    lines
}

fn refused(dialect: Dialect, lines: &[(&'static str, String)]) -> String {
    match read(dialect, lines) {
        Ok(read) => panic!("{dialect}: {read:02x?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn no_header_and_an_empty_one_are_no_certificate() {
    for dialect in Dialect::ALL {
        assert_eq!(read::<&str, &str>(dialect, &[]), Ok(None), "{dialect}");
        assert_eq!(read(dialect, &[("accept", "*/*")]), Ok(None), "{dialect}");
        assert_eq!(value(dialect, ""), Ok(None), "{dialect}");
        assert_eq!(value(dialect, " \t "), Ok(None), "{dialect}");
    }
    assert_eq!(value(Dialect::Apache, "(null)"), Ok(None));
    assert!(value(Dialect::Nginx, "(null)").is_err());
}

#[test]
fn a_header_that_comes_twice_is_refused_whatever_it_says() {
    for dialect in Dialect::ALL {
        for second in [encoded(dialect, &[leaf()]).remove(0).1, encoded(dialect, &[issuer()]).remove(0).1] {
            let says = refused(dialect, &with(dialect, &[(dialect.header(), second)]));
            assert_eq!(says, format!("the header {} comes more than once", dialect.header()));
        }
        refused(dialect, &with(dialect, &[(dialect.header(), String::new())]));
        refused(dialect, &[(dialect.header(), String::new()), (dialect.header(), String::new())]);
    }
}

#[test]
fn two_lines_joined_by_a_comma_are_refused() {
    // in Traefik's dialect a comma without a blank joins a chain
    for dialect in Dialect::ALL {
        let one = encoded(dialect, &[leaf()]).remove(0).1;
        refused(dialect, &[(dialect.header(), format!("{one}, {one}"))]);
        refused(dialect, &[(dialect.header(), format!("{one},"))]);
        refused(dialect, &[(dialect.header(), format!(",{one}"))]);
        if dialect != Dialect::Traefik {
            refused(dialect, &[(dialect.header(), format!("{one},{one}"))]);
        }
    }
}

#[test]
fn a_twin_with_underscores_is_refused_with_and_without_the_header() {
    let twins =
        ["client_cert", "X_SSL_CLIENT_CERT", "client-cert_chain", "x_arr_clientcert", "x-ssl_client-der"];
    for dialect in Dialect::ALL {
        for twin in twins {
            for says in ["", "anything"] {
                let says = refused(dialect, &with(dialect, &[(twin, says.into())]));
                assert!(says.contains("with `_` for `-`"), "{says}");
                refused(dialect, &[(twin, "anything".into())]);
            }
        }
        assert!(read(dialect, &with(dialect, &[("client_certificate", "anything".into())])).is_ok());
    }
    let own = HeaderReader::new(Dialect::Azure, Some("X-Shown")).unwrap();
    assert!(own.read(&headers(&[("x_shown", "")])).is_err());
    assert!(read(Dialect::Nginx, &[("x_ssl_client_verify", "SUCCESS")]).is_err());
}

#[test]
fn a_header_of_another_dialect_is_refused_unless_it_is_empty() {
    for dialect in Dialect::ALL {
        let names = CERTIFICATE_HEADERS.into_iter();
        let others = names.filter(|name| *name != dialect.header() && dialect.companion() != Some(name));
        for other in others {
            let says = refused(dialect, &with(dialect, &[(other, base64(&leaf()))]));
            assert!(says.starts_with(&format!("the header {other} belongs to another dialect")), "{says}");
            refused(dialect, &[(other, base64(&leaf()))]);
            let emptied = read(dialect, &with(dialect, &[(other, String::new())]));
            assert_eq!(emptied, Ok(Some(vec![leaf()])), "{dialect}, {other}");
        }
    }
}

#[test]
fn a_connection_or_trailer_that_names_a_certificate_header_is_refused() {
    for dialect in Dialect::ALL {
        for list in ["connection", "trailer"] {
            for options in
                [dialect.header(), "close, Client-Cert", "X_SSL_CLIENT_CERT", "a,b , X-ARR-ClientCert\t,c"]
            {
                let says = refused(dialect, &with(dialect, &[(list, options.into())]));
                assert!(says.contains("is named in"), "{says}");
            }
            refused(dialect, &[(list, dialect.header().into())]);
            let harmless = read(dialect, &with(dialect, &[(list, "close, x-request-id".into())]));
            assert_eq!(harmless, Ok(Some(vec![leaf()])), "{dialect}");
        }
        let twice = [("connection", "close".into()), ("connection", dialect.header().into())];
        refused(dialect, &with(dialect, &twice));
    }
}

#[test]
fn another_name_takes_the_place_of_the_dialects_own() {
    for dialect in Dialect::ALL {
        let reader = HeaderReader::new(dialect, Some("X-Shown")).unwrap();
        assert_eq!(reader.header(), "x-shown");
        let mut lines = encoded(dialect, &[leaf()]);
        lines[0].0 = "x-shown";
        assert_eq!(reader.read(&headers(&lines)), Ok(Some(vec![leaf()])), "{dialect}");
        lines.push((dialect.header(), "anything".into()));
        assert!(reader.read(&headers(&lines)).is_err(), "{dialect}");
        assert!(reader.read(&headers(&[("connection", "x-shown")])).is_err(), "{dialect}");
    }
    let borrowed = HeaderReader::new(Dialect::HaProxy, Some("Client-Cert")).unwrap();
    assert_eq!(borrowed.read(&headers(&[("client-cert", base64(&leaf()))])), Ok(Some(vec![leaf()])));
    assert!(borrowed.read(&headers(&[("client-cert", structured(&leaf()))])).is_err());
    let leaf_only = HeaderReader::new(Dialect::AwsAlb, Some("X-Amzn-Mtls-Clientcert-Leaf")).unwrap();
    let lines = [("x-amzn-mtls-clientcert-leaf", super::alb(&super::pem(&leaf())))];
    assert_eq!(leaf_only.read(&headers(&lines)), Ok(Some(vec![leaf()])));
    assert!(leaf_only.read(&headers(&[("x-amzn-mtls-clientcert", "anything")])).is_err());
}

#[test]
fn a_name_that_cannot_hold_a_certificate_is_refused() {
    for (dialect, name, error) in [
        (Dialect::Azure, "", HeaderNameError::Malformed),
        (Dialect::Azure, "client cert", HeaderNameError::Malformed),
        (Dialect::Azure, "client-cert ", HeaderNameError::Malformed),
        (Dialect::Azure, "client\u{2010}cert", HeaderNameError::Malformed),
        (Dialect::Azure, "client_cert", HeaderNameError::Underscore),
        (Dialect::Azure, "Connection", HeaderNameError::Taken),
        (Dialect::Azure, "Proxy-Authorization", HeaderNameError::Taken),
        (Dialect::Rfc9440, "Client-Cert-Chain", HeaderNameError::Taken),
        (Dialect::Nginx, "X-SSL-Client-Verify", HeaderNameError::Taken),
        (Dialect::HaProxy, "X-SSL-Client-Chain-DER", HeaderNameError::Taken),
    ] {
        assert_eq!(HeaderReader::new(dialect, Some(name)), Err(error), "{name}");
    }
}

#[test]
fn the_words_of_the_dialects_read_back_and_others_do_not() {
    for dialect in Dialect::ALL {
        assert_eq!(dialect.as_str().parse(), Ok(dialect));
        assert_eq!(HeaderReader::new(dialect, None).unwrap().dialect(), dialect);
        assert!(CERTIFICATE_HEADERS.contains(&dialect.header()));
        assert!(UnknownDialect.to_string().contains(dialect.as_str()));
    }
    for word in ["", "RFC9440", "nginx ", "aws_alb", "caddy"] {
        assert_eq!(word.parse::<Dialect>(), Err(UnknownDialect), "{word}");
    }
}

/// Octets that are not one certificate in DER, in the two dialects that wrap them least.
#[test]
fn what_is_not_exactly_one_certificate_in_der_is_refused() {
    let content = sequence(&[7; 60]);
    let long_form = [&[0x30, 0x81, 62][..], &content].concat();
    let leading_zero = [&[0x30, 0x83, 0, 0, 62][..], &content].concat();
    let indefinite = [&[0x30, 0x80][..], &content, &[0, 0]].concat();
    let wide = [&[0x30, 0x85, 0, 0, 0, 0, 62][..], &content].concat();
    let key = sequence(&[&[0x02, 1, 0][..], &content].concat());
    assert_eq!(sequence(&content).len(), 64);
    refused(Dialect::Rfc9440, &[("client-cert", "::".into())]);
    for octets in [
        vec![0x30],
        vec![0x30, 0],
        b"hello".to_vec(),
        content[1..].to_vec(),
        [leaf(), vec![0]].concat(),
        [leaf(), issuer()].concat(),
        leaf()[..leaf().len() - 1].to_vec(),
        long_form,
        leading_zero,
        indefinite,
        wide,
        key,
    ] {
        let says = refused(Dialect::Azure, &[("x-arr-clientcert", base64(&octets))]);
        assert!(says.starts_with("the header x-arr-clientcert holds"), "{says}");
        refused(Dialect::Rfc9440, &[("client-cert", structured(&octets))]);
    }
}

#[test]
fn more_than_64_kib_of_certificates_are_refused() {
    let largest = certificate(&vec![1; Chain::MAX_BYTES - 8]);
    assert_eq!(largest.len(), Chain::MAX_BYTES);
    assert_eq!(value(Dialect::Azure, base64(&largest)), Ok(Some(vec![largest])));
    let error = value(Dialect::Azure, base64(&certificate(&vec![1; Chain::MAX_BYTES - 7]))).unwrap_err();
    assert_eq!(error.to_string(), "the header x-arr-clientcert holds more than 64 KiB of certificates");
    let half = certificate(&vec![1; Chain::MAX_BYTES / 2]);
    let chain = [half, certificate(&vec![2; Chain::MAX_BYTES / 2])];
    for dialect in Dialect::ALL.into_iter().filter(|dialect| super::has_chain(*dialect)) {
        refused(dialect, &encoded(dialect, &chain));
    }
}

#[test]
fn an_error_names_the_header_and_nothing_of_its_value() {
    let says = value(Dialect::Rfc9440, "drowssap").unwrap_err().to_string();
    assert_eq!(says, "the header client-cert is no byte sequence of RFC 9651");
}

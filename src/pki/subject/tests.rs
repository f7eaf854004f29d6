//! Every matcher against the right name, the wrong one, none, and all that is almost right.

use proptest::prelude::*;

use super::*;
use crate::pki::certificate::sample::{
    self, DIRECTORY_NAME, DNS_NAME, IP_ADDRESS, OTHER_NAME, RFC822_NAME, Sample, URI, common_name,
};
use crate::pki::der::{UTF8_STRING, encode};

const DN: &str = "tls_client_auth_subject_dn";
const DNS: &str = "tls_client_auth_san_dns";
const URI_PARAMETER: &str = "tls_client_auth_san_uri";
const IP: &str = "tls_client_auth_san_ip";
const EMAIL: &str = "tls_client_auth_san_email";

fn matcher(parameter: &str, text: &str) -> SubjectMatcher {
    SubjectMatcher::parse(parameter, text).unwrap_or_else(|error| panic!("{parameter}={text}: {error}"))
}

fn refusal(parameter: &str, text: &str) -> String {
    match SubjectMatcher::parse(parameter, text) {
        Ok(matcher) => panic!("{parameter}={text} was read as {matcher}"),
        Err(error) => error.0,
    }
}

fn with(entries: &[(u8, &[u8])]) -> Certificate {
    Sample::alt_names(entries).certificate()
}

/// The text as each type that has text, but not as `own`.
fn as_other_types(text: &str, own: u8) -> Certificate {
    let other_name =
        [sample::object_identifier("1.2.3"), encode(0xa0, &encode(UTF8_STRING, text.as_bytes()))];
    let (other_name, directory_name) = (other_name.concat(), common_name(text));
    let entries: Vec<(u8, &[u8])> = [DNS_NAME, URI, RFC822_NAME]
        .into_iter()
        .filter(|&tag| tag != own)
        .map(|tag| (tag, text.as_bytes()))
        .chain([(OTHER_NAME, other_name.as_slice()), (DIRECTORY_NAME, directory_name.as_slice())])
        .collect();
    Sample { subject: common_name(text), ..Sample::alt_names(&entries) }.certificate()
}

#[test]
fn each_parameter_makes_its_own_matcher() {
    for (parameter, text, printed) in [
        (DN, "cn=a,o=Ex", "CN=a,O=Ex"),
        (DNS, "API.example", "api.example"),
        (URI_PARAMETER, "HTTPS://API.Example/A", "https://api.example/A"),
        (IP, "2001:DB8:0:0::1", "2001:db8::1"),
        (EMAIL, "Ops@Example.COM", "Ops@example.com"),
    ] {
        let matcher = matcher(parameter, text);
        assert_eq!(matcher.parameter(), parameter);
        assert_eq!(matcher.to_string(), printed);
        assert_eq!(SubjectMatcher::parse(parameter, printed), Ok(matcher));
        assert!(SubjectMatcher::PARAMETERS.contains(&parameter));
        assert!(SubjectMatcher::parse(parameter, "").is_err(), "{parameter} empty");
        assert!(SubjectMatcher::parse(parameter, "*").is_err(), "{parameter} *");
    }
    assert!(refusal("tls_client_auth_san_rid", "1.2.3").contains(EMAIL));
}

#[test]
fn equal_rules_are_equal() {
    for (parameter, one, other) in [
        (DN, "CN=a", "2.5.4.3=A"),
        (DNS, "a.example", "A.EXAMPLE"),
        (URI_PARAMETER, "https://a/x", "HTTPS://A/x"),
        (IP, "2001:db8::1", "2001:0db8:0::1"),
        (EMAIL, "a@b.example", "a@B.example"),
    ] {
        assert_eq!(matcher(parameter, one), matcher(parameter, other));
    }
    assert_ne!(matcher(DNS, "a.example"), matcher(URI_PARAMETER, "a.example:x"));
    assert_ne!(matcher(IP, "192.0.2.1"), matcher(IP, "::ffff:192.0.2.1"));
    assert_ne!(matcher(EMAIL, "a@b.example"), matcher(EMAIL, "A@b.example"));
    assert_ne!(matcher(URI_PARAMETER, "https://a/x"), matcher(URI_PARAMETER, "https://a/X"));
}

#[test]
fn a_subject_matches_as_a_whole_and_only_the_subject_does() {
    let expected = matcher(DN, "CN=billing");
    assert!(expected.matches(&Sample::subject(common_name("Billing")).certificate()));
    let longer =
        sample::name(&[&[(sample::O, UTF8_STRING, b"Ex")], &[(sample::CN, UTF8_STRING, b"billing")]]);
    for subject in
        [common_name("billin"), common_name("billing2"), common_name("bill\0ing"), longer, vec![0x30, 0]]
    {
        assert!(!expected.matches(&Sample::subject(subject).certificate()));
    }
    assert!(!expected.matches(&with(&[(DIRECTORY_NAME, &common_name("billing"))])));
    assert!(!expected.matches(&with(&[(DNS_NAME, b"billing")])));
}

#[test]
fn an_empty_subject_never_matches() {
    let without_subject = Sample::subject(vec![0x30, 0]).certificate();
    let empty = SubjectMatcher::Dn(without_subject.subject().clone());
    assert!(!empty.matches(&without_subject));
    assert_eq!(empty.seen(&without_subject), "none");
}

#[test]
fn a_host_name_matches_whole_and_in_any_case() {
    let expected = matcher(DNS, "api.example.com");
    for right in ["api.example.com", "API.Example.COM"] {
        assert!(expected.matches(&with(&[(DNS_NAME, right.as_bytes())])), "{right}");
        assert!(
            expected.matches(&with(&[(DNS_NAME, b"other.example"), (DNS_NAME, right.as_bytes())])),
            "{right}"
        );
    }
    for wrong in [
        "ap.example.com",
        "xapi.example.com",
        "www.api.example.com",
        "example.com",
        "api.example.com.evil.example",
        "api.example.com.",
        ".api.example.com",
        "*.example.com",
        "*",
        "api.example.com\0.evil.example",
        "api.example.com\0",
        "\0api.example.com",
        " api.example.com",
        "api.example.com ",
        "api.example.com\n",
        "аpi.example.com",
        "",
    ] {
        assert!(!expected.matches(&with(&[(DNS_NAME, wrong.as_bytes())])), "{wrong:?}");
    }
    assert!(!expected.matches(&as_other_types("api.example.com", DNS_NAME)));
    assert!(!expected.matches(&Sample::new().certificate()));
    assert!(matcher(DNS, "xn--bcher-kva.example").matches(&with(&[(DNS_NAME, b"XN--bcher-kva.example")])));
}

#[test]
fn host_names_that_could_not_match_are_refused_with_what_to_write() {
    let long_label = format!("{}.example", "a".repeat(64));
    let long_name = format!("{}com", "abcdefgh.".repeat(30));
    for (text, hint) in [
        ("*.example.com", "wildcards"),
        ("api.example.com.", "dot at the end"),
        ("bücher.example", "A-label"),
        ("api..example", "between the dots"),
        (".example", "between the dots"),
        ("a b.example", "between the dots"),
        ("-a.example", "between the dots"),
        ("a\0.example", "between the dots"),
        (&long_label, "between the dots"),
        (&long_name, "253"),
        ("192.0.2.1", IP),
        ("010.0.0.1", IP),
        ("2001:db8::1", IP),
        ("[::1]", IP),
        ("api.example:443", "without port"),
        ("api.example/x", "without port and path"),
        ("https://api.example", URI_PARAMETER),
        ("ops@api.example", EMAIL),
    ] {
        assert!(refusal(DNS, text).contains(hint), "{text}: {}", refusal(DNS, text));
    }
}

#[test]
fn a_uri_matches_exactly_but_for_the_case_of_scheme_and_host() {
    let expected = matcher(URI_PARAMETER, "https://User@API.example:8443/Path/?q=%7E#f");
    for right in
        ["https://User@api.example:8443/Path/?q=%7E#f", "HTTPS://User@Api.Example:8443/Path/?q=%7E#f"]
    {
        assert!(expected.matches(&with(&[(URI, right.as_bytes())])), "{right}");
    }
    for wrong in [
        "https://user@api.example:8443/Path/?q=%7E#f",
        "https://User@api.example:8443/path/?q=%7E#f",
        "https://User@api.example:8443/Path?q=%7E#f",
        "https://User@api.example:8443/Path/?q=%7e#f",
        "https://User@api.example:8443/Path/?q=~#f",
        "https://User@api.example/Path/?q=%7E#f",
        "https://User@api.example:8443/x/../Path/?q=%7E#f",
        "https://User@api.example:8443/Path/?q=%7E#f\0",
        "http://User@api.example:8443/Path/?q=%7E#f",
    ] {
        assert!(!expected.matches(&with(&[(URI, wrong.as_bytes())])), "{wrong:?}");
    }
    let text = "https://User@api.example:8443/Path/?q=%7E#f";
    assert!(!expected.matches(&as_other_types(text, URI)));
    assert!(!expected.matches(&Sample::new().certificate()));
    let urn = matcher(URI_PARAMETER, "URN:uuid:F81D");
    assert!(urn.matches(&with(&[(URI, b"urn:uuid:F81D")])));
    assert!(!urn.matches(&with(&[(URI, b"urn:uuid:f81d")])));
}

#[test]
fn a_spiffe_id_matches_octet_for_octet() {
    let expected = matcher(URI_PARAMETER, "spiffe://example.org/billing");
    assert!(expected.matches(&with(&[(URI, b"spiffe://example.org/billing")])));
    for wrong in
        ["spiffe://Example.org/billing", "SPIFFE://example.org/billing", "spiffe://example.org/billing/"]
    {
        assert!(!expected.matches(&with(&[(URI, wrong.as_bytes())])), "{wrong}");
    }
}

#[test]
fn uris_that_could_not_match_are_refused_with_what_to_write() {
    for (text, hint) in [
        ("/x", "scheme"),
        ("api.example", "scheme"),
        ("api.example:8443/x", "scheme"),
        ("localhost:8443", "scheme"),
        ("//api.example/x", "scheme"),
        ("1a:b", "scheme"),
        ("https:", "scheme"),
        ("https://", "in full"),
        ("https://a/b c", "U+0020"),
        ("https://a/ü", "U+00FC"),
        ("https://a/\0", "U+0000"),
        ("spiffe://example.org/*", "patterns"),
        (&format!("https://{}", "a".repeat(2048)), "2048"),
    ] {
        assert!(refusal(URI_PARAMETER, text).contains(hint), "{text}: {}", refusal(URI_PARAMETER, text));
    }
}

#[test]
fn an_address_matches_by_its_octets() {
    let v4 = matcher(IP, "192.0.2.1");
    let v6 = matcher(IP, "2001:DB8:0:0::1");
    let mapped = matcher(IP, "::ffff:192.0.2.1");
    let of_v6 = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let of_mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];
    assert!(v4.matches(&with(&[(IP_ADDRESS, &[192, 0, 2, 1])])));
    assert!(v6.matches(&with(&[(IP_ADDRESS, &of_v6)])));
    assert!(mapped.matches(&with(&[(IP_ADDRESS, &of_mapped)])));
    assert!(!v4.matches(&with(&[(IP_ADDRESS, &of_mapped)])));
    assert!(!mapped.matches(&with(&[(IP_ADDRESS, &[192, 0, 2, 1])])));
    for wrong in [&[192, 0, 2, 2][..], &[192, 0, 2], &[192, 0, 2, 1, 255, 255, 255, 255], &[], b"192.0.2.1"] {
        assert!(!v4.matches(&with(&[(IP_ADDRESS, wrong)])), "{wrong:?}");
    }
    assert!(!v6.matches(&with(&[(IP_ADDRESS, &[of_v6, [0xff; 16]].concat())])));
    assert!(!v4.matches(&as_other_types("192.0.2.1", IP_ADDRESS)));
    assert!(!v4.matches(&Sample::new().certificate()));
}

#[test]
fn addresses_that_could_not_match_are_refused_with_what_to_write() {
    for (text, hint) in [
        ("fe80::1%eth0", "zone"),
        ("192.0.2.0/24", "ranges"),
        ("010.0.0.1", "leading zeros"),
        ("1.2.3", "four numbers"),
        ("[2001:db8::1]", "brackets"),
        ("[2001:db8::1]:443", "brackets"),
        ("192.0.2.1:443", "port"),
        (" 192.0.2.1", "no IP address"),
        ("192.0.2.*", "no IP address"),
        ("api.example.com", "no IP address"),
        ("3232235521", "no IP address"),
    ] {
        assert!(refusal(IP, text).contains(hint), "{text}: {}", refusal(IP, text));
    }
}

#[test]
fn an_address_of_mail_matches_with_its_host_in_any_case() {
    let expected = matcher(EMAIL, "Ops+x@Example.com");
    for right in ["Ops+x@example.com", "Ops+x@EXAMPLE.com"] {
        assert!(expected.matches(&with(&[(RFC822_NAME, right.as_bytes())])), "{right}");
    }
    for wrong in [
        "ops+x@example.com",
        "Ops@example.com",
        "Ops+x@example.com.",
        "Ops+x@mail.example.com",
        "@example.com",
        "example.com",
        "Ops+x@example.com\0",
        "a@Ops+x@example.com",
        "Ops+x@@example.com",
        "<Ops+x@example.com>",
    ] {
        assert!(!expected.matches(&with(&[(RFC822_NAME, wrong.as_bytes())])), "{wrong:?}");
    }
    assert!(!expected.matches(&as_other_types("Ops+x@example.com", RFC822_NAME)));
    let in_subject = sample::name(&[&[(sample::EMAIL, 0x16, b"Ops+x@example.com")]]);
    assert!(!expected.matches(&Sample::subject(in_subject).certificate()));
}

#[test]
fn addresses_of_mail_that_could_not_match_are_refused_with_what_to_write() {
    for (text, hint) in [
        ("example.com", "`@`"),
        ("@example.com", "before the `@`"),
        ("a@", "empty"),
        ("a..b@example.com", "before the `@`"),
        ("a b@example.com", "before the `@`"),
        ("Ops <ops@example.com>", "before the `@`"),
        ("mailto:ops@example.com", "before the `@`"),
        ("\"a b\"@example.com", "before the `@`"),
        ("ü@example.com", "before the `@`"),
        ("a@b@example.com", "before the `@`"),
        ("*@example.com", "patterns"),
        ("a@*.example.com", "wildcards"),
        ("a@bücher.example", "A-label"),
        ("a@example.com.", "dot at the end"),
        ("a@[192.0.2.1]", "IP address"),
    ] {
        assert!(refusal(EMAIL, text).contains(hint), "{text}: {}", refusal(EMAIL, text));
    }
}

#[test]
fn what_was_seen_is_of_the_expected_kind_and_fits_a_log() {
    let certificate = Sample {
        subject: common_name("a\nb"),
        ..Sample::alt_names(&[
            (DNS_NAME, b"one.example"),
            (DNS_NAME, b"two\0.example"),
            (URI, b"https://a"),
            (IP_ADDRESS, &[192, 0, 2, 1]),
            (IP_ADDRESS, &[1]),
        ])
    }
    .certificate();
    for (parameter, text, seen) in [
        (DN, "CN=a", "CN=#0C03610A62"),
        (DNS, "a.example", "one.example, malformed dNSName"),
        (URI_PARAMETER, "https://b", "https://a"),
        (IP, "192.0.2.9", "192.0.2.1, malformed iPAddress"),
        (EMAIL, "a@b.example", "none"),
    ] {
        assert_eq!(matcher(parameter, text).seen(&certificate), seen);
    }
    let many = vec![(DNS_NAME, &b"a-long-host-name.example"[..]); 100];
    let seen = matcher(DNS, "a.example").seen(&with(&many));
    assert_eq!(seen.chars().count(), 512);
    assert!(seen.ends_with('…'));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_and_reads_back(text in "\\PC{0,30}", near in "[a-zA-Z0-9.@:/\\[\\]*_-]{0,20}") {
        for text in [text, near] {
            for parameter in SubjectMatcher::PARAMETERS {
                if let Ok(matcher) = SubjectMatcher::parse(parameter, &text) {
                    prop_assert_eq!(SubjectMatcher::parse(parameter, &matcher.to_string()), Ok(matcher));
                }
            }
        }
    }

    #[test]
    fn a_registered_name_matches_a_certificate_that_has_it(text in "[a-z]{1,5}(\\.[a-z]{1,5}){0,3}") {
        for (parameter, tag, text) in [
            (DNS, DNS_NAME, text.clone()),
            (URI_PARAMETER, URI, format!("https://{text}/X")),
            (EMAIL, RFC822_NAME, format!("Ops@{text}")),
        ] {
            prop_assert!(matcher(parameter, &text).matches(&with(&[(tag, text.as_bytes())])));
        }
    }
}

//! What registers, what equals what, and what the tools print.

use std::collections::HashSet;

use openssl::asn1::Asn1Type;
use openssl::x509::X509NameBuilder;
use proptest::prelude::*;

use super::*;
use crate::pki::certificate::sample::{self, Attribute, C, CN, EMAIL, O, OU, TELETEX_STRING};

const DC: &str = "0.9.2342.19200300.100.1.25";
const UID: &str = "0.9.2342.19200300.100.1.1";

fn registered(text: &str) -> DistinguishedName {
    DistinguishedName::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Why `text` is refused.
fn refusal(text: &str) -> String {
    match DistinguishedName::parse(text) {
        Ok(name) => panic!("{text} was read as {name}"),
        Err(error) => error.0,
    }
}

fn encoded(rdns: &[&[Attribute<'_>]]) -> DistinguishedName {
    DistinguishedName::from_der(&sample::name(rdns)).unwrap()
}

fn cn(tag: u8, content: &[u8]) -> DistinguishedName {
    encoded(&[&[(CN, tag, content)]])
}

fn utf8<'a>(oid: &'a str, text: &'a str) -> Attribute<'a> {
    (oid, der::UTF8_STRING, text.as_bytes())
}

fn kinds(expected: &str, seen: &DistinguishedName) -> Vec<(usize, &'static str)> {
    registered(expected).difference(seen).iter().map(|line| (line.rdn, line.kind)).collect()
}

/// The certificate of the table below, by OpenSSL.
fn subject_of_the_table() -> DistinguishedName {
    let mut name = X509NameBuilder::new().unwrap();
    for (field, value, kind) in [
        ("C", "GB", Asn1Type::PRINTABLESTRING),
        ("O", "Ex, Ltd", Asn1Type::UTF8STRING),
        ("OU", "Sales + EMEA", Asn1Type::UTF8STRING),
        ("CN", "Svc \"One\" é", Asn1Type::UTF8STRING),
        ("UID", "u1", Asn1Type::UTF8STRING),
        ("DC", "example", Asn1Type::IA5STRING),
        ("emailAddress", "svc@Example.com", Asn1Type::IA5STRING),
        ("1.3.6.1.4.1.99999.1", "abc", Asn1Type::UTF8STRING),
    ] {
        name.append_entry_by_text_with_type(field, value, kind).unwrap();
    }
    DistinguishedName::from_der(&name.build().to_der().unwrap()).unwrap()
}

const TAIL: &str = r#"UID=u1,CN=Svc \"One\" é,OU=Sales \+ EMEA,O=Ex\, Ltd,C=GB"#;

#[test]
fn what_conforming_tools_print_registers_and_matches() {
    let email = "1.2.840.113549.1.9.1=#160F737663404578616D706C652E636F6D";
    for text in [
        // openssl x509 -nameopt RFC2253
        r#"1.3.6.1.4.1.99999.1=#0C03616263,emailAddress=svc@Example.com,DC=example,UID=u1,CN=Svc \"One\" \C3\A9,OU=Sales \+ EMEA,O=Ex\, Ltd,C=GB"#,
        // Java X500Principal.getName()
        &format!("1.3.6.1.4.1.99999.1=#0c03616263,{},DC=example,{TAIL}", email.to_lowercase()),
        // Java X500Principal.getName(CANONICAL)
        &format!("1.3.6.1.4.1.99999.1=#0c03616263,{email},dc=#16076578616d706c65,{}", TAIL.to_lowercase()),
        // pyca/cryptography rfc4514_string()
        &format!("1.3.6.1.4.1.99999.1=abc,1.2.840.113549.1.9.1=svc@Example.com,DC=example,{TAIL}"),
        // with the names that people know
        &format!("1.3.6.1.4.1.99999.1=abc,E=SVC@example.COM,DC=EXAMPLE,{TAIL}"),
    ] {
        assert_eq!(registered(text), subject_of_the_table(), "{text}");
    }
    let printed = subject_of_the_table().to_string();
    assert_eq!(
        printed,
        format!("1.3.6.1.4.1.99999.1=#0C03616263,emailAddress=svc@Example.com,DC=example,{TAIL}")
    );
    assert_eq!(registered(&printed), subject_of_the_table());
}

#[test]
fn what_other_forms_look_like_is_refused_with_what_to_write() {
    let openssl = "openssl x509 -in cert.pem -noout -subject -nameopt RFC2253";
    for (text, hint) in [
        (r#"C = GB, O = "Ex, Ltd", OU = "Sales + EMEA", CN = Svc \"One\" \C3\A9"#, openssl),
        ("CN = a", openssl),
        ("/C=GB/O=Ex, Ltd/CN=a", openssl),
        (r#"OID.1.2.840.113549.1.9.1=svc@Example.com, CN="a""#, "leave out `OID.`"),
        (r#"EMAILADDRESS=svc@Example.com, CN="a""#, "no blank after a separator"),
        ("CN=a, O=b", "no blank after a separator"),
        ("CN=a + OU=b", "`\\20`"),
        (" CN=a", "leave out the blank"),
        ("CN=\"a,b\"", "quotes"),
        ("CN=a;O=b", "write `,`"),
        ("CN=a<b", "write `\\<`"),
        ("CN=a>b", "write `\\>`"),
        ("CN=a,,O=b", "attribute type"),
        ("CN=a,", "separator"),
        (",CN=a", "attribute type"),
        ("CN", "and `=`"),
        ("CN=Ex,Ltd", "`\\,`"),
        ("=a", "attribute type"),
        ("*", "attribute type"),
        ("CN= a", "blank"),
        ("CN=a ", "blank"),
        ("CN=a ,O=b", "blank"),
        ("CN=\\zz", "hexadecimal"),
        ("CN=\\C", "hexadecimal"),
        ("CN=\\", "hexadecimal"),
        ("CN=\\C3", "UTF-8"),
        ("CN=\\C3(", "UTF-8"),
        ("CN=#", "`\\#`"),
        ("CN=#0C", "`\\#`"),
        ("CN=#0C0161ff", "`\\#`"),
        ("CN=#0C016", "pairs"),
        ("CN=#0C0161 ", "`,` or the end"),
        ("subject=CN=a", "without `subject=`"),
        ("SN=a", "`surname=` or `serialNumber=`"),
        ("s=a", "`ST=`"),
        ("GN=a", "`givenName=`"),
        ("commonName=a", "`CN=`"),
        ("nonsense=a", "object identifier"),
        ("2.05.4=a", "object identifier"),
        ("", "empty"),
    ] {
        assert!(refusal(text).contains(hint), "{text}: {}", refusal(text));
    }
    assert!(refusal("CN=é,O=a;b").starts_with("at character 9:"), "{}", refusal("CN=é,O=a;b"));
}

#[test]
fn escapes_are_undone_once_from_left_to_right() {
    for (text, value) in [
        (r"CN=a\,b", "a,b"),
        (r"CN=\\2C", r"\2C"),
        (r"CN=\2C", ","),
        (r"CN=\C3\A9", "é"),
        (r"CN=\c3\a9", "é"),
        (r#"CN=\"\+\,\;\<\>\\\#\="#, r#""+,;<>\#="#),
        (r"CN=\#a", "#a"),
        (r"CN=a#b", "a#b"),
        ("CN=a=b", "a=b"),
        ("CN=a/b:c", "a/b:c"),
        ("CN=", ""),
    ] {
        assert_eq!(registered(text), cn(der::UTF8_STRING, value.as_bytes()), "{text}");
    }
    for text in [r"CN=\ a\20", r"CN=\20a\ ", r"CN=\ \ a  \ "] {
        assert_eq!(registered(text), registered("CN=a"), "{text}");
    }
}

#[test]
fn an_attribute_has_several_names_in_any_case() {
    for (one, other) in [
        ("cn=a", "2.5.4.3=a"),
        ("E=a@b", "1.2.840.113549.1.9.1=a@b"),
        ("EMAILADDRESS=a@b", "e=a@b"),
        ("serialnumber=1", "2.5.4.5=1"),
        ("organizationIdentifier=PSDNL-1", "2.5.4.97=PSDNL-1"),
        ("street=a", "2.5.4.9=a"),
        ("uid=a", "0.9.2342.19200300.100.1.1=a"),
        ("surname=a", "2.5.4.4=a"),
    ] {
        assert_eq!(registered(one), registered(other));
        assert_eq!(registered(&registered(one).to_string()), registered(one));
    }
    for name in ["CN", "L", "ST", "O", "OU", "C", "STREET", "DC", "UID"] {
        assert_eq!(registered(&format!("{}=a", name.to_lowercase())).to_string(), format!("{name}=a"));
    }
    assert_ne!(registered("CN=a"), registered("OU=a"));
}

#[test]
fn the_text_names_the_last_rdn_first_and_order_counts() {
    let seen = encoded(&[&[utf8(C, "GB")], &[utf8(O, "Ex")], &[utf8(CN, "a")]]);
    assert_eq!(registered("CN=a,O=Ex,C=GB"), seen);
    for other in ["C=GB,O=Ex,CN=a", "O=Ex,CN=a,C=GB", "CN=a,O=Ex", "O=Ex,C=GB", "CN=a,O=Ex,C=GB,C=GB"] {
        assert_ne!(registered(other), seen, "{other}");
    }
}

#[test]
fn inside_one_rdn_order_does_not_count_and_number_does() {
    let seen = encoded(&[&[utf8(OU, "x"), utf8(CN, "y")]]);
    assert_eq!(registered("OU=x+CN=y"), seen);
    assert_eq!(registered("CN=y+OU=x"), seen);
    for other in ["OU=x,CN=y", "CN=y,OU=x", "OU=x", "CN=y", "OU=x+CN=y+OU=x"] {
        assert_ne!(registered(other), seen, "{other}");
    }
    assert_ne!(registered("OU=a+OU=a"), registered("OU=a+OU=b"));
    assert_ne!(registered("OU=a+OU=a"), registered("OU=a"));
}

#[test]
fn a_string_is_equal_in_every_type_that_has_one_decoding() {
    let bmp: Vec<u8> = "Éx".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let universal: Vec<u8> = "Éx".chars().flat_map(|character| u32::from(character).to_be_bytes()).collect();
    for (tag, content) in
        [(der::UTF8_STRING, "éx".as_bytes()), (der::BMP_STRING, &bmp), (der::UNIVERSAL_STRING, &universal)]
    {
        assert_eq!(cn(tag, content), registered("CN=ÉX"));
    }
    for tag in [der::PRINTABLE_STRING, der::IA5_STRING, der::VISIBLE_STRING, der::UTF8_STRING] {
        assert_eq!(cn(tag, b"*.a@b"), registered("CN=*.a@b"));
        assert_eq!(cn(tag, b"*.a@b"), registered("CN=#13052A2E614062"));
    }
}

#[test]
fn a_teletex_string_is_equal_to_its_octets_only() {
    let seen = cn(TELETEX_STRING, b"abc");
    assert_ne!(registered("CN=abc"), seen);
    assert_ne!(registered("CN=#0C03616263"), seen);
    assert_ne!(registered("CN=#1403414243"), seen);
    assert_eq!(registered("CN=#1403616263"), seen);
    assert_eq!(seen.to_string(), "CN=#1403616263");
}

#[test]
fn an_unknown_type_is_compared_as_text_where_both_are_strings_and_else_by_octets() {
    let seen = encoded(&[&[("1.2.3.4", der::UTF8_STRING, b"a")]]);
    for text in ["1.2.3.4=a", "1.2.3.4=#0C0161", "1.2.3.4=#130161", "1.2.3.4=A"] {
        assert_eq!(registered(text), seen, "{text}");
    }
    let integer = encoded(&[&[("1.2.3.4", der::INTEGER, &[5])]]);
    assert_eq!(registered("1.2.3.4=#020105"), integer);
    for text in ["1.2.3.4=5", "1.2.3.4=#020106", "1.2.3.5=#020105"] {
        assert_ne!(registered(text), integer, "{text}");
    }
}

#[test]
fn a_hidden_character_matches_nothing_and_does_not_register() {
    for hidden in
        ["\0", "\u{1}", "\t", "\n", "\u{85}", "\u{200b}", "\u{202e}", "\u{ad}", "\u{fffd}", "\u{e000}"]
    {
        let value = format!("ad{hidden}min");
        let seen = cn(der::UTF8_STRING, value.as_bytes());
        assert_ne!(registered("CN=admin"), seen);
        assert!(!seen.to_string().contains(hidden));
        assert!(refusal(&format!("CN={}", escaped(&value))).contains("U+"));
        assert!(refusal(&format!("CN={value}")).contains("U+"));
        assert!(refusal(&seen.to_string()).contains("U+"), "its own octets do not register either");
    }
    for (tag, content) in [
        (der::UTF8_STRING, &b"\xff"[..]),
        (der::IA5_STRING, b"\xe9"),
        (der::PRINTABLE_STRING, b"\xe9"),
        (der::BMP_STRING, b"a"),
        (der::BMP_STRING, b"\xd8\x00"),
        (der::UNIVERSAL_STRING, b"\x00\x11\x00\x00"),
    ] {
        let seen = cn(tag, content);
        assert!(refusal(&seen.to_string()).contains("string type"), "{seen}");
    }
    assert_ne!(registered("CN=admin"), registered("CN=\u{430}dmin"), "a Cyrillic а");
}

#[test]
fn almost_the_expected_name_is_not_it() {
    let expected = registered("CN=billing,O=Ex");
    for seen in [
        "CN=billin,O=Ex",
        "CN=billing2,O=Ex",
        "CN=bil ling,O=Ex",
        "CN=billing+CN=billing,O=Ex",
        "CN=billing,CN=billing,O=Ex",
        "CN=billing,O=Ex,C=GB",
        "CN=*,O=Ex",
        "CN=billing.,O=Ex",
        "OU=billing,O=Ex",
    ] {
        assert_ne!(expected, registered(seen), "{seen}");
    }
    assert_eq!(expected, registered("cn=BILLING,o=eX"));
}

#[test]
fn the_empty_name_is_read_from_a_certificate_and_equals_no_other() {
    let empty = DistinguishedName::from_der(&[0x30, 0]).unwrap();
    assert!(empty.is_empty());
    assert_eq!(empty.to_string(), "");
    assert_ne!(empty, registered("CN="));
}

#[test]
fn sizes_are_bounded() {
    let many = |count: usize, separator: &str| vec!["CN=a"; count].join(separator);
    assert_eq!(registered(&many(64, ",")).rdns.len(), 64);
    assert!(refusal(&many(65, ",")).contains("64 RDNs"));
    assert_eq!(registered(&many(16, "+")).rdns.len(), 1);
    assert!(refusal(&many(17, "+")).contains("16 values"));
    assert!(refusal(&format!("CN={}", "a".repeat(8 * 1024))).contains("8 KiB"));

    let attribute: &[Attribute<'_>] = &[utf8(CN, "a")];
    let from_der = |rdns: &[&[Attribute<'_>]]| DistinguishedName::from_der(&sample::name(rdns));
    assert!(from_der(&[attribute; 64]).is_ok());
    assert!(from_der(&[attribute; 65]).is_err());
    assert!(from_der(&[&[utf8(CN, "a"); 16]]).is_ok());
    assert!(from_der(&[&[utf8(CN, "a"); 17]]).is_err());
    assert!(from_der(&[&[utf8(CN, &"a".repeat(4096))]]).is_err());
}

#[test]
fn der_is_read_strictly() {
    let good = sample::common_name("a");
    let long_length = [&[0x30, 0x81, 12][..], &good[2..]].concat();
    for refused in [
        &b""[..],
        &[&good[..], &[0]].concat(),
        &good[..good.len() - 1],
        &long_length,
        &[0x30, 2, 0x31, 0],
        &[0x30, 4, 0x31, 2, 0x30, 0],
        &[0x31, 0],
    ] {
        assert!(DistinguishedName::from_der(refused).is_err(), "{refused:02x?}");
    }
}

#[test]
fn a_difference_says_what_moved_what_changed_and_what_was_forgiven() {
    let seen = encoded(&[&[(C, der::PRINTABLE_STRING, b"GB")], &[utf8(O, "Ex Ltd")], &[utf8(CN, "billing")]]);
    assert_eq!(kinds("CN=billing,O=Ex Ltd,C=GB", &seen), []);
    assert_eq!(kinds("C=GB,O=Ex Ltd,CN=billing", &seen), [(1, "order"), (3, "order")]);
    assert_eq!(kinds("C=GB,O=Ex Ltd,CN=other", &seen), [(1, "order"), (3, "value")]);
    assert_eq!(kinds("CN=Billing,O=Ex  Ltd,C=gb", &seen), [(1, "case"), (2, "space"), (3, "case")]);
    assert_eq!(kinds("CN=ｂilling,O=Ex Ltd,C=GB", &seen), [(1, "encoding")]);
    assert_eq!(kinds("CN=billing,O=Ex Ltd,C=#0C024742", &seen), [(3, "encoding")]);
    assert_eq!(kinds("CN=api,O=Ex Ltd,C=GB", &seen), [(1, "value")]);
    assert_eq!(kinds("CN=billing,OU=Sales,O=Ex Ltd,C=GB", &seen), [(2, "missing")]);
    assert_eq!(kinds("CN=billing,C=GB", &seen), [(2, "extra")]);
    assert_eq!(kinds("CN=billing,OU=Ex Ltd,C=GB", &seen), [(2, "type")]);
    assert_eq!(kinds("CN=billing,L=London,C=GB", &seen), [(2, "missing"), (2, "extra")]);
    assert_eq!(kinds("CN=billing+OU=x,O=Ex Ltd,C=GB", &seen), [(1, "missing"), (1, "extra")]);
    assert_eq!(kinds("CN=abc", &cn(TELETEX_STRING, b"abc")), [(1, "encoding")]);
    assert_eq!(kinds("CN=a", &DistinguishedName::from_der(&[0x30, 0]).unwrap()), [(1, "missing")]);
    let lines = registered("CN=api,O=Ex Ltd,C=GB").difference(&seen);
    assert_eq!(
        serde_json::to_string(&lines).unwrap(),
        r#"[{"rdn":1,"expected":"CN=api","seen":"CN=billing","kind":"value"}]"#
    );
}

/// Values of every kind of character that may be compared.
fn value() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        6 => prop::char::range('a', 'z'),
        3 => prop::sample::select(" \"#+,;<=>\\/*@0AZ".chars().collect::<Vec<char>>()),
        1 => prop::sample::select("éßÅΣςЖ漢Ａ\u{a0}".chars().collect::<Vec<char>>()),
    ];
    prop::collection::vec(character, 0..12).prop_map(String::from_iter)
}

/// RDNs in the order of the text.
fn rdns() -> impl Strategy<Value = Vec<Vec<(&'static str, String)>>> {
    let oid = prop::sample::select(vec![CN, O, OU, C, DC, UID, EMAIL, "1.2.3.4"]);
    prop::collection::vec(prop::collection::vec((oid, value()), 1..4), 1..6)
}

/// Every octet as its two digits.
fn escaped(value: &str) -> String {
    value.bytes().fold(String::new(), |text, octet| text + &format!("\\{octet:02x}"))
}

/// RFC 4514 text, with a change to each value.
fn written(rdns: &[Vec<(&'static str, String)>], change: impl Fn(&str) -> String) -> String {
    let rdn = |avas: &Vec<(&'static str, String)>| {
        avas.iter()
            .map(|(oid, value)| format!("{oid}={}", escaped(&change(value))))
            .collect::<Vec<_>>()
            .join("+")
    };
    rdns.iter().map(rdn).collect::<Vec<_>>().join(",")
}

proptest! {
    #[test]
    fn equality_is_reflexive_symmetric_and_kept_by_hash_and_text(one in rdns(), other in rdns()) {
        let (one, other) = (registered(&written(&one, str::to_owned)), registered(&written(&other, str::to_owned)));
        prop_assert_eq!(&one, &one);
        prop_assert_eq!(one == other, other == one);
        prop_assert_eq!(HashSet::from([one.clone(), one.clone()]).len(), 1);
        prop_assert_eq!(&registered(&one.to_string()), &one, "{}", one);
        prop_assert_eq!(registered(&one.to_string()).to_string(), one.to_string());
        prop_assert!(one.difference(&one).is_empty());
        let decides = |line: &RdnDifference| !matches!(line.kind, "case" | "space" | "encoding");
        prop_assert_eq!(one != other, one.difference(&other).iter().any(decides));
    }

    #[test]
    fn case_and_spaces_do_not_count(rdns in rdns()) {
        let name = registered(&written(&rdns, str::to_owned));
        for change in [
            |value: &str| value.to_ascii_uppercase(),
            |value: &str| value.replace(' ', "   "),
            |value: &str| format!("  {value} "),
        ] {
            let changed = registered(&written(&rdns, change));
            prop_assert_eq!(&changed, &name);
            prop_assert_eq!(HashSet::from([changed, name.clone()]).len(), 1);
        }
    }

    #[test]
    fn a_name_in_der_of_any_string_type_equals_its_text(rdns in rdns(), types in prop::collection::vec(0..3_usize, 15)) {
        let bmp = |value: &str| value.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
        let mut types = types.into_iter().cycle();
        let values: Vec<Vec<(&str, u8, Vec<u8>)>> = rdns.iter().rev().map(|avas| avas.iter().map(|(oid, value)| {
            match types.next() {
                Some(0) if value.is_ascii() => (*oid, der::PRINTABLE_STRING, value.clone().into_bytes()),
                Some(1) => (*oid, der::BMP_STRING, bmp(value)),
                _ => (*oid, der::UTF8_STRING, value.clone().into_bytes()),
            }
        }).collect()).collect();
        let borrowed: Vec<Vec<Attribute<'_>>> =
            values.iter().map(|avas| avas.iter().map(|(oid, tag, value)| (*oid, *tag, value.as_slice())).collect()).collect();
        let seen = encoded(&borrowed.iter().map(Vec::as_slice).collect::<Vec<_>>());
        prop_assert_eq!(&seen, &registered(&written(&rdns, str::to_owned)));
        prop_assert_eq!(&registered(&seen.to_string()), &seen);
    }

    #[test]
    fn one_more_or_one_less_is_another_name(rdns in rdns(), at in any::<prop::sample::Index>(), more in value()) {
        let name = registered(&written(&rdns, str::to_owned));
        let mut longer = rdns.clone();
        longer.insert(at.index(rdns.len() + 1), vec![(OU, more.clone())]);
        prop_assert_ne!(&registered(&written(&longer, str::to_owned)), &name);
        let mut wider = rdns.clone();
        wider[at.index(rdns.len())].push((OU, more));
        prop_assert_ne!(&registered(&written(&wider, str::to_owned)), &name);
    }

    #[test]
    fn any_text_is_read_or_refused_without_a_panic(text in "\\PC{0,40}", near in "(CN|O|1\\.2|E)=[a-z#\\\\,+ =\"0-9]{0,20}") {
        for text in [text, near] {
            if let Ok(name) = DistinguishedName::parse(&text) {
                prop_assert_eq!(registered(&name.to_string()), name);
            }
        }
    }

    #[test]
    fn any_octets_are_read_or_refused_without_a_panic(
        octets in prop::collection::vec(any::<u8>(), 0..60),
        tag in 0..=0x1e_u8,
    ) {
        let _ = DistinguishedName::from_der(&octets);
        let name = cn(tag, &octets);
        prop_assert_eq!(&name, &name);
        prop_assert!(!name.to_string().contains(char::is_control));
    }
}

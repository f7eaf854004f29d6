//! What lies outside, what lies inside, and what a block names.

use proptest::prelude::*;

use super::*;

fn block(text: &str) -> AddressBlock {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_block_is_written_one_way() {
    assert_eq!(block("10.1.0.0/16"), AddressBlock { base: address("10.1.0.0"), prefix: 16 });
    assert_eq!(block("2001:db8::/32"), AddressBlock { base: address("2001:db8::"), prefix: 32 });
    assert_eq!(block("127.0.0.1"), AddressBlock { base: address("127.0.0.1"), prefix: 32 });
    assert_eq!(block("::1"), AddressBlock { base: address("::1"), prefix: 128 });
    assert_eq!(block("0.0.0.0/0").to_string(), "0.0.0.0/0");
    for text in [
        "",
        "/",
        "10.0.0.0/",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/+8",
        "10.0.0.0/08",
        "10.0.0.0/-1",
        "10.0.0.0/8/8",
        "10.0.0/8",
        " 10.0.0.0/8",
        "10.0.0.0/8 ",
        "010.0.0.0/8",
        "10.0.0.0/256",
        "localhost",
        "fe80::1%eth0",
        "*",
    ] {
        assert_eq!(text.parse::<AddressBlock>(), Err(AddressBlockError::Malformed), "{text:?}");
    }
}

#[test]
fn bits_that_do_not_count_are_refused_with_the_block_that_was_meant() {
    let error = "10.0.0.1/8".parse::<AddressBlock>().unwrap_err();
    assert!(error.to_string().contains("write 10.0.0.0/8"), "{error}");
    let error = "2001:db8::1/64".parse::<AddressBlock>().unwrap_err();
    assert!(error.to_string().contains("write 2001:db8::/64"), "{error}");
}

#[test]
fn a_block_contains_what_begins_as_it_does() {
    assert!(block("10.1.0.0/16").contains(address("10.1.255.255")));
    assert!(!block("10.1.0.0/16").contains(address("10.2.0.0")));
    assert!(block("0.0.0.0/0").contains(address("255.255.255.255")));
    assert!(block("fd00::/8").contains(address("fdff::1")));
    assert!(!block("fd00::/8").contains(address("fc00::1")));
    assert!(block("10.0.0.0/8").contains(address("::ffff:10.1.2.3")), "a mapped address counts as IPv4");
    assert!(block("::ffff:10.0.0.0/104").contains(address("10.1.2.3")), "and a mapped block too");
    assert!(!block("::ffff:10.0.0.0/104").contains(address("11.1.2.3")));
    assert!(!block("0.0.0.0/0").contains(address("::1")) && !block("::/0").contains(address("10.0.0.1")));
}

#[test]
fn addresses_inside_are_told_by_their_kind() {
    let table = [
        ("0.0.0.0", UNSPECIFIED),
        ("0.1.2.3", RESERVED),
        ("127.0.0.1", LOOPBACK),
        ("127.255.255.255", LOOPBACK),
        ("10.0.0.0", PRIVATE),
        ("172.16.0.1", PRIVATE),
        ("172.31.255.255", PRIVATE),
        ("192.168.1.1", PRIVATE),
        ("169.254.169.254", LINK_LOCAL),
        ("100.64.0.1", SHARED),
        ("100.127.255.255", SHARED),
        ("224.0.0.1", MULTICAST),
        ("239.255.255.255", MULTICAST),
        ("240.0.0.1", RESERVED),
        ("255.255.255.255", BROADCAST),
        ("192.0.2.1", DOCUMENTATION),
        ("198.51.100.1", DOCUMENTATION),
        ("203.0.113.1", DOCUMENTATION),
        ("192.0.0.170", RESERVED),
        ("198.19.0.1", RESERVED),
        ("192.88.99.1", RESERVED),
        ("::", UNSPECIFIED),
        ("::1", LOOPBACK),
        ("fc00::1", PRIVATE),
        ("fdff::1", PRIVATE),
        ("fe80::1", LINK_LOCAL),
        ("febf::1", LINK_LOCAL),
        ("fec0::1", PRIVATE),
        ("ff02::1", MULTICAST),
        ("2001:db8::1", DOCUMENTATION),
        ("3fff::1", DOCUMENTATION),
        ("2001::1", RESERVED),
        ("100::1", RESERVED),
        ("::127.0.0.1", RESERVED),
        ("5f00::1", RESERVED),
        ("::ffff:127.0.0.1", LOOPBACK),
        ("::ffff:169.254.169.254", LINK_LOCAL),
        ("64:ff9b::10.0.0.1", PRIVATE),
        ("64:ff9b::169.254.169.254", LINK_LOCAL),
        ("64:ff9b:1::1", PRIVATE),
        ("2002:7f00:1::", LOOPBACK),
        ("2002:a9fe:a9fe::1", LINK_LOCAL),
    ];
    for (text, kind) in table {
        assert_eq!(inside(address(text)), Some(kind), "{text}");
    }
    for text in [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.1",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "223.255.255.255",
        "2606:4700::1111",
        "2a00::1",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
        "::ffff:8.8.8.8",
    ] {
        assert_eq!(inside(address(text)), None, "{text}");
    }
}

#[test]
fn of_a_names_addresses_only_those_that_are_permitted_are_connected_to() {
    let found = |texts: &[&str]| {
        let addresses: Vec<_> = texts.iter().map(|text| SocketAddr::new(address(text), 0)).collect();
        addresses.into_iter()
    };
    let outside = SocketAddr::new(address("8.8.8.8"), 0);
    for mixed in [["10.0.0.1", "8.8.8.8"], ["8.8.8.8", "10.0.0.1"]] {
        assert_eq!(choose(found(&mixed), &[]).unwrap(), [outside]);
    }
    assert_eq!(choose(found(&["10.0.0.1", "8.8.8.8"]), &[block("10.0.0.0/8")]).unwrap().len(), 2);
    let none = choose(found(&["169.254.169.254", "::1"]), &[block("10.0.0.0/8")]).unwrap_err();
    assert!(none.0.starts_with("resolves to ") && none.0.contains("outgoing.allow"), "{none}");
    assert!(choose(found(&[]), &[]).is_err());
}

proptest! {
    #[test]
    fn a_block_reads_back_as_printed_and_contains_its_base(bits: u32, high: u128, prefix in 0..=128_u8) {
        let four = AddressBlock { base: Ipv4Addr::from_bits(bits).into(), prefix: prefix / 4 }.trimmed();
        let six = AddressBlock { base: Ipv6Addr::from_bits(high).into(), prefix }.trimmed();
        for made in [four, six] {
            prop_assert_eq!(made.to_string().parse::<AddressBlock>(), Ok(made));
            prop_assert!(made.contains(made.base));
        }
    }

    #[test]
    fn no_block_and_no_address_panics(base: u128, prefix: u8, address: u128) {
        let made = AddressBlock { base: Ipv6Addr::from_bits(base).into(), prefix };
        let _ = made.contains(Ipv6Addr::from_bits(address).into());
        let short = AddressBlock { base: Ipv4Addr::LOCALHOST.into(), prefix };
        let _ = short.contains(Ipv6Addr::from_bits(address & 0xffff_ffff).into());
        prop_assert!(short.contains(Ipv4Addr::LOCALHOST.into()));
    }

    #[test]
    fn what_carries_an_address_inside_is_inside(bits: u32) {
        let carried = Ipv4Addr::from_bits(bits);
        let kind = inside(carried.into());
        let six = 0x2002_u128 << 112 | u128::from(bits) << 80;
        let nat = 0x64_ff9b_u128 << 96 | u128::from(bits);
        for carrier in [carried.to_ipv6_mapped(), Ipv6Addr::from_bits(six), Ipv6Addr::from_bits(nat)] {
            prop_assert_eq!(inside(carrier.into()), kind, "{}", carrier);
        }
    }
}

//! The headers of `tests/fixtures/forwarded`; its README names their sources.

use super::super::Dialect;
use super::read;
use crate::pki::files;

struct Golden {
    name: &'static str,
    dialect: Dialect,
    lines: &'static str,
    pem: &'static [u8],
    certificates: usize,
}

const RFC9440: &[u8] = include_bytes!("../../../../tests/fixtures/forwarded/rfc9440.pem");
const TRAEFIK: &[u8] = include_bytes!("../../../../tests/fixtures/forwarded/traefik.pem");
const RECORDED: &[u8] = include_bytes!("../../../../tests/fixtures/forwarded/recorded.pem");
const ENVOY: &[u8] = include_bytes!("../../../../tests/fixtures/forwarded/envoy.pem");

macro_rules! golden {
    ($name:literal, $dialect:ident, $pem:ident, $certificates:literal) => {
        Golden {
            name: $name,
            dialect: Dialect::$dialect,
            lines: include_str!(concat!("../../../../tests/fixtures/forwarded/", $name, ".txt")),
            pem: $pem,
            certificates: $certificates,
        }
    };
}

const FILES: [Golden; 13] = [
    golden!("rfc9440", Rfc9440, RFC9440, 3),
    golden!("nginx", Nginx, RFC9440, 1),
    golden!("envoy", Envoy, ENVOY, 1),
    golden!("haproxy", HaProxy, RFC9440, 3),
    golden!("traefik", Traefik, TRAEFIK, 2),
    golden!("traefik-escaped", Traefik, TRAEFIK, 2),
    golden!("apache", Apache, RFC9440, 1),
    golden!("aws-alb", AwsAlb, RFC9440, 3),
    golden!("aws-alb-leaf", AwsAlb, RFC9440, 1),
    golden!("azure", Azure, RFC9440, 1),
    golden!("nginx-recorded", Nginx, RECORDED, 1),
    golden!("haproxy-recorded", HaProxy, RECORDED, 3),
    golden!("apache-recorded", Apache, RECORDED, 1),
];

impl Golden {
    fn lines(&self) -> Vec<(&str, &str)> {
        self.lines.lines().map(|line| line.split_once(": ").expect("name: value")).collect()
    }

    fn expected(&self) -> Vec<Vec<u8>> {
        let all = files::certificates(self.pem).expect("certificates");
        all.iter().take(self.certificates).map(|certificate| certificate.der().to_vec()).collect()
    }
}

#[test]
fn every_dialect_has_a_golden_file_and_reads_it() {
    for dialect in Dialect::ALL {
        assert!(FILES.iter().any(|file| file.dialect == dialect), "{dialect}");
    }
    for file in FILES {
        assert_eq!(read(file.dialect, &file.lines()), Ok(Some(file.expected())), "{}", file.name);
    }
}

#[test]
fn a_golden_file_is_refused_in_every_other_dialect() {
    for file in FILES {
        for dialect in Dialect::ALL.into_iter().filter(|dialect| *dialect != file.dialect) {
            let read = read(dialect, &file.lines());
            assert!(read.is_err(), "{} as {dialect}: {read:02x?}", file.name);
        }
    }
}

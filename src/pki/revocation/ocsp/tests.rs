//! Responses of `openssl ocsp` and responses with any flaw that is asked for, and what is kept of them.

mod answers;
mod desk;
mod forge;
mod keeping;
mod people;

use super::response::{self, Answer, CertStatus, ResponseError};
use super::*;
use people::Person;

/// For whatever is not made by `openssl ocsp`, which goes by the clock on the wall.
const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// A CA and a certificate that it issued.
struct Case {
    ca: Person,
    leaf: Person,
}

impl Case {
    fn at(now: Timestamp) -> Self {
        let ca = Person::ca("Corp CA", now);
        let leaf = people::named("billing", now).serial(0x1234).issued_by(&ca);
        Self { ca, leaf }
    }

    fn question(&self) -> Question {
        Question {
            responder: "http://ocsp.example.com/".parse().unwrap(),
            certificate: Arc::new(self.leaf.certificate()),
            issuer: Arc::new(self.ca.certificate()),
        }
    }

    fn id(&self) -> CertId {
        CertId::new(&self.leaf.certificate(), &self.ca.certificate()).unwrap()
    }

    fn read(&self, response: &[u8], now: Timestamp) -> Result<Answer, ResponseError> {
        response::read(response, &self.id(), &self.ca.certificate(), now)
    }
}

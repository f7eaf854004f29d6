//! Certificate revocation lists (RFC 5280 §5).

use openssl::error::ErrorStack;

use super::{Authority, DAY, extension, moment, pem};
use crate::{clock, der};

impl Authority {
    /// A list of these serial numbers, PEM: complete, from yesterday, for a month.
    ///
    /// # Errors
    /// OpenSSL cannot use the key.
    pub fn revocation_list(&self, serials: &[&[u8]]) -> Result<String, ErrorStack> {
        let now = clock::now();
        let algorithm = self.key.algorithm();
        let from = moment(now - DAY);
        let revoked: Vec<u8> =
            serials.iter().flat_map(|serial| der::sequence(&[&der::integer(serial), &from])).collect();
        let revoked = if revoked.is_empty() { revoked } else { der::element(0x30, &revoked) };
        let authority = der::sequence(&[&der::element(0x80, &self.key.identifier()?)]);
        let extensions = der::sequence(&[
            &extension("2.5.29.35", false, &authority),
            &extension("2.5.29.20", false, &der::integer(&[1])),
        ]);
        let tbs = der::sequence(&[
            &der::integer(&[1]),
            &algorithm,
            &self.subject.der(),
            &from,
            &moment(now + DAY * 30),
            &revoked,
            &der::element(0xa0, &extensions),
        ]);
        let signature = self.key.sign(&tbs)?;
        Ok(pem("X509 CRL", &der::sequence(&[&tbs, &algorithm, &der::bit_string(&signature)])))
    }
}

//! A certificate signing request (PKCS#10, RFC 2986), of which the subject, the key and the subject
//! alternative names are taken and nothing else: what a certificate may be used for is not the requester's to
//! say.

use openssl::pkey::{PKey, Public};
use openssl::x509::{X509NameRef, X509Req};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use super::{Template, WorkshopError};

pub(super) struct Request {
    request: X509Req,
    der: Vec<u8>,
}

impl Request {
    /// PEM or DER, signed by its own key.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, WorkshopError> {
        let request =
            if bytes.first() == Some(&0x30) { X509Req::from_der(bytes) } else { X509Req::from_pem(bytes) };
        let request = request.map_err(|_| WorkshopError("this is no certificate signing request".into()))?;
        let key = request.public_key()?;
        if !request.verify(&key).unwrap_or(false) {
            return Err(WorkshopError("the request is not signed by the key in it".into()));
        }
        let der = request.to_der()?;
        Ok(Self { request, der })
    }

    pub(super) fn subject(&self) -> &X509NameRef {
        self.request.subject_name()
    }

    pub(super) fn public_key(&self) -> Result<PKey<Public>, WorkshopError> {
        Ok(self.request.public_key()?)
    }

    /// Adds the requested names to `template`. One of another kind than the four is an error, not a silent
    /// loss.
    pub(super) fn copy_alt_names(&self, template: &mut Template) -> Result<(), WorkshopError> {
        let (_, request) = X509CertificationRequest::from_der(&self.der)
            .map_err(|_| WorkshopError("the request cannot be read".into()))?;
        let Some(extensions) = request.requested_extensions() else { return Ok(()) };
        for extension in extensions {
            let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
            for name in &names.general_names {
                match name {
                    GeneralName::DNSName(value) => template.dns.push((*value).to_owned()),
                    GeneralName::URI(value) => template.uri.push((*value).to_owned()),
                    GeneralName::RFC822Name(value) => template.email.push((*value).to_owned()),
                    GeneralName::IPAddress(octets) => template.ip.push(address(octets)?),
                    other => {
                        return Err(WorkshopError(format!(
                            "the request asks for {other}, which is not supported"
                        )));
                    }
                }
            }
        }
        Ok(())
    }
}

fn address(octets: &[u8]) -> Result<std::net::IpAddr, WorkshopError> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Ok(v4.into());
    }
    let v6 = <[u8; 16]>::try_from(octets)
        .map_err(|_| WorkshopError("the request asks for an address that is neither IPv4 nor IPv6".into()))?;
    Ok(v6.into())
}

//! The attribute names that are read and written: those of RFC 4514 §3, the unambiguous ones of RFC 4519 §2
//! and a few that certificates are full of. Everything else is written as an object identifier.

use crate::pki::der::Oid;

/// Name and type; the first name of a type is the one that is written.
const NAMES: &[(&str, &str)] = &[
    ("CN", "2.5.4.3"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("C", "2.5.4.6"),
    ("STREET", "2.5.4.9"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("emailAddress", "1.2.840.113549.1.9.1"),
    ("E", "1.2.840.113549.1.9.1"),
    ("serialNumber", "2.5.4.5"),
    ("organizationIdentifier", "2.5.4.97"),
    ("surname", "2.5.4.4"),
    ("givenName", "2.5.4.42"),
    ("initials", "2.5.4.43"),
    ("generationQualifier", "2.5.4.44"),
    ("title", "2.5.4.12"),
    ("pseudonym", "2.5.4.65"),
    ("name", "2.5.4.41"),
    ("description", "2.5.4.13"),
    ("businessCategory", "2.5.4.15"),
    ("postalCode", "2.5.4.17"),
    ("postOfficeBox", "2.5.4.18"),
    ("physicalDeliveryOfficeName", "2.5.4.19"),
    ("telephoneNumber", "2.5.4.20"),
    ("x500UniqueIdentifier", "2.5.4.45"),
    ("dnQualifier", "2.5.4.46"),
    ("houseIdentifier", "2.5.4.51"),
];

/// Names that tools write and that are not read here, because tools differ in what they mean by them or
/// because there is a short one; and what to write.
const INSTEAD: &[(&str, &str)] = &[
    ("SN", "`surname=` or `serialNumber=`, for tools mean either by it"),
    ("S", "`ST=`"),
    ("SP", "`ST=`"),
    ("GN", "`givenName=`"),
    ("G", "`givenName=`"),
    ("T", "`title=`"),
    ("DNQ", "`dnQualifier=`"),
    ("commonName", "`CN=`"),
    ("countryName", "`C=`"),
    ("stateOrProvinceName", "`ST=`"),
    ("localityName", "`L=`"),
    ("organizationName", "`O=`"),
    ("organizationalUnitName", "`OU=`"),
    ("streetAddress", "`STREET=`"),
    ("domainComponent", "`DC=`"),
    ("userId", "`UID=`"),
    ("email", "`emailAddress=`"),
    ("subject", "the name alone, without `subject=`"),
    ("jurisdictionC", "`1.3.6.1.4.1.311.60.2.1.3=`"),
    ("jurisdictionST", "`1.3.6.1.4.1.311.60.2.1.2=`"),
    ("jurisdictionL", "`1.3.6.1.4.1.311.60.2.1.1=`"),
];

/// The type of this name, in any case, or of this dotted object identifier; else what to write instead.
pub(super) fn type_of(name: &str) -> Result<Oid, String> {
    let known = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    if let Some(oid) = Oid::from_dotted(known.map_or(name, |(_, dotted)| dotted)) {
        return Ok(oid);
    }
    if let Some((_, instead)) = INSTEAD.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)) {
        return Err(format!("write {instead}"));
    }
    match name.get(..4) {
        Some(prefix) if prefix.eq_ignore_ascii_case("OID.") => Err("leave out `OID.`".to_owned()),
        _ => Err("write its object identifier, such as `2.5.4.3=` for CN".to_owned()),
    }
}

/// The name to write for this type, if there is one.
pub(super) fn name_of(oid: &Oid) -> Option<&'static str> {
    let dotted = oid.to_string();
    NAMES.iter().find(|(_, known)| *known == dotted).map(|(name, _)| *name)
}

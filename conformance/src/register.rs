//! The register of requirements (`requirements.yaml`), which is part of the program.

use serde::{Deserialize, Serialize};

const TEXT: &str = include_str!("../requirements.yaml");

/// One requirement of one specification.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Specification, section and a letter: `RFC8705-2.1-a`.
    pub id: String,
    /// The specification.
    pub spec: String,
    /// Its section.
    pub section: String,
    /// MUST, MUST NOT, SHOULD or MAY.
    pub level: String,
    /// AS, client or RS.
    pub applies_to: String,
    /// core, proxy or extended.
    pub tier: String,
    /// What is required.
    pub requirement: String,
    /// What else is to be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The checks that test it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub check: Vec<String>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// All of them, in the order of the file.
///
/// # Errors
/// The file is no register; a test rules that out.
pub fn rows() -> Result<Vec<Row>, String> {
    serde_saphyr::from_str(TEXT).map_err(|error| format!("requirements.yaml: {error}"))
}

//! Files named on the command line, read with the exit codes of the contract: what is missing, unreadable,
//! locked or holds nothing of the kind is wrong usage; what is there but malformed is refused.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::pki::files::{self, Bundle, FileError};

use super::output::Fault;

/// The bytes of a file; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(path)
    };
    bytes.map(Zeroizing::new).map_err(|error| Fault::Usage(format!("{}: {error}", path.display())))
}

/// Certificates and key of a PEM, DER or PKCS#12 file. Without a password file a PKCS#12 is tried with the
/// empty password.
pub(super) fn bundle(path: &Path, password_file: Option<&Path>) -> Result<Bundle, Fault> {
    let password = password_file.map(password).transpose()?;
    let bytes = read(path)?;
    files::read(&bytes, password.as_ref().map(|password| password.as_str()))
        .map_err(|error| fault(path, &error))
}

/// The first line of a password file, without its end.
pub(super) fn password(path: &Path) -> Result<Zeroizing<String>, Fault> {
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Fault::Usage(format!("{}: a password is UTF-8 text", path.display())))?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

/// What a file that was read but not understood means for the exit code.
pub(super) fn fault(path: &Path, error: &FileError) -> Fault {
    let message = format!("{}: {error}", path.display());
    match error {
        FileError::Nothing | FileError::Password | FileError::OldCipher(_) => Fault::Usage(message),
        FileError::Malformed(_) | FileError::PrivateKey | FileError::NotOne(_) => Fault::Refused(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::{REFUSED, WRONG_USAGE};

    #[test]
    fn a_missing_file_is_wrong_usage_and_a_malformed_one_is_refused() {
        let path = Path::new("/no/such/file");
        assert_eq!(read(path).unwrap_err().code(), WRONG_USAGE);
        assert_eq!(fault(path, &FileError::Nothing).code(), WRONG_USAGE);
        assert_eq!(fault(path, &FileError::Password).code(), WRONG_USAGE);
        assert_eq!(fault(path, &FileError::Malformed(String::new())).code(), REFUSED);
    }

    #[test]
    fn a_password_is_the_first_line_without_its_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "s p\r\nrest").unwrap();
        assert_eq!(password(file.path()).unwrap().as_str(), "s p");
    }
}

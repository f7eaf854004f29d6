use std::os::unix::fs::symlink;

use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::symm::Cipher;
use tempfile::TempDir;

use super::super::{Schedule, next_step};
use super::*;

const BEGIN: i64 = 1_790_000_000;
const ES256: SigningAlgorithm = SigningAlgorithm::Es256;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(BEGIN + seconds)
}

fn fresh() -> (TempDir, Directory) {
    let parent = tempfile::tempdir().unwrap();
    let directory = Directory::open(&parent.path().join("keys")).unwrap();
    (parent, directory)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn ids(keys: &SigningKeys) -> Vec<KeyId> {
    keys.all().iter().map(|key| key.id().clone()).collect()
}

fn p256() -> PKey<Private> {
    PKey::ec_gen("P-256").unwrap()
}

fn put(directory: &Directory, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, bytes).unwrap();
    set_mode(&path, 0o600);
    path
}

fn the_error(reading: &Reading) -> &KeyFileError {
    assert_eq!(reading.errors.len(), 1, "{:?}", reading.errors);
    &reading.errors[0]
}

#[test]
fn a_key_reads_back_as_it_was_made_and_only_its_owner_can_read_it() {
    let (_parent, directory) = fresh();
    for (offset, algorithm) in (0..).zip(SigningAlgorithm::ALL) {
        let id = directory.create(algorithm, at(offset)).unwrap();
        let reading = directory.read();
        assert!(reading.errors.is_empty() && reading.warnings.is_empty(), "{:?}", reading.warnings);
        let key = reading.keys.signer(at(offset)).unwrap().clone();
        assert_eq!((key.id(), key.algorithm(), key.signs_from()), (&id, algorithm, at(offset)));
        let path = directory.path().join(file_name(algorithm, at(offset)));
        assert_eq!(mode(&path), 0o600);
        assert!(fs::read_to_string(path).unwrap().starts_with("-----BEGIN PRIVATE KEY-----\n"));
    }
    assert_eq!(file_name(ES256, at(0)), "20260921T141320Z-ES256.pem");
    assert_eq!(mode(directory.path()), 0o700);
}

#[test]
fn a_taken_name_moves_one_second_on_whatever_its_algorithm() {
    let (_parent, directory) = fresh();
    for algorithm in [ES256, SigningAlgorithm::EdDsa, ES256] {
        directory.create(algorithm, at(0)).unwrap();
    }
    let begins: Vec<_> = directory.read().keys.all().iter().map(|key| key.signs_from()).collect();
    assert_eq!(begins, [at(0), at(1), at(2)]);
}

#[test]
fn two_nodes_that_rotate_at_once_make_one_key() {
    let (_parent, directory) = fresh();
    let schedule = Schedule { algorithm: ES256, rotate_every: std::time::Duration::from_secs(30 * 86_400) };
    let step = next_step(&SigningKeys::default(), &schedule, at(0));
    let changes: Vec<_> = std::thread::scope(|scope| {
        let nodes: Vec<_> =
            (0..8).map(|_| scope.spawn(|| directory.carry_out(&step, ES256).unwrap())).collect();
        nodes.into_iter().map(|node| node.join().unwrap()).collect()
    });
    let created: Vec<_> = changes.iter().filter(|change| matches!(change, Change::Created(_))).collect();
    assert_eq!(created, [&Change::Created(ids(&directory.read().keys)[0].clone())]);
    assert_eq!(changes.iter().filter(|change| **change == Change::AlreadyThere).count(), 7);
}

#[test]
fn a_step_is_done_and_the_next_one_follows_from_it() {
    let (_parent, directory) = fresh();
    let schedule = Schedule { algorithm: ES256, rotate_every: std::time::Duration::from_secs(86_400) };
    let tick = |now| {
        let step = next_step(&directory.read().keys, &schedule, now);
        directory.carry_out(&step, schedule.algorithm).unwrap()
    };
    assert!(matches!(tick(at(0)), Change::Created(_)));
    assert_eq!(tick(at(1)), Change::Nothing);
    assert!(matches!(tick(at(86_400 - 1800)), Change::Created(_)));
    let first = ids(&directory.read().keys)[0].clone();
    assert!(matches!(tick(at(2 * 86_400 - 1800)), Change::Created(_)));
    assert_eq!(tick(at(2 * 86_400 + 1)), Change::Forgotten(first.clone()));
    assert!(!ids(&directory.read().keys).contains(&first));
    assert!(directory.forget(&first).is_ok(), "another node may have been first");
}

#[test]
fn what_is_no_key_is_ignored_and_what_is_unknown_is_a_warning() {
    let (_parent, directory) = fresh();
    directory.create(ES256, at(0)).unwrap();
    for name in ["README.md", "store-id", "revoked", ".gitkeep", ".new-abc123", "control.sock"] {
        put(&directory, name, b"\n");
    }
    assert_eq!(directory.read().warnings, []);
    let unknown = [
        "notes",
        "20260921T141320Z-ES256.pem.bak",
        "20261301T000000Z-ES256.pem",
        "20260921T141320Z-HS256.pem",
    ];
    for name in unknown {
        put(&directory, name, b"");
    }
    let reading = directory.read();
    assert_eq!(
        (reading.keys.all().len(), reading.errors.len(), reading.warnings.len()),
        (1, 0, unknown.len())
    );
}

#[test]
fn a_key_that_others_can_read_is_an_error_and_a_group_a_warning() {
    let (_parent, directory) = fresh();
    directory.create(ES256, at(0)).unwrap();
    let path = directory.path().join(file_name(ES256, at(0)));
    set_mode(&path, 0o640);
    let reading = directory.read();
    assert_eq!((reading.keys.all().len(), reading.warnings.len()), (1, 1));
    for open in [0o604, 0o644, 0o602] {
        set_mode(&path, open);
        let reading = directory.read();
        assert!(reading.keys.is_empty());
        assert!(the_error(&reading).what.contains(&format!("{open:04o}")), "{reading:?}");
    }
    set_mode(&path, 0o600);
    set_mode(directory.path(), 0o755);
    let reading = directory.read();
    assert_eq!((reading.keys.all().len(), reading.errors.len(), reading.warnings.len()), (1, 0, 1));
    assert_eq!(reading.warnings[0].instead, format!("chmod 700 {}", directory.path().display()));
}

#[test]
fn links_are_followed_as_kubernetes_mounts_them() {
    let (_parent, directory) = fresh();
    let data = directory.path().join("..2026");
    fs::create_dir(&data).unwrap();
    symlink("..2026", directory.path().join("..data")).unwrap();
    let name = file_name(ES256, at(0));
    fs::write(data.join(&name), p256().private_key_to_pem_pkcs8().unwrap()).unwrap();
    symlink(Path::new("..data").join(&name), directory.path().join(&name)).unwrap();
    set_mode(&data.join(&name), 0o644);
    assert_eq!(directory.read().errors.len(), 1);
    set_mode(&data.join(&name), 0o600);
    let reading = directory.read();
    assert_eq!((reading.keys.all().len(), reading.errors.len(), reading.warnings.len()), (1, 0, 0));
    fs::remove_file(data.join(&name)).unwrap();
    assert_eq!(directory.read().errors.len(), 1, "a link to nothing is not a key that was deleted");
}

/// Every wrong content of a file named after ES256, and a word of what is said about it.
fn wrong_contents() -> Vec<(&'static str, Vec<u8>)> {
    let key = p256();
    let pem = key.private_key_to_pem_pkcs8().unwrap();
    let with = |before: &[u8], after: &[u8]| [before, &pem, after].concat();
    let rsa = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    vec![
        ("encrypted", key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"secret").unwrap()),
        ("public", key.public_key_to_pem().unwrap()),
        ("PKCS#8", key.ec_key().unwrap().private_key_to_pem().unwrap()),
        ("before, in or after", with(b"# our key\n", b"")),
        ("before, in or after", with(b"", b"garbage")),
        ("before, in or after", with(b"", &pem)),
        ("before, in or after", pem[..pem.len() / 2].to_vec()),
        ("ES256 needs a P-256 key", rsa.private_key_to_pem_pkcs8().unwrap()),
        ("ES256 needs a P-256 key", PKey::ec_gen("P-384").unwrap().private_key_to_pem_pkcs8().unwrap()),
        ("base64", b"-----BEGIN PRIVATE KEY-----\n????\n-----END PRIVATE KEY-----\n".to_vec()),
        ("cut off", b"-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n".to_vec()),
        ("no private key", Vec::new()),
        ("no private key", vec![0xFF; 100]),
        ("larger", vec![b'\n'; 1 << 20]),
    ]
}

#[test]
fn a_wrong_file_is_named_with_what_is_wrong_and_the_others_stay() {
    let (_parent, directory) = fresh();
    let good = directory.create(ES256, at(0)).unwrap();
    for (word, content) in wrong_contents() {
        let path = put(&directory, &file_name(ES256, at(60)), &content);
        let reading = directory.read();
        let error = the_error(&reading);
        assert!(error.what.contains(word), "{word}: {}", error.what);
        assert_eq!(error.file, path.display().to_string());
        assert!(!error.instead.is_empty());
        assert_eq!(ids(&reading.keys), std::slice::from_ref(&good), "{word}");
    }
    let path = directory.path().join(file_name(ES256, at(60)));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    set_mode(&path, 0o700);
    assert_eq!(the_error(&directory.read()).what, "this is not a file");
}

#[test]
fn an_rsa_key_of_1024_bits_is_an_error() {
    let (_parent, directory) = fresh();
    let key = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
    put(&directory, &file_name(SigningAlgorithm::Ps256, at(0)), &key.private_key_to_pem_pkcs8().unwrap());
    assert!(the_error(&directory.read()).what.contains("less than 2048 bits"));
    let pem = key.private_key_to_pem_pkcs8().unwrap();
    assert!(directory.import(&pem, None, at(9)).unwrap_err().what.contains("less than 2048 bits"));
}

#[test]
fn the_same_key_under_two_names_is_an_error() {
    let (_parent, directory) = fresh();
    directory.create(ES256, at(0)).unwrap();
    let first = directory.path().join(file_name(ES256, at(0)));
    let copy = directory.path().join(file_name(ES256, at(60)));
    fs::copy(&first, &copy).unwrap();
    let reading = directory.read();
    assert_eq!(the_error(&reading).file, copy.display().to_string());
    assert_eq!(reading.keys.all().len(), 1);
}

#[test]
fn a_file_that_breaks_keeps_its_key_and_a_file_that_goes_takes_it_along() {
    let (_parent, directory) = fresh();
    directory.create(ES256, at(0)).unwrap();
    directory.create(ES256, at(60)).unwrap();
    let before = directory.read().keys;
    put(&directory, &file_name(ES256, at(0)), b"half a key");
    let reading = directory.reread(&before);
    assert_eq!((reading.errors.len(), ids(&reading.keys)), (1, ids(&before)));
    fs::remove_file(directory.path().join(file_name(ES256, at(0)))).unwrap();
    assert_eq!(ids(&directory.reread(&before).keys), ids(&before)[1..]);
    fs::remove_dir_all(directory.path()).unwrap();
    let reading = directory.reread(&before);
    assert_eq!(
        (reading.errors.len(), ids(&reading.keys)),
        (1, ids(&before)),
        "an unmounted volume is not an order"
    );
}

#[test]
fn a_revoked_key_is_gone_for_good() {
    let (_parent, directory) = fresh();
    let old = directory.create(ES256, at(0)).unwrap();
    let signer = directory.create(ES256, at(60)).unwrap();
    let pem = fs::read(directory.path().join(file_name(ES256, at(0)))).unwrap();

    assert!(!directory.revoke("unknown", at(100)).unwrap());
    assert!(directory.revoke(old.as_str(), at(100)).unwrap());
    let reading = directory.read();
    assert_eq!(ids(&reading.keys), [signer], "the signer goes on");
    assert!(!directory.revoke(old.as_str(), at(100)).unwrap());

    put(&directory, &file_name(ES256, at(0)), &pem);
    let again = directory.reread(&directory.read().keys);
    assert_eq!((again.keys.all().len(), again.warnings.len(), again.errors.len()), (1, 1, 0));
    assert_eq!(directory.import(&pem, None, at(500)).unwrap_err().what, "this key was revoked");
    assert_eq!(mode(&directory.path().join("revoked")), 0o600);
}

#[test]
fn a_revoked_signer_is_relieved_at_once() {
    let (_parent, directory) = fresh();
    let previous = directory.create(SigningAlgorithm::EdDsa, at(0)).unwrap();
    let signer = directory.create(ES256, at(60)).unwrap();
    let next = directory.create(ES256, at(900)).unwrap();
    assert!(directory.revoke(signer.as_str(), at(100)).unwrap());
    let keys = directory.read().keys;
    let relief = keys.signer(at(100)).unwrap();
    assert!(![&previous, &signer, &next].contains(&relief.id()));
    assert_eq!((relief.signs_from(), relief.algorithm()), (at(100), ES256));
    assert!(keys.verifier(signer.as_str(), at(100)).is_none());
    assert!(!keys.published(at(100)).to_string().contains(signer.as_str()));
}

#[test]
fn a_key_revoked_in_the_second_it_was_made_leaves_a_signer() {
    let (_parent, directory) = fresh();
    let first = directory.create(ES256, at(0)).unwrap();
    assert!(directory.revoke(first.as_str(), at(0)).unwrap());
    let keys = directory.read().keys;
    assert_ne!(keys.signer(at(0)).unwrap().id(), &first);
    let second = keys.signer(at(0)).unwrap().id().clone();
    assert!(directory.revoke(second.as_str(), at(0)).unwrap());
    let revoked = directory.revoked().unwrap();
    assert!(revoked.contains(first.as_str()) && revoked.contains(second.as_str()));
}

#[test]
fn a_leaked_key_can_be_revoked_though_it_is_not_loaded() {
    let (_parent, directory) = fresh();
    let leaked = directory.create(ES256, at(0)).unwrap();
    set_mode(&directory.path().join(file_name(ES256, at(0))), 0o644);
    assert!(directory.read().keys.is_empty());
    assert!(directory.revoke(leaked.as_str(), at(10)).unwrap());
    let reading = directory.read();
    assert!(reading.errors.is_empty() && !reading.keys.is_empty());
}

#[test]
fn a_line_that_a_crash_cut_off_does_not_swallow_the_next() {
    let (_parent, directory) = fresh();
    put(&directory, "revoked", b"half-a-k");
    let id = directory.create(ES256, at(0)).unwrap();
    directory.revoke(id.as_str(), at(10)).unwrap();
    assert!(directory.revoked().unwrap().contains(id.as_str()));
}

#[test]
fn an_unreadable_list_of_the_revoked_loads_nothing_new() {
    let (_parent, directory) = fresh();
    directory.create(ES256, at(0)).unwrap();
    fs::create_dir(directory.path().join("revoked")).unwrap();
    let reading = directory.read();
    assert!(reading.keys.is_empty());
    the_error(&reading);
}

#[test]
fn a_key_that_is_asked_for_signs_in_a_quarter_of_an_hour_or_at_once() {
    let (_parent, directory) = fresh();
    let first = directory.rotate(ES256, Begin::Published, at(0)).unwrap();
    assert_eq!(directory.read().keys.signer(at(0)).unwrap().signs_from(), at(0), "the first signs at once");
    let next = directory.rotate(ES256, Begin::Published, at(10)).unwrap();
    let signer = |now| directory.read().keys.signer(now).unwrap().id().clone();
    assert_eq!((signer(at(909)), signer(at(910))), (first, next));
    let now = directory.rotate(ES256, Begin::Now, at(20)).unwrap();
    assert_eq!(signer(at(20)), now);
}

#[test]
fn an_import_takes_what_openssl_writes_and_stores_pkcs8() {
    let (_parent, directory) = fresh();
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let sec1 = EcKey::generate(&group).unwrap().private_key_to_pem().unwrap();
    // `openssl ecparam -genkey` writes the parameters in front of the key.
    let with_parameters =
        [b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n", &sec1[..]]
            .concat();
    let rsa = Rsa::generate(2048).unwrap();
    let ed25519 = PKey::generate_ed25519().unwrap().private_key_to_pem_pkcs8().unwrap();
    let (ps, rs) = (SigningAlgorithm::Ps256, SigningAlgorithm::Rs256);
    for (pem, configured, expected) in [
        (with_parameters, None, ES256),
        (ed25519, Some(ES256), SigningAlgorithm::EdDsa),
        (rsa.private_key_to_pem().unwrap(), Some(ES256), ps),
        (Rsa::generate(2048).unwrap().private_key_to_pem().unwrap(), None, ps),
        (
            PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap().private_key_to_pem_pkcs8().unwrap(),
            Some(rs),
            rs,
        ),
    ] {
        let id = directory.import(&pem, configured, at(0)).unwrap();
        let reading = directory.read();
        assert!(reading.errors.is_empty(), "{:?}", reading.errors);
        let key = reading.keys.all().iter().find(|key| key.id() == &id).unwrap().clone();
        assert_eq!(key.algorithm(), expected);
        assert!(directory.import(&pem, configured, at(0)).unwrap_err().what.contains("here already"));
    }
}

#[test]
fn an_import_refuses_what_is_no_key_of_ours() {
    let (_parent, directory) = fresh();
    let key = p256();
    let pem = key.private_key_to_pem_pkcs8().unwrap();
    let ec = key.ec_key().unwrap();
    for (word, pem) in [
        ("encrypted", key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"x").unwrap()),
        ("encrypted", ec.private_key_to_pem_passphrase(Cipher::aes_256_cbc(), b"x").unwrap()),
        ("public", key.public_key_to_pem().unwrap()),
        ("several", [pem.clone(), pem.clone()].concat()),
        ("damaged", pem[..pem.len() / 2].to_vec()),
        ("no private key", b"hello".to_vec()),
        ("ES256 needs", PKey::ec_gen("P-384").unwrap().private_key_to_pem_pkcs8().unwrap()),
        ("this type", PKey::generate_ed448().unwrap().private_key_to_pem_pkcs8().unwrap()),
    ] {
        let error = directory.import(&pem, None, at(0)).unwrap_err();
        assert!(error.what.contains(word), "{word}: {}", error.what);
        assert!(!error.instead.is_empty());
    }
    assert!(directory.read().keys.is_empty());
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(Directory::open(&file).unwrap_err().what.starts_with("cannot be made"));
    assert!(Directory::open(&file.join("keys")).is_err());
}

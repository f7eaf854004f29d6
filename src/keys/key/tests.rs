use jsonwebtoken::{Validation, decode};
use openssl::pkey::PKey;
use sha2::{Digest, Sha256};

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(seconds)
}

/// A key as OpenSSL sees it: the second opinion of these tests.
fn openssl_key(pkcs8: &[u8]) -> PKey<openssl::pkey::Private> {
    PKey::private_key_from_pkcs8(pkcs8).unwrap()
}

/// RFC 7638 §3, done by hand: required members only, in lexicographic order, without blanks.
fn thumbprint(algorithm: SigningAlgorithm, pkcs8: &[u8]) -> String {
    let key = openssl_key(pkcs8);
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let canonical = match algorithm {
        SigningAlgorithm::Es256 => {
            let ec = key.ec_key().unwrap();
            let mut context = openssl::bn::BigNumContext::new().unwrap();
            let form = openssl::ec::PointConversionForm::UNCOMPRESSED;
            let point = ec.public_key().to_bytes(ec.group(), form, &mut context).unwrap();
            let (x, y) = (text(&point[1..33]), text(&point[33..]));
            format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)
        }
        SigningAlgorithm::EdDsa => {
            format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(&key.raw_public_key().unwrap()))
        }
        SigningAlgorithm::Ps256 | SigningAlgorithm::Rs256 => {
            let rsa = key.rsa().unwrap();
            let (e, n) = (text(&rsa.e().to_vec()), text(&rsa.n().to_vec()));
            format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)
        }
    };
    text(&Sha256::digest(canonical))
}

fn what(result: Result<SigningKey, KeyFileError>) -> String {
    result.unwrap_err().what
}

#[test]
fn jsonwebtoken_accepts_what_each_algorithm_signs_and_nothing_that_was_changed() {
    for algorithm in SigningAlgorithm::ALL {
        let key = SigningKey::fresh(algorithm, at(0));
        let input =
            format!("{}.{}", key.jws_header("at+jwt"), URL_SAFE_NO_PAD.encode(r#"{"sub":"billing"}"#));
        let signature = key.sign(input.as_bytes()).unwrap();

        let mut validation = Validation::new(algorithm.as_jsonwebtoken());
        validation.required_spec_claims.clear();
        let check = |input: &str, signature: &[u8], public: &DecodingKey| {
            let token = format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature));
            decode::<Value>(token, public, &validation)
        };
        let token = check(&input, &signature, key.decoding_key()).unwrap();
        assert_eq!(token.claims["sub"], "billing");
        assert_eq!(token.header.typ.as_deref(), Some("at+jwt"));
        assert_eq!(token.header.kid.as_deref(), Some(key.id().as_str()));
        assert_eq!(token.header.alg, algorithm.as_jsonwebtoken());

        let published: Jwk = serde_json::from_value(key.jwk().clone()).unwrap();
        assert!(
            check(&input, &signature, &DecodingKey::from_jwk(&published).unwrap()).is_ok(),
            "{algorithm:?}"
        );

        let mut changed = signature.clone();
        changed[7] ^= 1;
        assert!(check(&input, &changed, key.decoding_key()).is_err(), "{algorithm:?}");
        let other = SigningKey::fresh(algorithm, at(0));
        assert!(check(&input, &signature, other.decoding_key()).is_err(), "{algorithm:?}");
    }
}

#[test]
fn the_kid_is_the_rfc_7638_thumbprint() {
    for algorithm in SigningAlgorithm::ALL {
        let pkcs8 = SigningKey::generate(algorithm).unwrap();
        let key = SigningKey::from_pkcs8(algorithm, &pkcs8, at(0)).unwrap();
        assert_eq!(key.id().as_str(), thumbprint(algorithm, &pkcs8), "{algorithm:?}");
        assert_eq!(key.id().as_str().len(), 43);
    }
}

#[test]
fn the_example_key_of_rfc_8037_has_its_thumbprint_and_its_signature() {
    // RFC 8037 appendices A.1 to A.4.
    let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    let pkcs8 = PKey::private_key_from_raw_bytes(&seed, openssl::pkey::Id::ED25519)
        .and_then(|key| key.private_key_to_pkcs8())
        .unwrap();
    let key = SigningKey::from_pkcs8(SigningAlgorithm::EdDsa, &pkcs8, at(0)).unwrap();
    assert_eq!(key.id().as_str(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let signature = key.sign(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc").unwrap();
    assert_eq!(
        URL_SAFE_NO_PAD.encode(signature),
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    );
}

#[test]
fn a_jwk_has_the_public_members_and_no_other() {
    for (algorithm, members) in [
        (SigningAlgorithm::Es256, "alg crv kid kty use x y"),
        (SigningAlgorithm::EdDsa, "alg crv kid kty use x"),
        (SigningAlgorithm::Ps256, "alg e kid kty n use"),
        (SigningAlgorithm::Rs256, "alg e kid kty n use"),
    ] {
        let key = SigningKey::fresh(algorithm, at(0));
        let mut names: Vec<_> = key.jwk().as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names.join(" "), members);
        assert_eq!(key.jwk()["use"], "sig");
        assert_eq!(key.jwk()["alg"], algorithm.as_str());
        assert_eq!(key.jwk()["kid"], key.id().as_str());
    }
}

#[test]
fn the_header_of_an_access_token_is_made_once_and_others_when_asked_for() {
    let key = SigningKey::fresh(SigningAlgorithm::EdDsa, at(0));
    assert!(matches!(key.jws_header("at+jwt"), Cow::Borrowed(_)));
    let header = key.jws_header("token-introspection+jwt");
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header.as_bytes()).unwrap()).unwrap();
    assert_eq!(header, json!({"typ": "token-introspection+jwt", "alg": "EdDSA", "kid": key.id().as_str()}));
}

#[test]
fn a_key_of_another_type_is_refused() {
    for made in SigningAlgorithm::ALL {
        let pkcs8 = SigningKey::generate(made).unwrap();
        for named in SigningAlgorithm::ALL {
            let is_rsa = |algorithm| matches!(algorithm, SigningAlgorithm::Ps256 | SigningAlgorithm::Rs256);
            let read = SigningKey::from_pkcs8(named, &pkcs8, at(0));
            if made == named || (is_rsa(made) && is_rsa(named)) {
                assert!(read.is_ok());
            } else {
                assert_eq!(what(read), named.wrong_type());
            }
        }
    }
    let p384 = PKey::ec_gen("P-384").and_then(|key| key.private_key_to_pkcs8()).unwrap();
    assert!(SigningKey::from_pkcs8(SigningAlgorithm::Es256, &p384, at(0)).is_err());
}

#[test]
fn an_rsa_key_of_less_than_2048_bits_is_refused() {
    let rsa = openssl::rsa::Rsa::generate(1024).unwrap();
    let pkcs8 = PKey::from_rsa(rsa).and_then(|key| key.private_key_to_pkcs8()).unwrap();
    let refused = SigningKey::from_pkcs8(SigningAlgorithm::Ps256, &pkcs8, at(0)).unwrap_err();
    assert_eq!(refused.what, "the RSA key has less than 2048 bits");
    assert_eq!(refused.file, "19700101T000000Z-PS256.pem");
}

#[test]
fn a_key_that_is_cut_off_or_followed_by_something_is_refused() {
    for algorithm in SigningAlgorithm::ALL {
        let pkcs8 = SigningKey::generate(algorithm).unwrap();
        let mut longer = pkcs8.to_vec();
        longer.push(0);
        for wrong in
            [&pkcs8[..pkcs8.len() - 1], &longer, b"", b"\x30", b"\x30\x82\x01", b"\x30\x80\0\0", b"\x30\0"]
        {
            assert!(
                SigningKey::from_pkcs8(algorithm, wrong, at(0)).is_err(),
                "{algorithm:?} {}",
                wrong.len()
            );
        }
    }
}

#[test]
fn neither_none_nor_a_wrong_case_is_an_algorithm() {
    for algorithm in SigningAlgorithm::ALL {
        assert_eq!(SigningAlgorithm::parse(algorithm.as_str()), Some(algorithm));
    }
    for text in ["none", "None", "nOnE", "HS256", "es256", "eddsa", "Ed25519", "ES384", "", "ES256 "] {
        assert_eq!(SigningAlgorithm::parse(text), None, "{text}");
    }
}

#[test]
fn a_key_does_not_print_itself() {
    let key = SigningKey::fresh(SigningAlgorithm::Es256, at(0));
    assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.id()));
}

#[test]
fn a_key_may_sign_on_any_thread() {
    fn shared<T: Send + Sync>() {}
    shared::<SigningKey>();
}

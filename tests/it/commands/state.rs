//! `keys`, `revoke` and `store`: what changes a server's state, through the running server and without one.

use std::fs;

use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use serde_json::{Value, json as value};

use super::{Setup, mode};
use crate::support::program::{complaint, json, printed};
use crate::support::server::eventually;

/// `kid` and `state` of every key.
fn keys(setup: &Setup) -> Vec<(String, String)> {
    let listed = json(0, &setup.path(), &["keys", "list"]);
    let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
    listed["keys"].as_array().unwrap().iter().map(|key| (text(key, "kid"), text(key, "state"))).collect()
}

fn kid(answer: &Value) -> String {
    answer["kid"].as_str().unwrap().to_owned()
}

/// The key that signed it.
fn signer(token: &str) -> String {
    use base64::Engine as _;
    let header = token.split('.').next().unwrap();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).unwrap();
    kid(&serde_json::from_slice(&header).unwrap())
}

/// A private key made elsewhere.
fn own_key(setup: &Setup, file: &str) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    fs::write(setup.path().join(file), key.private_key_to_pem_pkcs8().unwrap()).unwrap();
}

#[test]
fn keys_change_through_the_server_and_are_in_force_when_the_command_returns() {
    let setup = Setup::new();
    let directory = setup.path();
    let serving = setup.serve();
    let first = keys(&setup);
    let listed = json(0, &directory, &["keys", "list"]);
    let names: Vec<_> = listed["keys"][0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["alg", "kid", "signs_from", "state", "verifies_until"]);
    assert_eq!((first.len(), first[0].1.as_str()), (1, "signing"));
    let next = kid(&json(0, &directory, &["keys", "rotate"]));
    assert_eq!(keys(&setup), [first[0].clone(), (next, "next".into())]);
    let token = setup.token();
    assert_eq!(signer(&token), first[0].0);

    own_key(&setup, "own.pem");
    let own = kid(&json(0, &directory, &["keys", "import", "own.pem"]));
    assert_eq!(keys(&setup).last().unwrap(), &(own, "next".into()));
    assert!(complaint(1, &directory, &["keys", "import", "own.pem"]).contains("here already"));

    // Revoked is gone at once, with every token that it signed; another one signs.
    assert!(setup.is_active(&serving, &token));
    json(0, &directory, &["keys", "revoke", &first[0].0]);
    assert!(!setup.is_active(&serving, &token));
    let fresh = setup.token();
    assert!(signer(&fresh) != first[0].0 && setup.is_active(&serving, &fresh));
    assert!(complaint(1, &directory, &["keys", "revoke", &first[0].0]).contains("no key"));
    assert!(complaint(1, &directory, &["keys", "revoke", "nonsense"]).contains("no key"));

    let now = kid(&json(0, &directory, &["keys", "rotate", "--now"]));
    // Where the second is taken by another key, the new one begins in the next.
    eventually("the new key signs", || signer(&setup.token()) == now);
    assert!(setup.is_active(&serving, &fresh), "what the key before it signed is good for its time");
    serving.stop();
}

#[test]
fn keys_change_without_a_server_and_the_next_one_finds_them() {
    let setup = Setup::new();
    let directory = setup.path();
    assert_eq!(keys(&setup), [], "init makes none");
    setup.serve().stop();
    let made = keys(&setup);
    assert_eq!((made.len(), made[0].1.as_str()), (1, "signing"));
    let next = kid(&json(0, &directory, &["keys", "rotate"]));
    assert_eq!(keys(&setup), [made[0].clone(), (next.clone(), "next".into())]);
    json(0, &directory, &["keys", "revoke", &next]);
    assert!(complaint(1, &directory, &["keys", "revoke", &next]).contains("no key"));
    own_key(&setup, "own.pem");
    let own = kid(&json(0, &directory, &["keys", "import", "own.pem"]));
    assert_eq!(keys(&setup)[1], (own, "next".into()));
    let now = kid(&json(0, &directory, &["keys", "rotate", "--now"]));
    eventually("the new key signs", || keys(&setup).contains(&(now.clone(), "signing".into())));
    for entry in fs::read_dir(directory.join("keys")).unwrap().map(Result::unwrap) {
        assert_eq!(mode(&entry.path()) & 0o077, 0, "{entry:?}");
    }
    let _serving = setup.serve();
    assert_eq!(signer(&setup.token()), now);
    assert!(complaint(2, &directory, &["keys", "import", "certbound.yaml"]).contains("there is no PEM"));
    complaint(2, &directory, &["keys", "import", "missing.pem"]);
    complaint(1, &directory, &["keys", "import", "pki/ca.pem"]);
}

#[test]
fn a_token_is_revoked_through_the_server_and_without_it() {
    let setup = Setup::new();
    let directory = setup.path();
    let serving = setup.serve();
    let tokens = [setup.token(), setup.token(), setup.token()];
    for (index, token) in tokens.iter().enumerate() {
        fs::write(directory.join(format!("token-{index}")), format!("{token}\n")).unwrap();
    }
    let revoked = json(0, &directory, &["revoke", "--token", "token-0"]);
    assert!(revoked["revoked"] == true && revoked["jti"].is_string(), "{revoked}");
    assert!(!setup.is_active(&serving, &tokens[0]) && setup.is_active(&serving, &tokens[1]));
    json(0, &directory, &["revoke", "--token", "token-0"]);
    let nothing = value!({ "revoked": false, "jti": null });
    assert_eq!(json(1, &directory, &["revoke", "--token", "pki/ca.pem"]), nothing);
    serving.stop();

    assert_eq!(json(0, &directory, &["revoke", "--token", "token-1"])["revoked"], true);
    assert_eq!(json(1, &directory, &["revoke", "--token", "pki/ca.pem"]), nothing);
    fs::write(directory.join("empty"), "\n").unwrap();
    complaint(2, &directory, &["revoke", "--token", "empty"]);
    complaint(2, &directory, &["revoke", "--token", "missing"]);
    let serving = setup.serve();
    assert_eq!(tokens.map(|token| setup.is_active(&serving, &token)), [false, false, true]);
}

#[test]
fn every_token_of_a_client_is_revoked_and_those_after_it_are_good() {
    let setup = Setup::new();
    let directory = setup.path();
    let serving = setup.serve();
    let before = setup.token();
    let revoked = json(0, &directory, &["revoke", "--client", "billing"]);
    assert!(revoked["client_id"] == "billing" && revoked["issued_before"].is_string(), "{revoked}");
    let after = setup.token();
    assert!(!setup.is_active(&serving, &before) && setup.is_active(&serving, &after));
    serving.stop();

    json(0, &directory, &["revoke", "--client", "billing"]);
    let serving = setup.serve();
    let fresh = setup.token();
    assert!(!setup.is_active(&serving, &after) && setup.is_active(&serving, &fresh));
    complaint(2, &directory, &["revoke", "--client", ""]);
    complaint(2, &directory, &["revoke", "--client", "billing", "--token", "certbound.yaml"]);
}

#[test]
fn the_store_is_looked_at_beside_the_server_and_replaced_only_without_it() {
    let setup = Setup::new();
    let directory = setup.path();
    assert!(complaint(1, &directory, &["store", "check"]).contains("no store"));
    assert!(!directory.join("data").exists(), "looking made one");
    let serving = setup.serve();
    json(0, &directory, &["revoke", "--client", "billing"]);
    let through_the_server = json(0, &directory, &["store", "check"]);
    assert_eq!(through_the_server["revoked_clients"], 1);
    let export = printed(0, &directory, &["store", "export"]);
    let first: Value = serde_json::from_str(export.lines().next().unwrap()).unwrap();
    assert!(first.to_string().contains(through_the_server["id"].as_str().unwrap()), "{first}");
    fs::write(directory.join("export.jsonl"), &export).unwrap();
    for replaces in [&["store", "init", "--forget"][..], &["store", "import", "export.jsonl"]] {
        assert!(complaint(1, &directory, replaces).contains("stop it first"), "{replaces:?}");
    }
    serving.stop();

    assert_eq!(json(0, &directory, &["store", "check"]), through_the_server);
    assert_eq!(printed(0, &directory, &["store", "export"]), export);
    assert!(complaint(1, &directory, &["store", "import", "export.jsonl"]).contains("exists"));
    complaint(2, &directory, &["store", "import", "missing.jsonl"]);
}

#[test]
fn a_store_that_is_gone_is_refused_by_every_command_and_comes_back_from_an_export() {
    let setup = Setup::new();
    let directory = setup.path();
    let serving = setup.serve();
    let token = setup.token();
    fs::write(directory.join("token"), &token).unwrap();
    json(0, &directory, &["revoke", "--token", "token"]);
    let checked = json(0, &directory, &["store", "check"]);
    fs::write(directory.join("export.jsonl"), printed(0, &directory, &["store", "export"])).unwrap();
    serving.stop();
    fs::remove_dir_all(directory.join("data")).unwrap();
    let commands = [
        &["serve"][..],
        &["store", "check"],
        &["store", "export"],
        &["revoke", "--client", "billing"],
        &["revoke", "--token", "token"],
    ];
    for command in commands {
        let said = complaint(3, &directory, command);
        assert!(said.lines().count() == 1 && said.contains("store init --forget"), "{command:?}: {said}");
    }
    let cut = fs::read_to_string(directory.join("export.jsonl")).unwrap();
    let cut: Vec<_> = cut.lines().collect();
    fs::write(directory.join("cut.jsonl"), cut[..cut.len() - 1].join("\n")).unwrap();
    complaint(1, &directory, &["store", "import", "cut.jsonl"]);
    let imported = json(0, &directory, &["store", "import", "export.jsonl"]);
    assert!(imported["entries"].as_u64().unwrap() >= 1, "{imported}");
    assert_eq!(json(0, &directory, &["store", "check"]), checked);
    let serving = setup.serve();
    assert!(!setup.is_active(&serving, &token), "the import forgot it");
}

#[test]
fn after_a_deliberate_new_start_every_token_issued_so_far_is_inactive() {
    let setup = Setup::new();
    let directory = setup.path();
    let serving = setup.serve();
    let (revoked, living) = (setup.token(), setup.token());
    fs::write(directory.join("token"), &revoked).unwrap();
    json(0, &directory, &["revoke", "--token", "token"]);
    let id = json(0, &directory, &["store", "check"])["id"].clone();
    serving.stop();
    complaint(2, &directory, &["store", "init"]);
    let begun = json(0, &directory, &["store", "init", "--forget"]);
    assert!(begun["store"].is_string() && begun["inactive_up_to"].is_string(), "{begun}");
    let checked = json(0, &directory, &["store", "check"]);
    assert!(checked["revoked_tokens"] == 0 && checked["id"] != id, "{checked}");
    let serving = setup.serve();
    assert!(!setup.is_active(&serving, &revoked) && !setup.is_active(&serving, &living));
    assert!(setup.is_active(&serving, &setup.token()));
}

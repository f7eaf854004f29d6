//! One load after another: what stays, what goes, and who is at fault.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_broken_file_keeps_its_clients_and_the_others_are_applied() {
    let fixture = Fixture::with(&[("a.yaml", &named("alpha")), ("b.yaml", &named("beta"))]);
    let first = fixture.start();
    fixture.write("a.yaml", named("alpha") + "---\nclient_id: [\n");
    fixture.write("b.yaml", named("beta") + "scope: read\n");
    fixture.write("c.yaml", named("gamma"));
    let (second, problems) = fixture.load(Some(&first));
    assert_eq!(ids(&second), ["alpha", "beta", "gamma"]);
    assert_eq!(find(&second, "beta").unwrap().scope.to_string(), "read");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("a.yaml:"));
    assert_eq!((first.broken_files(), second.broken_files()), (0, 1));

    // It stays broken, and is said to be so, while nobody touches it.
    let (third, again) = fixture.load(Some(&second));
    assert_eq!((ids(&third), again), (ids(&second), problems));
    fixture.write("a.yaml", named("delta"));
    let (fourth, problems) = fixture.load(Some(&third));
    assert_eq!((ids(&fourth), problems.len()), (vec!["delta", "beta", "gamma"], 0));
}

#[test]
fn every_kind_of_broken_file_keeps_what_it_had() {
    let fixture = Fixture::with(&[("a.yaml", &named("alpha")), ("b.yaml", &named("beta"))]);
    let first = fixture.start();
    for content in
        [&b""[..], b"\xff\xfe", b"\0", b"client_id: alpha\n", b"- x", &vec![b' '; 2_000_000], b"a: &a [*a]"]
    {
        fixture.write("a.yaml", content);
        let (next, problems) = fixture.load(Some(&first));
        assert_eq!(ids(&next), ["alpha", "beta"]);
        assert!(
            !problems.is_empty() && problems.iter().all(|problem| problem.contains("a.yaml")),
            "{problems:?}"
        );
    }
    fixture.remove("a.yaml");
    fs::create_dir(fixture.path("a.yaml")).unwrap();
    assert_eq!(ids(&fixture.load(Some(&first)).0), ["alpha", "beta"]);
    fs::remove_dir(fixture.path("a.yaml")).unwrap();
    for target in ["/dev/zero", "a.yaml", "nowhere"] {
        symlink(target, fixture.path("a.yaml")).unwrap();
        let (next, problems) = fixture.load(Some(&first));
        assert_eq!((ids(&next), problems.len()), (vec!["alpha", "beta"], 1), "{target}");
        fixture.remove("a.yaml");
    }
    let fifo = std::process::Command::new("mkfifo").arg(fixture.path("a.yaml")).status().unwrap();
    assert!(fifo.success());
    assert_eq!(ids(&fixture.load(Some(&first)).0), ["alpha", "beta"]);
}

#[test]
fn files_of_other_names_do_not_count_and_links_do() {
    let fixture = Fixture::with(&[("a.yaml", &named("alpha"))]);
    for name in
        [".a.yaml.swp", ".b.yaml", "b.yaml~", "b.yaml.tmp", "4913", "#b.yaml#", "b.yaml.rpmnew", "README.md"]
    {
        fixture.write(name, "not: [yaml");
    }
    let elsewhere = fixture.directory.path().join("data");
    fs::write(&elsewhere, named("beta")).unwrap();
    symlink(&elsewhere, fixture.path("b.yml")).unwrap();
    assert_eq!(ids(&fixture.start()), ["alpha", "beta"]);
}

#[test]
fn a_deleted_file_takes_its_clients_along_and_a_renamed_one_does_not() {
    let fixture = Fixture::with(&[("a.yaml", &named("alpha")), ("b.yaml", &named("beta"))]);
    let first = fixture.start();
    fixture.remove("a.yaml");
    fs::rename(fixture.path("b.yaml"), fixture.path("c.yaml")).unwrap();
    let (second, problems) = fixture.load(Some(&first));
    assert_eq!((ids(&second), problems.len()), (vec!["beta"], 0));
    let gone = vec![ClientId::parse("alpha").unwrap()];
    assert_eq!(second.difference(&first), Difference { removed: gone, ..Difference::default() });
}

#[test]
fn a_directory_that_vanished_or_was_emptied_changes_nothing() {
    let fixture = Fixture::with(&[("a.yaml", &named("alpha"))]);
    let first = fixture.start();
    fixture.remove("a.yaml");
    let (second, problems) = fixture.load(Some(&first));
    assert_eq!((ids(&second), second.broken_files()), (vec!["alpha"], 1));
    assert!(problems[0].contains("there is no client file any more"), "{problems:?}");
    fs::remove_dir(&fixture.settings.directory).unwrap();
    let (third, problems) = fixture.load(Some(&second));
    assert_eq!((ids(&third), problems.len()), (vec!["alpha"], 1));
    assert!(problems[0].contains("cannot be read"), "{problems:?}");
    assert_eq!(fixture.load(None).1.len(), 1);
    fs::create_dir(&fixture.settings.directory).unwrap();
    fixture.write("b.yaml", named("beta"));
    let (fourth, problems) = fixture.load(Some(&third));
    assert_eq!((ids(&fourth), problems.len(), fourth.broken_files()), (vec!["beta"], 0, 0));
}

#[test]
fn a_directory_without_clients_is_no_problem_at_the_start() {
    assert_eq!(Fixture::new().start().clients().count(), 0);
}

#[test]
fn a_newcomer_does_not_take_the_place_of_a_live_client() {
    let fixture = Fixture::with(&[("b.yaml", &named("beta"))]);
    let first = fixture.start();
    // Sorts before the file that is live; its other document is refused along with it.
    fixture.write("a.yaml", format!("{}---\n{}scope: all\n", named("alpha"), named("beta")));
    let (second, problems) = fixture.load(Some(&first));
    assert_eq!(ids(&second), ["beta"]);
    assert!(find(&second, "beta").unwrap().scope.is_empty());
    assert!(problems.len() == 1 && problems[0].starts_with("a.yaml:6:12: error: "), "{problems:?}");
    // When the place becomes free, it is the newcomer's, without anybody touching its file.
    fixture.remove("b.yaml");
    let (third, problems) = fixture.load(Some(&second));
    assert_eq!((ids(&third), problems.len()), (vec!["alpha", "beta"], 0));
}

#[test]
fn a_client_moves_from_file_to_file_in_one_reload() {
    let fixture = Fixture::with(&[
        ("a.yaml", &format!("{}---\n{}", named("alpha"), named("beta"))),
        ("b.yaml", &named("gamma")),
    ]);
    let first = fixture.start();
    fixture.write("a.yaml", named("alpha"));
    fixture.write("b.yaml", format!("{}---\n{}", named("gamma"), named("beta")));
    let (second, problems) = fixture.load(Some(&first));
    assert_eq!((ids(&second), problems.len()), (vec!["alpha", "gamma", "beta"], 0));
    assert_eq!(second.difference(&first), Difference::default());
}

#[test]
fn a_file_that_falls_back_takes_down_who_relied_on_its_change() {
    let fixture = Fixture::with(&[
        ("a.yaml", &named("alpha")),
        ("b.yaml", &named("beta")),
        ("c.yaml", &named("gamma")),
    ]);
    let first = fixture.start();
    // a gives alpha away and takes gamma, which is live in c; so a keeps alpha, and b cannot have it.
    fixture.write("a.yaml", named("gamma"));
    fixture.write("b.yaml", named("alpha"));
    let (second, problems) = fixture.load(Some(&first));
    assert_eq!(ids(&second), ["alpha", "beta", "gamma"]);
    assert!(problems.iter().any(|problem| problem.starts_with("a.yaml:")), "{problems:?}");
    assert!(problems.iter().any(|problem| problem.starts_with("b.yaml:")), "{problems:?}");
    assert_eq!(second.broken_files(), 2);
}

#[test]
fn two_newcomers_of_one_id_are_both_refused() {
    let fixture = Fixture::with(&[("z.yaml", &named("zeta"))]);
    let first = fixture.start();
    fixture.write("a.yaml", named("alpha"));
    fixture.write("b.yaml", named("alpha").replace("alpha.example", "other.example"));
    let (second, problems) = fixture.load(Some(&first));
    assert_eq!(ids(&second), ["zeta"]);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("b.yaml:1:12") && problems[1].contains("a.yaml:1:12"), "{problems:?}");
}

#[test]
fn one_rule_is_not_for_two_enabled_clients_of_common_anchors() {
    let mut fixture = Fixture::with(&[("a.yaml", &named("alpha"))]);
    let same_rule = named("alpha")
        .replace("client_id: alpha", "client_id: beta")
        .replace("alpha.example", "ALPHA.example");
    fixture.write("b.yaml", &same_rule);
    let (_, problems) = fixture.load(None);
    assert!(
        problems.len() == 2 && problems[1].starts_with("b.yaml:3:26: error: the client \"alpha\""),
        "{problems:?}"
    );
    for harmless in [
        same_rule.clone() + "enabled: false\n",
        same_rule.replace("corp", "internal"),
        same_rule.replace("san_dns", "san_uri").replace("ALPHA.example", "urn:alpha.example"),
    ] {
        fixture.write("b.yaml", harmless);
        assert_eq!(ids(&fixture.start()), ["alpha", "beta"]);
    }

    // The sets differ in name and share a key, from one reload to the next: both clients were live, and stay.
    fixture.write("b.yaml", same_rule.replace("corp", "internal"));
    let first = fixture.start();
    let (common, own) = (authority("Common"), authority("Own"));
    let sets = [("corp", anchors(&[&common])), ("internal", anchors(&[&own, &common]))];
    fixture.trust = TrustStore::new(sets.map(|(name, set)| (AnchorSetName::new(name), set)).into());
    let (second, problems) = fixture.load(Some(&first));
    assert_eq!(ids(&second), ["alpha", "beta"]);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(fixture.load(None).1.len(), 2);
}

#[test]
fn two_documents_of_one_file_do_not_share_an_id() {
    let fixture = Fixture::with(&[("a.yaml", &named("alpha"))]);
    let first = fixture.start();
    fixture.write(
        "a.yaml",
        format!("{}scope: x\n---\n{}", named("alpha"), named("alpha").replace("alpha.ex", "other.ex")),
    );
    let (second, problems) = fixture.load(Some(&first));
    assert!(problems.len() == 1 && problems[0].starts_with("a.yaml:7:12: error"), "{problems:?}");
    assert!(find(&second, "alpha").unwrap().scope.is_empty());
}

#[test]
fn a_certificate_that_goes_takes_its_pin_along_at_once_and_nothing_else() {
    let fixture = Fixture::with(&[("a.yaml", &pinned("edge", "[one.pem, two.pem]"))]);
    for name in ["one.pem", "two.pem"] {
        fixture.write(name, self_signed(&template()).certificate_pem());
    }
    let first = fixture.start();
    fixture.remove("one.pem");
    let (second, problems) = fixture.load(Some(&first));
    assert_eq!((pins(&second, "edge"), second.broken_files()), (1, 1));
    assert!(
        problems.len() == 1
            && problems[0].starts_with("a.yaml:3:16: error: \"one.pem\": there is no such file")
    );
    assert_eq!(second.difference(&first).changed.len(), 1);

    // Also if the document is broken meanwhile, and falls back.
    fixture.write("a.yaml", "client_id: [");
    let (still, _) = fixture.load_except(Some(&first), &["one.pem"]);
    assert_eq!(pins(&still, "edge"), 2);
    let (third, problems) = fixture.load(Some(&first));
    assert_eq!((pins(&third, "edge"), problems.len()), (1, 2));
    fixture.write("a.yaml", pinned("edge", "[one.pem, two.pem]"));
    fixture.write("one.pem", self_signed(&template()).certificate_pem());
    let (fourth, problems) = fixture.load(Some(&third));
    assert_eq!((pins(&fourth, "edge"), problems.len()), (2, 0));
    fixture.write("one.pem", "half a certif");
    let (fifth, problems) = fixture.load(Some(&fourth));
    assert_eq!((pins(&fifth, "edge"), problems.len()), (2, 1));
    let replaced = self_signed(&template());
    fixture.write("one.pem", replaced.certificate_pem());
    let (sixth, problems) = fixture.load(Some(&fifth));
    assert_eq!((pins(&sixth, "edge"), problems.len()), (2, 0));
    assert_eq!(sixth.difference(&fifth).changed.len(), 1);
}

#[test]
fn a_certificate_of_two_clients_is_a_warning() {
    let fixture =
        Fixture::with(&[("a.yaml", &pinned("edge", "[one.pem]")), ("b.yaml", &pinned("core", "[one.pem]"))]);
    fixture.write("one.pem", self_signed(&template()).certificate_pem());
    let (registry, problems) = fixture.load(None);
    assert_eq!((registry.clients().count(), registry.broken_files()), (2, 0));
    assert!(
        problems.len() == 1 && problems[0].starts_with("b.yaml:3:16: warning: the client \"edge\""),
        "{problems:?}"
    );
}

#[test]
fn what_has_not_come_to_rest_is_left_as_it_was() {
    let fixture = Fixture::with(&[
        ("a.yaml", &named("alpha")),
        ("b.yaml", &pinned("edge", "[one.pem]")),
        ("c.yaml", &named("c")),
    ]);
    fixture.write("one.pem", self_signed(&template()).certificate_pem());
    let first = fixture.start();
    fixture.remove("a.yaml");
    fixture.remove("one.pem");
    fixture.write("c.yaml", "client_id: c");
    fixture.write("d.yaml", "client_id: d");
    let (second, problems) = fixture.load_except(Some(&first), &["a.yaml", "one.pem", "c.yaml", "d.yaml"]);
    assert_eq!((ids(&second), problems.len(), pins(&second, "edge")), (vec!["alpha", "edge", "c"], 0, 1));
    assert_eq!(second.difference(&first), Difference::default());
    let (third, problems) = fixture.load(Some(&second));
    assert_eq!((ids(&third), pins(&third, "edge")), (vec!["edge", "c"], 0));
    assert!(problems.len() > 2, "{problems:?}");
}

#[test]
fn a_set_that_is_gone_leaves_the_clients_that_name_it() {
    let mut fixture = Fixture::with(&[("a.yaml", &named("alpha"))]);
    let first = fixture.start();
    fixture.trust = TrustStore::new([(AnchorSetName::new("other"), anchors(&[&authority("Other")]))].into());
    let (second, problems) = fixture.load(Some(&first));
    assert_eq!(ids(&second), ["alpha"]);
    assert!(problems[0].starts_with("a.yaml:4:16: error: there is no set"), "{problems:?}");
}

#[test]
fn settings_that_change_are_applied_to_files_that_do_not() {
    let mut fixture = Fixture::with(&[("a.yaml", &named("alpha"))]);
    let first = fixture.start();
    fixture.settings.default_resource = Some(Audience::parse("https://new.example.com").unwrap());
    // Also if the file could not be read the first time.
    let (between, _) = fixture.load_except(Some(&first), &["a.yaml"]);
    let (second, _) = fixture.load(Some(&between));
    assert_eq!(find(&second, "alpha").unwrap().resources, Vec::from_iter(fixture.settings.default_resource));
}

#[test]
fn a_file_that_did_not_change_is_not_parsed_again() {
    let fixture = Fixture::with(&[("a.yaml", &named("alpha")), ("b.yaml", &named("beta"))]);
    let first = fixture.start();
    fixture.write("b.yaml", format!("# moved down\n{}", named("beta")));
    let (second, _) = fixture.load(Some(&first));
    assert!(Arc::ptr_eq(find(&first, "alpha").unwrap(), find(&second, "alpha").unwrap()));
    assert!(!Arc::ptr_eq(find(&first, "beta").unwrap(), find(&second, "beta").unwrap()));
    assert_eq!(second.difference(&first), Difference::default());
}

#[test]
fn a_fingerprint_changes_with_every_file_that_counts() {
    let fixture = Fixture::with(&[("a.yaml", &pinned("edge", "[one.pem, two.pem]"))]);
    fixture.write("one.pem", self_signed(&template()).certificate_pem());
    let (registry, _) = fixture.load(None);
    let take = || Registry::fingerprint(&fixture.settings, &registry);
    let mut before = take();
    assert_eq!(before.len(), 2);
    fixture.write("README.md", "x");
    assert_eq!(take(), before);
    for (name, content) in
        [("a.yaml", "x"), ("one.pem", "x"), ("two.pem", "x"), ("b.yaml", "x"), ("b.yaml", "longer")]
    {
        fixture.write(name, content);
        assert_ne!(take(), before, "{name}");
        before = take();
    }
    fixture.remove("one.pem");
    assert_ne!(take(), before);
    assert!(stamp(&fixture.path("a.yaml")).is_there() && !stamp(&fixture.path("one.pem")).is_there());
    let named: Vec<_> = registry.certificate_files().collect();
    assert_eq!(named, [fixture.path("one.pem"), fixture.path("two.pem")]);
}

#[test]
fn thousands_of_files_load_in_seconds() {
    let fixture = Fixture::new();
    for number in 0..5000 {
        fixture.write(&format!("{number}.yaml"), named(&format!("c{number}")));
    }
    let begun = std::time::Instant::now();
    let first = fixture.start();
    let (second, _) = fixture.load(Some(&first));
    assert_eq!(second.clients().count(), 5000);
    assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn a_registry_is_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&Registry::empty());
}

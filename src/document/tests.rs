use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn parse_text(text: &str) -> Result<Vec<Node>, Problems> {
    parse(Path::new("a.yaml"), text.as_bytes())
}

fn one(text: &str) -> Node {
    let mut documents = parse_text(text).unwrap();
    assert_eq!(documents.len(), 1, "{text:?}");
    documents.remove(0)
}

fn value(text: &str) -> Node {
    Fields::of(&one(text), &mut Problems::default()).unwrap().take("v").unwrap()
}

/// The first problem of a file as `line:column what`.
fn problem(bytes: &[u8]) -> String {
    let problems = parse(Path::new("a.yaml"), bytes).unwrap_err();
    assert!(problems.has_errors());
    let first = problems.0.first().unwrap();
    assert!(!first.instead.is_empty());
    format!("{}:{} {}", first.line, first.column, first.what)
}

#[test]
fn a_scalar_is_the_text_that_was_written() {
    for text in
        ["0123", "no", "1e3", "2001-01-01", "0x1F", "1.2", "True", "0o17", ".inf", "12:30:45", "1_000"]
    {
        assert_eq!(value(&format!("v: {text}")).text(&mut Problems::default()), Some(text));
    }
    for (text, meant) in [
        ("v: 'no'", "no"),
        ("v: \"a\\tb\"", "a\tb"),
        ("v: '~'", "~"),
        ("v: \"\"", ""),
        ("v: |\n  a\n  b\n", "a\nb\n"),
        ("v: >-\n  a\n  b\n", "a b"),
        ("v: CN=a,O=b # comment", "CN=a,O=b"),
        ("v: naïve", "naïve"),
    ] {
        assert_eq!(value(text).text(&mut Problems::default()), Some(meant), "{text:?}");
    }
}

#[test]
fn null_is_what_is_written_as_null_without_quotes() {
    for text in ["v:", "v: ~", "v: null", "v: Null", "{v: }", "{v}"] {
        let mut fields = Fields::of(&one(text), &mut Problems::default()).unwrap();
        assert!(fields.take("v").is_none(), "{text}");
        fields.finish(&[], &mut Problems::default());
    }
}

#[test]
fn positions_are_those_of_keys_and_values() {
    let Value::Map(entries) = one("# first\nclient_id: a\nlist:\n  - x\n  - é: {deep: 1}\n").value else {
        panic!()
    };
    let place = |at: &At| (at.line, at.column);
    assert_eq!((place(&entries[0].0.at), place(&entries[0].1.at)), ((2, 1), (2, 12)));
    let Value::List(items) = &entries[1].1.value else { panic!() };
    assert_eq!(place(&items[0].at), (4, 5));
    let Value::Map(inner) = &items[1].value else { panic!() };
    assert_eq!(place(&inner[0].1.at), (5, 8));
}

#[test]
fn several_documents_are_several_trees() {
    assert_eq!(parse_text("a: 1\n---\nb: 2\n...\n---\nc: 3\n").unwrap().len(), 3);
    assert_eq!(parse_text("---\na: 1\n").unwrap().len(), 1);
}

#[test]
fn what_is_not_plain_yaml_in_utf_8_is_refused_with_its_place() {
    for (bytes, expected) in [
        (&b""[..], "0:0 the file is empty"),
        (b"\n\n", "0:0 the file is empty"),
        (b"# only a comment\n", "0:0 the file is empty"),
        (b"---\n", "0:0 the file is empty"),
        (b"---\n---\n", "0:0 the file is empty"),
        (b"\xEF\xBB\xBFa: 1\n", "1:1 the file begins with a byte order mark"),
        (b"\xFF\xFEa\0:\0", "1:1 the file is UTF-16"),
        (b"\xFE\xFF\0a\0:", "1:1 the file is UTF-16"),
        (b"a: 1\nb: \xFF\n", "2:4 the file is not UTF-8"),
        (b"a: 1\r\nb: x\0y\n", "2:5 the character U+0000 is not allowed in YAML"),
        (b"a: \x1b[31m\n", "1:4 the character U+001B is not allowed in YAML"),
        ("a: 1\nb\u{feff}: 2\n".as_bytes(), "2:2 the character U+FEFF is not allowed in YAML"),
        (b"a: \"x\\0y\"\n", "1:4 a text cannot have a NUL in it"),
        (b"a:\n  b: 1\n  c: 2\n  b: 3\n", "4:3 the key `b` is there twice"),
        (b"{a: 1, 'a': 2}", "1:8 the key `a` is there twice"),
        (b"a: &x 1\n", "1:4 anchors (&…) are not supported"),
        (b"a: *x\n", "1:4 aliases (*…) are not supported"),
        (b"a: 1\n<<: {b: 1}\n", "2:1 merge keys (<<) are not supported"),
        (b"a: !!python/object:os.system x\n", "1:4 tags (!…) are not supported"),
        (b"a: !x {b: 1}\n", "1:4 tags (!…) are not supported"),
        (b"[a]: 1\n", "1:1 a key is text"),
        (b"{a: 1}: 1\n", "1:1 a key is text"),
        (b"~: 1\n", "1:1 a key is text"),
        (b"%YAML 1.1\n---\na: 1\n", "1:1 this is not YAML: YAML directives are disallowed"),
    ] {
        let found = problem(bytes);
        let shown = String::from_utf8_lossy(bytes);
        // The table is bytes, for it has bytes that are no text.
        assert_eq!(found, expected, "{shown:?}");
    }
    for (text, place) in
        [("a:\n\tb: 1\n", "2:"), ("a: [1\nb: 2\n", ""), ("a: 'x\n", ""), ("a: b: c\n", "1:"), ("a\nb: 1", "")]
    {
        let found = problem(text.as_bytes());
        assert!(found.starts_with(place) && found.contains("this is not YAML"), "{text:?}: {found}");
        assert!(!found.starts_with("0:"), "{text:?}: {found}");
    }
}

#[test]
fn every_problem_is_reported_not_the_first_alone() {
    let problems = parse_text("a: 1\na: 2\nb: &x 1\nc: *x\n<<: {}\nd: !!str x\n").unwrap_err();
    assert_eq!(problems.0.len(), 5, "{problems:?}");
}

#[test]
fn a_syntax_error_does_not_show_the_text_around_it() {
    for text in [
        "password: 'hunter2",
        "password: hunter2: x",
        "password: [hunter2",
        "\thunter2: [}",
        "password: \"hunter2\\q\"",
    ] {
        let problems = parse_text(text).unwrap_err();
        assert!(!format!("{problems:?}").contains("hunter2"), "{problems:?}");
    }
    let mut problems = Problems::default();
    let node = value("v: hunter2");
    let _ = (node.bool(&mut problems), node.integer(&mut problems), node.duration(&mut problems));
    let _ = (node.size(&mut problems), node.list(&mut problems), Fields::of(&node, &mut problems).is_none());
    assert_eq!(problems.0.len(), 6);
    assert!(!format!("{problems:?}").contains("hunter2"), "{problems:?}");
}

#[test]
fn bombs_are_refused_before_they_cost_anything() {
    let mut bombs = vec![
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "? ".repeat(100_000),
        "&a ".repeat(100_000),
        "!!a ".repeat(100_000),
        "a: 1\n".repeat(100_000),
        "\"".repeat(100_000),
        format!("a: [{}", "[], ".repeat(100_000)),
        "x".repeat(MAX_BYTES + 1),
    ];
    bombs.push((0..1000).map(|depth| " ".repeat(depth) + "a:\n").collect());
    bombs.push((0..9).fold("a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, level| {
        let (name, of) = (char::from(b'b' + level), char::from(b'a' + level));
        text + &format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 9].join(", "))
    }));
    for bomb in bombs {
        let begun = Instant::now();
        let problems = parse_text(&bomb).unwrap_err();
        assert!(problems.0.len() <= 110, "{}", problems.0.len());
        // In a release build each takes a few milliseconds; the bound is for slow machines.
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?} for {}", begun.elapsed(), &bomb[..20]);
    }
}

#[test]
fn wrong_types_are_problems_where_they_stand() {
    for text in ["yes", "on", "'true'", "1", "[true]", "True"] {
        let mut problems = Problems::default();
        assert_eq!(value(&format!("v: {text}")).bool(&mut problems), None, "{text}");
        assert_eq!((problems.0[0].line, problems.0[0].column), (1, 4));
    }
    for text in ["-1", "+1", "0123", "1.0", "1e3", "0x10", "'5'", "18446744073709551616", "{a: 1}"] {
        let mut problems = Problems::default();
        assert_eq!(value(&format!("v: {text}")).integer(&mut problems), None, "{text}");
        assert_eq!(problems.0.len(), 1, "{text}");
    }
    assert!(one("v: {a: 1}").text(&mut Problems::default()).is_none());
}

#[test]
fn durations_and_sizes_have_a_unit() {
    let none = &mut Problems::default();
    for (text, seconds) in [("0s", 0), ("90s", 90), ("5m", 300), ("12h", 43_200), ("30d", 2_592_000)] {
        assert_eq!(value(&format!("v: {text}")).duration(none), Some(Duration::from_secs(seconds)));
    }
    for (text, bytes) in [("512B", 512), ("64KiB", 65_536), ("1MiB", 1_048_576), ("2GiB", 1 << 31)] {
        assert_eq!(value(&format!("v: {text}")).size(none), Some(bytes));
    }
    assert!(none.0.is_empty());
    for text in ["5", "5 m", "-5m", "05m", "5M", "1h30m", "m", "1.5h", "18446744073709551615d", "'5m'"] {
        assert_eq!(value(&format!("v: {text}")).duration(&mut Problems::default()), None, "{text}");
    }
    for text in ["64", "64KB", "64kib", "KiB", "1.5MiB", "99999999999999GiB"] {
        assert_eq!(value(&format!("v: {text}")).size(&mut Problems::default()), None, "{text}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let known = ["client_id", "tls_client_auth_subject_dn", "scope"];
    let mut problems = Problems::default();
    let text = "tls_client_auth_subjet_dn: x\nSCOPE: y\nclient-id: z\nsomething_else: 1\n";
    let mut fields = Fields::of(&one(text), &mut problems).unwrap();
    assert!(fields.require("client_id", "client_id: billing", &mut problems).is_none());
    fields.finish(&known, &mut problems);
    let lines: Vec<_> = problems.0.iter().map(|problem| (problem.line, problem.instead.as_str())).collect();
    assert_eq!(
        lines,
        [
            (1, "write `client_id: billing`"),
            (1, "did you mean `tls_client_auth_subject_dn`?"),
            (2, "did you mean `scope`?"),
            (3, "did you mean `client_id`?"),
            (4, "remove it; known are: client_id, tls_client_auth_subject_dn, scope"),
        ]
    );
}

#[test]
fn a_thousand_unknown_keys_are_not_a_thousand_problems() {
    let text = (0..1000).map(|n| format!("key{n}: 1")).collect::<Vec<_>>().join("\n");
    let mut problems = Problems::default();
    Fields::of(&one(&text), &mut problems).unwrap().finish(&["client_id"], &mut problems);
    assert_eq!(problems.0.len(), 21);
}

#[test]
fn a_key_of_a_later_version_is_said_to_be_so() {
    let mut problems = Problems::default();
    let mut fields = Fields::of(&one("a: 1\njwks_uri: ~\n"), &mut problems).unwrap();
    fields.not_built("jwks_uri", &mut problems);
    fields.not_built("crl", &mut problems);
    assert_eq!(problems.0.len(), 1);
    assert_eq!(
        (problems.0[0].line, &*problems.0[0].what),
        (2, "`jwks_uri` is not supported by this version")
    );
}

#[test]
fn a_problem_prints_as_compilers_print_theirs() {
    let mut problems = Problems::default();
    let mut at = At::whole(Path::new("clients.d/a.yaml"));
    problems.warning(&at, "it is odd", "mend it");
    (at.line, at.column) = (3, 1);
    problems.error(&at, "it is wrong", "mend it");
    let printed: Vec<_> = problems.0.iter().map(ToString::to_string).collect();
    assert_eq!(
        printed,
        [
            "clients.d/a.yaml: warning: it is odd; mend it",
            "clients.d/a.yaml:3:1: error: it is wrong; mend it"
        ]
    );
}

proptest! {
    #[test]
    fn any_bytes_are_documents_or_problems(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(Path::new("a.yaml"), &bytes);
    }

    #[test]
    fn yaml_like_text_is_documents_or_problems_with_places(
        text in "([a-c]|: |- |\n|  |\\[|\\]|\\{|\\}|,|'|\"|&|\\*|!|#|\\||>|\\?|---\n|\t|é){0,60}",
    ) {
        match parse_text(&text) {
            Ok(documents) => prop_assert!(!documents.is_empty()),
            Err(problems) => prop_assert!(problems.has_errors()),
        }
    }

    #[test]
    fn any_text_between_quotes_is_that_text(text in "[ -!#-\\[\\]-~é\u{1F600}]{1,40}") {
        let node = value(&format!("v: \"{text}\""));
        prop_assert_eq!(node.text(&mut Problems::default()), Some(&*text));
    }
}

//! Real lists from real servers.

use std::path::Path;
use std::process::Command;
use std::sync::{Barrier, Weak};

use tempfile::TempDir;

use super::*;
use crate::pki::fetch::OutgoingSettings;
use crate::pki::fetch::server::{Request, Server, response};
use crate::pki::workshop::{Authority, Template};

const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

fn authority(cn: &str) -> Authority {
    Authority::new(&Template::new(cn, NOW.minus(DAY), NOW.plus(100 * DAY))).unwrap()
}

/// A list of this CA without entries, that began a second ago, as PEM.
fn list(ca: &Authority, number: u8, next_update: Timestamp) -> Vec<u8> {
    let room = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(room.path().join(name), text).unwrap();
    file("ca.pem", &ca.identity().certificate_pem());
    file("ca.key", &ca.identity().key_pem());
    file("index.txt", "");
    file("number", &format!("{number:02x}\n"));
    file(
        "ca.cnf",
        "[ca]\ndefault_ca = it\n[it]\ndatabase = index.txt\ncrlnumber = number\ndefault_md = sha256\n\
         certificate = ca.pem\nprivate_key = ca.key\ncrl_extensions = ext\n\
         [ext]\nauthorityKeyIdentifier = keyid:always\n",
    );
    let time = |at: Timestamp| at.compact().replace('T', "");
    let done = Command::new("openssl")
        .args(["ca", "-gencrl", "-config", "ca.cnf", "-out", "list.pem"])
        .args([
            "-crl_lastupdate",
            &time(NOW.minus(Duration::from_secs(1))),
            "-crl_nextupdate",
            &time(next_update),
        ])
        .current_dir(room.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    std::fs::read(room.path().join("list.pem")).unwrap()
}

/// The same list with another signature.
fn altered(pem: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(pem.to_vec()).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let in_signature = lines.len() - 3;
    let line = lines.get_mut(in_signature).unwrap();
    let other = if line.starts_with('A') { "B" } else { "A" };
    line.replace_range(..1, other);
    lines.join("\n").into_bytes()
}

/// Serves whatever is put in.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Vec<u8>>>);

impl Shelf {
    fn of(head: &str, body: &[u8]) -> (Self, Server) {
        let shelf = Self::default();
        shelf.put(head, body);
        let lent = shelf.clone();
        let server = Server::http(move |_, stream| {
            let bytes = lent.0.lock().unwrap().clone();
            stream.write_all(&bytes)
        });
        (shelf, server)
    }

    fn put(&self, head: &str, body: &[u8]) {
        *self.0.lock().unwrap() = response(head, body);
    }
}

struct Room {
    directory: TempDir,
    crls: Arc<Crls>,
    fetcher: CrlFetcher,
}

fn reaching_loopback() -> Arc<Outgoing> {
    let settings =
        OutgoingSettings { allow: vec!["127.0.0.1".parse().unwrap()], ..OutgoingSettings::default() };
    Arc::new(Outgoing::new(&settings).unwrap())
}

impl Room {
    fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap())
    }

    fn on(directory: TempDir) -> Self {
        let crls = Arc::<Crls>::default();
        let fetcher = CrlFetcher::new(directory.path().join("crl"), Arc::clone(&crls), reaching_loopback());
        Self { directory, crls, fetcher }
    }

    /// The same directory, and nothing else of before.
    fn restarted(self) -> Self {
        Self::on(self.directory)
    }

    fn want(&self, server: &Server, ca: &Authority) -> Vec<FetchOutcome> {
        self.fetcher.want(vec![wanted(server, ca)], NOW)
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.directory.path().join("crl")).map_or(0, Iterator::count)
    }

    /// The numbers of the lists in force.
    fn numbers(&self) -> Vec<String> {
        let lists = self.crls.summaries().into_iter().filter(|list| list.issuer_key.is_some());
        lists.map(|list| list.number).collect()
    }

    async fn fetch(&self, now: Timestamp) -> FetchOutcome {
        let mut outcomes = self.fetcher.fetch_due(now).await;
        assert_eq!(outcomes.len(), 1, "{outcomes:?}");
        outcomes.remove(0)
    }
}

fn wanted(server: &Server, ca: &Authority) -> CrlUrl {
    CrlUrl { url: server.url("/a.crl?key=s3cret"), issuers: issuers(&[ca]) }
}

fn issuers(all: &[&Authority]) -> Arc<[Certificate]> {
    all.iter().map(|ca| Certificate::parse(ca.identity().certificate_der()).unwrap()).collect()
}

#[tokio::test]
async fn a_list_is_fetched_at_once_and_again_when_it_is_due() {
    let ca = authority("CA");
    let (shelf, server) = Shelf::of("200 OK\r\ncache-control: max-age=600", &list(&ca, 1, NOW.plus(7 * DAY)));
    let room = Room::new();
    assert_eq!(room.want(&server, &ca), []);
    let first = room.fetch(NOW).await;
    assert_eq!((first.trouble, first.changed), (None, true));
    assert_eq!((room.numbers(), room.files()), (vec!["1".to_owned()], 1));
    assert_eq!(room.fetcher.fetch_due(NOW.plus(Duration::from_secs(599))).await, []);
    shelf.put("200 OK", &list(&ca, 2, NOW.plus(7 * DAY)));
    assert!(room.fetch(NOW.plus(Duration::from_secs(600))).await.changed);
    assert_eq!(room.numbers(), ["2"]);
    assert_eq!(room.want(&server, &ca), [], "wanted already");
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_restart_does_not_depend_on_the_network() {
    let ca = authority("CA");
    let (_shelf, server) = Shelf::of("200 OK\r\netag: \"1\"", &list(&ca, 1, NOW.plus(DAY)));
    let room = Room::new();
    room.want(&server, &ca);
    room.fetch(NOW).await;
    let url = wanted(&server, &ca).url;
    let again = room.restarted();
    let outcome = again.fetcher.want(vec![wanted(&server, &ca)], NOW);
    assert_eq!(outcome, [FetchOutcome { url, trouble: None, changed: true }]);
    assert_eq!(again.numbers(), ["1"]);
    let gone = wanted(&server, &ca);
    drop(server);
    let trouble = again.fetch(NOW).await.trouble.unwrap();
    assert!(trouble.contains("127.0.0.1") && trouble.contains("holds until"), "{trouble}");
    assert!(!trouble.contains("s3cret"), "{trouble}");
    assert_eq!(again.fetcher.troubles(), [trouble]);
    let third = again.restarted();
    third.fetcher.want(vec![gone], NOW);
    assert_eq!(third.numbers(), ["1"], "a failure does not touch what is kept");
}

#[tokio::test]
async fn what_is_there_already_is_asked_for_conditionally_also_after_a_restart() {
    let ca = authority("CA");
    let (shelf, server) = Shelf::of("200 OK\r\netag: \"1\"", &list(&ca, 1, NOW.plus(DAY)));
    let room = Room::new();
    room.want(&server, &ca);
    room.fetch(NOW).await;
    shelf.put("304 Not Modified", b"");
    let second = room.fetch(NOW.plus(HOUR)).await;
    assert_eq!((second.trouble, second.changed), (None, false));
    let room = room.restarted();
    room.want(&server, &ca);
    let third = room.fetch(NOW.plus(HOUR)).await;
    assert_eq!((third.trouble, third.changed), (None, false));
    let conditions: Vec<_> =
        server.asked().iter().map(|asked| asked.header("if-none-match").map(str::to_owned)).collect();
    assert_eq!(conditions, [None, Some("\"1\"".to_owned()), Some("\"1\"".to_owned())]);
}

#[tokio::test]
async fn the_same_bytes_again_change_nothing() {
    let ca = authority("CA");
    let (_shelf, server) = Shelf::of("200 OK", &list(&ca, 1, NOW.plus(DAY)));
    let room = Room::new();
    room.want(&server, &ca);
    assert!(room.fetch(NOW).await.changed);
    let again = room.fetch(NOW.plus(HOUR)).await;
    assert_eq!((again.trouble, again.changed), (None, false));
}

#[tokio::test]
async fn an_older_list_is_a_trouble_and_the_newer_one_stays() {
    let ca = authority("CA");
    let (shelf, server) = Shelf::of("200 OK", &list(&ca, 5, NOW.plus(DAY)));
    let room = Room::new();
    room.want(&server, &ca);
    room.fetch(NOW).await;
    shelf.put("200 OK", &list(&ca, 4, NOW.plus(2 * DAY)));
    let older = room.fetch(NOW.plus(HOUR)).await;
    assert!(!older.changed && older.trouble.is_some_and(|trouble| trouble.contains("an older list")));
    assert_eq!(room.numbers(), ["5"]);
    let room = room.restarted();
    room.want(&server, &ca);
    assert_eq!(room.numbers(), ["5"], "the older one was not kept");
}

#[tokio::test]
async fn what_is_not_the_list_of_the_issuer_is_a_trouble_and_the_old_one_stays() {
    let (ca, impostor) = (authority("CA"), authority("CA"));
    let good = list(&ca, 1, NOW.plus(DAY));
    let (shelf, server) = Shelf::of("200 OK\r\netag: \"1\"", &good);
    let room = Room::new();
    room.want(&server, &ca);
    room.fetch(NOW).await;
    let cut = good.get(..good.len() / 2).unwrap();
    let altered = altered(&good);
    let page = b"\n<!DOCTYPE html><html>Please log in</html>".as_slice();
    let mut now = NOW.plus(HOUR);
    let stranger = list(&impostor, 9, NOW.plus(DAY));
    for (what, body) in
        [("page", page), ("cut", cut), ("empty", b""), ("altered", &altered), ("stranger", &stranger)]
    {
        shelf.put("200 OK\r\netag: \"2\"", body);
        let outcome = room.fetch(now).await;
        assert!(!outcome.changed && outcome.trouble.is_some(), "{what}: {outcome:?}");
        assert!(!room.fetcher.troubles().concat().contains("log in"), "{what}");
        assert_eq!(room.numbers(), ["1"], "{what}");
        now = now.plus(HOUR);
    }
    let last = server.asked().pop().unwrap();
    assert_eq!(last.header("if-none-match"), Some("\"1\""), "what was refused is not known");
    shelf.put("200 OK", &good);
    assert_eq!(room.fetch(now).await.trouble, None);
    assert_eq!(room.fetcher.troubles(), Vec::<String>::new());
}

#[tokio::test]
async fn a_failure_is_repeated_after_a_while_and_not_at_once() {
    let ca = authority("CA");
    let (shelf, server) = Shelf::of("503 Service Unavailable", b"");
    let room = Room::new();
    room.want(&server, &ca);
    let trouble = room.fetch(NOW).await.trouble.unwrap();
    assert!(trouble.contains("answered 503") && trouble.contains("no list"), "{trouble}");
    assert_eq!(room.fetcher.fetch_due(NOW.plus(Duration::from_secs(14))).await, []);
    shelf.put("200 OK", &list(&ca, 1, NOW.plus(DAY)));
    assert!(room.fetch(NOW.plus(Duration::from_secs(15))).await.changed);
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_list_that_has_ended_is_told_and_asked_for_without_condition_every_minute() {
    let ca = authority("CA");
    let (_shelf, server) = Shelf::of("200 OK\r\netag: \"1\"", &list(&ca, 1, NOW.plus(HOUR)));
    let room = Room::new();
    room.want(&server, &ca);
    assert_eq!(room.fetch(NOW).await.trouble, None);
    let later = NOW.plus(HOUR).plus(Duration::from_secs(1));
    let trouble = room.fetch(later).await.trouble.unwrap();
    assert!(trouble.contains("no newer one"), "{trouble}");
    assert_eq!(server.asked()[1].header("if-none-match"), None);
    assert!(room.fetch(later.plus(Duration::from_secs(60))).await.trouble.is_some());
}

#[tokio::test]
async fn a_url_that_is_not_wanted_any_more_is_forgotten_with_its_file() {
    let ca = authority("CA");
    let (_shelf, server) = Shelf::of("200 OK", &list(&ca, 1, NOW.plus(DAY)));
    let room = Room::new();
    room.want(&server, &ca);
    room.fetch(NOW).await;
    assert_eq!(room.files(), 1);
    assert_eq!(room.fetcher.want(Vec::new(), NOW), []);
    assert_eq!(room.files(), 1, "a look changes nothing on the disk");
    room.fetcher.tidy();
    assert_eq!(room.files(), 0);
    assert_eq!(room.fetcher.fetch_due(NOW.plus(DAY)).await, []);
}

#[tokio::test]
async fn a_url_that_is_forgotten_while_it_is_fetched_leaves_no_file() {
    let ca = authority("CA");
    let bytes = response("200 OK", &list(&ca, 1, NOW.plus(DAY)));
    let fetcher = Arc::<Mutex<Weak<CrlFetcher>>>::default();
    let asked = Arc::clone(&fetcher);
    let server = Server::http(move |_, stream| {
        let fetcher = asked.lock().unwrap().upgrade().unwrap();
        assert_eq!(fetcher.troubles(), Vec::<String>::new(), "nobody waits for a fetch");
        fetcher.want(Vec::new(), NOW);
        stream.write_all(&bytes)
    });
    let room = Room::new();
    room.want(&server, &ca);
    let Room { directory, fetcher: inner, .. } = room;
    let shared = Arc::new(inner);
    *fetcher.lock().unwrap() = Arc::downgrade(&shared);
    assert_eq!(shared.fetch_due(NOW).await.len(), 1);
    assert_eq!(std::fs::read_dir(directory.path().join("crl")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_file_is_believed_no_more_than_the_network() {
    let ca = authority("CA");
    let good = list(&ca, 1, NOW.plus(DAY));
    let (_shelf, server) = Shelf::of("200 OK\r\netag: \"1\"", &good);
    let room = Room::new();
    let url = wanted(&server, &ca).url;
    let altered = altered(&good);
    let directory = ListDirectory(room.directory.path().join("crl"));
    let validators = Validators { etag: Some("\"1\"".into()), last_modified: None };
    directory.save(&url, &validators, Sha256::digest(&altered).into(), &altered).unwrap();
    let outcome = room.want(&server, &ca);
    assert!(outcome.iter().any(|outcome| outcome.trouble.is_some() && !outcome.changed), "{outcome:?}");
    assert_eq!((room.numbers().len(), room.fetcher.troubles().len()), (0, 1));
    assert_eq!(room.fetch(NOW).await.trouble, None);
    assert_eq!(server.asked()[0].header("if-none-match"), None);
    let room = room.restarted();
    room.want(&server, &ca);
    assert_eq!(room.numbers(), ["1"], "what was of no use is overwritten");
}

#[tokio::test]
async fn a_list_of_an_unknown_issuer_is_looked_at_again_until_its_issuer_is_known() {
    let (ca, intermediate) = (authority("CA"), authority("Issuing CA"));
    let bytes = list(&intermediate, 1, NOW.plus(DAY));
    let (_shelf, server) = Shelf::of("200 OK\r\netag: \"1\"", &bytes);
    let room = Room::new();
    room.want(&server, &ca);
    assert_eq!(room.fetch(NOW).await.trouble, None);
    assert_eq!((room.numbers().len(), room.files()), (0, 1));
    room.crls.offer(&bytes, &issuers(&[&intermediate]), NOW).unwrap();
    assert_eq!(room.fetch(NOW.plus(HOUR)).await.trouble, None);
    room.fetch(NOW.plus(2 * HOUR)).await;
    let conditions: Vec<_> =
        server.asked().iter().map(|asked| asked.header("if-none-match").is_some()).collect();
    assert_eq!(conditions, [false, false, true]);
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_a_trouble_and_the_list_is_in_force() {
    let ca = authority("CA");
    let (_shelf, server) = Shelf::of("200 OK\r\netag: \"1\"", &list(&ca, 1, NOW.plus(DAY)));
    let room = Room::new();
    std::fs::write(room.directory.path().join("crl"), "a file").unwrap();
    room.want(&server, &ca);
    let outcome = room.fetch(NOW).await;
    assert!(outcome.changed && outcome.trouble.is_some_and(|trouble| trouble.contains("on disk")));
    assert_eq!(room.numbers(), ["1"]);
    std::fs::remove_file(room.directory.path().join("crl")).unwrap();
    let again = room.fetch(NOW.plus(HOUR)).await;
    assert_eq!((again.trouble, again.changed, room.files()), (None, false, 1));
}

#[tokio::test]
async fn a_url_of_two_sets_is_asked_once_for_the_issuers_of_both() {
    let (one, two) = (authority("One"), authority("Two"));
    let both = [list(&one, 1, NOW.plus(DAY)), list(&two, 2, NOW.plus(DAY))].concat();
    let (_shelf, server) = Shelf::of("200 OK", &both);
    let room = Room::new();
    room.fetcher.want(vec![wanted(&server, &one), wanted(&server, &two)], NOW);
    assert_eq!(room.fetch(NOW).await.trouble, None);
    assert!(room.crls.summaries().iter().all(|list| list.issuer_key.is_some()));
    assert_eq!((room.numbers().len(), server.asked().len()), (2, 1));
}

#[tokio::test]
async fn other_issuers_of_a_url_see_what_was_kept() {
    let (one, two) = (authority("One"), authority("Two"));
    let (_shelf, server) = Shelf::of("200 OK", &list(&two, 1, NOW.plus(DAY)));
    let room = Room::new();
    room.want(&server, &one);
    room.fetch(NOW).await;
    let outcome =
        room.fetcher.want(vec![CrlUrl { issuers: issuers(&[&one, &two]), ..wanted(&server, &one) }], NOW);
    assert_eq!(outcome.len(), 1, "{outcome:?}");
    assert!(room.crls.summaries().iter().any(|list| list.issuer_key.is_some()));
}

#[tokio::test]
async fn eight_are_fetched_at_once_and_one_that_fails_keeps_nobody_waiting() {
    let ca = authority("CA");
    let bytes = response("200 OK", &list(&ca, 1, NOW.plus(DAY)));
    let together = Barrier::new(8);
    let server = Server::http(move |request: &Request, stream| {
        if request.path() == "/8" {
            return stream.write_all(&response("404 Not Found", b""));
        }
        together.wait();
        stream.write_all(&bytes)
    });
    let room = Room::new();
    let urls =
        (0..9).map(|number| CrlUrl { url: server.url(&format!("/{number}")), issuers: issuers(&[&ca]) });
    room.fetcher.want(urls.collect(), NOW);
    let outcomes = room.fetcher.fetch_due(NOW).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.trouble.is_none()).count(), 8, "{outcomes:?}");
    assert_eq!((outcomes.len(), room.files(), room.fetcher.troubles().len()), (9, 8, 1));
}

#[test]
fn a_directory_that_is_not_there_is_no_trouble() {
    let fetcher = CrlFetcher::new(Path::new("/nonexistent/crl").into(), Arc::default(), Arc::default());
    let url = "http://crl.example.com/".parse().unwrap();
    assert_eq!(fetcher.want(vec![CrlUrl { url, issuers: Arc::new([]) }], NOW), []);
    assert_eq!(fetcher.troubles(), Vec::<String>::new());
}

#[test]
fn a_fetch_may_run_on_any_thread() {
    fn any_thread<T: Send>(_: T) {}
    let fetcher = CrlFetcher::new(Path::new("/nonexistent/crl").into(), Arc::default(), Arc::default());
    any_thread(fetcher.fetch_due(NOW));
}

//! Notices that something has changed in a directory, and knows in which directories there is something to notice.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use crate::config::{AnchorSetSource, Config, CrlSource, IdentitySource};
use crate::registry::Registry;
use crate::world;

/// Notices that something has changed in a directory. It may miss things (limits, network file systems): the periodic
/// scan does not.
pub(super) struct Watcher {
    watcher: Option<RecommendedWatcher>,
    followed: BTreeSet<PathBuf>,
}

impl Watcher {
    pub(super) fn start(notice: mpsc::Sender<()>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is no change; and one message in the queue is enough.
            if !event.is_ok_and(|event| {
                matches!(event.kind, notify::EventKind::Access(notify::event::AccessKind::Open(_)))
            }) {
                let _ = notice.try_send(());
            }
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "files are not watched; changes are found by the periodic scan");
        }
        Self { watcher: watcher.ok(), followed: BTreeSet::new() }
    }

    /// Watches the directories of everything that may change. Directories and not files: an editor or a mounted
    /// secret replaces a file by another of its name.
    pub(super) fn follow(&mut self, config: &Config, sets: &[AnchorSetSource], registry: &Registry) {
        let Some(watcher) = &mut self.watcher else { return };
        let parent = |file: PathBuf| file.parent().map(Path::to_owned);
        let mut wanted: BTreeSet<PathBuf> =
            named_files(config, sets).into_iter().filter_map(parent).collect();
        wanted.extend(registry.certificate_files().filter_map(|file| parent(file.to_owned())));
        wanted.insert(config.clients.directory.clone());
        wanted.insert(config.signing.directory.clone());
        for directory in self.followed.difference(&wanted) {
            let _ = watcher.unwatch(directory);
        }
        self.followed = wanted
            .into_iter()
            .filter(|directory| {
                let outcome = watcher.watch(directory, RecursiveMode::NonRecursive);
                if let Err(error) = &outcome {
                    tracing::debug!(directory = %directory.display(), %error, "not watched; the periodic scan has it");
                }
                outcome.is_ok()
            })
            .collect();
    }
}

/// The files that are read again when they change: those that the configuration names, and those of the anchor sets in
/// force, `sets`, which are others where the sets of the configuration cannot take effect.
pub(super) fn named_files(config: &Config, sets: &[AnchorSetSource]) -> BTreeSet<PathBuf> {
    let sets = || config.trust_anchors.iter().chain(sets);
    let anchors = sets().flat_map(|set| std::iter::once(&set.file).chain(&set.intermediates));
    let lists = sets().flat_map(|set| &set.crl).filter_map(|source| match source {
        CrlSource::File(file) => Some(file),
        CrlSource::Url(_) => None,
    });
    let identities = world::listeners_with_tls(config).flat_map(|tls| match &tls.identity {
        IdentitySource::Files { certificate, key } => vec![certificate, key],
        IdentitySource::Pkcs12 { file, .. } => vec![file],
    });
    anchors.chain(lists).chain(identities).map(|file| file.path.clone()).collect()
}

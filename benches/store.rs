//! How many revocations a second the embedded store keeps, each on disk before it is answered, and by how many fsyncs.
//!
//! Who waits at the same time shares one fsync, so the figure grows with the number of writers. Beside it what the disk
//! can do: a file that is written and synced again and again by one. Both depend on the disk; set `TMPDIR` to choose it.

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use certbound::clock::{Clock as _, SystemClock};
use certbound::oauth::Jti;
use certbound::store::TokenStore as _;
use certbound::store::sled::Sled;
use tokio::task::JoinSet;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How long each row is measured.
const TURN: Duration = Duration::from_secs(3);

fn main() -> Outcome<()> {
    println!("{:24} {:>10} {:>10} {:>17}", "writers that wait", "writes/s", "fsyncs/s", "writes per fsync");
    for waiting in [1, 16, 256] {
        row(waiting)?;
    }
    println!("{:24} {:>10} {:>10.0}", "a file, written anew", "", bare()?);
    Ok(())
}

fn row(waiting: usize) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let (store, _) = Sled::open(&directory.path().join("data"), &directory.path().join("keys/store-id"))?;
    let store = Arc::new(store);
    let now = SystemClock.now();
    let began = Instant::now();
    let write = |store: Arc<Sled>| async move {
        let mut kept = 0_u32;
        while began.elapsed() < TURN {
            store.revoke(Jti::fresh()?, now, now.plus(TURN)).await?;
            kept += 1;
        }
        Outcome::Ok(kept)
    };
    let before = store.batches();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
    let writes = runtime.block_on(async {
        let mut all = JoinSet::new();
        for _ in 0..waiting {
            all.spawn(write(Arc::clone(&store)));
        }
        all.join_all().await.into_iter().sum::<Outcome<u32>>()
    })?;
    let (seconds, fsyncs) = (began.elapsed().as_secs_f64(), u32::try_from(store.batches() - before)?);
    let (writes, fsyncs) = (f64::from(writes), f64::from(fsyncs));
    println!("{waiting:<24} {:10.0} {:10.0} {:17.1}", writes / seconds, fsyncs / seconds, writes / fsyncs);
    Ok(())
}

/// Writes of 4 KiB to one place of a file, each synced, in a second.
fn bare() -> Outcome<f64> {
    let directory = tempfile::tempdir()?;
    let file = File::create(directory.path().join("file"))?;
    let (began, mut writes) = (Instant::now(), 0_u32);
    while began.elapsed() < TURN {
        file.write_all_at(&[0; 4096], 0)?;
        file.sync_all()?;
        writes += 1;
    }
    Ok(f64::from(writes) / began.elapsed().as_secs_f64())
}

//! Row 23: the wall clock of the engines jumps an hour, forwards and back, while they run.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::{
    cluster::Cluster,
    fleet::Process,
    stage::{PATIENCE, Stage, long},
};

/// The library of the Debian package `faketime`, which `deploy/install-test-tools` installs.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").expect("a system").flatten();
    let found = folders
        .map(|f| f.path().join("faketime/libfaketime.so.1"))
        .find(|path| path.exists());
    found.expect("libfaketime.so.1 below /usr/lib; run deploy/install-test-tools")
}

/// The wall clock of a process.
pub(crate) struct Clock {
    folder: TempDir,
}

impl Clock {
    /// One that is right.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Self { folder };
        clock.jump("+0");
        clock
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    /// With these a process goes by it.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let text = |path: PathBuf| path.to_str().expect("text").to_owned();
        vec![
            ("LD_PRELOAD", text(library())),
            ("FAKETIME_TIMESTAMP_FILE", text(self.file())),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }

    /// Puts it forwards or back, seen from the right time.
    pub(crate) fn jump(&self, to: &str) {
        // In one piece: the file is read at each look at the clock.
        let (file, fresh) = (self.file(), self.file().with_extension("fresh"));
        std::fs::write(&fresh, format!("{to}\n")).expect("written");
        std::fs::rename(fresh, file).expect("in place");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_23_the_wall_clock_jumps() {
    if !long() {
        return;
    }
    let cluster = Cluster::shared();
    let stage = Stage::new(cluster);
    let clock = Clock::new();
    let mut order = stage.order(&cluster.plain(), "engine");
    order.variables = clock.variables();
    let mut engine = Process::start(&order).await;
    let (_desk, load) = stage.load().await;
    stage.goes_on(PATIENCE).await;
    for to in ["+1h", "-1h", "+0"] {
        clock.jump(to);
        for _ in 0..3 {
            let took = stage.goes_on(2 * PATIENCE).await;
            println!("row 23: clock at {to}: committed {took:?} behind");
        }
    }
    assert!(engine.is_running());
    stage.judge(load).await;
}

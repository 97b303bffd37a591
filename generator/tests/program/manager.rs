use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

/// A state directory of its own; a generator that is left running ends with it.
struct Manager {
    state: TempDir,
}

/// Exit status and all that was said.
type Said = (i32, String);

impl Manager {
    fn new() -> Self {
        Self {
            state: tempfile::tempdir().unwrap(),
        }
    }

    fn run(&self, args: &str) -> Said {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("manager.sh");
        let output = Command::new(script)
            .args(args.split_whitespace())
            .env("WIGWAG_GENERATOR_STATE", self.state.path())
            // Takes the place of a build.
            .env(
                "WIGWAG_GENERATOR_BINARY",
                env!("CARGO_BIN_EXE_wigwag-generator"),
            )
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .concat();
        (output.status.code().unwrap(), said)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.state.path().join(name)
    }

    fn pid(&self) -> String {
        fs::read_to_string(self.file("generator.pid"))
            .unwrap()
            .trim()
            .to_owned()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.run("stop");
    }
}

fn says((status, said): Said, expected_status: i32, parts: &[&str]) {
    assert_eq!(status, expected_status, "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

const SERVE: &str = "start --listen 127.0.0.1:0";

#[test]
fn it_is_built_started_shown_and_stopped() {
    let manager = Manager::new();
    says(manager.run("init"), 0, &["ready"]);
    says(manager.run(SERVE), 0, &["started", "pid"]);
    let pid = manager.pid();
    says(manager.run("status"), 0, &["running", &pid]);
    let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(
        arguments.contains("--listen\x00127.0.0.1:0"),
        "arguments go to the generator: {arguments:?}"
    );
    says(manager.run("stop"), 0, &["stopped", &pid]);
    // Nobody may have collected it yet, but it runs no more.
    assert_eq!(
        fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default(),
        b""
    );
    assert!(!manager.file("generator.pid").exists());
    says(manager.run("status"), 3, &["not running"]);
    says(manager.run(SERVE), 0, &["started"]);
}

#[test]
fn out_of_order_it_says_what_comes_first() {
    let manager = Manager::new();
    says(manager.run(SERVE), 1, &["not built", "manager.sh init"]);
    says(manager.run("stop"), 1, &["not running"]);
    says(manager.run("status"), 3, &["not built"]);
    says(manager.run("init"), 0, &[]);
    says(manager.run("stop"), 1, &["not running", "nothing to stop"]);
    says(manager.run(SERVE), 0, &[]);
    let pid = manager.pid();
    says(
        manager.run(SERVE),
        1,
        &["already running", &pid, "manager.sh stop"],
    );
    says(
        manager.run("init"),
        1,
        &["running", &pid, "manager.sh stop"],
    );
    assert_eq!(manager.pid(), pid);
}

#[test]
fn an_unknown_word_is_refused_by_name() {
    let manager = Manager::new();
    says(
        manager.run("restart"),
        64,
        &["\"restart\"", "init|start|stop|status"],
    );
    says(manager.run(""), 64, &["init|start|stop|status"]);
    says(manager.run("stop now"), 64, &["\"now\"", "start"]);
}

#[test]
fn a_generator_that_ends_at_once_is_told_with_its_reason() {
    let manager = Manager::new();
    manager.run("init");
    says(
        manager.run("start --rate fast"),
        1,
        &["ended at once", "status 64", "rate is fast ticks a second"],
    );
    assert!(!manager.file("generator.pid").exists());
}

#[test]
fn a_stale_pid_file_is_told_and_never_signalled() {
    let manager = Manager::new();
    manager.run("init");
    // Another program has the number now.
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(manager.file("generator.pid"), format!("{}\n", other.id())).unwrap();
    let pid = other.id().to_string();
    says(
        manager.run("status"),
        1,
        &["stale", &pid, "not the generator"],
    );
    says(
        manager.run("stop"),
        1,
        &["stale", &pid, "nothing was stopped"],
    );
    assert!(
        other.try_wait().unwrap().is_none(),
        "the other program still runs"
    );
    other.kill().unwrap();
    other.wait().unwrap();
    // A process that is gone, and a file that holds no number.
    for content in [pid.as_str(), "abc", ""] {
        fs::write(manager.file("generator.pid"), content).unwrap();
        says(manager.run("status"), 1, &["stale"]);
        says(manager.run(SERVE), 0, &["stale", "started"]);
        says(manager.run("stop"), 0, &["stopped"]);
    }
}

#[test]
fn the_script_is_clean() {
    // Where there is no shellcheck, bash at least parses it.
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("manager.sh");
    let checked = Command::new("shellcheck").arg(&script).output();
    let output = checked
        .or_else(|_| Command::new("bash").arg("-n").arg(&script).output())
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

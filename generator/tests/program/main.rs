//! The real binary from outside: what it writes, posts, serves, and how it ends.

#![allow(
    clippy::unwrap_used,
    reason = "clippy knows test functions, not what they share"
)]

mod command_line;
mod http;
mod kafka;
mod listen;
mod manager;
mod replay;
mod stdout;

use std::{
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// Nothing here takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// A moment in the past at which reproducible markets begin.
const START: &str = "2026-01-05T14:30:00Z";

/// What a run left behind.
struct Ended {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: String,
}

impl Ended {
    fn lines(&self) -> Vec<&str> {
        str::from_utf8(&self.stdout).unwrap().lines().collect()
    }

    /// A count from the last line of the log.
    fn total(&self, name: &str) -> u64 {
        let done = self
            .stderr
            .lines()
            .find(|line| line.contains(" done "))
            .expect(&self.stderr);
        let field = done
            .split_whitespace()
            .find_map(|field| field.strip_prefix(&format!("{name}=")));
        field.expect(done).parse().unwrap()
    }
}

/// Starts the program with arguments separated by spaces. It ends with the handle.
fn start(args: &str) -> Child {
    start_with(args, &[])
}

fn start_with(args: &str, env: &[(&str, &str)]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wigwag-generator"));
    command
        .args(args.split_whitespace())
        .envs(env.iter().copied());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.kill_on_drop(true).spawn().unwrap()
}

async fn end(child: Child) -> Ended {
    let output = timeout(PATIENCE, child.wait_with_output())
        .await
        .expect("the program should have ended")
        .unwrap();
    Ended {
        status: output.status,
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

async fn run(args: &str) -> Ended {
    end(start(args)).await
}

/// Sends SIGTERM, waits for the end, and says how long that took.
async fn terminate(child: Child) -> (Ended, Duration) {
    let begun = Instant::now();
    let pid = child.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .await
            .unwrap()
            .success()
    );
    let ended = end(child).await;
    (ended, begun.elapsed())
}

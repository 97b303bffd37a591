//! The compiling child: sets its limits, gives up every system call that compiling does not need, and only then reads
//! what it compiles. Knows nothing of its parent but what is written here.
//!
//! Seccomp, since its filter covers files, network and processes alike; landlock, the alternative, knows only some of
//! them. Where the kernel takes no filter the child says so and goes on: limits hold it all the same.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
};

use rustix::process::{Resource, Rlimit, nice, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

use crate::plugin::runtime::engine;

/// The first byte of an answer.
pub(super) const OK: u8 = b'+';
pub(super) const REFUSED: u8 = b'-';

/// The second: whether system calls are filtered.
pub(super) const SEALED: u8 = b's';
const UNSEALED: u8 = b'u';

/// Its exit code where it cannot set its limits.
pub(super) const LIMITS_FAILED: i32 = 70;

/// Whoever trades goes before whoever compiles.
const NICENESS: i32 = 5;

/// What an allocator, a hash map's seed, a signal handler and two open pipes need.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What the child does: sets its limits, reads a component from `input`, writes the answer to `output`. Returns its
/// exit code.
pub fn compile_child(
    cpu_seconds: u64,
    memory_bytes: u64,
    mut input: impl Read,
    mut output: impl Write,
) -> i32 {
    if !limit(cpu_seconds, memory_bytes) {
        return LIMITS_FAILED;
    }
    let engine = engine();
    let seal = match seal() {
        true => SEALED,
        false => UNSEALED,
    };
    let mut bytes = Vec::new();
    if input.read_to_end(&mut bytes).is_err() {
        return 1;
    }
    let compiled = engine.and_then(|engine| engine.precompile_component(&bytes));
    let (kind, answer) = match compiled {
        Ok(artefact) => (OK, artefact),
        Err(error) => (REFUSED, format!("{error:#}").into_bytes()),
    };
    i32::from(
        output
            .write_all(&[kind, seal])
            .and_then(|()| output.write_all(&answer))
            .and_then(|()| output.flush())
            .is_err(),
    )
}

fn limit(cpu_seconds: u64, memory_bytes: u64) -> bool {
    let set = |resource, limit| {
        setrlimit(
            resource,
            Rlimit {
                current: Some(limit),
                maximum: Some(limit),
            },
        )
        .is_ok()
    };
    // Being nice is a courtesy, and no limit.
    let _ = nice(NICENESS);
    set(Resource::Cpu, cpu_seconds)
        && set(Resource::As, memory_bytes)
        && set(Resource::Core, 0)
        && set(Resource::Fsize, 0)
        && set(Resource::Nofile, 16)
        && set(Resource::Nproc, 0)
}

/// From here on each system call but the allowed ones fails with `EPERM`. False where the kernel does not take that.
fn seal() -> bool {
    filter().is_some_and(|filter| apply_filter(&filter).is_ok())
}

fn filter() -> Option<BpfProgram> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).ok()?;
    let rules: BTreeMap<_, _> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules, refused, SeccompAction::Allow, architecture).ok()?;
    filter.try_into().ok()
}

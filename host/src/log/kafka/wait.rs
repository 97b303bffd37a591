//! Keeps librdkafka's timed waits from following the wall clock. It adds each wait to the wall clock's time and waits by
//! glibc's `cnd_timedwait` until that: a clock that is set back by an hour meanwhile would hold a wait of a second up for
//! an hour, and with it heartbeats, commits and reads. This definition takes the place of glibc's in our binary, and waits
//! for the same time on the clock that nobody sets.

#![allow(
    unsafe_code,
    unreachable_pub,
    reason = "it stands for a function of the C library, on that function's own types"
)]

use std::ffi::c_int;

use libc::{
    CLOCK_MONOTONIC, CLOCK_REALTIME, ETIMEDOUT, clock_gettime, clockid_t, pthread_cond_t,
    pthread_mutex_t, timespec,
};

/// As in glibc's `threads.h`.
const SUCCESS: c_int = 0;
const ERROR: c_int = 2;
const TIMED_OUT: c_int = 4;

const NANOS: i64 = 1_000_000_000;

/// Nobody asks for a longer wait; one that seems to be was begun right before the clock was set back.
const LONGEST: i64 = 60 * NANOS;

unsafe extern "C" {
    // Of glibc 2.30 and later.
    fn pthread_cond_clockwait(
        condition: *mut pthread_cond_t,
        mutex: *mut pthread_mutex_t,
        clock: clockid_t,
        until: *const timespec,
    ) -> c_int;
}

/// Waits on a condition, whose type is the same as that of a `cnd_t`, until a time of the wall clock as that is set now.
///
/// # Safety
/// As of the function of that name in C11.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnd_timedwait(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller gives a condition and its mutex, which it holds, and a time, as C11 demands.
    let waited = unsafe {
        let left = nanos(*until)
            .saturating_sub(now(CLOCK_REALTIME))
            .min(LONGEST);
        let until = of_nanos(now(CLOCK_MONOTONIC).saturating_add(left).max(0));
        pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, &raw const until)
    };
    match waited {
        0 => SUCCESS,
        ETIMEDOUT => TIMED_OUT,
        _ => ERROR,
    }
}

fn now(clock: clockid_t) -> i64 {
    let mut now = of_nanos(0);
    // SAFETY: it is written to a place of its own; the two clocks are there on every Linux.
    unsafe { clock_gettime(clock, &raw mut now) };
    nanos(now)
}

const fn nanos(time: timespec) -> i64 {
    time.tv_sec
        .saturating_mul(NANOS)
        .saturating_add(time.tv_nsec)
}

const fn of_nanos(nanos: i64) -> timespec {
    timespec {
        tv_sec: nanos / NANOS,
        tv_nsec: nanos % NANOS,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_wait_lasts_as_long_as_the_wall_clock_says_at_its_beginning() {
        let mut condition = libc::PTHREAD_COND_INITIALIZER;
        let mut mutex = libc::PTHREAD_MUTEX_INITIALIZER;
        for (millis, least) in [(50, 40), (-1_000_000, 0)] {
            let until = of_nanos(now(CLOCK_REALTIME) + millis * 1_000_000);
            let since = Instant::now();
            // SAFETY: all three live on this stack, and no other thread knows them.
            let waited = unsafe {
                libc::pthread_mutex_lock(&raw mut mutex);
                let waited = cnd_timedwait(&raw mut condition, &raw mut mutex, &raw const until);
                libc::pthread_mutex_unlock(&raw mut mutex);
                waited
            };
            assert_eq!(waited, TIMED_OUT);
            assert!(since.elapsed() >= Duration::from_millis(least));
        }
    }
}

//! What EAL and the drivers log: kept while EAL starts, so that a failure can be explained; errors shown afterwards.
//!
//! Owns the sink given to DPDK. Refuses to explain: `explain` reads the lines; and to know who shows lines:
//! [`show_by`] says it.

use crate::failure::{Exit, Failure};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// DPDK's RTE_LOG_ERR; lower is worse.
const ERR: u32 = 4;
/// DPDK's RTE_LOG_WARNING.
const WARNING: u32 = 5;
/// DPDK's RTE_LOG_CRIT: shown even while lines are kept, for the process may end here.
const CRIT: u32 = 3;
/// DPDK's RTE_LOG_INFO.
const INFO: u32 = 7;
/// DPDK's RTE_LOG_DEBUG.
const DEBUG: u32 = 8;
/// How bad a line is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Severity {
    /// RTE_LOG_ERR or worse.
    Error,
    /// RTE_LOG_WARNING.
    Warning,
    /// Anything else.
    Note,
}

type Show = fn(Severity, &str);

static SHOW_BY: OnceLock<Show> = OnceLock::new();

/// Has lines shown by `show` instead of written to standard error. It is called on the thread that logs, which may be an
/// lcore, so it must not wait. The first call counts.
pub fn show_by(show: Show) {
    let _ = SHOW_BY.set(show);
}

/// Lines kept; older ones are forgotten.
const LINES_MAX: usize = 512;
/// A line without a newline is cut here, in bytes.
const LINE_LEN_MAX: usize = 1024;

/// The environment variable that has errors shown which a start survived: net_tap logs several on kernels that lack a
/// queueing discipline it can do without.
const SHOW: &str = "PENSTOCK_DPDK_LOG";

struct Log {
    lines: VecDeque<(u32, String)>,
    partial: String,
    /// Lines at this level or worse go to standard error at once.
    shown_level: u32,
}

static LOG: Mutex<Log> = Mutex::new(Log { lines: VecDeque::new(), partial: String::new(), shown_level: 0 });

fn log() -> MutexGuard<'static, Log> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts keeping what is logged. `verbose`: the user set log levels, so show everything they let through.
pub(super) fn capture(verbose: bool) -> Result<(), Failure> {
    log().shown_level = if verbose { DEBUG } else { CRIT };
    // SAFETY: `sink` fits the type and never unwinds; both calls are allowed before rte_eal_init.
    let code = unsafe {
        if !verbose {
            dpdk_sys::rte_log_set_global_level(INFO);
        }
        dpdk_sys::shim_log_to(Some(sink))
    };
    if code == 0 { Ok(()) } else { Err(Failure::new(Exit::Environment, "no memory for the log of EAL")) }
}

/// Ends the start: shows the errors that were kept, forgets the rest, and shows errors as they come from now on.
pub(super) fn settle(survived: bool) {
    let mut log = log();
    let errors = log.lines.iter().filter(|(level, _)| (log.shown_level + 1..=ERR).contains(level));
    if survived && std::env::var_os(SHOW).is_none() {
        let count = errors.count();
        if count > 0 {
            show(WARNING, &format!("note: DPDK logged {count} errors while starting and went on; {SHOW}=1 shows them"));
        }
    } else {
        errors.for_each(|(level, line)| show(*level, line));
    }
    log.shown_level = log.shown_level.max(ERR);
    log.lines.clear();
}

/// A warning of our own about DPDK.
pub(super) fn warn(line: &str) {
    show(WARNING, line);
}

/// Shows a line.
fn show(level: u32, line: &str) {
    let severity = match level {
        0..=ERR => Severity::Error,
        WARNING => Severity::Warning,
        _ => Severity::Note,
    };
    if let Some(show) = SHOW_BY.get() {
        show(severity, line);
        // After a critical one the process may be gone before anything else shows it.
        if level > CRIT {
            return;
        }
    }
    // Nothing is left to do about an error of standard error itself, and no reason to panic.
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{line}\n"));
}

/// The kept lines, oldest first.
pub(super) fn lines() -> Vec<String> {
    log().lines.iter().map(|(_, line)| line.clone()).collect()
}

/// Takes the kept lines that are errors, oldest first: whoever takes them shows them.
pub(super) fn take_errors() -> Vec<String> {
    let lines = std::mem::take(&mut log().lines);
    lines.into_iter().filter(|(level, _)| *level <= ERR).map(|(_, line)| line).collect()
}

unsafe extern "C" fn sink(level: u32, text: *const core::ffi::c_char, len: usize) {
    // SAFETY: the shim passes the `len` bytes that the C library hands to the stream's write function.
    let bytes = unsafe { core::slice::from_raw_parts(text.cast::<u8>(), len) };
    log().append(level, &String::from_utf8_lossy(bytes));
}

impl Log {
    fn append(&mut self, level: u32, text: &str) {
        for piece in text.split_inclusive('\n') {
            self.partial.push_str(piece.trim_end_matches('\n'));
            if piece.ends_with('\n') || self.partial.len() > LINE_LEN_MAX {
                self.end_line(level);
            }
        }
    }

    fn end_line(&mut self, level: u32) {
        let line = std::mem::take(&mut self.partial);
        if level <= self.shown_level {
            show(level, &line);
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back((level, line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_lines_and_the_oldest_are_forgotten() {
        let mut log = Log { lines: VecDeque::new(), partial: String::new(), shown_level: 0 };
        log.append(ERR, "EAL: one");
        log.append(ERR, " and a half\nEAL: two\nEAL: th");
        assert_eq!(log.lines, [(ERR, "EAL: one and a half".to_string()), (ERR, "EAL: two".to_string())]);
        for _ in 0..LINES_MAX {
            log.append(INFO, "x\n");
        }
        assert_eq!(log.lines.len(), LINES_MAX);
        assert_eq!(log.lines[0].1, "EAL: three".replace("ree", "x"));
    }
}

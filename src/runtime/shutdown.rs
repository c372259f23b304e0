//! When to drain and when to stop.
//!
//! Owns the state machine. Refuses to wait, signal or read a clock: `supervise` does.
//!
//! ```text
//! Running --TERM, INT--> Draining --INT, deadline--> Stopping
//!    '-----------------a worker ended by itself--------^
//! ```

use crate::time::Instant;
use core::time::Duration;

/// What every worker is told; read once a turn.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Command {
    /// Serve.
    Run = 0,
    /// Accept no connection, end the others, then return.
    Drain = 1,
    /// Return at once.
    Stop = 2,
}

/// Why the process was signalled.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGTERM.
    Term,
    /// SIGINT.
    Int,
}

/// How far the stop has come.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Shutdown {
    /// Serving.
    Running,
    /// Waiting for connections to end.
    Draining {
        /// Then it stops regardless.
        until: Instant,
    },
    /// Waiting for the workers to return.
    Stopping,
}

impl Shutdown {
    /// A signal: the first drains for `drain` at most, a second INT stops at once.
    pub fn handle_signal(&mut self, signal: Signal, now: Instant, drain: Duration) {
        match (*self, signal) {
            (Shutdown::Running, _) => *self = Shutdown::Draining { until: now + drain },
            (Shutdown::Draining { .. }, Signal::Int) => *self = Shutdown::Stopping,
            _ => {}
        }
    }

    /// A worker returned. That is the end of draining for this one; by itself, without being asked, it is the end for
    /// all.
    pub fn handle_worker_end(&mut self) {
        if *self == Shutdown::Running {
            *self = Shutdown::Stopping;
        }
    }

    /// Time passed.
    pub fn handle_time(&mut self, now: Instant) {
        if matches!(*self, Shutdown::Draining { until } if now >= until) {
            *self = Shutdown::Stopping;
        }
    }

    /// What the workers are told in this state.
    pub fn command(self) -> Command {
        match self {
            Shutdown::Running => Command::Run,
            Shutdown::Draining { .. } => Command::Drain,
            Shutdown::Stopping => Command::Stop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Duration = Duration::from_secs(5);

    #[test]
    fn the_first_signal_drains_a_second_int_or_the_deadline_stops() {
        let start = Instant::from_millis(1000);
        for first in [Signal::Term, Signal::Int] {
            let mut state = Shutdown::Running;
            state.handle_time(Instant::FAR);
            assert_eq!(state.command(), Command::Run);
            state.handle_signal(first, start, DRAIN);
            assert_eq!(state, Shutdown::Draining { until: start + DRAIN });
            state.handle_signal(Signal::Term, start, DRAIN);
            state.handle_worker_end();
            state.handle_time(Instant::from_millis(5999));
            assert_eq!(state.command(), Command::Drain, "neither another TERM nor a drained worker ends it");
            let mut impatient = state;
            impatient.handle_signal(Signal::Int, start, DRAIN);
            assert_eq!(impatient.command(), Command::Stop);
            state.handle_time(Instant::from_millis(6000));
            assert_eq!(state.command(), Command::Stop);
        }
    }

    #[test]
    fn a_worker_that_ends_unasked_ends_all() {
        let mut state = Shutdown::Running;
        state.handle_worker_end();
        assert_eq!(state, Shutdown::Stopping);
    }
}

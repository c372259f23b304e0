//! Errors for people: what happened, where, and what fixes it, with the exit code.
//!
//! Owns the one error type that reaches the command line. Refuses to be matched on by the data path.

use std::fmt;

/// The exit codes of README's table.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Something went wrong while running.
    Runtime = 1,
    /// The command line.
    Usage = 2,
    /// The configuration file.
    Config = 3,
    /// The machine: EAL, devices, memory, permissions.
    Environment = 4,
    /// An address or port to listen on.
    Listen = 5,
    /// A load run that says nothing about its target: the generator did not hold its own schedule.
    Invalid = 10,
    /// A load run whose results miss what was asked of the target.
    Slo = 99,
    /// The plan of a load run.
    Plan = 104,
    /// A load run that was ended before its end.
    Aborted = 105,
}

/// A failure that ends the program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Which exit code.
    pub exit: Exit,
    /// What happened and where, one line or more, without a final full stop or newline.
    pub what: String,
    /// The command or setting that fixes it.
    pub fix: Option<String>,
}

impl Failure {
    /// A failure without advice.
    pub fn new(exit: Exit, what: impl Into<String>) -> Failure {
        Failure { exit, what: what.into(), fix: None }
    }

    /// Adds the command or setting that fixes it.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Failure {
        self.fix = Some(fix.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        match &self.fix {
            Some(fix) => write!(f, "\n  fix: {}", fix.replace('\n', "\n       ")),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

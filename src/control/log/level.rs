//! `/log-level` on the admin socket, and `penstock log-level`, which asks it.
//!
//! Owns both sides of the exchange. Refuses to keep a level: `Logs` does, and a restart begins with the configured one.

use super::Logs;
use crate::config::LogLevel;
use crate::control::socket;
use crate::failure::{Exit, Failure};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where the admin socket has it.
pub const PATH: &str = "/log-level";

/// What is in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Events of this level and worse are written.
    pub level: String,
    /// What was in force before this request; None: it changed nothing.
    pub former: Option<String>,
}

impl Answer {
    /// The level alone, or the change, in one line.
    pub fn text(&self) -> String {
        match &self.former {
            None => format!("{}\n", self.level),
            Some(former) => format!("{}, was {former}\n", self.level),
        }
    }

    /// One JSON object in one line.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

/// Answers a question for the level.
pub fn show(logs: &Logs) -> Answer {
    Answer { level: logs.level().name().into(), former: None }
}

/// Sets the level that a query such as `level=debug` names.
///
/// # Errors
/// What to write instead.
pub fn set(logs: &Logs, query: &str) -> Result<Answer, String> {
    let named = query.strip_prefix("level=").ok_or("write PUT /log-level?level=LEVEL")?;
    let level = LogLevel::named(named).ok_or("the level is error, warn, info or debug")?;
    let former = logs.set_level(level);
    Ok(Answer { level: level.name().into(), former: Some(former.name().into()) })
}

/// Asks the gateway behind a socket for its level, or to set it.
///
/// # Errors
/// `Exit::Runtime` when it does not answer, or not in a way that is understood.
pub fn ask(socket: &Path, level: Option<LogLevel>) -> Result<Answer, Failure> {
    let answer = match level {
        None => socket::get(socket, PATH),
        Some(level) => socket::put(socket, &format!("{PATH}?level={}", level.name())),
    }?;
    serde_json::from_slice(&answer).map_err(|error| {
        Failure::new(Exit::Runtime, format!("{} does not answer as a gateway does: {error}", socket.display()))
            .fix("name a gateway's admin socket: --socket PATH")
    })
}

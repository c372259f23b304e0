//! What the program tells its operator while it runs: events, one line each, as JSON or as text.
//!
//! Owns where lines go, their form, and the level, which may change at any time. Refuses to be used on a worker's turn:
//! workers count, and `watch` turns counters that move into events. docs/logs.md describes every event.

pub mod events;
pub mod level;
pub mod queue;
pub mod watch;

#[cfg(test)]
mod tests;

use crate::config::{LogConfig, LogFormat, LogLevel};
use crate::failure::{Exit, Failure};
use queue::Queue;
use std::fs::File;
use std::io::{self, IsTerminal, Write as _};
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::time::Duration;
use tracing::Dispatch;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, fmt, reload};

/// Standard error has this long to take the last words.
const COMPLAIN_MAX: Duration = Duration::from_secs(1);

/// The program's log; clones are the same one.
#[derive(Clone)]
pub struct Logs {
    queue: Queue,
    level: reload::Handle<LevelFilter, Registry>,
    dispatch: Dispatch,
    json: bool,
}

impl Logs {
    /// Has this process's events written to standard output from now on.
    ///
    /// # Errors
    /// `Exit::Environment` when there is no thread or file descriptor to be had, or it was done before.
    pub fn start(config: LogConfig) -> Result<Logs, Failure> {
        let stdout = io::stdout();
        let json = is_json(config.format, stdout.is_terminal());
        // Without std's line buffer: it would keep part of a line that could not be written.
        let out = stdout.as_fd().try_clone_to_owned().map_err(|error| no_log(&error))?;
        let logs = Logs::to(File::from(out), config.level, json).map_err(|error| no_log(&error))?;
        tracing::dispatcher::set_global_default(logs.dispatch.clone())
            .map_err(|error| no_log(&io::Error::other(error)))?;
        Ok(logs)
    }

    /// A log that writes to `out`, which nothing speaks to yet.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn to(out: impl io::Write + Send + 'static, level: LogLevel, json: bool) -> io::Result<Logs> {
        let queue = Queue::start(out)?;
        let (filter, level) = reload::Layer::new(filter(level));
        let (registry, writer) = (Registry::default().with(filter), queue.clone());
        let writer = move || writer.clone();
        let dispatch = if json {
            let form = fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
            Dispatch::new(registry.with(form.with_writer(writer)))
        } else {
            // The message says in words what the fields say.
            let message = debug_fn(|text, field, value| match field.name() {
                "message" => write!(text, "{value:?}"),
                _ => Ok(()),
            });
            let form = fmt::layer().with_ansi(false).with_target(false).fmt_fields(message);
            Dispatch::new(registry.with(form.with_writer(writer)))
        };
        Ok(Logs { queue, level, dispatch, json })
    }

    /// Whether lines are JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Events of this level and worse are written.
    pub fn level(&self) -> LogLevel {
        let current = self.level.with_current(|filter| *filter).unwrap_or(LevelFilter::INFO);
        LogLevel::ALL.into_iter().find(|level| filter(*level) == current).unwrap_or_default()
    }

    /// Changes the level, and says so while the more talkative one of both is in force. Returns the former one.
    pub fn set_level(&self, level: LogLevel) -> LogLevel {
        let former = self.level();
        // The layer it changes lives as long as `dispatch`.
        let change = || drop(self.level.modify(|current| *current = filter(level)));
        tracing::dispatcher::with_default(&self.dispatch, || {
            if level > former {
                change();
            }
            events::log_level(level.name(), former.name());
            change();
        });
        former
    }

    /// Says that the program ends with an error, where the log is for machines; see [`complain`] for people.
    pub fn fail(&self, failure: &Failure) {
        if self.json {
            events::failed(failure.exit as u64, failure.fix.as_deref(), &failure.what);
        }
        self.flush();
    }

    /// Lines that nobody took in time, since the start.
    pub fn lost(&self) -> u64 {
        self.queue.lost()
    }

    /// Whether a line said now would be written.
    pub fn has_room(&self) -> bool {
        self.queue.has_room()
    }

    /// Runs `call` on the thread that writes.
    pub fn on_writer(&self, call: impl FnOnce() + Send + 'static) {
        self.queue.call(call);
    }

    /// Waits a moment for what was said to be written; a reader that takes nothing is not waited for any longer.
    pub fn flush(&self) {
        self.queue.flush();
    }
}

/// Tells a failure in words on standard error. A reader that takes nothing is not waited for any longer than a moment, and
/// a closed one leaves only the exit code to tell.
pub fn complain(failure: &Failure) {
    let (text, (told, heard)) = (format!("{failure}\n"), mpsc::channel());
    let tell = move || {
        let _ = io::stderr().write_all(text.as_bytes());
        let _ = told.send(());
    };
    if std::thread::Builder::new().spawn(tell).is_ok() {
        let _ = heard.recv_timeout(COMPLAIN_MAX);
    }
}

/// Has the lines that `call` says recorded.
#[cfg(test)]
pub(crate) fn record(level: LogLevel, json: bool, call: impl FnOnce(&Logs)) -> (Vec<String>, Logs) {
    #[derive(Clone, Default)]
    struct Record(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
    impl io::Write for Record {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let record = Record::default();
    let logs = Logs::to(record.clone(), level, json).unwrap();
    tracing::dispatcher::with_default(&logs.dispatch, || call(&logs));
    logs.flush();
    let text = String::from_utf8(record.0.lock().unwrap().clone()).unwrap();
    (text.lines().map(str::to_string).collect(), logs)
}

fn no_log(error: &io::Error) -> Failure {
    Failure::new(Exit::Environment, format!("the log cannot be started: {error}"))
}

fn is_json(format: LogFormat, terminal: bool) -> bool {
    match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    }
}

//! Results as files.
//!
//! Owns which outputs there are, and that a reader never sees half a file. Refuses to choose names.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::model::{Run, SCHEMA};
use super::{csv, hdr, html, influx, junit};
use crate::failure::{Exit, Failure};

/// Where results go; `-` is standard output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// The result document.
    pub json: Option<PathBuf>,
    /// The course of the run.
    pub csv: Option<PathBuf>,
    /// Latency by percentile, HdrHistogram's text.
    pub hgrm: Option<PathBuf>,
    /// Histograms of each interval, HdrHistogram's log.
    pub hdr_log: Option<PathBuf>,
    /// Thresholds as test cases.
    pub junit: Option<PathBuf>,
    /// The course of the run for InfluxDB.
    pub influx: Option<PathBuf>,
    /// The report for people.
    pub html: Option<PathBuf>,
}

/// Makes the text of an output.
type Make = fn(&Run) -> Result<String, String>;

/// Writes every output that is asked for. Each file appears whole or not at all.
///
/// # Errors
/// The first output that could not be made; those before it are written.
pub fn write_all(run: &Run, outputs: &Outputs) -> Result<(), Failure> {
    let made: [(&Option<PathBuf>, Make); 7] = [
        (&outputs.json, json),
        (&outputs.csv, |run| Ok(csv::csv(run))),
        (&outputs.hgrm, hdr::hgrm),
        (&outputs.hdr_log, hdr::interval_log),
        (&outputs.junit, |run| Ok(junit::junit(run))),
        (&outputs.influx, influx::influx),
        (&outputs.html, html::html),
    ];
    for (path, make) in made {
        if let Some(path) = path {
            let text = make(run)
                .map_err(|error| Failure::new(Exit::Runtime, format!("cannot make {}: {error}", path.display())))?;
            write(path, &text)?;
        }
    }
    Ok(())
}

/// The result document as text, with a final line feed.
///
/// # Errors
/// When a figure is not a number.
pub fn json(run: &Run) -> Result<String, String> {
    serde_json::to_string_pretty(run).map(|text| text + "\n").map_err(|error| error.to_string())
}

/// Reads a result document; `-` is standard input.
///
/// # Errors
/// When the file cannot be read, is not a result, or is one of another version.
pub fn read(path: &Path) -> Result<Run, Failure> {
    let shown = path.display();
    let failure =
        |what: String| Failure::new(Exit::Runtime, what).fix("a file written by penstock load run --json FILE");
    let text =
        if path == Path::new("-") { std::io::read_to_string(std::io::stdin()) } else { fs::read_to_string(path) };
    let text = text.map_err(|error| failure(format!("cannot read {shown}: {error}")))?;
    parse(&text).map_err(|error| failure(format!("{shown} is not a result: {error}")))
}

/// A result document from text.
///
/// # Errors
/// When it is not one, is one of another version, or has a histogram that cannot be decoded.
pub fn parse(text: &str) -> Result<Run, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(SCHEMA) => {}
        Some(version) => return Err(format!("its schema is {version}, this program reads {SCHEMA}")),
        None => return Err("it has no schema number".into()),
    }
    let run: Run = serde_json::from_value(value).map_err(|error| error.to_string())?;
    run.check()?;
    Ok(run)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failure = |error: std::io::Error| {
        Failure::new(Exit::Runtime, format!("cannot write {}: {error}", path.display()))
            .fix("a folder that exists and may be written to")
    };
    if path == Path::new("-") {
        let mut out = std::io::stdout().lock();
        return out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(failure);
    }
    // What a link leads to is replaced, not the link; a pipe or device is written to.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if fs::metadata(&target).is_ok_and(|metadata| !metadata.is_file()) {
        return fs::OpenOptions::new()
            .write(true)
            .open(&target)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(failure);
    }
    let mut name = target.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = target.with_file_name(name);
    let written = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &target));
    written.map_err(|error| {
        let _ = fs::remove_file(&temporary);
        failure(error)
    })
}

//! From flags and a TOML plan to a checked [`Plan`].
//!
//! Owns everything a user can get wrong in them, reported as in a configuration file: place, what is wrong, what fixes it,
//! several at once. Refuses to judge results and to write them. `schema` lists every key once; flags are keys that are
//! written elsewhere, and win.

use core::net::IpAddr;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::load;
use super::load::reader::Section;
use super::load::report::Report;
use crate::config::Config;
use crate::failure::{Exit, Failure};
use crate::loadgen::plan::Plan;
pub use flags::LoadRunArguments;
use flags::{CommandLine, set};
use schema::NAME_MAX;

mod build;
mod flags;
pub mod rate;
mod request;
pub mod schema;
mod stages;
pub mod target;
pub mod threshold;

#[cfg(test)]
mod tests;

pub use request::{sha256, statuses};

/// What `penstock load run` needs.
#[derive(Clone, PartialEq, Debug)]
pub struct Loaded {
    /// What to do.
    pub plan: Plan,
    /// With what: port, workers and buffers. It has no listeners and no routes, and no metrics and admin socket.
    pub config: Config,
    /// Where results go.
    pub outputs: Outputs,
    /// What results call this run.
    pub name: String,
    /// SHA-256 of what the plan says, in hexadecimal: equal for equal plans, however they are written.
    pub hash: String,
}

/// Where results go, besides the terminal.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outputs {
    /// The result document.
    pub json: Option<Output>,
    /// The course of the run as a table.
    pub csv: Option<Output>,
    /// The latency by percentile.
    pub hgrm: Option<Output>,
    /// The latency by interval.
    pub hdr_log: Option<Output>,
    /// The thresholds as JUnit XML.
    pub junit: Option<Output>,
    /// The course of the run in InfluxDB's line protocol.
    pub influx: Option<Output>,
    /// A report with plots.
    pub html: Option<Output>,
    /// No progress on the terminal.
    pub quiet: bool,
}

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// A file, written anew.
    File(PathBuf),
}

/// A plan from the command line and the file it names.
pub fn from_arguments(arguments: &LoadRunArguments) -> Result<Loaded, Failure> {
    let read = |path: &PathBuf| {
        let name = path.display().to_string();
        let text = load::read_text(path, &name).map_err(as_plan)?;
        Ok::<_, Failure>((name, text, path.parent().unwrap_or(Path::new("")).to_path_buf()))
    };
    match arguments.plan.as_ref().map(read).transpose()? {
        Some((name, text, base_dir)) => from_text(&name, &text, &base_dir, arguments),
        None => from_text("the command line", "", Path::new(""), arguments),
    }
}

/// A plan from the text of a file, which messages call `name`, and flags that win over it.
pub fn from_text(name: &str, text: &str, base_dir: &Path, arguments: &LoadRunArguments) -> Result<Loaded, Failure> {
    let outputs = outputs(arguments)?;
    let line = CommandLine::new(arguments, text.len() + 1);
    let all = format!("{text}\n{}", line.text);
    let report = Report::with_command_line(name, &all, text.len() + 1);
    let (file, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        report.add(
            error.span().unwrap_or(0..0),
            format!("not valid TOML: {}", error.message()),
            load::syntax_fix(error),
        );
    }
    report.check().map_err(as_plan)?;
    line.report(&report);
    let mut document = file.into_inner();
    merge(&mut document, line.document);
    overlay(&mut document, &line.requests);
    let root = Section::new(&report, &schema::ROOT, &document, 0..0);
    let built = build::plan(&root, base_dir, arguments.abort_on_fail);
    report.check().map_err(as_plan)?;
    // Without a problem reported there is a plan.
    let (plan, config, name) = built.ok_or_else(|| Failure::new(Exit::Plan, "the plan is incomplete"))?;
    Ok(Loaded { hash: hash(&plan), plan, config, outputs, name })
}

/// The same failure, of a plan.
fn as_plan(failure: Failure) -> Failure {
    let what = failure.what.replace("the configuration file", "the plan").replace("a configuration file", "a plan");
    let fix = failure.fix.map(|fix| {
        fix.replace("-c FILE; dpdk-config/ has", "--plan FILE; dpdk-config/load/ has").replace("-c FILE", "--plan FILE")
    });
    Failure { exit: Exit::Plan, what, fix }
}

/// Adds the flags to the file's document: they win key by key, thresholds add up, and a rate or stages replace what the file
/// has of either.
fn merge<'a>(document: &mut DeTable<'a>, flags: DeTable<'a>) {
    let load = flags.get("load").and_then(|load| load.get_ref().as_table());
    let rate = load.is_some_and(|load| ["rate", "duration", "spike"].iter().any(|key| load.contains_key(*key)));
    if rate {
        document.remove("stages");
    }
    if let Some(DeValue::Table(load)) = document.get_mut("load").map(Spanned::get_mut)
        && flags.contains_key("stages")
    {
        ["rate", "duration", "spike"].into_iter().for_each(|key| drop(load.remove(key)));
    }
    for (name, value) in flags {
        let adds = name.get_ref() == "thresholds";
        match (document.get_mut(name.get_ref().as_ref()).map(Spanned::get_mut), value.get_ref()) {
            (Some(DeValue::Table(own)), DeValue::Table(more)) => {
                for (key, value) in more.clone() {
                    match value.get_ref() {
                        DeValue::Array(values) if adds => {
                            values.iter().for_each(|value| flags::append(own, key.clone(), value.clone()));
                        }
                        _ => {
                            own.remove(key.get_ref().as_ref());
                            own.insert(key, value);
                        }
                    }
                }
            }
            _ => {
                document.insert(name, value);
            }
        }
    }
}

/// Adds the flags of requests to each request of the document, or makes one of them.
fn overlay<'a>(document: &mut DeTable<'a>, flags: &DeTable<'a>) {
    if flags.is_empty() {
        return;
    }
    if !document.contains_key("requests") {
        let place = flags.values().map(Spanned::span).min_by_key(|span| span.start).unwrap_or(0..0);
        let one = Spanned::new(place.clone(), DeValue::Table(DeTable::new()));
        set(document, "requests", Spanned::new(place, DeValue::Array(std::iter::once(one).collect())));
    }
    let Some(DeValue::Array(requests)) = document.get_mut("requests").map(Spanned::get_mut) else { return };
    for request in requests.iter_mut() {
        let DeValue::Table(request) = request.get_mut() else { continue };
        for name in flags.keys() {
            if name.get_ref().starts_with("body") {
                ["body", "body_file", "body_size"].into_iter().for_each(|key| drop(request.remove(key)));
            }
        }
        for (name, value) in flags {
            match (request.get_mut(name.get_ref().as_ref()).map(Spanned::get_mut), value.get_ref()) {
                (Some(DeValue::Table(own)), DeValue::Table(more)) => {
                    let replaced = |name: &&String| more.keys().any(|new| new.get_ref().eq_ignore_ascii_case(name));
                    let names: Vec<String> = own.keys().map(|key| key.get_ref().to_string()).collect();
                    names.iter().filter(replaced).for_each(|name| drop(own.remove(name.as_str())));
                    own.extend(more.clone());
                }
                _ => {
                    request.remove(name.get_ref().as_ref());
                    request.insert(name.clone(), value.clone());
                }
            }
        }
    }
}

fn outputs(arguments: &LoadRunArguments) -> Result<Outputs, Failure> {
    let output = |path: &Option<PathBuf>| {
        let output = |path: &PathBuf| if path.as_os_str() == "-" { Output::Stdout } else { Output::File(path.clone()) };
        path.as_ref().map(output)
    };
    let a = arguments;
    let outputs = Outputs {
        json: output(&a.json),
        csv: output(&a.csv),
        hgrm: output(&a.hgrm),
        hdr_log: output(&a.hdr_log),
        junit: output(&a.junit),
        influx: output(&a.influx),
        html: output(&a.html),
        quiet: a.quiet,
    };
    let Outputs { json, csv, hgrm, hdr_log, junit, influx, html, .. } = &outputs;
    let named = [("--json", json), ("--csv", csv), ("--hgrm", hgrm), ("--hdr-log", hdr_log), ("--junit", junit)];
    let named: Vec<_> = named.into_iter().chain([("--influx", influx), ("--html", html)]).collect();
    for (n, (flag, output)) in named.iter().enumerate() {
        if let Some((other, _)) = named[..n].iter().find(|(_, other)| output.is_some() && other == output) {
            let what = format!("the command line: {other} and {flag} write to the same place");
            return Err(Failure::new(Exit::Plan, what).fix("give each a file of its own"));
        }
    }
    Ok(outputs)
}

/// A name that results can show and thresholds can choose.
fn check_name(report: &Report, text: &Spanned<&str>) -> Option<String> {
    let name = text.get_ref().trim();
    let fine = |c: char| !c.is_control() && !"{}:,".contains(c);
    if !name.is_empty() && name.len() <= NAME_MAX && name.chars().all(fine) {
        return Some(name.to_string());
    }
    let fix =
        format!("names have 1 to {NAME_MAX} bytes, without control characters and without {{, }}, : and the comma");
    report.add(text.span(), format!("not a name: {name:?}"), fix);
    None
}

/// SHA-256 of the plan, in hexadecimal.
fn hash(plan: &Plan) -> String {
    let mut hash = Sha256::new();
    // Contents can be large, and the plan's own text would be several times that.
    let mut slim = plan.clone();
    for class in &mut slim.classes {
        hash.update(class.body.len().to_le_bytes());
        hash.update(&class.body);
        class.body = (*b"").into();
    }
    hash.update(format!("{slim:?}"));
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether two addresses are of one family.
fn same_family(one: &IpAddr, other: &IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

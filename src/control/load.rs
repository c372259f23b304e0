//! From a TOML file to a checked [`Config`].
//!
//! Owns everything a user can get wrong in the file: each mistake is reported with file, line, column, the line itself
//! and a suggestion, several at once. Refuses to read anything but that file and the response bodies it names.
//! `schema` lists every key once; reading, range checks and docs/configuration.md follow it.

use std::fs;
use std::io::Read;
use std::path::Path;

use toml::de::DeTable;

use crate::config::Config;
use crate::failure::{Exit, Failure};
use crate::gateway::Gateway;
use crate::limits::CONFIG_FILE_MAX;
use reader::Section;
use report::Report;

pub(super) mod body;
pub(super) mod network;
mod operate;
pub(super) mod reader;
pub(super) mod report;
mod route;
pub mod schema;
mod section;
pub mod units;

#[cfg(test)]
pub(super) mod table;
#[cfg(test)]
mod tests;

/// Loads a configuration file; the response bodies it names are found relative to it.
pub fn load_file(path: &Path) -> Result<Config, Failure> {
    let name = path.display().to_string();
    let text = read_text(path, &name)?;
    let base = path.parent().unwrap_or(Path::new(""));
    load_str(&name, &text, base)
}

/// Loads a configuration from `text`; `name` is what messages call it, `base_dir` where response bodies are found.
pub fn load_str(name: &str, text: &str, base_dir: &Path) -> Result<Config, Failure> {
    let report = Report::new(name, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        report.add(error.span().unwrap_or(0..0), format!("not valid TOML: {}", error.message()), syntax_fix(error));
    }
    // A file that does not parse has holes, and complaining about keys that fell into them would mislead.
    report.check()?;
    let config = config(&report, document.get_ref(), base_dir);
    report.check()?;
    // What only shows when the answers are built, such as a header section that no transmit ring holds.
    Gateway::new(&config).map_err(|failure| Failure { what: format!("{name}: {}", failure.what), ..failure })?;
    Ok(config)
}

fn config(report: &Report, document: &DeTable, base_dir: &Path) -> Config {
    let root = Section::new(report, &schema::ROOT, document, 0..0);
    let port = root.section("port");
    if root.lacks("port") {
        let fix = "add: [port]\naddress = \"10.7.0.2/24\"";
        report.add_missing("there is no [port] section, so the gateway would have no address", fix);
    }
    let port = network::port(&port.unwrap_or_else(|| Section::empty(report, &schema::PORT)));
    Config {
        listeners: network::listeners(&root, &port),
        workers: section::workers(&root.section_or_empty("workers")),
        http: section::http(&root.section_or_empty("http")),
        tcp: section::tcp(&root.section_or_empty("tcp")),
        metrics: operate::metrics(&root.section_or_empty("metrics")),
        admin: operate::admin(&root.section_or_empty("admin")),
        log: operate::log(&root.section_or_empty("log")),
        routes: route::routes(&root, base_dir),
        port,
    }
}

pub(super) fn syntax_fix(error: &toml::de::Error) -> String {
    let message = error.message();
    let fix = if message.contains("duplicate key") {
        "keep one of the two; sections that may be repeated have double brackets, such as [[route]]"
    } else if message.contains("string values must be quoted") || message.contains("expected a value") {
        "put quotes around text and around numbers with a unit: \"10s\", \"64KiB\""
    } else {
        "the form is: key = \"text\", key = 80, key = [\"a\", \"b\"]; sections: [port], [[listener]], [[route]]"
    };
    fix.to_string()
}

pub(super) fn read_text(path: &Path, name: &str) -> Result<String, Failure> {
    let fail = |what: String| Failure::new(Exit::Config, what);
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(CONFIG_FILE_MAX as u64 + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        let fix = match error.kind() {
            std::io::ErrorKind::NotFound => "name an existing file: -c FILE; dpdk-config/ has examples to copy",
            std::io::ErrorKind::PermissionDenied => {
                "run as root, or make the file readable for this user: chmod a+r FILE"
            }
            _ => "name a TOML file: -c FILE",
        };
        return Err(fail(format!("cannot read the configuration file {name}: {error}")).fix(fix));
    }
    if bytes.len() > CONFIG_FILE_MAX {
        let max = units::show_size(CONFIG_FILE_MAX as u64);
        return Err(fail(format!("{name}: a configuration file has at most {max}"))
            .fix("put large response bodies into files of their own: respond = { file = \"PATH\" }"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|b| **b == b'\n').count() + 1;
        let column = valid.iter().rev().take_while(|b| **b != b'\n').filter(|b| **b & 0xc0 != 0x80).count() + 1;
        fail(format!("{name}:{line}:{column}: not UTF-8 text")).fix("save the file as UTF-8")
    })
}

//! How a report looks: text for people, JSON for programs.
//!
//! Owns the wording of the verdict and the JSON schema that docs/troubleshooting.md describes. Refuses to judge.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{Finding, Report, Severity};
use crate::failure::Exit;

/// The version of the JSON object; it changes when a field changes its meaning or goes.
const SCHEMA: u32 = 1;
const INDENT: &str = "           ";

pub fn text(report: &Report, color: bool) -> String {
    let mut text = String::new();
    for group in &report.groups {
        let _ = writeln!(text, "{}", paint(color, "1", group.area));
        for finding in &group.findings {
            show(&mut text, finding, color);
        }
    }
    let _ = writeln!(text, "\n{}", verdict(report, color));
    text
}

fn show(text: &mut String, finding: &Finding, color: bool) {
    let code = match finding.severity {
        Severity::Fatal => "1;31",
        Severity::Warning => "33",
        Severity::Note => "36",
        Severity::Ok => "32",
    };
    let name = paint(color, code, &format!("{:<7}", finding.severity.name()));
    let what = indented(&finding.what, "");
    let id = if finding.severity == Severity::Ok { String::new() } else { format!("  [{}]", finding.id) };
    let _ = writeln!(text, "  {name}  {what}{id}");
    for (label, value) in [("why: ", &finding.why), ("fix: ", &finding.fix)] {
        if !value.is_empty() {
            let _ = writeln!(text, "{INDENT}{label}{}", indented(value, "     "));
        }
    }
}

fn indented(text: &str, further: &str) -> String {
    text.replace('\n', &format!("\n{INDENT}{further}"))
}

fn paint(color: bool, code: &str, text: &str) -> String {
    if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
}

fn verdict(report: &Report, color: bool) -> String {
    let (fatal, warnings) = (report.count(Severity::Fatal), report.count(Severity::Warning));
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let also = match warnings {
        0 => String::new(),
        count => format!(", {count} warning{}", plural(count)),
    };
    // Without a configuration nobody knows what it would have to start.
    let subject = if report.config.is_some() { "the gateway" } else { "a gateway" };
    match fatal {
        0 if warnings == 0 => paint(color, "32", &format!("verdict: healthy: {subject} can start")),
        0 => paint(color, "33", &format!("verdict: {subject} can start{also}")),
        count => paint(
            color,
            "1;31",
            &format!("verdict: {subject} cannot start: {count} fatal finding{}{also}", plural(count)),
        ),
    }
}

pub fn json(report: &Report) -> String {
    let fatal = report.count(Severity::Fatal);
    let warnings = report.count(Severity::Warning);
    let findings: Vec<Value> = report
        .groups
        .iter()
        .flat_map(|group| group.findings.iter().map(move |finding| (group.area, finding)))
        .map(|(area, finding)| {
            json!({
                "id": finding.id,
                "area": area,
                "severity": finding.severity.name(),
                "what": finding.what,
                "why": finding.why,
                "fix": finding.fix,
            })
        })
        .collect();
    let verdict = match (fatal, warnings) {
        (0, 0) => "healthy",
        (0, _) => "warnings",
        _ => "cannot-start",
    };
    let object = json!({
        "schema": SCHEMA,
        "penstock": env!("CARGO_PKG_VERSION"),
        "config": report.config,
        "verdict": verdict,
        "exit": if fatal > 0 { Exit::Environment as u8 } else { 0 },
        "fatal": fatal,
        "warnings": warnings,
        "findings": findings,
    });
    format!("{object:#}\n")
}

//! Lines as they are written: form, level, and that the documentation has every event.

use super::watch::{Kind, LinkNotice, Notice, QUIET, Sight, Watch};
use super::*;
use crate::telemetry::Counter;
use crate::time::Instant;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn a_json_line_has_time_level_target_event_message_and_fields() {
    let (lines, _) = record(LogLevel::Info, true, |_| {
        events::draining("TERM", 5.0);
        events::failed(4, Some("first\nsecond"), "no \"device\"\n\u{1b}[31m");
        events::failed(4, None, "x");
        events::stopped();
    });
    let all: Vec<Value> = lines.iter().map(|line| json(line)).collect();
    let draining = all[0].as_object().unwrap();
    let names: BTreeSet<&str> = draining.keys().map(String::as_str).collect();
    let expected = ["timestamp", "level", "target", "event", "message", "signal", "timeout_seconds"];
    assert_eq!(names, expected.into());
    assert_eq!((&draining["level"], &draining["target"]), (&"INFO".into(), &"runtime".into()));
    assert_eq!((&draining["event"], &draining["timeout_seconds"]), (&"draining".into(), &5.0.into()));
    assert_eq!(draining["message"], "TERM: draining connections for up to 5 s; INT again stops at once");
    // RFC 3339 in UTC, to the microsecond.
    let time = draining["timestamp"].as_str().unwrap();
    assert!(regex::Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$").unwrap().is_match(time), "{time}");
    assert_eq!((&all[1]["fix"], &all[1]["exit_code"]), (&"first\nsecond".into(), &4.into()));
    assert!(all[1]["message"].as_str().unwrap().starts_with("no \"device\"\n"), "{}", lines[1]);
    assert!(all[2].get("fix").is_none());
    assert_eq!(all.len(), 4);
}

#[test]
fn a_text_line_has_time_level_and_message() {
    let (lines, _) = record(LogLevel::Info, false, |logs| {
        events::ready(2);
        events::leaked("pool_0", 3);
        logs.fail(&Failure::new(Exit::Environment, "standard error has this one"));
    });
    let parts: Vec<Vec<&str>> = lines.iter().map(|line| line.splitn(3, char::is_whitespace).collect()).collect();
    assert!(parts[0][0].ends_with('Z') && parts[0][0].len() == 27, "{lines:?}");
    assert_eq!(lines[0].split_once("Z ").unwrap().1, " INFO ready");
    assert_eq!(lines[1].split_once("Z ").unwrap().1, " WARN warning: 3 frames of pool pool_0 leaked");
    assert_eq!(lines.len(), 2);
}

#[test]
fn the_level_hides_and_shows_and_its_change_is_said() {
    let (lines, logs) = record(LogLevel::Info, true, |logs| {
        let debug = || events::counter_moved("arp", "m", 1, 1, 1.0);
        debug();
        assert_eq!(logs.set_level(LogLevel::Debug), LogLevel::Info);
        debug();
        assert_eq!(logs.set_level(LogLevel::Error), LogLevel::Debug);
        events::cut(1);
        debug();
        events::dpdk_error("x");
        logs.set_level(LogLevel::Warn);
        events::cut(2);
        logs.set_level(LogLevel::Warn);
    });
    let events: Vec<String> = lines.iter().map(|line| json(line)["event"].as_str().unwrap().to_string()).collect();
    assert_eq!(events, ["log_level", "counter_moved", "log_level", "dpdk_error", "cut"]);
    let change = json(&lines[2]);
    assert_eq!((&change["former_level"], &change["new_level"]), (&"debug".into(), &"error".into()));
    assert_eq!((logs.level(), logs.lost()), (LogLevel::Warn, 0));
}

#[test]
fn auto_is_text_on_a_terminal() {
    let cases = LogFormat::ALL.map(|format| (is_json(format, true), is_json(format, false)));
    assert_eq!(cases, [(false, true), (false, false), (true, true)]);
}

/// What a look at these numbers says.
fn look(watch: &mut Watch, ms: u64, counts: &[(Counter, u64)], level: LogLevel) -> Vec<(&'static str, u64, u64)> {
    let sum = |counter| counts.iter().find(|(own, _)| *own == counter).map_or(0, |(_, count)| *count);
    let sight = Sight { sum: &sum, stats: &[], link_up: None, lost: 0 };
    let (notices, _) = watch.look(Instant::from_millis(ms), &sight, level);
    notices.iter().map(|notice| (notice.subject.reason, notice.count, notice.total)).collect()
}

#[test]
fn a_reason_is_said_at_once_and_then_every_ten_seconds_with_what_it_missed() {
    let mut watch = Watch::new(Instant::ZERO);
    let mut said = Vec::new();
    // A flood, 1000 a second for half a minute, and then silence.
    for second in 1..60 {
        let total = 1000 * second.min(30);
        let counts = [(Counter::DropHalfOpenLimit, total), (Counter::DropTcpChecksum, u64::from(second >= 5))];
        said.extend(look(&mut watch, 1000 * second, &counts, LogLevel::Info).into_iter().map(|s| (second, s)));
    }
    let half_open = |second, count, total| (second, ("half_open_limit", count, total));
    let expected = [
        half_open(1, 1000, 1000),
        (5, ("tcp_checksum", 1, 1)),
        half_open(11, 10_000, 11_000),
        half_open(21, 10_000, 21_000),
        half_open(31, 9_000, 30_000),
    ];
    assert_eq!(said, expected);
}

#[test]
fn what_the_level_hides_is_counted_until_it_is_shown() {
    let mut watch = Watch::new(Instant::ZERO);
    let arp = |n| [(Counter::DropArp, n), (Counter::RxFrames, n), (Counter::HttpHeadBuffers, n)];
    assert!(look(&mut watch, 1000, &arp(5), LogLevel::Error).is_empty());
    assert_eq!(look(&mut watch, 2000, &arp(6), LogLevel::Info), [("head_buffers", 6, 6)]);
    assert_eq!(look(&mut watch, 3000, &arp(7), LogLevel::Debug), [("arp", 7, 7)]);
    assert_eq!(look(&mut watch, 13_000, &arp(7), LogLevel::Debug), [("head_buffers", 1, 7)]);
}

#[test]
fn a_look_is_due_once_a_second() {
    let mut watch = Watch::new(Instant::ZERO);
    assert!(watch.is_due(Instant::ZERO));
    look(&mut watch, 500, &[], LogLevel::Info);
    assert!(!watch.is_due(Instant::from_millis(1499)) && watch.is_due(Instant::from_millis(1500)));
}

#[test]
fn the_device_and_the_log_itself_are_watched() {
    let mut watch = Watch::new(Instant::ZERO);
    let stats = [("imissed", 3), ("ipackets", 9), ("rx_nombuf", 2)].map(|(name, n)| (name.to_string(), n));
    let sight = Sight { sum: &|_| 0, stats: &stats, link_up: None, lost: 4 };
    let (notices, _) = watch.look(Instant::from_millis(2000), &sight, LogLevel::Info);
    let said: Vec<_> =
        notices.iter().map(|notice| (notice.subject.kind, notice.subject.reason, notice.count)).collect();
    assert_eq!(said, [(Kind::Limit, "rx_missed", 3), (Kind::Limit, "rx_no_frame", 2), (Kind::Lost, "log_lines", 4)]);
    let (lines, _) = record(LogLevel::Info, true, |_| notices.iter().for_each(Notice::say));
    assert_eq!(json(&lines[0])["seconds"], 2.0);
    assert_eq!(json(&lines[2])["event"], "log_lost");
}

#[test]
fn a_budget_is_unlimited_until_it_is_renewed_and_counts_what_it_refuses() {
    let budget = watch::Budget::unlimited();
    let taken = || (0..200).filter(|_| budget.take()).count();
    assert_eq!((taken(), budget.renew(3)), (200, 0));
    assert_eq!((taken(), budget.renew(0)), (3, 197));
    assert_eq!((taken(), budget.renew(9)), (0, 200));
    assert_eq!(budget.renew(9), 0);
}

#[test]
fn a_link_that_flaps_is_said_every_ten_seconds_with_its_changes() {
    let mut watch = Watch::new(Instant::ZERO);
    let mut see = |second: u64, up| {
        let sight = Sight { sum: &|_| 0, stats: &[], link_up: up, lost: 0 };
        watch.look(Instant::from_millis(1000 * second), &sight, LogLevel::Info).1
    };
    assert_eq!([see(1, None), see(2, Some(true)), see(3, None)], [None; 3], "up is no news, nor is not to know");
    assert_eq!(see(4, Some(false)), Some(LinkNotice { up: false, changes: 1 }));
    let flapping: Vec<_> = (5..14).map(|second| see(second, Some(second % 2 == 1))).collect();
    assert_eq!(flapping, [None; 9]);
    assert_eq!(see(4 + QUIET.as_secs(), Some(false)), Some(LinkNotice { up: false, changes: 10 }));
    assert_eq!(see(60, None), None);
    assert_eq!(see(61, Some(true)), Some(LinkNotice { up: true, changes: 1 }));
}

#[test]
fn every_dropped_frame_is_watched_and_every_warning_names_a_fix() {
    for counter in Counter::ALL {
        let dropped = counter.describe().0 == "penstock_dropped_frames_total";
        assert!(!dropped || watch::judge(*counter).is_some(), "{counter:?}");
    }
    for subject in watch::subjects() {
        assert_eq!(subject.fix.is_empty(), subject.kind == Kind::Moved, "{subject:?}");
    }
}

#[test]
fn the_documentation_has_every_event_field_and_reason() {
    let doc = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/logs.md")).unwrap();
    let rows = |heading: &str| -> Vec<String> {
        let section = doc.split("\n## ").find(|section| section.starts_with(heading)).unwrap_or_default();
        section.lines().filter(|line| line.starts_with("| `")).map(str::to_string).collect()
    };
    let quoted = |names: &[&str]| match names {
        [] => "-".to_string(),
        names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    };
    let all = events::ALL;
    let common = ["timestamp", "level", "target", "event", "message"];
    // Twice the same name would be JSON that readers understand differently.
    assert!(all.iter().all(|event| event.fields.iter().all(|field| !common.contains(field))));
    let expected: Vec<String> = all
        .iter()
        .map(|e| format!("| `{}` | {} | `{}` | {} | {} |", e.name, e.level, e.target, quoted(e.fields), e.when))
        .collect();
    assert_eq!(rows("Events"), expected, "\n{}\n", expected.join("\n"));
    let reasons: Vec<String> = watch::subjects()
        .map(|s| format!("| `{}` | `{}` | `{}` | {} |", s.reason, s.kind.event(), s.metric, s.fix))
        .collect();
    assert_eq!(rows("Reasons"), reasons, "\n{}\n", reasons.join("\n"));
    let first = |row: &String| row.split('`').nth(1).unwrap_or_default().to_string();
    let described: BTreeSet<String> = rows("Fields").iter().map(first).collect();
    let used = all.iter().flat_map(|event| event.fields).map(|field| field.to_string());
    let common = common.map(str::to_string);
    assert_eq!(described, used.chain(common).collect(), "docs/logs.md (left) and the events (right) differ");
}

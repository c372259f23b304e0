//! Each output, read by its own consumer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use penstock::loadgen::plan::{Aggregation, Comparison, Metric};
use penstock::report::live::Screen;
use penstock::report::write::{self, json};
use penstock::report::{Outputs, Run, csv, hdr, html, influx, junit, schema, table, write_all};
use serde_json::Value;

use super::fixture::{Script, feed, threshold};
use super::validator::errors;

/// A run with everything in it: failures, waiting, a broken threshold, names that have to be escaped.
fn eventful() -> Run {
    let mut script = Script::new(11);
    script.failed = 0.02;
    script.waited = 5;
    script.plan.stages[1].name = "steady, \"quoted\" <b> 速い".into();
    script.plan.thresholds = vec![
        threshold(Metric::Duration, Aggregation::Percentile(99.0), Comparison::Less, 1e9),
        threshold(Metric::Failed, Aggregation::Rate, Comparison::Less, 0.005),
    ];
    script.run("night run & <more> a=b, c\\")
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn json_is_as_the_published_schema_says_and_reads_back_the_same() {
    let committed = read("docs/load-result.schema.json");
    assert!(committed == schema(), "refresh it: UPDATE=1 cargo test --test report schema_file");
    let document: Value = serde_json::from_str(&committed).unwrap();
    for run in [eventful(), Script::new(1).run("quiet")] {
        let text = json(&run).unwrap();
        let mut value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(errors(&document, &document, &value, ""), [""; 0]);
        assert_eq!(write::parse(&text).unwrap(), run);
        // And it refuses: an unknown field, a missing one, a wrong type.
        value["surprise"] = 1.into();
        value["total"]["requests"] = "many".into();
        value["plan"].as_object_mut().unwrap().remove("hash");
        let found = errors(&document, &document, &value, "").join("\n");
        assert!(["/surprise", "/total/requests", "required"].iter().all(|what| found.contains(what)), "{found}");
    }
}

#[test]
fn schema_file_can_be_refreshed() {
    if std::env::var_os("UPDATE").is_none() {
        eprintln!("skipped: set UPDATE=1 to write docs/load-result.schema.json");
        return;
    }
    fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/load-result.schema.json"), schema()).unwrap();
}

#[test]
fn a_damaged_document_is_refused_with_its_reason() {
    let run = Script::new(2).run("x");
    type Damage = fn(&mut Value);
    let broken: [(&str, Damage); 7] = [
        ("schema is 2", |v| v["schema"] = 2.into()),
        ("no schema number", |v| drop(v.as_object_mut().unwrap().remove("schema"))),
        ("not base64", |v| v["total"]["latency"]["histogram"] = "!".into()),
        ("not HdrHistogram", |v| v["total"]["latency"]["histogram"] = "AAAA".into()),
        ("and says 7", |v| v["intervals"][3]["latency"]["count"] = 7.into()),
        ("do not fit", |v| v["cells"] = Value::Array(Vec::new())),
        ("has no stamp", |v| v["workers"][0]["machine"] = 9.into()),
    ];
    for (reason, damage) in broken {
        let mut value = serde_json::to_value(&run).unwrap();
        damage(&mut value);
        let error = write::parse(&value.to_string()).unwrap_err();
        assert!(error.contains(reason), "{reason}: {error}");
    }
}

#[test]
fn hgrm_has_the_percentiles_of_the_histogram() {
    let run = eventful();
    let histogram = run.total.latency.decode().unwrap();
    let text = hdr::hgrm(&run).unwrap();
    let mut rows = 0;
    let mut last = (0.0, 0);
    for line in text.lines().skip(2).filter(|line| !line.starts_with('#')) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let (value, quantile): (f64, f64) = (cells[0].parse().unwrap(), cells[1].parse().unwrap());
        let count: u64 = cells[2].parse().unwrap();
        let expected = histogram.value_at_quantile(quantile) as f64 / 1e6;
        assert!((value - expected).abs() <= expected * 0.001 + 1e-6, "{line}: {expected}");
        assert_eq!(count, histogram.count_between(0, (value * 1e6).round() as u64), "{line}");
        assert!(value >= last.0 && count >= last.1, "{line}");
        if quantile < 1.0 {
            let inverse: f64 = cells[3].parse().unwrap();
            assert!((inverse - 1.0 / (1.0 - quantile)).abs() < 0.01, "{line}");
        } else {
            assert_eq!(cells.len(), 3);
        }
        (last, rows) = ((value, count), rows + 1);
    }
    assert!(rows > 30, "{text}");
    assert_eq!(last.1, run.total.requests);
    assert!(text.contains(&format!("Total count    = {:12}]", run.total.requests)), "{text}");
}

#[test]
fn the_interval_log_holds_each_interval() {
    let run = eventful();
    let text = hdr::interval_log(&run).unwrap();
    let mut by_tag: BTreeMap<String, Histogram<u64>> = BTreeMap::new();
    let mut start_time = None;
    for entry in IntervalLogIterator::new(text.as_bytes()) {
        match entry.unwrap() {
            LogEntry::StartTime(time) => start_time = Some(time.as_secs_f64()),
            LogEntry::BaseTime(time) => assert_eq!(Some(time.as_secs_f64()), start_time),
            LogEntry::Interval(interval) => {
                let bytes = base64(interval.encoded_histogram());
                let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
                assert!((interval.max() - histogram.max() as f64 / 1e6).abs() < 0.01);
                assert!((interval.duration().as_secs_f64() - 1.0).abs() < 0.001);
                let tag = interval.tag().unwrap().as_str().to_string();
                by_tag.entry(tag).or_insert_with(penstock::loadgen::record::histogram).add(&histogram).unwrap();
            }
        }
    }
    assert_eq!(start_time, Some(1_777_863_721.5));
    let whole: u64 = run.intervals.iter().map(|point| point.latency.count).sum();
    assert_eq!(by_tag["latency"].len(), whole);
    assert_eq!(by_tag["connect"].len(), 400);
    // The intervals of judged time are the total, as nothing is under way across their borders here.
    let judged: u64 = run.intervals.iter().filter(|point| point.judged).map(|point| point.latency.count).sum();
    assert_eq!(judged, run.total.requests);
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

#[test]
fn csv_has_a_line_for_each_interval_and_every_cell() {
    let run = eventful();
    let text = csv::csv(&run);
    let rows: Vec<Vec<String>> = text.split_terminator("\r\n").map(cells).collect();
    assert_eq!(rows.len(), run.intervals.len() + 1);
    assert!(rows.iter().all(|row| row.len() == rows[0].len()));
    let column = |name: &str| rows[0].iter().position(|cell| cell == name).unwrap();
    for (row, point) in rows[1..].iter().zip(&run.intervals) {
        assert_eq!(row[column("stage")], point.stage);
        assert_eq!(row[column("latency_p99_ns")], point.latency.p99_ns.to_string());
        assert_eq!(row[column("failed")], point.failed.to_string());
    }
}

/// The cells of a line (RFC 4180); no cell of these tests has a line feed.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut quoted) = (vec![String::new()], false);
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                cells.last_mut().unwrap().push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            c => cells.last_mut().unwrap().push(c),
        }
    }
    cells
}

#[test]
fn junit_counts_what_it_holds() {
    let mut invalid = Script::new(3);
    (invalid.lag_ns, invalid.plan.thresholds) = (9e5, eventful_thresholds());
    let mut aborted = Script::new(3).run("cut");
    aborted.aborted = Some(penstock::report::model::Aborted { reason: "p99 <bad>".into(), by_threshold: true });
    penstock::report::verdict::judge(&mut aborted).unwrap();
    for (run, errors, failures, skipped) in
        [(eventful(), 0, 1, 0), (invalid.run("x"), 1, 0, 2), (Script::new(3).run("y"), 0, 0, 0), (aborted, 0, 1, 0)]
    {
        let text = junit::junit(&run);
        let document = roxmltree::Document::parse(&text).unwrap();
        let count = |name: &str| document.descendants().filter(|node| node.has_tag_name(name)).count();
        let suite = document.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
        let says = |name: &str| suite.attribute(name).unwrap().parse::<usize>().unwrap();
        assert_eq!((count("testcase"), count("error")), (says("tests"), says("errors")), "{text}");
        assert_eq!((count("failure"), count("skipped")), (says("failures"), says("skipped")), "{text}");
        assert_eq!((says("errors"), says("failures"), says("skipped")), (errors, failures, skipped), "{text}");
        assert_eq!(suite.attribute("name"), Some(run.name.as_str()));
    }
}

fn eventful_thresholds() -> Vec<penstock::loadgen::plan::Threshold> {
    vec![
        threshold(Metric::Duration, Aggregation::Max, Comparison::Less, 1e9),
        threshold(Metric::Requests, Aggregation::Rate, Comparison::Greater, 1.0),
    ]
}

#[test]
fn line_protocol_parses() {
    let run = eventful();
    let text = influx::influx(&run).unwrap();
    let lines: Vec<Line> = text.lines().map(Line::parse).collect();
    assert_eq!(lines.len(), run.intervals.len() + 1);
    for (line, point) in lines.iter().zip(&run.intervals) {
        assert_eq!(line.measurement, "penstock_load");
        assert_eq!(line.tags["stage"], point.stage);
        assert_eq!(line.fields["latency_p99_ns"], format!("{}i", point.latency.p99_ns));
        let at = 1_777_863_721.5 + point.end_s;
        assert!((line.time as f64 / 1e9 - at).abs() < 1e-3);
    }
    let last = lines.last().unwrap();
    assert_eq!(last.tags["run"], "night run & <more> a=b, c");
    assert_eq!(last.fields["verdict"], "\"FAIL\"");
}

/// A line of the protocol, taken apart by its grammar: measurement[,tag=value..] field=value[,..] timestamp.
struct Line {
    measurement: String,
    tags: BTreeMap<String, String>,
    fields: BTreeMap<String, String>,
    time: i128,
}

impl Line {
    fn parse(text: &str) -> Line {
        let parts = split(text, ' ');
        assert_eq!(parts.len(), 3, "{text}");
        let series = split(&parts[0], ',');
        let pairs = |items: &[String]| -> BTreeMap<String, String> {
            items
                .iter()
                .map(|item| {
                    let pair = split(item, '=');
                    assert!(pair.len() == 2 && pair.iter().all(|half| !half.is_empty()), "{item}");
                    let plain = |text: &str| text.replace("\\ ", " ").replace("\\,", ",").replace("\\=", "=");
                    (plain(&pair[0]), plain(&pair[1]))
                })
                .collect()
        };
        let fields = pairs(&split(&parts[1], ','));
        for (name, value) in &fields {
            let number = value.strip_suffix('i').map_or(value.parse::<f64>().is_ok(), |n| n.parse::<i64>().is_ok());
            assert!(number || (value.starts_with('"') && value.ends_with('"')), "{name}={value}");
        }
        let (measurement, tags) = (series[0].clone(), pairs(&series[1..]));
        Line { measurement, tags, fields, time: parts[2].parse().unwrap() }
    }
}

/// At separators that no backslash precedes.
fn split(text: &str, separator: char) -> Vec<String> {
    let (mut parts, mut escaped) = (vec![String::new()], false);
    for c in text.chars() {
        if c == separator && !escaped {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(c);
        }
        escaped = c == '\\' && !escaped;
    }
    parts
}

#[test]
fn html_is_well_formed_and_needs_nothing_else() {
    for run in [eventful(), Script::new(1).run("quiet")] {
        let text = html::html(&run).unwrap();
        let body = text.strip_prefix("<!DOCTYPE html>\n").unwrap();
        let document = roxmltree::Document::parse(body).unwrap_or_else(|error| panic!("{error}"));
        let ids: Vec<&str> = document.descendants().filter_map(|node| node.attribute("id")).collect();
        for node in document.descendants().filter(roxmltree::Node::is_element) {
            let name = node.tag_name().name();
            assert!(!["script", "link", "img", "iframe", "object"].contains(&name), "{name}");
            for attribute in ["src", "href", "onload"] {
                assert_eq!(node.attribute(attribute), None, "{name}");
            }
            if name == "svg" && node.attribute("role").is_some() {
                let children = || node.children().filter(roxmltree::Node::is_element);
                let text_of =
                    |tag: &str| children().find(|child| child.has_tag_name(("http://www.w3.org/2000/svg", tag)));
                assert!(text_of("title").and_then(|t| t.text()).is_some_and(|text| !text.is_empty()));
                assert!(text_of("desc").and_then(|t| t.text()).is_some_and(|text| !text.is_empty()));
                let named = node.attribute("aria-labelledby").unwrap();
                assert!(named.split(' ').all(|id| ids.contains(&id)), "{named}");
            }
        }
        let mut unique = ids.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), ids.len(), "an id stands twice");
        assert!(!text.contains("url(") && !text.contains("@import") && !text.contains("NaN") && !text.contains("inf"));
    }
}

#[test]
fn the_table_shows_both_clocks_and_colors_only_when_asked() {
    let run = eventful();
    let plain = table(&run, false);
    for word in ["latency", "service", "lag", "time error", "timeout", "FAIL", "waited", "p99.99"] {
        assert!(plain.contains(word), "{word}: {plain}");
    }
    assert!(!plain.contains('\x1b'));
    assert!(table(&run, true).contains("\x1b[1;31mFAIL"));
    // Wide characters take two columns: what follows them stands below its header all the same.
    use unicode_width::UnicodeWidthStr;
    let lines: Vec<&str> = plain.lines().collect();
    let header = lines.iter().position(|line| line.starts_with("stage ")).unwrap();
    let widths: Vec<usize> = lines[header..header + 3].iter().map(|line| line.width()).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "{widths:?}\n{plain}");
}

#[test]
fn a_view_replaces_itself_and_fits_the_terminal() {
    use unicode_width::UnicodeWidthStr;
    let script = Script::new(5);
    let (intervals, _) = script.play();
    let mut collector = script.collector("live");
    let mut screen = Screen::default();
    assert!(collector.live().line().contains("no interval yet"));
    assert!(!screen.frame(&collector.live(), 80).contains('\x1b'));
    feed(&mut collector, &intervals, 0..4);
    let live = collector.live();
    let line = live.line();
    for part in ["4s steady", "2.00k req/s", "p99.9", "lag p99", "18s left"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    for width in [10, 40, 80, 200] {
        assert!(live.view(width).iter().all(|line| line.width() <= width), "{width}");
    }
    let lines = live.view(80).len();
    assert!(screen.frame(&live, 80).starts_with("\x1b[2A\r\x1b[J"), "the two lines before the first interval");
    assert_eq!(screen.clear(), format!("\x1b[{lines}A\r\x1b[J"));
    assert_eq!(screen.clear(), "");
}

#[test]
fn files_appear_whole_and_nothing_else_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| Some(folder.path().join(name));
    let outputs = Outputs {
        json: at("r.json"),
        csv: at("r.csv"),
        hgrm: at("r.hgrm"),
        hdr_log: at("r.hlog"),
        junit: at("r.xml"),
        influx: at("r.lp"),
        html: at("r.html"),
    };
    let run = eventful();
    fs::write(folder.path().join("r.csv"), "old").unwrap();
    std::os::unix::fs::symlink("r.csv", folder.path().join("link")).unwrap();
    write_all(&run, &outputs).unwrap();
    write_all(&run, &Outputs { csv: at("link"), json: Some(PathBuf::from("/dev/null")), ..Outputs::default() })
        .unwrap();
    let mut names: Vec<String> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["link", "r.csv", "r.hgrm", "r.hlog", "r.html", "r.json", "r.lp", "r.xml"]);
    assert!(fs::symlink_metadata(folder.path().join("link")).unwrap().is_symlink());
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
    assert_eq!(write::read(&folder.path().join("r.json")).unwrap(), run);
    let missing = Outputs { csv: at("no/such/folder.csv"), ..Outputs::default() };
    assert!(write_all(&run, &missing).unwrap_err().to_string().contains("no/such/folder.csv"));
    assert!(write::read(&folder.path().join("r.csv")).unwrap_err().to_string().contains("is not a result"));
}

/// For looking at it: writes the report of false runs into the folder that REPORT names.
#[test]
fn reports_can_be_looked_at() {
    let Some(folder) = std::env::var_os("REPORT").map(PathBuf::from) else {
        eprintln!("skipped: set REPORT to a folder to write reports into");
        return;
    };
    let mut long = Script::new(9);
    long.plan.stages[1].duration = std::time::Duration::from_secs(120);
    (long.level, long.slow_from, long.failed) = ((0.25, 0.7), 90.0, 0.001);
    for (name, run) in [("eventful", eventful()), ("quiet", Script::new(1).run("quiet")), ("long", long.run("long"))] {
        let at = |end: &str| Some(folder.join(format!("{name}.{end}")));
        write_all(&run, &Outputs { html: at("html"), json: at("json"), ..Outputs::default() }).unwrap();
        fs::write(folder.join(format!("{name}.txt")), table(&run, false)).unwrap();
    }
}

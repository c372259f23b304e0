//! Configuration files, and everything that is made of a valid one.
//!
//! Owns what has to hold for any text: mistakes have a place in it, a comment at its end changes nothing, and of a valid
//! one come answers, metrics and EAL arguments that others can read. Refuses files that name the kernel's own folders.

use penstock::config::{Config, LogLevel};
use penstock::control::fingerprint::fingerprint;
use penstock::control::load::load_str;
use penstock::control::log::Logs;
use penstock::control::status::{self, Status};
use penstock::control::subject::{Device, DeviceView, Phase, PoolView, Probe, Subject, Worker};
use penstock::control::{metrics, summary};
use penstock::failure::Failure;
use penstock::gateway::Gateway;
use penstock::http::response::{Connection, Prepared};
use penstock::runtime::plan::{Machine, Plan};
use penstock::telemetry::Counters;
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// Any text as a configuration file.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // Reading those can wait for ever.
    if ["/proc", "/dev", "/sys", ".."].iter().any(|folder| text.contains(folder)) {
        return;
    }
    let load = |text: &str| load_str("f", text, Path::new("/nonexistent"));
    match load(text) {
        Err(failure) => places(text, &failure),
        Ok(config) => {
            let again = load(&format!("{text}\n# comment")).expect("a comment is no mistake");
            assert_eq!(fingerprint(&config), fingerprint(&again), "a comment means something");
            assert_eq!(config, again);
            assert!(summary::summary(Path::new("f"), &config).ends_with("config OK\n"));
            Gateway::new(&config).expect("the loader has tried it");
            answers(&config);
            plan(&config);
            shown(config);
        }
    }
}

/// Each `f:LINE:COLUMN` is in the text.
fn places(text: &str, failure: &Failure) {
    assert_eq!(failure.exit as u8, 3, "{failure}");
    let lines: Vec<&str> = text.split('\n').collect();
    for place in failure.what.lines().filter_map(|line| line.strip_prefix("f:")) {
        let mut numbers = place.splitn(3, ':');
        let (Some(line), Some(column)) = (numbers.next(), numbers.next()) else { continue };
        let (Ok(line), Ok(column)) = (line.parse::<usize>(), column.parse::<usize>()) else { continue };
        let named = line.checked_sub(1).and_then(|line| lines.get(line));
        let named = named.unwrap_or_else(|| panic!("there is no line {line}: {failure}"));
        assert!((1..=named.chars().count() + 1).contains(&column), "line {line} has no column {column}: {failure}");
    }
}

const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

/// Every answer is one that httparse reads.
fn answers(config: &Config) {
    for route in &config.routes {
        let respond = &route.respond;
        let prepared = Prepared::new(respond.status, &respond.headers, respond.body.bytes().into()).expect("an answer");
        for connection in [Connection::Persist, Connection::KeepAlive, Connection::Close] {
            let mut headers = [httparse::EMPTY_HEADER; 48];
            let mut read = httparse::Response::new(&mut headers);
            let template = prepared.head(connection);
            let mut head = vec![0; template.len()];
            assert_eq!(template.write(DATE, &mut head), Some(head.len()));
            assert_eq!(read.parse(&head), Ok(httparse::Status::Complete(head.len())));
            assert_eq!(read.code, Some(respond.status));
            let own: Vec<_> = respond.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
            let sent = read.headers.iter().map(|field| (field.name, field.value));
            assert!(own.iter().all(|field| sent.clone().any(|sent| sent == *field)), "a field is missing");
        }
    }
}

fn plan(config: &Config) {
    let machine = Machine { cpus: vec![0, 3, 200], free_hugepages: 4096, pid: 7 };
    if let Ok(plan) = Plan::make(config, &machine, |workers| 64 * workers as u64) {
        assert!(plan.args.iter().all(|arg| !arg.contains('\0') && !arg.is_empty()), "{:?}", plan.args);
        assert!((1..=3).contains(&plan.workers));
    }
}

static LOGS: LazyLock<Logs> =
    LazyLock::new(|| Logs::to(std::io::sink(), LogLevel::Info, true).expect("a thread for the log"));

struct Fixed;

impl Probe for Fixed {
    fn now_ns(&self) -> u64 {
        5_000_000_000
    }

    fn phase(&self) -> Phase {
        Phase::Serving
    }

    fn look(&self) -> Option<DeviceView> {
        let pools = vec![PoolView { name: "pool".into(), frames: 4096, in_use: 1 }];
        Some(DeviceView { link_up: None, stats: vec![("ipackets".into(), 1)], xstats: vec![], pools })
    }
}

/// Metrics and status of a gateway with this configuration.
fn shown(config: Config) {
    let counters = Counters::with_requests(config.listeners.len(), config.routes.len());
    let routes = (0..config.routes.len()).map(Some).chain([None]);
    routes.for_each(|route| counters.requests.count(0, counters.requests.cell(route, 0, 200)));
    let subject = Subject {
        config_hash: fingerprint(&config),
        dpdk: "DPDK".into(),
        device: Device { name: "net\"a\\b".into(), driver: "net".into(), mac: "02:00:00:00:00:01".into() },
        workers: vec![Worker { lcore: 1, cpu: Some(1), node: None, counters: Arc::new(counters) }],
        probe: Box::new(Fixed),
        logs: LOGS.clone(),
        config: Arc::new(config),
    };
    let view = subject.view();
    for line in metrics::render(&subject, &view).lines() {
        assert!(line.starts_with("# HELP ") || line.starts_with("# TYPE ") || is_sample(line), "{line}");
    }
    let status = Status::of(&subject, &view);
    let json = serde_json::to_vec(&status).expect("JSON");
    let read: Status = serde_json::from_slice(&json).expect("the same release reads it");
    assert_eq!((&read.requests, &read.listeners), (&status.requests, &status.listeners));
    assert!(!status::table(&status).is_empty());
}

/// `name{label="value",...} number`, with quotes and backslashes escaped.
fn is_sample(line: &str) -> bool {
    let name = line.find(['{', ' ']).unwrap_or(0);
    let (name, mut rest) = line.split_at(name);
    if let Some(labels) = rest.strip_prefix('{') {
        let Some(end) = labels_end(labels) else { return false };
        rest = &labels[end..];
    }
    !name.is_empty() && rest.strip_prefix(' ').is_some_and(|number| number.parse::<f64>().is_ok())
}

/// Behind the bracket that closes the labels.
fn labels_end(labels: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in labels.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

//! The flags of `penstock load run`, as keys of a plan that are written on the command line.
//!
//! Owns the flags and which key each one is. Refuses to judge values: they go through the same reader as a file's, and
//! messages point into the command line. What is no part of the plan, such as outputs, is taken as it is.

use core::ops::Range;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::rate::{self, Mistake};
use super::schema;
use super::threshold;
use crate::control::load::report::Report;
use crate::control::load::schema::{Kind, PORT, Schema};

/// What `penstock load run` is given; `from_arguments` makes a plan of it.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Load")]
pub struct LoadRunArguments {
    /// Where to: http://HOST[:PORT][/PATH]
    pub url: Option<String>,
    /// A plan (TOML) to begin with; flags win over what it says
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Requests per second of all workers together; FROM->TO for a ramp; max: a closed loop
    #[arg(short, long, value_name = "N[k|M][/s]|FROM->TO|max")]
    pub rate: Option<String>,
    /// How long, with --rate [default: 30s]
    #[arg(short, long, value_name = "DURATION")]
    pub duration: Option<String>,
    /// constant or poisson [default: constant]
    #[arg(long, value_name = "KIND")]
    pub arrivals: Option<String>,
    /// A part of the run; may be repeated, instead of --rate
    #[arg(long, value_name = "[NAME:]RATE:DURATION")]
    pub stage: Vec<String>,
    /// Another rate for some time, with --rate; may be repeated
    #[arg(long, value_name = "RATE:START:DURATION")]
    pub spike: Vec<String>,
    /// Before the rest, at the rate it starts with; not judged
    #[arg(long, value_name = "DURATION")]
    pub warm_up: Option<String>,
    /// Connections of all workers together [default: 100]
    #[arg(short, long, value_name = "NUMBER")]
    pub connections: Option<String>,
    /// Then a connection is closed and another opened; 0: no limit [default: 0]
    #[arg(long, visible_alias = "keepalive", value_name = "NUMBER", conflicts_with = "new_connections")]
    pub requests_per_connection: Option<String>,
    /// A connection for each request
    #[arg(long)]
    pub new_connections: bool,
    /// Requests that wait for their answer on one connection [default: 1]
    #[arg(long, value_name = "NUMBER")]
    pub pipeline: Option<String>,
    /// From sending a request to the end of its answer [default: 10s]
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// From the SYN to the end of the handshake [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub connect_timeout: Option<String>,
    /// Chooses Poisson gaps and the order of requests [default: 1]
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<String>,

    /// Of every request [default: GET]
    #[arg(short = 'X', long, value_name = "METHOD", help_heading = "Requests")]
    pub method: Option<String>,
    /// A header field of every request; may be repeated
    #[arg(short = 'H', long, value_name = "NAME: VALUE", help_heading = "Requests")]
    pub header: Vec<String>,
    /// The content of every request
    #[arg(long, value_name = "TEXT", help_heading = "Requests", allow_hyphen_values = true)]
    pub body: Option<String>,
    /// A file that holds it
    #[arg(long, value_name = "FILE", help_heading = "Requests")]
    pub body_file: Option<PathBuf>,
    /// So many bytes of letters, such as 1KiB
    #[arg(long, value_name = "SIZE", help_heading = "Requests")]
    pub body_size: Option<String>,
    /// Status codes that are accepted [default: 200-399]
    #[arg(long, value_name = "200-299,404", help_heading = "Requests")]
    pub expect_status: Option<String>,
    /// Bytes of content an answer must have
    #[arg(long, value_name = "SIZE", help_heading = "Requests")]
    pub expect_size: Option<String>,
    /// SHA-256 of the content, in hexadecimal
    #[arg(long, value_name = "DIGEST", help_heading = "Requests")]
    pub expect_sha256: Option<String>,

    /// What must hold, in k6's grammar: 'http_req_duration: p(99.9)<1ms'; may be repeated, adds to the plan's
    #[arg(long, value_name = "CONDITION", help_heading = "Judgement")]
    pub threshold: Vec<String>,
    /// End the run as soon as one of them does not hold
    #[arg(long, help_heading = "Judgement")]
    pub abort_on_fail: bool,

    /// DPDK device: a vdev with its arguments or a PCI address
    #[arg(long, value_name = "DEVICE", help_heading = "Network")]
    pub device: Option<String>,
    /// Our addresses; may be repeated
    #[arg(long, value_name = "ADDRESS/PREFIX", help_heading = "Network")]
    pub source: Vec<String>,
    /// Our ports [default: 1024-65535]
    #[arg(long, value_name = "FROM-TO", help_heading = "Network")]
    pub source_ports: Option<String>,
    /// A router, one for each address family
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    pub gateway: Vec<String>,
    /// VLAN identifier of a tagged port
    #[arg(long, value_name = "NUMBER", help_heading = "Network")]
    pub vlan: Option<String>,
    /// Largest IP packet sent, in bytes
    #[arg(long, value_name = "BYTES", help_heading = "Network")]
    pub mtu: Option<String>,
    /// Workers, one core each; several need a device with RSS [default: 1]
    #[arg(long, value_name = "NUMBER", help_heading = "Network")]
    pub workers: Option<String>,

    /// The result as JSON; `-`, here and below: to standard output
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// The course of the run, a line for each interval
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub csv: Option<PathBuf>,
    /// The latency by percentile, as HdrHistogram prints it
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub hgrm: Option<PathBuf>,
    /// The latency by interval, as HdrHistogram's V2 log
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub hdr_log: Option<PathBuf>,
    /// The thresholds as JUnit XML
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub junit: Option<PathBuf>,
    /// The course of the run in InfluxDB's line protocol
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub influx: Option<PathBuf>,
    /// A report with plots in one file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub html: Option<PathBuf>,
    /// No progress
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
    /// What results call this run [default: the URL]
    #[arg(long, value_name = "TEXT", help_heading = "Output")]
    pub name: Option<String>,
}

/// The command line as text, and the document that its flags make. Places in the document are those of the text, which
/// begins `start` bytes into the report's.
pub(super) struct CommandLine<'a> {
    pub(super) text: String,
    pub(super) document: DeTable<'a>,
    /// Keys of requests, which apply to all of them.
    pub(super) requests: DeTable<'a>,
    /// What no key can say.
    mistakes: Vec<Mistake>,
    start: usize,
}

type Value<'a> = Spanned<DeValue<'a>>;
/// A flag, the key it is, whether that is a list, and what is given.
type Flag<'a> = (&'static str, &'static str, bool, Vec<Cow<'a, str>>);

fn once<'a>(flag: &'static str, key: &'static str, value: Option<&'a str>) -> Flag<'a> {
    (flag, key, false, value.into_iter().map(Cow::Borrowed).collect())
}

fn repeated<'a>(flag: &'static str, key: &'static str, values: &'a [String]) -> Flag<'a> {
    (flag, key, true, values.iter().map(|value| Cow::Borrowed(value.as_str())).collect())
}

impl<'a> CommandLine<'a> {
    pub(super) fn new(arguments: &'a LoadRunArguments, start: usize) -> CommandLine<'a> {
        let (text, document, requests) = (String::new(), DeTable::new(), DeTable::new());
        let mut line = CommandLine { text, document, requests, mistakes: Vec::new(), start };
        line.keys("load", &schema::LOAD, load(arguments));
        let a = arguments;
        let port = vec![
            once("--device", "device", a.device.as_deref()),
            repeated("--source", "address", &a.source),
            repeated("--gateway", "gateway", &a.gateway),
            once("--vlan", "vlan", a.vlan.as_deref()),
            once("--mtu", "mtu", a.mtu.as_deref()),
        ];
        line.keys("port", &PORT, port);
        line.keys("workers", &schema::WORKERS, vec![once("--workers", "count", a.workers.as_deref())]);
        line.keys("", &schema::REQUEST, request(arguments));
        line.headers(&a.header);
        line.stages(&a.stage);
        line.thresholds(&a.threshold);
        line
    }

    /// Reports what no key can say.
    pub(super) fn report(&self, report: &Report) {
        for mistake in &self.mistakes {
            report.add(mistake.at.clone(), mistake.what.clone(), mistake.fix.clone());
        }
    }

    /// Writes a flag and its value, and says where the value is.
    fn write(&mut self, flag: &str, value: &str) -> Range<usize> {
        let quote = if value.is_empty() || value.contains([' ', '<', '>', '{', '(']) { "'" } else { "" };
        let space = if self.text.is_empty() { "" } else { " " };
        let gap = if flag.is_empty() { "" } else { " " };
        for part in [space, flag, gap, quote] {
            self.text.push_str(part);
        }
        let at = self.start + self.text.len();
        self.text.push_str(value);
        self.text.push_str(quote);
        at..at + value.len()
    }

    /// Adds keys to a section; without a name, to the requests.
    fn keys(&mut self, section: &'static str, schema: &'static Schema, flags: Vec<Flag<'a>>) {
        for (flag, name, list, given) in flags {
            let kind = schema.key(name).map(|key| &key.kind);
            let numeric = matches!(kind, Some(Kind::Integer(..) | Kind::Size(..)));
            let mut values: Vec<Value> = Vec::new();
            for value in given {
                let place = self.write(flag, &value);
                values.push(Spanned::new(place, if numeric { number(value) } else { DeValue::String(value) }));
            }
            let Some(first) = values.first().cloned() else { continue };
            let place = first.span().start..values.last().map_or(0, |last| last.span().end);
            let all = || Spanned::new(place, DeValue::Array(values.into_iter().collect()));
            let table = if section.is_empty() { &mut self.requests } else { table_in(&mut self.document, section) };
            set(table, name, if list { all() } else { first });
        }
    }

    fn headers(&mut self, headers: &'a [String]) {
        for header in headers {
            let place = self.write("--header", header);
            let Some((name, value)) = header.split_once(':') else {
                let fix = "write NAME: VALUE: -H 'Accept: text/html'";
                self.mistakes.push(Mistake::new(place, "not a header field", fix));
                continue;
            };
            let value = part(place.start, rate::trimmed((name.len() + 1, value)));
            let name = Spanned::new(place.start..place.start + name.len(), name.into());
            append(table_in(&mut self.requests, "headers"), name, value);
        }
    }

    fn stages(&mut self, stages: &'a [String]) {
        let mut tables: Vec<Value> = Vec::new();
        for stage in stages {
            let place = self.write("--stage", stage);
            match rate::stage(stage) {
                Ok((name, rate, duration)) => {
                    let mut table = DeTable::new();
                    for (key, found) in [("name", name), ("rate", Some(rate)), ("duration", Some(duration))] {
                        if let Some(found) = found {
                            set(&mut table, key, part(place.start, found));
                        }
                    }
                    tables.push(Spanned::new(place, DeValue::Table(table)));
                }
                Err(mistake) => self.mistakes.push(mistake.after(place.start)),
            }
        }
        if let Some(place) = tables.first().map(Spanned::span) {
            set(&mut self.document, "stages", Spanned::new(place, DeValue::Array(tables.into_iter().collect())));
        }
    }

    fn thresholds(&mut self, thresholds: &'a [String]) {
        for text in thresholds {
            let place = self.write("--threshold", text);
            match threshold::split(text) {
                Ok((metric, condition)) => {
                    let condition = part(place.start, rate::trimmed(condition));
                    let metric = Spanned::new(place.start..place.start + metric.1.len(), metric.1.into());
                    append(table_in(&mut self.document, "thresholds"), metric, condition);
                }
                Err(mistake) => self.mistakes.push(mistake.after(place.start)),
            }
        }
    }
}

fn load(a: &LoadRunArguments) -> Vec<Flag<'_>> {
    let per_connection = if a.new_connections { Some("1") } else { a.requests_per_connection.as_deref() };
    vec![
        once("", "url", a.url.as_deref()),
        once("--rate", "rate", a.rate.as_deref()),
        once("--duration", "duration", a.duration.as_deref()),
        once("--arrivals", "arrivals", a.arrivals.as_deref()),
        repeated("--spike", "spike", &a.spike),
        once("--warm-up", "warm_up", a.warm_up.as_deref()),
        once("--connections", "connections", a.connections.as_deref()),
        once("--requests-per-connection", "requests_per_connection", per_connection),
        once("--pipeline", "pipeline", a.pipeline.as_deref()),
        once("--timeout", "timeout", a.timeout.as_deref()),
        once("--connect-timeout", "connect_timeout", a.connect_timeout.as_deref()),
        once("--source-ports", "source_ports", a.source_ports.as_deref()),
        once("--seed", "seed", a.seed.as_deref()),
        once("--name", "name", a.name.as_deref()),
    ]
}

fn request(a: &LoadRunArguments) -> Vec<Flag<'_>> {
    let body_file = a.body_file.iter().map(|path| Cow::Owned(absolute(path))).collect();
    vec![
        once("--method", "method", a.method.as_deref()),
        once("--body", "body", a.body.as_deref()),
        ("--body-file", "body_file", false, body_file),
        once("--body-size", "body_size", a.body_size.as_deref()),
        once("--expect-status", "expect_status", a.expect_status.as_deref()),
        once("--expect-size", "expect_size", a.expect_size.as_deref()),
        once("--expect-sha256", "expect_sha256", a.expect_sha256.as_deref()),
    ]
}

/// A file named on the command line begins where the program was started, one in a plan at the plan.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string()
}

/// A whole number as one, anything else as text.
fn number(text: Cow<'_, str>) -> DeValue<'_> {
    match text {
        Cow::Borrowed(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            // TOML has no leading zeros.
            let digits = text[..text.len() - 1].trim_start_matches('0').len() + 1;
            let parsed = DeValue::parse(&text[text.len() - digits..]);
            parsed.map_or(DeValue::String(Cow::Borrowed(text)), Spanned::into_inner)
        }
        text => DeValue::String(text),
    }
}

/// A part of a flag's value, which begins at `start`.
fn part(start: usize, (offset, text): rate::Part<'_>) -> Value<'_> {
    Spanned::new(start + offset..start + offset + text.len(), DeValue::String(text.into()))
}

/// Sets a key that stands where its value does.
pub(super) fn set<'a>(table: &mut DeTable<'a>, name: &'static str, value: Value<'a>) {
    table.insert(Spanned::new(value.span(), name.into()), value);
}

/// The section of this name, made if it is not there.
fn table_in<'t, 'a>(table: &'t mut DeTable<'a>, name: &'static str) -> &'t mut DeTable<'a> {
    let empty = || Spanned::new(0..0, DeValue::Table(DeTable::new()));
    let value = table.entry(Spanned::new(0..0, DeString::from(name))).or_insert_with(empty);
    match value.get_mut() {
        DeValue::Table(table) => table,
        _ => unreachable!("sections of the command line are tables"),
    }
}

/// Adds one to the values of a key.
pub(super) fn append<'a>(table: &mut DeTable<'a>, name: Spanned<DeString<'a>>, value: Value<'a>) {
    let place = value.span();
    let list = table.entry(name).or_insert_with(|| Spanned::new(place, DeValue::Array(DeArray::default())));
    if !matches!(list.get_ref(), DeValue::Array(_)) {
        let one = list.clone();
        *list.get_mut() = DeValue::Array(std::iter::once(one).collect());
    }
    if let DeValue::Array(values) = list.get_mut() {
        values.push(value);
    }
}

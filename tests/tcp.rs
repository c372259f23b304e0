//! TCP frame by frame: scripts that drive one connection of a whole gateway worker in virtual time (tests/tcp/README.md).
//!
//! Owns running a script and saying what came instead. `PENSTOCK_PKT=NAME cargo test --test tcp` runs those whose name
//! contains NAME, and prints what is sent.

#[path = "tcp/bed.rs"]
mod bed;
#[path = "tcp/client.rs"]
mod client;
#[path = "tcp/script.rs"]
mod script;

use bed::{Bed, Settings};
use script::{Act, Line, Opt, Script, Segment};
use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// How much sooner or later than said a timer may end: the wheel's tick, and the step of virtual time.
const TOLERANCE: Duration = Duration::from_millis(15);

const LETTERS: [(u8, char); 6] = [(2, 'S'), (1, 'F'), (4, 'R'), (8, 'P'), (16, '.'), (32, 'U')];

/// A segment as a script would expect it.
fn show(peer: u16, segment: &Segment) -> String {
    let number = |number: Option<i64>| number.map_or("*".into(), |number| number.to_string());
    let mut text = if peer == 1 { "> ".into() } else { format!("c{peer} > ") };
    text.extend(LETTERS.iter().filter(|(flag, _)| segment.flags & flag != 0).map(|(_, letter)| letter));
    let end = segment.seq.zip(segment.len).map(|(seq, len)| seq + len as i64);
    let len = number(segment.len.map(|len| len as i64));
    let _ = write!(text, " {}:{}({len})", number(segment.seq), number(end));
    if let Some(ack) = segment.ack {
        let _ = write!(text, " ack {ack}");
    }
    if let Some(window) = segment.window {
        let _ = write!(text, " win {window}");
    }
    if let Some(options) = segment.options.as_ref().filter(|options| !options.is_empty()) {
        let shown: Vec<String> = options.iter().map(show_option).collect();
        let _ = write!(text, " <{}>", shown.join(","));
    }
    text
}

fn show_option(option: &Opt) -> String {
    match option {
        Opt::Mss(mss) => format!("mss {mss}"),
        Opt::Wscale(shift) => format!("wscale {shift}"),
        Opt::SackOk => "sackOK".into(),
        Opt::Sack(blocks) => blocks.iter().fold("sack".into(), |text, (from, to)| format!("{text} {from}:{to}")),
        Opt::Timestamps(value, echo) => {
            let [value, echo] = [value, echo].map(|n| n.map_or("*".into(), |n| n.to_string()));
            format!("TS val {value} ecr {echo}")
        }
        Opt::Raw(byte) => format!("raw {byte}"),
    }
}

fn fits(wanted: &Segment, seen: &Segment) -> bool {
    fn one<T: PartialEq>(wanted: &Option<T>, seen: &Option<T>) -> bool {
        wanted.is_none() || wanted == seen
    }
    wanted.flags == seen.flags
        && one(&wanted.seq, &seen.seq)
        && one(&wanted.len, &seen.len)
        && one(&wanted.ack, &seen.ack)
        && one(&wanted.window, &seen.window)
        && one(&wanted.urgent, &seen.urgent)
        && match (&wanted.options, &seen.options) {
            (Some(wanted), Some(seen)) => {
                wanted.len() == seen.len() && wanted.iter().zip(seen).all(|(wanted, seen)| option_fits(wanted, seen))
            }
            (wanted, _) => wanted.is_none(),
        }
}

fn option_fits(wanted: &Opt, seen: &Opt) -> bool {
    match (wanted, seen) {
        (Opt::Timestamps(value, echo), Opt::Timestamps(seen_value, seen_echo)) => {
            (value.is_none() || value == seen_value) && (echo.is_none() || echo == seen_echo)
        }
        _ => wanted == seen,
    }
}

/// A script under way.
struct Run {
    bed: Bed,
    verbose: bool,
    /// Counters as of their last line.
    counted: HashMap<(String, String), u64>,
}

impl Run {
    fn step(&mut self, line: &Line) -> Result<(), String> {
        if self.verbose {
            println!("{:>9.3} s  {}", self.bed.now.mono.since(penstock::time::Instant::ZERO).as_secs_f64(), line.text);
        }
        if let Act::Expect { peer, segment } = &line.act {
            return self.expect(*peer, segment, line.wait);
        }
        self.nothing_sent()?;
        let passed = self.bed.wait(line.wait);
        self.nothing_sent().map_err(|what| format!("{what} after {passed:?}"))?;
        match &line.act {
            Act::Inject { peer, segment, held } => self.bed.inject(*peer, segment, *held),
            Act::Report { peer, icmp } => self.bed.report(*peer, icmp),
            Act::Stream(bytes) => self.bed.stream(bytes),
            Act::Answer { peer, status, len } => return self.answer(*peer, *status, *len),
            Act::Count { name, label, delta } => return self.count(name, label, *delta),
            Act::Parked(wanted) => return equal("parked", self.bed.parked(), *wanted),
            Act::Connections(wanted) => return equal("connections", self.bed.connections(), *wanted),
            Act::TimeWaits(wanted) => return equal("entries in TIME-WAIT", self.bed.time_waits(), *wanted),
            Act::Connect { peer } => self.bed.connect(*peer),
            Act::Drain => self.bed.drain(),
            Act::Silence | Act::Expect { .. } => {}
            Act::Set(..) => return Err("`set` comes before everything else".into()),
        }
        Ok(())
    }

    fn expect(&mut self, peer: u16, wanted: &Segment, after: Duration) -> Result<(), String> {
        let tolerance = if after.is_zero() { Duration::ZERO } else { TOLERANCE + after / 100 };
        let passed = self.bed.wait(after + tolerance);
        let Some((name, seen)) = self.bed.next_sent() else { return Err("nothing was sent".into()) };
        let shown = show(name, &seen);
        if name != peer || !fits(wanted, &seen) {
            return Err(format!("came: {shown}"));
        }
        if passed + tolerance < after {
            return Err(format!("came after {passed:?}: {shown}"));
        }
        Ok(())
    }

    fn nothing_sent(&mut self) -> Result<(), String> {
        self.bed.next_sent().map_or(Ok(()), |(peer, segment)| Err(format!("came: {}", show(peer, &segment))))
    }

    /// A whole answer of this status, and nothing behind it.
    fn answer(&mut self, peer: u16, status: u16, len: usize) -> Result<(), String> {
        let bytes = self.bed.take_answer(peer);
        let line = format!("HTTP/1.1 {status} ");
        if bytes.starts_with(line.as_bytes()) && bytes.len() == len {
            return Ok(());
        }
        Err(format!("{} bytes: {}", bytes.len(), String::from_utf8_lossy(&bytes[..bytes.len().min(200)])))
    }

    fn count(&mut self, name: &str, label: &str, delta: u64) -> Result<(), String> {
        let value = self.bed.count(name, label).ok_or("no such counter")?;
        let before = self.counted.insert((name.into(), label.into()), value).unwrap_or(0);
        equal("more", value - before, delta)
    }
}

fn equal<T: Copy + PartialEq + std::fmt::Display>(what: &str, seen: T, wanted: T) -> Result<(), String> {
    if seen == wanted { Ok(()) } else { Err(format!("{seen} {what}, not {wanted}")) }
}

/// Runs a script; an error says where it went wrong, what was expected and what came.
fn run(script: &Script, verbose: bool) -> Result<(), String> {
    let mut settings = Settings::default();
    let mut lines = script.lines.iter().peekable();
    let fault =
        |line: &Line, what: String| format!("{}:{}: expected: {}\n    {what}", script.name, line.number, line.text);
    while let Some(line) = lines.peek()
        && let Act::Set(key, value) = &line.act
    {
        settings.set(key, value).map_err(|what| fault(line, what))?;
        lines.next();
    }
    let mut run = Run { bed: Bed::new(settings), verbose, counted: HashMap::new() };
    for line in lines {
        run.step(line).map_err(|what| fault(line, what))?;
    }
    run.nothing_sent().map_err(|what| format!("{}: at the end nothing more is expected\n    {what}", script.name))?;
    equal("frames not given back", run.bed.leaked(), 0).map_err(|what| format!("{}: {what}", script.name))
}

fn scripts() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tcp");
    let files = std::fs::read_dir(folder).expect("tests/tcp").map(|entry| entry.expect("an entry").path());
    let mut found: Vec<(String, String)> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "pkt"))
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).expect("text"))
        })
        .collect();
    found.sort();
    found
}

#[test]
fn scripts_hold() {
    let filter = std::env::var("PENSTOCK_PKT").ok();
    let chosen = |name: &str| filter.as_ref().is_none_or(|part| name.contains(part.as_str()));
    let mut failures = Vec::new();
    let mut ran = 0;
    for (name, text) in scripts().iter().filter(|(name, _)| chosen(name)) {
        ran += 1;
        match script::parse(name, text) {
            Ok(script) => {
                if let Some(why) = &script.deviation {
                    println!("{name}: known deviation: {why}");
                }
                failures.extend(run(&script, filter.is_some()).err());
            }
            Err(fault) => failures.push(fault),
        }
    }
    assert!(failures.is_empty(), "{} of {ran} scripts:\n{}", failures.len(), failures.join("\n"));
    assert!(filter.is_some() || ran >= 60, "{ran} scripts");
}

/// A handshake, and one line that is wrong.
fn fault_of(line: &str) -> String {
    let text = format!("# RFC 9293 3.5: a test of the runner\n< S 0:0(0)\n{line}\n");
    script::parse("wrong", &text).and_then(|script| run(&script, false)).expect_err(line)
}

#[test]
fn a_script_that_does_not_hold_says_where_and_what_came() {
    let came = "wrong:3: expected: ";
    for line in ["> S. 0:0(0) ack 2", "> S 0:0(0)", "> S. 1:1(0)", "> S. 0:0(0) win 1", "> S. 0:0(0) <mss 2>"] {
        let fault = fault_of(line);
        assert!(
            fault.starts_with(&format!("{came}{line}\n    came: > S. 0:0(0) ack 1 win 4096 <mss 1460>")),
            "{fault}"
        );
    }
    assert!(fault_of("+1s silence").contains("came: > S."));
    assert!(fault_of("# the end").contains("at the end nothing more"));
    assert!(fault_of("+1s > S. 0:0(0) ack 1").contains("came after 0ns"));
    assert!(fault_of("> S. 0:0(0)\n> . *:*(*)").contains("wrong:4: expected: > . *:*(*)\n    nothing was sent"));
    assert!(fault_of("> S. 0:0(0)\ncount handshakes 2").contains("1 more, not 2"));
    assert!(fault_of("> S. 0:0(0)\nconnections 0").contains("1 connections, not 0"));
}

#[test]
fn a_line_that_cannot_be_read_says_so() {
    for line in [
        "nonsense",
        "< X 0:0(0)",
        "< S 0:1(0)",
        "< S 0:0",
        "< . 1:1(0)",
        "< S 0:0(0) ack 1",
        "> S. 0:0(0) ack",
        "+1 < S 0:0(0)",
        "< S 0:0(0) <mss>",
        "< S 0:0(0) <mss 70000>",
        "request / 1",
        "icmp 3 1:1(0)",
        "icmp 3/4 1:1(0) mtu",
        "stream x",
    ] {
        assert!(fault_of(line).starts_with("wrong:3: "), "{line}");
    }
    assert!(script::parse("wrong", "# nothing\n").is_err_and(|fault| fault.contains("names the RFC")));
    assert!(fault_of("> S. 0:0(0)\nset rx_ring 2048").contains("before everything else"));
}

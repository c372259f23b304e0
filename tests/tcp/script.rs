//! Scripts read: one line, one act. tests/tcp/README.md is the grammar.
//!
//! Owns the text form. Refuses to know frames and workers.

use std::time::Duration;

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;
pub const URG: u8 = 32;

const LETTERS: [(char, u8); 6] = [('S', SYN), ('F', FIN), ('R', RST), ('P', PSH), ('.', ACK), ('U', URG)];

/// A TCP option. Numbers of SACK blocks are relative.
#[derive(Clone, PartialEq, Debug)]
pub enum Opt {
    Mss(u16),
    Wscale(u8),
    SackOk,
    Sack(Vec<(i64, i64)>),
    Timestamps(Option<u32>, Option<u32>),
    /// One byte as it is.
    Raw(u8),
}

/// A segment to send, or what one has to look like: what is None is not looked at.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Segment {
    pub flags: u8,
    pub seq: Option<i64>,
    pub len: Option<usize>,
    pub ack: Option<i64>,
    pub window: Option<u16>,
    pub urgent: Option<u16>,
    pub options: Option<Vec<Opt>>,
    /// The checksum is wrong.
    pub damaged: bool,
}

/// An ICMP error about a segment of the gateway's.
#[derive(Clone, PartialEq, Debug)]
pub struct Icmp {
    pub kind: u8,
    pub code: u8,
    /// The four bytes behind the checksum: a router's MTU, in the errors that have one.
    pub mtu: u32,
    pub seq: i64,
    pub len: usize,
    /// The peer's port, if it is another's.
    pub port: Option<u16>,
    /// The checksum is wrong.
    pub damaged: bool,
    pub times: usize,
    /// Another worker receives it.
    pub elsewhere: bool,
}

/// What a line does.
#[derive(Clone, PartialEq, Debug)]
pub enum Act {
    Set(String, String),
    /// Bytes that follow in the peer's stream.
    Stream(Vec<u8>),
    /// `held`: the worker gets it together with the next one.
    Inject {
        peer: u16,
        segment: Segment,
        held: bool,
    },
    Expect {
        peer: u16,
        segment: Segment,
    },
    Report {
        peer: u16,
        icmp: Icmp,
    },
    Silence,
    Answer {
        peer: u16,
        status: u16,
        len: usize,
    },
    Count {
        name: String,
        label: String,
        delta: u64,
    },
    Connect {
        peer: u16,
    },
    Connections(usize),
    /// So many connections are parked.
    Parked(usize),
    TimeWaits(usize),
    /// The gateway begins an orderly stop.
    Drain,
}

/// One line of a script.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    pub number: usize,
    pub text: String,
    pub wait: Duration,
    pub act: Act,
}

/// A whole script.
#[derive(Clone, PartialEq, Debug)]
pub struct Script {
    pub name: String,
    /// Why smoltcp answers otherwise than the RFC says, for a known deviation.
    pub deviation: Option<String>,
    pub lines: Vec<Line>,
}

/// Reads a script; an error says which line is wrong, and how.
pub fn parse(name: &str, text: &str) -> Result<Script, String> {
    let first = text.lines().next().unwrap_or("");
    if !first.starts_with("# RFC ") {
        return Err(format!("{name}:1: the first line names the RFC and its section: # RFC 9293 3.5: ..."));
    }
    let deviation = text.lines().find_map(|line| line.strip_prefix("# deviation: ")).map(str::to_owned);
    let mut lines = Vec::new();
    for (i, text) in text.lines().enumerate() {
        let code = text.split(" #").next().unwrap_or("").trim();
        if code.is_empty() || code.starts_with('#') {
            continue;
        }
        let fault = |what: String| format!("{name}:{}: {what}: {text}", i + 1);
        let (wait, act) = line(code).map_err(fault)?;
        lines.push(Line { number: i + 1, text: code.to_owned(), wait, act });
    }
    Ok(Script { name: name.to_owned(), deviation, lines })
}

fn line(code: &str) -> Result<(Duration, Act), String> {
    let (wait, rest) = match code.strip_prefix('+') {
        Some(rest) => {
            let (time, rest) = rest.split_once(' ').unwrap_or((rest, "silence"));
            (duration(time)?, rest.trim())
        }
        None => (Duration::ZERO, code),
    };
    let (peer, rest) = match rest.split_once(' ') {
        Some((word, rest)) if word.starts_with('c') && number::<u16>(&word[1..]).is_ok() => {
            (number(&word[1..])?, rest.trim())
        }
        _ => (1, rest),
    };
    let (word, rest) = rest.split_once(' ').map_or((rest, ""), |(word, rest)| (word, rest.trim()));
    Ok((wait, act(word, rest, peer)?))
}

fn act(word: &str, rest: &str, peer: u16) -> Result<Act, String> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    Ok(match (word, &words[..]) {
        ("<" | "<<", _) => {
            let segment = segment(rest)?;
            let whole = segment.seq.is_some() && segment.len.is_some();
            if !whole || (segment.flags & ACK != 0) != segment.ack.is_some() {
                return Err("a segment to send has sequence numbers, and `ack N` if `.` is among its flags".into());
            }
            Act::Inject { peer, segment, held: word == "<<" }
        }
        (">", _) => Act::Expect { peer, segment: segment(rest)? },
        ("icmp", _) => Act::Report { peer, icmp: icmp(&words)? },
        ("silence", []) => Act::Silence,
        ("set", [key, value]) => Act::Set(key.to_string(), value.to_string()),
        ("request", [path, len]) => Act::Stream(request(path, number(len)?, "")?),
        ("request", [path, len, "close"]) => Act::Stream(request(path, number(len)?, "Connection: close\r\n")?),
        ("stream", _) => Act::Stream(quoted(rest)?),
        ("answer", [status, len]) => Act::Answer { peer, status: number(status)?, len: number(len)? },
        ("count", [name, delta]) => Act::Count { name: name.to_string(), label: String::new(), delta: number(delta)? },
        ("count", [name, label, delta]) => {
            Act::Count { name: name.to_string(), label: label.to_string(), delta: number(delta)? }
        }
        ("connect", []) => Act::Connect { peer },
        ("connections", [n]) => Act::Connections(number(n)?),
        ("parked", [n]) => Act::Parked(number(n)?),
        ("time_waits", [n]) => Act::TimeWaits(number(n)?),
        ("drain", []) => Act::Drain,
        _ => return Err("not a line of a script".into()),
    })
}

/// `TYPE/CODE SEQ:END(LEN) [mtu N] [port N] [damaged] [elsewhere] [times N]`.
fn icmp(words: &[&str]) -> Result<Icmp, String> {
    let [kind, range, rest @ ..] = words else { return Err("an error has a type and a segment".into()) };
    let (kind, code) = kind.split_once('/').ok_or_else(|| format!("`{kind}` is not TYPE/CODE"))?;
    let quoted = segment(&format!(". {range}"))?;
    let (seq, len) = quoted.seq.zip(quoted.len).ok_or("an error names a segment")?;
    let (kind, code) = (number(kind)?, number(code)?);
    let mut icmp = Icmp { kind, code, mtu: 0, seq, len, port: None, damaged: false, times: 1, elsewhere: false };
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        let mut argument = || words.next().ok_or_else(|| format!("`{word}` without its number"));
        match *word {
            "mtu" => icmp.mtu = number(argument()?)?,
            "port" => icmp.port = Some(number(argument()?)?),
            "times" => icmp.times = number(argument()?)?,
            "damaged" => icmp.damaged = true,
            "elsewhere" => icmp.elsewhere = true,
            _ => return Err(format!("`{word}` is no part of an error")),
        }
    }
    Ok(icmp)
}

/// `FLAGS SEQ:END(LEN) [ack N] [win N] [urg N] [<options>] [damaged]`.
fn segment(text: &str) -> Result<Segment, String> {
    let (text, options) = match text.split_once('<') {
        Some((text, rest)) => {
            let (inside, after) = rest.split_once('>').ok_or("`<` without `>`")?;
            (format!("{text} {after}"), Some(options(inside)?))
        }
        None => (text.to_owned(), None),
    };
    let mut words = text.split_whitespace();
    let mut segment = Segment { options, ..Segment::default() };
    for letter in words.next().ok_or("no flags")?.chars().filter(|letter| *letter != '-') {
        let known = LETTERS.iter().find(|(known, _)| *known == letter);
        segment.flags |= known.ok_or_else(|| format!("no flag `{letter}`"))?.1;
    }
    while let Some(word) = words.next() {
        let mut argument = || words.next().ok_or_else(|| format!("`{word}` without its number"));
        match word {
            "ack" => segment.ack = wild(argument()?)?,
            "win" => segment.window = wild(argument()?)?,
            "urg" => segment.urgent = wild(argument()?)?,
            "damaged" => segment.damaged = true,
            range => {
                let parts = range.strip_suffix(')').and_then(|range| range.split_once('('));
                let (range, len) = parts.ok_or_else(|| format!("`{word}` is not SEQ:END(LEN)"))?;
                let (seq, end) = range.split_once(':').ok_or_else(|| format!("`{word}` is not SEQ:END(LEN)"))?;
                (segment.seq, segment.len) = (wild(seq)?, wild(len)?);
                let end: Option<i64> = wild(end)?;
                if let (Some(seq), Some(len), Some(end)) = (segment.seq, segment.len, end)
                    && seq + len as i64 != end
                {
                    return Err(format!("`{word}` does not add up"));
                }
            }
        }
    }
    Ok(segment)
}

fn options(text: &str) -> Result<Vec<Opt>, String> {
    let one = |text: &str| -> Result<Opt, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        Ok(match words[..] {
            ["mss", n] => Opt::Mss(number(n)?),
            ["wscale", n] => Opt::Wscale(number(n)?),
            ["sackOK"] => Opt::SackOk,
            ["TS", "val", value, "ecr", echo] => Opt::Timestamps(wild(value)?, wild(echo)?),
            ["nop"] => Opt::Raw(1),
            ["raw", n] => Opt::Raw(number(n)?),
            ["sack", ref blocks @ ..] => {
                let block = |block: &&str| {
                    let (from, to) = block.split_once(':').ok_or("a SACK block is FROM:TO")?;
                    Ok::<_, String>((number(from)?, number(to)?))
                };
                Opt::Sack(blocks.iter().map(block).collect::<Result<_, _>>()?)
            }
            _ => return Err(format!("no option `{text}`")),
        })
    };
    text.split(',').filter(|text| !text.trim().is_empty()).map(one).collect()
}

/// A GET for `path` of exactly `len` bytes.
fn request(path: &str, len: usize, fields: &str) -> Result<Vec<u8>, String> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}X: ");
    let pad = len.checked_sub(head.len() + 5).ok_or_else(|| format!("at least {} bytes", head.len() + 5))?;
    Ok(format!("{head}{}\r\n\r\n", "x".repeat(pad + 1)).into_bytes())
}

fn quoted(text: &str) -> Result<Vec<u8>, String> {
    let inside = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).ok_or("not in quotes")?;
    Ok(inside.replace("\\r", "\r").replace("\\n", "\n").into_bytes())
}

fn wild<N: std::str::FromStr>(text: &str) -> Result<Option<N>, String> {
    if text == "*" { Ok(None) } else { number(text).map(Some) }
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number that fits here"))
}

pub fn duration(text: &str) -> Result<Duration, String> {
    match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(ms), _) => number(ms).map(Duration::from_millis),
        (_, Some(s)) => number(s).map(Duration::from_secs),
        _ => Err(format!("`{text}` is no time: 200ms, 3s")),
    }
}

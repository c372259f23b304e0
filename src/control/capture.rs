//! Live captures: what is asked for, and the workers' copies of frames as a stream of pcapng.
//!
//! Owns the question, its text on the command line and in the admin socket's target, and the stream that answers it.
//! Refuses to touch frames: the workers' taps choose and copy. One capture runs at a time, on the control side's thread;
//! what that thread cannot pass on in time is lost and counted.

use super::load::units::{parse_duration, show_duration};
use super::pcapng;
use super::subject::Subject;
use crate::limits::{CHAIN_MAX, FRAME_MAX};
use crate::telemetry::tap::{Capture, Drops, Filter, Record};
use crate::telemetry::{Counter, Counters};
use hyper::body::{Body, Bytes, Frame};
use std::cell::Cell;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, sleep};

/// Bytes of each frame that a capture keeps, unless asked otherwise: all of them.
pub const SNAPLEN: usize = FRAME_MAX;
/// What may be asked for.
pub const SNAPLENS: RangeInclusive<usize> = 16..=CHAIN_MAX;
/// Memory for records, of all workers together.
const RECORDS_BYTES: usize = 32 << 20;
/// Records of one worker: two bursts at least.
const RECORDS: RangeInclusive<usize> = 128..=8192;
/// Between two looks at the workers' records.
const TICK: Duration = Duration::from_millis(5);
/// Between two blocks of statistics, where something changed.
const STATISTICS_TICK: Duration = Duration::from_secs(1);
/// The end of a capture waits so long for the workers to let go of it. They do at their next turn.
const RELEASE_MAX: Duration = Duration::from_secs(1);
/// Bytes handed on at a time, about.
const PIECE: usize = 64 << 10;
/// The metric whose reasons drops are told apart by.
const DROPS: &str = "penstock_dropped_frames_total";

/// What a capture is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Which frames.
    pub filter: Filter,
    /// The first bytes of each.
    pub snaplen: usize,
    /// Frames after which it ends.
    pub count: Option<u64>,
    /// Time after which it ends.
    pub duration: Option<Duration>,
}

impl Request {
    /// Reads the query of the admin socket's target, such as `port=80&snaplen=64`.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn parse(query: &str) -> Result<Request, String> {
        let mut request = Request { filter: Filter::default(), snaplen: SNAPLEN, count: None, duration: None };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let wrong = |error: String| format!("{name} = {value:?}: {error}");
            let filter = &mut request.filter;
            match name {
                "host" => filter.host = Some(value.parse().map_err(|_| wrong("an IP address is wanted".into()))?),
                "port" => filter.port = Some(parse_port(value).map_err(wrong)?),
                "listener" => filter.listener = Some(parse_listener(value).map_err(wrong)?),
                "drop-reason" => filter.drops = Some(parse_drops(value).map_err(wrong)?),
                "snaplen" => request.snaplen = parse_snaplen(value).map_err(wrong)?,
                "count" => request.count = Some(parse_count(value).map_err(wrong)?),
                "duration" => request.duration = Some(parse_duration(value).map_err(wrong)?),
                _ => return Err(format!("a capture has no {name:?}")),
            }
        }
        Ok(request)
    }

    /// The query that `parse` reads.
    pub fn query(&self) -> String {
        let Request { filter: Filter { host, port, listener, drops }, snaplen, count, duration } = self;
        let listener = listener.map(|(address, port)| match address {
            Some(address) => SocketAddr::new(address, port).to_string(),
            None => format!("*:{port}"),
        });
        let drops = drops.map(|drops| match drops {
            Drops::Any => "any",
            Drops::For(counter) => counter.describe().2,
        });
        let pairs = [
            ("snaplen", Some(snaplen.to_string())),
            ("host", host.map(|host| host.to_string())),
            ("port", port.map(|port| port.to_string())),
            ("listener", listener),
            ("drop-reason", drops.map(str::to_string)),
            ("count", count.map(|count| count.to_string())),
            ("duration", duration.map(show_duration)),
        ];
        let pairs = pairs.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

const PORTS: &str = "a port is from 1 to 65535";

/// A port.
pub fn parse_port(text: &str) -> Result<u16, String> {
    text.parse().ok().filter(|port| *port > 0).ok_or_else(|| PORTS.into())
}

/// A count of frames.
pub fn parse_count(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "a whole number from 1 is wanted".into())
}

/// A listener as the gateway prints it: `10.7.0.2:80`, `[fd00::2]:80`, `*:80`.
pub fn parse_listener(text: &str) -> Result<(Option<IpAddr>, u16), String> {
    match text.strip_prefix("*:").or_else(|| text.strip_prefix(':')) {
        Some(port) => Ok((None, parse_port(port)?)),
        None => match text.parse::<SocketAddr>() {
            Ok(address) if address.port() > 0 => Ok((Some(address.ip()), address.port())),
            Ok(_) => Err(PORTS.into()),
            Err(_) => Err("write ADDRESS:PORT, [IPV6]:PORT or *:PORT".into()),
        },
    }
}

/// A reason's label in the metric of dropped frames, or `any`.
pub fn parse_drops(text: &str) -> Result<Drops, String> {
    if text == "any" {
        return Ok(Drops::Any);
    }
    let reasons = || Counter::ALL.iter().filter(|counter| counter.describe().0 == DROPS);
    reasons().find(|counter| counter.describe().2 == text).map(|counter| Drops::For(*counter)).ok_or_else(|| {
        let names: Vec<&str> = reasons().map(|counter| counter.describe().2).collect();
        format!("reasons are any, {}", names.join(", "))
    })
}

/// A number of bytes in `SNAPLENS`.
pub fn parse_snaplen(text: &str) -> Result<usize, String> {
    let range = || format!("it is from {} to {} bytes", SNAPLENS.start(), SNAPLENS.end());
    text.parse().ok().filter(|snaplen| SNAPLENS.contains(snaplen)).ok_or_else(range)
}

/// The stream as an HTTP body. While it lasts, `open` is true.
pub struct Stream {
    pieces: Receiver<Bytes>,
    open: Rc<Cell<bool>>,
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.pieces.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.open.set(false);
    }
}

/// Starts a capture; a task of this thread's `LocalSet` feeds the stream. None: another one runs.
pub fn start(subject: &Subject, request: &Request, open: Rc<Cell<bool>>) -> Option<Stream> {
    let running = Running::start(subject, request)?;
    let (sender, pieces) = channel(4);
    open.set(true);
    tokio::task::spawn_local(async move {
        // An error says that the client is gone.
        let _ = running.run(&sender).await;
    });
    Some(Stream { pieces, open })
}

/// A capture that is on; dropping it turns it off.
struct Running {
    /// Of the workers, while it is on.
    counters: Vec<Arc<Counters>>,
    captures: Vec<Arc<Capture>>,
    /// What makes nanoseconds since 1970 of the workers' time.
    unix_offset_ns: u64,
    left: u64,
    ends: Option<Instant>,
    written: u64,
    out: Vec<u8>,
}

struct Gone;

impl Running {
    fn start(subject: &Subject, request: &Request) -> Option<Running> {
        let counters: Vec<Arc<Counters>> = subject.workers.iter().map(|worker| Arc::clone(&worker.counters)).collect();
        if counters.iter().any(|counters| counters.tap.is_on()) {
            return None;
        }
        let records = RECORDS_BYTES / counters.len().max(1) / (request.snaplen + size_of::<Record>());
        let records = records.clamp(*RECORDS.start(), *RECORDS.end());
        let capture = |_: &_| Arc::new(Capture::new(request.filter.clone(), request.snaplen, records));
        let captures: Vec<Arc<Capture>> = counters.iter().map(capture).collect();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut out = Vec::with_capacity(2 * PIECE);
        pcapng::begin(&mut out, &subject.device.name, request.snaplen);
        let now_ns = subject.probe.now_ns();
        for (counters, capture) in counters.iter().zip(&captures) {
            // Any number but that of the capture before.
            counters.tap.start(Arc::clone(capture), now_ns.max(1));
        }
        Some(Running {
            counters,
            captures,
            unix_offset_ns: (unix.as_nanos() as u64).wrapping_sub(now_ns),
            left: request.count.unwrap_or(u64::MAX),
            ends: request.duration.map(|duration| Instant::now() + duration),
            written: 0,
            out,
        })
    }

    async fn run(mut self, sender: &Sender<Bytes>) -> Result<(), Gone> {
        let mut told = (Instant::now(), (0, 0));
        self.pass_on(sender).await?;
        while self.left > 0 && self.ends.is_none_or(|ends| Instant::now() < ends) {
            sleep(TICK).await;
            if sender.is_closed() {
                return Err(Gone);
            }
            self.collect(sender).await?;
            if told.0.elapsed() >= STATISTICS_TICK && told.1 != self.figures() {
                told = (Instant::now(), self.figures());
                self.tell();
            }
            self.pass_on(sender).await?;
        }
        self.stop();
        let given_up = Instant::now() + RELEASE_MAX;
        while self.captures.iter().any(|capture| Arc::strong_count(capture) > 1) && Instant::now() < given_up {
            sleep(TICK).await;
        }
        self.collect(sender).await?;
        self.tell();
        self.pass_on(sender).await
    }

    /// Writes what the workers have copied, in the order of time.
    async fn collect(&mut self, sender: &Sender<Bytes>) -> Result<(), Gone> {
        let mut records: Vec<(usize, Box<Record>)> = Vec::new();
        for (queue, capture) in self.captures.iter().enumerate() {
            // A worker that copies faster than this thread reads must not keep it here.
            records.extend(std::iter::from_fn(|| capture.take()).take(*RECORDS.end()).map(|record| (queue, record)));
        }
        records.sort_by_key(|(_, record)| record.at_ns);
        for (queue, record) in records {
            if self.left > 0 {
                self.left -= 1;
                self.written += 1;
                let unix_ns = record.at_ns.wrapping_add(self.unix_offset_ns);
                pcapng::packet(&mut self.out, &record, unix_ns, queue as u32);
            }
            self.captures[queue].give_back(record);
            if self.out.len() >= PIECE {
                self.pass_on(sender).await?;
            }
        }
        Ok(())
    }

    /// Frames written and lost.
    fn figures(&self) -> (u64, u64) {
        (self.written, self.captures.iter().map(|capture| capture.lost()).sum())
    }

    fn tell(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (written, lost) = self.figures();
        pcapng::statistics(&mut self.out, now.as_nanos() as u64, written, lost);
    }

    async fn pass_on(&mut self, sender: &Sender<Bytes>) -> Result<(), Gone> {
        if self.out.is_empty() {
            return Ok(());
        }
        let piece = Bytes::copy_from_slice(&self.out);
        self.out.clear();
        sender.send(piece).await.map_err(|_| Gone)
    }

    /// Once: the next capture may begin from here on.
    fn stop(&mut self) {
        self.counters.drain(..).for_each(|counters| counters.tap.stop());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fake::{Fake, subject};
    use crate::port::{RxMeta, TxMeta};
    use crate::telemetry::tap::Tap;

    /// A frame from port 40000 of 10.7.0.1 to port 80 of 10.7.0.2.
    struct Segment(Vec<u8>);

    impl crate::port::Frame for Segment {
        fn bytes(&self) -> &[u8] {
            &self.0
        }
        fn bytes_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }
        fn set_len(&mut self, len: usize) {
            self.0.truncate(len);
        }
        fn gather(&self, _out: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            true
        }
        fn is_chained(&self) -> bool {
            false
        }
        fn rx(&self) -> RxMeta {
            RxMeta::default()
        }
        fn set_tx(&mut self, _meta: TxMeta) {}
    }

    fn segment() -> Segment {
        let mut bytes = vec![2; 12];
        bytes.extend_from_slice(&[8, 0, 0x45, 0, 0, 24, 0, 0, 0, 0, 64, 6, 0, 0, 10, 7, 0, 1, 10, 7, 0, 2]);
        bytes.extend_from_slice(&[0x9c, 0x40, 0, 80]);
        Segment(bytes)
    }

    #[test]
    fn a_question_is_read_as_it_was_written() {
        for query in [
            "",
            "host=fd00::1&port=80&snaplen=64",
            "listener=*:80&count=5",
            "listener=[fd00::2]:443&duration=1500ms",
            "duration=1500ns",
            "listener=10.7.0.2:80&drop-reason=no_connection",
            "drop-reason=any",
        ] {
            let request = Request::parse(query).unwrap();
            assert_eq!(Request::parse(&request.query()), Ok(request), "{query}");
        }
        let request = Request::parse("").unwrap();
        assert_eq!((request.filter, request.snaplen, request.count), (Filter::default(), SNAPLEN, None));
    }

    #[test]
    fn what_cannot_be_asked_is_explained() {
        for (query, words) in [
            ("host=a", "an IP address"),
            ("port=0", "from 1 to 65535"),
            ("listener=80", "ADDRESS:PORT"),
            ("listener=*:x", "from 1 to 65535"),
            ("listener=10.7.0.2:0", "from 1 to 65535"),
            ("drop-reason=bad", "no_connection"),
            ("drop-reason=malformed", "reasons are any"),
            ("snaplen=15", "from 16 to"),
            ("count=0", "from 1"),
            ("duration=5", "5s"),
            ("colour=red", "no \"colour\""),
        ] {
            let error = Request::parse(query).unwrap_err();
            assert!(error.contains(words), "{query}: {error}");
        }
    }

    /// Runs a capture of the made-up gateway; `work` is what its first worker does meanwhile.
    fn captured(query: &str, work: impl FnOnce(&mut Tap)) -> (Vec<u8>, pcapng::Seen) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        let bytes = local.block_on(&runtime, async {
            let subject = subject(Fake::default());
            let open = Rc::new(Cell::new(false));
            let mut stream = start(&subject, &Request::parse(query).unwrap(), Rc::clone(&open)).unwrap();
            assert!(open.get() && start(&subject, &Request::parse("").unwrap(), Rc::default()).is_none());
            let mut tap = Tap::default();
            tap.follow(&subject.workers[0].counters.tap, 7);
            work(&mut tap);
            drop(tap);
            let mut bytes = Vec::new();
            while let Some(piece) = stream.pieces.recv().await {
                bytes.extend_from_slice(&piece);
            }
            drop(stream);
            assert!(!open.get() && subject.workers.iter().all(|worker| !worker.counters.tap.is_on()));
            bytes
        });
        let mut seen = pcapng::Seen::default();
        assert_eq!(seen.look(&bytes), Some(bytes.len()));
        (bytes, seen)
    }

    #[test]
    fn a_capture_ends_with_its_count() {
        let (_, seen) = captured("port=80&count=3", |tap| (0..5).for_each(|_| tap.sent(&[segment()])));
        assert_eq!((seen.packets, seen.lost), (3, 0));
    }

    #[test]
    fn a_capture_ends_with_its_time_and_says_what_it_lost() {
        let (bytes, seen) = captured("listener=*:40000&duration=20ms", |tap| {
            (0..RECORDS.end() + 10).for_each(|_| tap.sent(&[segment()]));
            tap.stage(&[segment()]);
            tap.commit();
        });
        assert_eq!((seen.packets, seen.lost), (*RECORDS.end() as u64, 10));
        assert!(bytes.windows(9).any(|words| words == b"net_fake0"));
    }

    #[test]
    fn the_end_of_a_capture_leaves_the_next_one_alone() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let subject = subject(Fake::default());
            let switch = &subject.workers[0].counters.tap;
            let mut first = start(&subject, &Request::parse("duration=1ms").unwrap(), Rc::default()).unwrap();
            // A worker that has not let go yet.
            let mut tap = Tap::default();
            tap.follow(switch, 7);
            while switch.is_on() {
                sleep(TICK).await;
            }
            let _second = start(&subject, &Request::parse("").unwrap(), Rc::default()).unwrap();
            drop(tap);
            while first.pieces.recv().await.is_some() {}
            tokio::task::yield_now().await;
            assert!(switch.is_on());
        });
    }

    #[test]
    fn a_client_that_leaves_ends_the_capture() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let subject = subject(Fake::default());
            drop(start(&subject, &Request::parse("").unwrap(), Rc::default()).unwrap());
            while subject.workers[1].counters.tap.is_on() {
                tokio::task::yield_now().await;
                sleep(TICK).await;
            }
        });
    }
}

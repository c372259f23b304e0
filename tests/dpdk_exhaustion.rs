//! A worker on net_tap whose mempool is empty: what is lost is counted, nothing ends, and with the frames back it serves on,
//! the same connection first. The pool is sized so that this cannot happen (`dpdk::pool_frames`), so a second port takes
//! the frames away here. Needs root, tun and the `ip` program; says so and passes without them.
#![cfg(feature = "dpdk")]

use penstock::control::load::load_str;
use penstock::dpdk::{Clock, Eal, EthPort, Mbuf, Pool, PortOptions, QueuePort, pool_frames};
use penstock::gateway::Gateway;
use penstock::mem::Arena;
use penstock::net::neighbor::Neighbors;
use penstock::port::Port;
use penstock::telemetry::{Counter, Counters};
use penstock::worker::{Worker, WorkerParts};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Benchmarking addresses (RFC 2544), not routed anywhere.
const KERNEL: &str = "198.18.78.1";
const OURS: &str = "198.18.78.2";
const PATIENCE: Duration = Duration::from_secs(60);

type Gate = Worker<QueuePort, Gateway>;

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split(' ')).output().is_ok_and(|output| output.status.success())
}

fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root to make a tap interface");
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("needs /dev/net/tun");
    }
    (!ip("link show lo")).then_some("needs the ip program: apt-get install iproute2")
}

struct Bed {
    worker: Gate,
    counters: Arc<Counters>,
    clock: Clock,
    port: EthPort,
    /// Takes frames from the worker's pool.
    hoarder: QueuePort,
    pool: Pool,
}

fn open(eal: &Eal, device: &str, pool: Option<&Pool>) -> (EthPort, QueuePort, Pool) {
    let mut port = EthPort::find(eal, Some(device)).expect("the device is there");
    let options = PortOptions { queues: 1, mtu: None, multicast: true, room: None };
    let shape = port.configure(&options).expect("configures");
    let pool = pool.cloned().unwrap_or_else(|| {
        // And what the second port's receive ring holds.
        let frames = pool_frames(2, shape.rx_descriptors, shape.tx_descriptors);
        Pool::new(eal, "penstock", None, frames, shape.room).expect("memory for the pool")
    });
    let queue = port.start(&shape, &options, std::slice::from_ref(&pool)).expect("starts").remove(0);
    (port, queue, pool)
}

impl Bed {
    fn new(eal: &Eal) -> Bed {
        let (port, queue, pool) = open(eal, "net_tap0", None);
        let (_, hoarder, _) = open(eal, "net_null0", Some(&pool));
        let text = format!(
            "[port]\naddress = \"{OURS}/24\"\n[workers]\nconnections = 64\n[tcp]\nhalf_open = 16\n[[listener]]\nport = 80\n\
             [[route]]\npath = \"/\"\nrespond = {{ body = \"hello\" }}\n"
        );
        let config = Arc::new(load_str("test", &text, Path::new("")).unwrap());
        let (clock, counters) = (Clock::start(eal), Arc::new(Counters::with_requests(1, 1)));
        let worker = Worker::new(WorkerParts {
            port: queue,
            app: Gateway::new(&config).unwrap(),
            config: config.clone(),
            neighbors: Neighbors::new(),
            counters: counters.clone(),
            arena: Arena::heap(Gate::arena_size(&config)),
            secret: [1, 2, 3, 4],
            now: clock.instant(),
        });
        Bed { worker: worker.unwrap(), counters, clock, port, hoarder, pool }
    }

    /// Takes turns until something holds.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Bed) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
            for _ in 0..100 {
                self.worker.turn(self.clock.now());
            }
        }
    }

    /// Frames lost because the driver found none to receive into, or the worker none to answer with; connections put off
    /// for want of one.
    fn lost(&self) -> u64 {
        let stats = self.port.stats();
        let driver = stats.iter().find(|(name, _)| name == "rx_nombuf").map_or(0, |(_, value)| *value);
        driver + self.counters.read(Counter::DropFrameAlloc)
    }
}

/// A client in a thread: each word it is told is a request, each thing it says an answer.
fn client() -> (Sender<()>, Receiver<String>) {
    let (ask, asked) = channel::<()>();
    let (say, said) = channel();
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect((OURS, 80)).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        for () in asked {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("sends");
            let mut answer = Vec::new();
            while !answer.ends_with(b"hello") {
                let mut piece = [0; 1024];
                let len = stream.read(&mut piece).expect("an answer");
                assert!(len > 0, "closed after {answer:?}");
                answer.extend_from_slice(&piece[..len]);
            }
            let _ = say.send(String::from_utf8(answer).unwrap());
        }
    });
    (ask, said)
}

#[test]
fn an_empty_pool_loses_frames_and_nothing_else() {
    if let Some(reason) = missing() {
        eprintln!("skipped: {reason}");
        return;
    }
    let name = format!("pexh{}", std::process::id() % 100_000);
    let line = format!(
        "penstock --lcores=0@0,1@0 --no-huge -m 128 --no-shconf --no-pci --file-prefix=penstock_{} \
         --vdev net_tap0,iface={name} --vdev net_null0",
        std::process::id()
    );
    let eal = Eal::start(&line.split_whitespace().map(String::from).collect::<Vec<_>>()).expect("EAL starts");
    let mut bed = Bed::new(&eal);
    assert!(bed.port.wait_link(|_| ()));
    assert!(ip(&format!("addr add {KERNEL}/24 dev {name}")));
    let (ask, said) = client();
    ask.send(()).unwrap();
    bed.until("an answer", |_| said.try_recv().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 ")));
    let (before, lost) = (bed.pool.in_use(), bed.lost());
    assert_eq!(lost, 0, "nothing is lost while there are frames");

    let mut hoard: Vec<Mbuf> = std::iter::from_fn(|| bed.hoarder.alloc(64)).collect();
    assert!(hoard.len() > 100 && bed.pool.in_use() == bed.pool.frames(), "{} of {}", hoard.len(), bed.pool.frames());
    ask.send(()).unwrap();
    bed.until("a counted loss", |bed| bed.lost() > 0);
    assert!(said.try_recv().is_err(), "an answer without a frame");

    // One frame is enough to go on, slowly; all of them are what there was.
    hoard.truncate(1);
    bed.until("the answer that was put off", |_| said.try_recv().is_ok_and(|answer| answer.ends_with("hello")));
    let lost = bed.lost();
    hoard.clear();
    for _ in 0..100 {
        ask.send(()).unwrap();
        bed.until("an answer", |_| said.try_recv().is_ok());
    }
    assert_eq!(bed.lost(), lost, "nothing is lost with the frames back");
    drop(ask);
    bed.until("the end of the connection", |bed| bed.counters.read(Counter::ConnClosed) == 1);
    // The stashes of both queue pairs, which they keep, may be full or empty.
    bed.until("every frame back", |bed| bed.pool.in_use().abs_diff(before) <= 64);

    let Bed { worker, port, hoarder, pool, .. } = bed;
    drop((worker, hoarder, port));
    assert_eq!(pool.in_use(), 0);
}

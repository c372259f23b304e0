//! In steady state a turn allocates nothing: a counting allocator watches keep-alive requests and whole connections.

#[path = "../benches/turn/bed.rs"]
mod bed;
#[path = "../benches/turn/client.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod client;

use bed::GatewayWorker;
use client::Client;
use penstock::config::{Config, WorkersConfig};
use penstock::mem::Arena;
use penstock::sim::port::FramePool;
use penstock::telemetry::tap::{Capture, Filter};
use penstock::telemetry::{Counter, Counters};
use penstock::time::{Instant, Now};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const CONNECTIONS: usize = 64;
const KEEP_ALIVE: &[u8] = b"GET / HTTP/1.1\r\nHost: 10.7.0.2\r\nUser-Agent: test\r\n\r\n";
const CLOSE: &[u8] = b"GET / HTTP/1.1\r\nHost: 10.7.0.2\r\nConnection: close\r\n\r\n";

struct Bed {
    worker: GatewayWorker,
    counters: Arc<Counters>,
    client: Client,
    now: Now,
    /// Allocations inside turns.
    allocations: u64,
}

impl Bed {
    fn new(request: &[u8], active: Option<u32>) -> Bed {
        let config = Arc::new(Config {
            workers: WorkersConfig { connections: 256, active, ..WorkersConfig::default() },
            ..bed::config(256)
        });
        let pool = FramePool::new(4_096);
        let arena = Arena::heap(GatewayWorker::arena_size(&config));
        let (worker, counters) = bed::worker(&config, bed::caps(true), &pool, arena);
        let client = Client::new(pool, CONNECTIONS, request);
        let now = Now { mono: Instant::ZERO, unix_s: 1_700_000_000 };
        let mut bed = Bed { worker, counters, client, now, allocations: 0 };
        bed.turn();
        bed
    }

    fn turn(&mut self) {
        let before = ALLOCATIONS.load(Relaxed);
        self.worker.turn(self.now);
        self.allocations += ALLOCATIONS.load(Relaxed) - before;
        self.now.mono = self.now.mono + Duration::from_micros(100);
        self.client.drain(self.worker.port_mut());
    }

    fn open_all(&mut self) {
        for first in (0..CONNECTIONS).step_by(8) {
            (first..first + 8).for_each(|i| self.client.open(self.worker.port_mut(), i));
            (0..3).for_each(|_| self.turn());
            (first..first + 8).for_each(|i| self.client.acknowledge(self.worker.port_mut(), i));
            self.turn();
        }
    }

    fn ask_all(&mut self) {
        (0..CONNECTIONS).for_each(|i| self.client.ask(self.worker.port_mut(), i));
        self.turn();
    }

    fn close_all(&mut self) {
        (0..CONNECTIONS).for_each(|i| self.client.close(self.worker.port_mut(), i));
        self.turn();
    }
}

/// One test, because other threads would be counted too.
#[test]
fn a_turn_allocates_nothing_in_steady_state() {
    let mut bed = Bed::new(KEEP_ALIVE, None);
    bed.open_all();
    (0..64).for_each(|_| bed.ask_all());
    let (warm, answers) = (bed.allocations, bed.client.answers);
    (0..200).for_each(|_| bed.ask_all());
    assert_eq!(bed.client.answers - answers, 200 * CONNECTIONS as u64);
    assert_eq!(bed.allocations - warm, 0, "allocations for keep-alive requests");

    let capture = Arc::new(Capture::new(Filter::default(), 128, 1_000));
    bed.counters.tap.start(Arc::clone(&capture), 1);
    bed.turn();
    let warm = bed.allocations;
    // A frame in and a frame out for each request, more than there are records.
    (0..10).for_each(|_| bed.ask_all());
    assert_eq!(bed.allocations - warm, 0, "allocations while a capture is on");
    let copied = std::iter::from_fn(|| capture.take()).count() as u64;
    assert_eq!((copied, copied + capture.lost()), (1_000, 20 * CONNECTIONS as u64));
    bed.counters.tap.stop();
    bed.turn();
    assert_eq!(Arc::strong_count(&capture), 1, "the worker let go of it");

    // Four wake and four are parked in each turn.
    let mut bed = Bed::new(KEEP_ALIVE, Some(16));
    bed.open_all();
    let ask_in_turn = |bed: &mut Bed| {
        for first in (0..CONNECTIONS).step_by(4) {
            (first..first + 4).for_each(|i| bed.client.ask(bed.worker.port_mut(), i));
            bed.turn();
            (first..first + 4).for_each(|i| bed.client.acknowledge(bed.worker.port_mut(), i));
            bed.turn();
        }
    };
    (0..4).for_each(|_| ask_in_turn(&mut bed));
    let (warm, answers, woken) = (bed.allocations, bed.client.answers, bed.counters.read(Counter::ConnWoken));
    (0..50).for_each(|_| ask_in_turn(&mut bed));
    assert_eq!(bed.client.answers - answers, 50 * CONNECTIONS as u64);
    assert_eq!(bed.counters.read(Counter::ConnWoken) - woken, 50 * CONNECTIONS as u64);
    assert_eq!(bed.allocations - warm, 0, "allocations for parking and waking");

    let mut bed = Bed::new(CLOSE, None);
    let rounds = |bed: &mut Bed, n: usize| {
        for _ in 0..n {
            bed.open_all();
            bed.ask_all();
            bed.close_all();
        }
    };
    rounds(&mut bed, 4);
    let (warm, answers) = (bed.allocations, bed.client.answers);
    rounds(&mut bed, 50);
    assert_eq!(bed.client.answers - answers, 50 * CONNECTIONS as u64);
    assert_eq!(bed.allocations - warm, 0, "allocations for whole connections");
    assert_eq!(bed.worker.connections(), 0);
}

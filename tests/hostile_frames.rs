//! A worker under frames nobody should send: whole conversations with bytes changed, cut, repeated and out of order, and
//! plain noise behind an Ethernet header. It never panics, returns every frame, and still answers afterwards.

#[path = "../benches/turn/bed.rs"]
mod bed;
#[path = "../benches/turn/client.rs"]
#[expect(dead_code, reason = "the bench uses more of it")]
mod client;

use bed::GatewayWorker;
use client::Client;
use penstock::mem::Arena;
use penstock::port::{Checksum, Frame, RxMeta};
use penstock::sim::port::FramePool;
use penstock::telemetry::{Counter, Counters};
use penstock::time::{Instant, Now};
use std::sync::Arc;
use std::time::Duration;

const REQUEST: &[u8] = b"POST /x HTTP/1.1\r\nHost: 10.7.0.2\r\nContent-Length: 5\r\n\r\nhello";
const CONNECTIONS: usize = 8;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

struct Bed {
    worker: GatewayWorker,
    pool: FramePool,
    counters: Arc<Counters>,
    now: Now,
}

impl Bed {
    fn new() -> Bed {
        let mut config = bed::config(64);
        (config.tcp.half_open, config.tcp.time_wait_entries) = (32, 32);
        let pool = FramePool::new(4_096);
        let arena = Arena::heap(GatewayWorker::arena_size(&config));
        let (worker, counters) = bed::worker(&Arc::new(config), bed::caps(false), &pool, arena);
        Bed { worker, pool, counters, now: Now { mono: Instant::ZERO, unix_s: 1_700_000_000 } }
    }

    fn turn(&mut self, later: Duration) {
        self.worker.turn(self.now);
        self.now.mono = self.now.mono + later;
    }

    /// Receives `frames` of which some are changed on the way, and forgets what is sent.
    fn storm(&mut self, random: &mut Random, seen: &[Vec<u8>]) {
        for _ in 0..1 + random.below(40) {
            let mut bytes = seen[random.below(seen.len())].clone();
            damage(random, &mut bytes);
            let Some(mut frame) = self.pool.frame(&bytes) else { break };
            // Half of them pass the checksums, so that the damage gets further than the first check.
            let sums = if random.below(2) == 0 { Checksum::Good } else { Checksum::Unknown };
            frame.set_rx(RxMeta { ip_checksum: sums, l4_checksum: sums, ..RxMeta::default() });
            if random.below(50) == 0 {
                frame.chain(&bytes);
            }
            self.worker.port_mut().rx.push_back(frame);
        }
        let later = if random.below(200) == 0 { Duration::from_secs(40) } else { Duration::from_micros(300) };
        self.turn(later);
        self.worker.port_mut().tx.clear();
    }
}

/// Changes a frame: bytes, length, TCP flags, sequence numbers near and far.
fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..random.below(3) {
        let at = random.below(bytes.len());
        bytes[at] = random.next() as u8;
    }
    match random.below(8) {
        0 => bytes.truncate(1 + random.below(bytes.len())),
        1 if bytes.len() >= 54 => bytes[47] = random.next() as u8 & 0x3f,
        2 if bytes.len() >= 54 => bytes[41] = random.next() as u8,
        3 if bytes.len() >= 54 => bytes[44..46].copy_from_slice(&(random.next() as u16).to_be_bytes()),
        4 if bytes.len() > 14 && random.below(4) == 0 => {
            bytes.truncate(12);
            bytes.extend([[0x08, 0x00], [0x86, 0xdd], [0x08, 0x06], [0x81, 0x00]][random.below(4)]);
            // An IP version that is one, or any.
            bytes.push([0x45, 0x60, random.next() as u8][random.below(3)]);
            bytes.extend((0..random.below(300)).map(|_| random.next() as u8));
        }
        4 => bytes.extend((0..random.below(200)).map(|_| random.next() as u8)),
        _ => {}
    }
}

/// The frames of whole conversations, as clients send them, and the gateway's own, which nobody should send back.
fn conversations() -> Vec<Vec<u8>> {
    let mut bed = Bed::new();
    let mut client = Client::new(bed.pool.clone(), CONNECTIONS, REQUEST);
    let mut seen = Vec::new();
    let mut turn = |bed: &mut Bed, client: &mut Client| {
        for frame in &mut bed.worker.port_mut().rx {
            seen.push(frame.bytes().to_vec());
        }
        bed.turn(Duration::from_millis(1));
        seen.extend(bed.worker.port_mut().tx.iter().map(|frame| frame.bytes().to_vec()));
        client.drain(bed.worker.port_mut());
    };
    turn(&mut bed, &mut client);
    (0..CONNECTIONS).for_each(|i| client.open(bed.worker.port_mut(), i));
    (0..3).for_each(|_| turn(&mut bed, &mut client));
    for _ in 0..2 {
        (0..CONNECTIONS).for_each(|i| client.ask(bed.worker.port_mut(), i));
        turn(&mut bed, &mut client);
    }
    assert_eq!(client.answers, 2 * CONNECTIONS as u64);
    seen
}

#[test]
fn damaged_frames_neither_stop_nor_leak() {
    let seen = conversations();
    let storms = if cfg!(debug_assertions) { 40_000 } else { 500_000 };
    let seed = std::env::var("PENSTOCK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_124);
    println!("seed: PENSTOCK_SEED={seed}");
    let mut random = Random(seed);
    let mut bed = Bed::new();
    (0..storms).for_each(|_| bed.storm(&mut random, &seen));
    println!("{} frames", bed.counters.read(Counter::RxFrames));
    assert!(bed.counters.read_metric("penstock_dropped_frames_total") > 0);
    // Everything times out, and nothing is held but what says so.
    for _ in 0..20_000 {
        bed.turn(Duration::from_millis(50));
        bed.worker.port_mut().tx.clear();
    }
    assert_eq!(bed.worker.connections(), 0, "PENSTOCK_SEED={seed}: connections left");
    assert_eq!(bed.pool.live(), bed.worker.stack().frames_held(), "PENSTOCK_SEED={seed}: frames left");
    let mut client = Client::new(bed.pool.clone(), CONNECTIONS, REQUEST);
    client.greet(bed.worker.port_mut());
    (0..CONNECTIONS).for_each(|i| client.open(bed.worker.port_mut(), i));
    for _ in 0..6 {
        bed.turn(Duration::from_millis(600));
        client.drain(bed.worker.port_mut());
    }
    (0..CONNECTIONS).for_each(|i| client.ask(bed.worker.port_mut(), i));
    bed.turn(Duration::from_millis(1));
    client.drain(bed.worker.port_mut());
    assert_eq!(client.answers, CONNECTIONS as u64, "PENSTOCK_SEED={seed}: served afterwards");
}

//! Many idle connections and few places for active ones: each is answered, at its turn and at the end.

#[path = "../benches/turn/bed.rs"]
mod bed;
#[path = "../benches/turn/client.rs"]
#[expect(dead_code, reason = "the bench uses more of it")]
mod client;

use bed::GatewayWorker;
use client::Client;
use penstock::config::Config;
use penstock::mem::Arena;
use penstock::port::Frame;
use penstock::sim::port::FramePool;
use penstock::telemetry::{Counter, Counters, Gauge};
use penstock::time::{Instant, Now};
use std::sync::Arc;
use std::time::Duration;

const CONNECTIONS: usize = 20_000;
const ACTIVE: u32 = 500;
/// Connections that do something in one turn.
const BATCH: usize = 32;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: 10.7.0.2\r\nUser-Agent: test\r\n\r\n";

struct Bed {
    worker: GatewayWorker,
    counters: Arc<Counters>,
    client: Client,
    now: Now,
}

impl Bed {
    fn new(connections: usize) -> Bed {
        let mut config = bed::config(connections as u32);
        config.workers.active = Some(ACTIVE);
        config.tcp.park_after = Duration::from_millis(100);
        let config = Arc::new(config);
        let pool = FramePool::new(4_096);
        let arena = Arena::heap(GatewayWorker::arena_size(&config));
        let (worker, counters) = bed::worker(&config, bed::caps(true), &pool, arena);
        let client = Client::new(pool, connections, REQUEST);
        let now = Now { mono: Instant::ZERO, unix_s: 1_700_000_000 };
        let mut bed = Bed { worker, counters, client, now };
        bed.turn();
        // The neighbour is asked for, and answers.
        bed.client.open(bed.worker.port_mut(), 0);
        (0..3).for_each(|_| bed.turn());
        bed.client.acknowledge(bed.worker.port_mut(), 0);
        bed.each(1..connections, |client, port, i| client.open(port, i), true);
        bed
    }

    fn turn(&mut self) {
        self.worker.turn(self.now);
        self.worker.set_gauges();
        self.now.mono = self.now.mono + Duration::from_micros(100);
        self.client.drain(self.worker.port_mut());
    }

    /// Has each connection act, and acknowledge a turn later if it is to.
    fn each(
        &mut self,
        connections: impl Iterator<Item = usize>,
        mut act: impl FnMut(&mut Client, &mut penstock::sim::port::SimPort, usize),
        acknowledge: bool,
    ) {
        let connections: Vec<usize> = connections.collect();
        for batch in connections.chunks(BATCH) {
            batch.iter().for_each(|&i| act(&mut self.client, self.worker.port_mut(), i));
            self.turn();
            if acknowledge {
                batch.iter().for_each(|&i| self.client.acknowledge(self.worker.port_mut(), i));
                self.turn();
            }
        }
    }

    /// Lets time pass until all are parked.
    fn park_all(&mut self) {
        let deadline = self.now.mono + Duration::from_secs(2);
        while self.worker.parked() < self.worker.connections() {
            self.turn();
            assert!(self.now.mono < deadline, "{} are parked", self.worker.parked());
        }
    }

    fn dropped(&self) -> u64 {
        self.counters.read_metric("penstock_dropped_frames_total")
    }
}

#[test]
fn twenty_thousand_parked_connections_each_answer_their_next_request() {
    let mut bed = Bed::new(CONNECTIONS);
    assert_eq!(bed.worker.connections(), CONNECTIONS);
    bed.park_all();
    assert_eq!(bed.counters.gauge(Gauge::Parked), CONNECTIONS as u64);
    assert_eq!(bed.counters.gauge(Gauge::Open), 0);
    for round in 1..=3_u64 {
        // Not in the order in which they were opened; 7,919 is prime.
        bed.each((0..CONNECTIONS).map(|i| i * 7_919 % CONNECTIONS), |client, port, i| client.ask(port, i), true);
        assert_eq!(bed.client.answers, round * CONNECTIONS as u64);
    }
    let displaced = bed.counters.read(Counter::ConnDisplaced);
    assert!(displaced > 2 * (CONNECTIONS as u64 - u64::from(ACTIVE)), "{displaced}");
    assert_eq!(bed.counters.read(Counter::ConnWoken), 3 * CONNECTIONS as u64);
    assert_eq!(bed.dropped(), 0);
    bed.park_all();
}

#[test]
fn a_parked_connection_takes_at_most_512_bytes() {
    let with = |connections| {
        let mut config = bed::config(connections);
        config.workers.active = Some(1_000);
        config
    };
    let bytes = |connections| GatewayWorker::arena_size(&with(connections));
    let (few, many) = (bytes(100_000), bytes(1_100_000));
    let each = (many - few).div_ceil(1_000_000);
    let told = GatewayWorker::bytes_per_parked_connection(&with(1_000_000));
    println!("{each} bytes a parked connection, {told} by its parts");
    assert!(each <= 512, "{each}");
    assert!(told.abs_diff(each) <= 1, "{told}");
}

#[test]
fn an_orderly_stop_closes_every_parked_connection() {
    let mut bed = Bed::new(4_000);
    bed.park_all();
    bed.worker.drain(bed.now);
    // Some asked before they could know.
    (0..10).for_each(|i| bed.client.ask(bed.worker.port_mut(), i));
    let mut open: Vec<usize> = (0..4_000).collect();
    let deadline = bed.now.mono + Duration::from_secs(5);
    loop {
        bed.turn();
        let remaining = bed.worker.drained(bed.now);
        if remaining.is_some_and(|remaining| remaining.connections == 0) {
            break;
        }
        assert!(bed.now.mono < deadline, "{remaining:?}");
        let (closed, still): (Vec<usize>, Vec<usize>) = open.into_iter().partition(|&i| bed.client.is_closed(i));
        open = still;
        closed.into_iter().for_each(|i| bed.client.close(bed.worker.port_mut(), i));
    }
    assert_eq!((bed.client.answers, open.len(), bed.worker.connections()), (10, 0, 0));
    assert_eq!(bed.counters.read(Counter::ConnClosed), 4_000);
}

#[test]
fn what_is_parked_at_the_very_end_is_reset() {
    let mut bed = Bed::new(2_000);
    bed.park_all();
    assert_eq!(bed.worker.abort_all(bed.now), 2_000);
    let mut resets = 0;
    while !bed.worker.stack().is_flushed() || bed.worker.connections() > 0 {
        bed.worker.turn(bed.now);
        resets += bed.worker.port_mut().tx.drain(..).filter(|frame| frame.bytes()[47] & 4 != 0).count();
    }
    assert_eq!(resets, 2_000);
    assert_eq!((bed.worker.parked(), bed.counters.read(Counter::ConnAborted)), (0, 2_000));
}

#[test]
fn as_many_active_as_connections_means_that_nothing_is_parked() {
    let mut config: Config = bed::config(64);
    config.tcp.park_after = Duration::from_millis(100);
    let config = Arc::new(config);
    let pool = FramePool::new(1_024);
    let arena = Arena::heap(GatewayWorker::arena_size(&config));
    let (worker, counters) = bed::worker(&config, bed::caps(true), &pool, arena);
    let client = Client::new(pool, 64, REQUEST);
    let mut bed = Bed { worker, counters, client, now: Now { mono: Instant::ZERO, unix_s: 0 } };
    bed.turn();
    (0..64).for_each(|i| bed.client.open(bed.worker.port_mut(), i));
    (0..3).for_each(|_| bed.turn());
    bed.each(0..64, |client, port, i| client.ask(port, i), true);
    (0..20_000).for_each(|_| bed.turn());
    assert_eq!((bed.client.answers, bed.worker.connections(), bed.worker.parked()), (64, 64, 0));
    assert_eq!(bed.counters.read_metric("penstock_parking_total"), 0);
}

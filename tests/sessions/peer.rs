//! A worker and lossless clients: bytes in, bytes out, in virtual time.
//!
//! Owns just enough TCP for one stream each way. Refuses to retransmit: nothing is lost here.

use penstock::config::Config;
use penstock::gateway::Gateway;
use penstock::mem::Arena;
use penstock::net::neighbor::Neighbors;
use penstock::port::{Caps, Checksum, Frame, RxMeta};
use penstock::sim::port::{FramePool, SimPort};
use penstock::telemetry::{Counter, Counters};
use penstock::time::{Instant, Now};
use penstock::worker::{Remaining, Worker, WorkerParts};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const HEADERS: usize = 14 + 20 + 20;
/// The largest payload of a segment from a client, in bytes.
const MSS: usize = 1460;
/// The window of a client that reads all it gets.
const OPEN: usize = 65_000;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Names a client's connection: its TCP port.
pub type Peer = u16;

#[derive(Default)]
struct Side {
    seq: u32,
    ack: u32,
    /// What the gateway acknowledged, and how much more it takes.
    acked: u32,
    window: u32,
    unsent: VecDeque<u8>,
    fin_due: bool,
    fin_sent: bool,
    /// Bytes this client still takes; None: it reads all.
    room: Option<usize>,
    received: Vec<u8>,
    ack_due: bool,
    finished: bool,
    reset: bool,
}

/// One worker and its clients.
pub struct Bed {
    worker: Worker<SimPort, Gateway>,
    pool: FramePool,
    counters: Arc<Counters>,
    now: Now,
    peers: HashMap<Peer, Side>,
    next: Peer,
}

impl Bed {
    pub fn new(config: Config) -> Bed {
        let config = Arc::new(config);
        let pool = FramePool::new(8_192);
        let caps = Caps { mac: GATEWAY_MAC, mtu: 1500, tx_ip_checksum: true, tx_tcp_checksum: true, ..Caps::default() };
        let counters = Arc::new(Counters::default());
        let worker = Worker::new(WorkerParts {
            port: SimPort::new(caps, pool.clone()),
            app: Gateway::new(&config).unwrap(),
            arena: Arena::heap(penstock::worker::arena_size(&config)),
            config,
            neighbors: Neighbors::new(),
            counters: counters.clone(),
            secret: [1, 2, 3, 4],
            now: Instant::ZERO,
        })
        .unwrap();
        let now = Now { mono: Instant::ZERO, unix_s: 1_700_000_000 };
        let mut bed = Bed { worker, pool, counters, now, peers: HashMap::new(), next: 1024 };
        bed.settle();
        bed
    }

    pub fn count(&self, counter: Counter) -> u64 {
        self.counters.read(counter)
    }

    pub fn connections(&self) -> usize {
        self.worker.connections()
    }

    pub fn drain(&mut self) {
        self.worker.drain(self.now);
        self.settle();
    }

    /// What draining still waits for.
    pub fn drained(&mut self) -> Remaining {
        loop {
            if let Some(remaining) = self.worker.drained(self.now) {
                return remaining;
            }
        }
    }

    pub fn abort_all(&mut self) -> usize {
        let aborted = self.worker.abort_all(self.now);
        self.settle();
        aborted
    }

    /// Opens a connection.
    pub fn connect(&mut self) -> Peer {
        let peer = self.next;
        self.next += 1;
        self.peers.insert(peer, Side { seq: u32::from(peer) << 16, ..Side::default() });
        self.emit(peer, SYN, &[]);
        self.settle();
        assert!(self.peers[&peer].window > 0, "the handshake is over");
        peer
    }

    /// Sends bytes, as fast as the window permits.
    pub fn send(&mut self, peer: Peer, bytes: &[u8]) {
        self.side(peer).unsent.extend(bytes);
        self.settle();
    }

    /// Sends FIN after everything.
    pub fn finish(&mut self, peer: Peer) {
        self.side(peer).fin_due = true;
        self.settle();
    }

    /// Both at once.
    pub fn send_and_finish(&mut self, peer: Peer, bytes: &[u8]) {
        self.side(peer).unsent.extend(bytes);
        self.finish(peer);
    }

    /// From now on the client takes no more than `room` bytes.
    pub fn take_only(&mut self, peer: Peer, room: usize) {
        let side = self.side(peer);
        (side.room, side.ack_due) = (Some(room), true);
        self.settle();
    }

    /// From now on the client reads all it gets.
    pub fn take_all(&mut self, peer: Peer) {
        let side = self.side(peer);
        (side.room, side.ack_due) = (None, true);
        self.settle();
    }

    /// What arrived since the last time.
    pub fn take(&mut self, peer: Peer) -> Vec<u8> {
        std::mem::take(&mut self.side(peer).received)
    }

    /// Sends, and takes what comes back.
    pub fn ask(&mut self, peer: Peer, bytes: &[u8]) -> Vec<u8> {
        self.send(peer, bytes);
        self.take(peer)
    }

    /// Bytes the gateway has not taken yet.
    pub fn unsent(&self, peer: Peer) -> usize {
        self.peers[&peer].unsent.len()
    }

    /// What the gateway would take at once.
    pub fn window(&self, peer: Peer) -> usize {
        self.peers[&peer].window as usize
    }

    /// Whether the gateway sent FIN.
    pub fn is_finished(&self, peer: Peer) -> bool {
        self.peers[&peer].finished
    }

    /// Whether the gateway sent RST.
    pub fn is_reset(&self, peer: Peer) -> bool {
        self.peers[&peer].reset
    }

    /// Sends when `time` has passed in which the worker had no turn.
    pub fn send_after(&mut self, peer: Peer, time: Duration, bytes: &[u8]) {
        self.now.mono = self.now.mono + time;
        self.send(peer, bytes);
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while self.now.mono < end {
            self.now.mono = self.now.mono + Duration::from_millis(20);
            self.settle();
        }
    }

    fn side(&mut self, peer: Peer) -> &mut Side {
        self.peers.get_mut(&peer).expect("a connection of this bed")
    }

    /// Turns until neither side has anything to do at this time.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            let mut sent = false;
            let mut peers: Vec<Peer> = self.peers.keys().copied().collect();
            peers.sort_unstable();
            for peer in peers {
                sent |= self.push(peer);
            }
            let turn = self.worker.turn(self.now);
            while let Some(frame) = self.worker.port_mut().tx.pop_front() {
                self.receive(frame.bytes());
            }
            if !sent && turn.is_idle() && self.worker.port().rx.is_empty() && !self.peers.values().any(|s| s.ack_due) {
                return;
            }
        }
        panic!("the worker does not come to rest");
    }

    /// Sends what the window permits; whether it sent anything.
    fn push(&mut self, peer: Peer) -> bool {
        let mut sent = false;
        loop {
            let side = self.side(peer);
            let in_flight = side.seq.wrapping_sub(side.acked);
            let room = side.window.saturating_sub(in_flight) as usize;
            let len = side.unsent.len().min(MSS).min(room);
            if side.reset || side.window == 0 || len == 0 {
                break;
            }
            let payload: Vec<u8> = side.unsent.drain(..len).collect();
            self.emit(peer, ACK, &payload);
            sent = true;
        }
        let side = self.side(peer);
        if side.fin_due && !side.fin_sent && side.unsent.is_empty() && !side.reset {
            side.fin_sent = true;
            self.emit(peer, FIN | ACK, &[]);
            sent = true;
        }
        if self.side(peer).ack_due {
            self.emit(peer, ACK, &[]);
            sent = true;
        }
        sent
    }

    fn emit(&mut self, peer: Peer, flags: u8, payload: &[u8]) {
        let side = self.peers.get_mut(&peer).expect("a connection of this bed");
        let mut bytes = vec![0; HEADERS + payload.len()];
        bytes[..6].copy_from_slice(&GATEWAY_MAC);
        bytes[6..12].copy_from_slice(&CLIENT_MAC);
        bytes[12..14].copy_from_slice(&[8, 0]);
        bytes[14..26].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0]);
        bytes[16..18].copy_from_slice(&((40 + payload.len()) as u16).to_be_bytes());
        bytes[26..34].copy_from_slice(&[10, 7, 0, 1, 10, 7, 0, 2]);
        bytes[34..36].copy_from_slice(&peer.to_be_bytes());
        bytes[36..38].copy_from_slice(&80u16.to_be_bytes());
        bytes[38..42].copy_from_slice(&side.seq.to_be_bytes());
        bytes[42..46].copy_from_slice(&side.ack.to_be_bytes());
        bytes[46] = 5 << 4;
        bytes[47] = flags;
        bytes[48..50].copy_from_slice(&(side.room.unwrap_or(OPEN).min(OPEN) as u16).to_be_bytes());
        bytes[HEADERS..].copy_from_slice(payload);
        side.seq = side.seq.wrapping_add(payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0));
        side.ack_due = false;
        let mut frame = self.pool.frame(&bytes).expect("the pool holds all frames");
        frame.set_rx(RxMeta { ip_checksum: Checksum::Good, l4_checksum: Checksum::Good, ..RxMeta::default() });
        self.worker.port_mut().rx.push_back(frame);
    }

    fn receive(&mut self, bytes: &[u8]) {
        if bytes[12..14] == [8, 6] {
            return self.answer_arp(bytes);
        }
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let peer = u16::from_be_bytes([bytes[36], bytes[37]]);
        let (seq, ack, flags) = (number(38), number(42), bytes[47]);
        let end = 14 + usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
        let payload = &bytes[34 + usize::from(bytes[46] >> 4) * 4..end];
        let side = self.side(peer);
        if flags & RST != 0 {
            side.reset = true;
            return;
        }
        side.acked = ack;
        side.window = u32::from(u16::from_be_bytes([bytes[48], bytes[49]]));
        side.ack_due |= !payload.is_empty() || flags & (SYN | FIN) != 0;
        if flags & SYN != 0 {
            side.ack = seq.wrapping_add(1);
            return;
        }
        // A zero-window probe, or what a client without room had to leave.
        let Some(new) = payload.get(side.ack.wrapping_sub(seq) as usize..) else { return };
        let taken = new.len().min(side.room.unwrap_or(usize::MAX));
        side.room = side.room.map(|room| room - taken);
        side.received.extend_from_slice(&new[..taken]);
        side.ack = side.ack.wrapping_add(taken as u32);
        if flags & FIN != 0 && taken == new.len() && !side.finished {
            side.ack = side.ack.wrapping_add(1);
            side.finished = true;
        }
    }

    fn answer_arp(&mut self, request: &[u8]) {
        if request[20..22] != [0, 1] || request[28..32] == request[38..42] {
            return;
        }
        let mut reply = request[..42].to_vec();
        reply[..6].copy_from_slice(&GATEWAY_MAC);
        reply[6..12].copy_from_slice(&CLIENT_MAC);
        reply[20..22].copy_from_slice(&[0, 2]);
        reply[22..28].copy_from_slice(&CLIENT_MAC);
        reply[28..32].copy_from_slice(&request[38..42]);
        reply[32..38].copy_from_slice(&GATEWAY_MAC);
        reply[38..42].copy_from_slice(&request[28..32]);
        let frame = self.pool.frame(&reply).expect("the pool holds all frames");
        self.worker.port_mut().rx.push_back(frame);
    }
}

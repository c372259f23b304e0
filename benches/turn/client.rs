//! A lossless client that plays any number of connections against a worker, frame by frame.
//!
//! Owns just enough TCP to open, ask, acknowledge and close; it runs outside the measured turn. Refuses loss: a frame it
//! does not expect is a panic, because then the figures would mean nothing.

use penstock::port::{Checksum, Frame, RxMeta};
use penstock::sim::port::{FramePool, SimFrame, SimPort};

/// The gateway's Ethernet address.
pub const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const GATEWAY_IP: [u8; 4] = [10, 7, 0, 2];
const PORTS_PER_ADDRESS: usize = 50_000;
const FIRST_PORT: usize = 1_024;
const HEADERS: usize = 14 + 20 + 20;

/// Two NOPs and the timestamps option.
const STAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0];

const FIN: u8 = 1;
const SYN: u8 = 2;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// One played connection.
#[derive(Clone, Copy, Default)]
struct Peer {
    seq: u32,
    ack: u32,
    answered: bool,
    closed: bool,
}

/// All played connections.
pub struct Client {
    pool: FramePool,
    peers: Vec<Peer>,
    template: [u8; HEADERS],
    request: Vec<u8>,
    answer_len: usize,
    /// Where a number stands that every request has of its own.
    unique_at: Option<usize>,
    /// Every segment carries the timestamps option.
    stamps: bool,
    /// Answers received whole.
    pub answers: u64,
    /// SYN-ACKs received.
    pub syn_acks: u64,
}

impl Client {
    /// `connections` peers that send `request`.
    pub fn new(pool: FramePool, connections: usize, request: &[u8]) -> Client {
        let mut template = [0; HEADERS];
        template[..6].copy_from_slice(&GATEWAY_MAC);
        template[6..12].copy_from_slice(&ROUTER_MAC);
        template[12..14].copy_from_slice(&[8, 0]);
        template[14..26].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0]);
        template[30..34].copy_from_slice(&GATEWAY_IP);
        template[36..38].copy_from_slice(&80u16.to_be_bytes());
        template[46] = 5 << 4;
        template[48..50].copy_from_slice(&65_000u16.to_be_bytes());
        let peers = vec![Peer::default(); connections];
        Client {
            pool,
            peers,
            template,
            request: request.to_vec(),
            answer_len: 0,
            unique_at: None,
            stamps: false,
            answers: 0,
            syn_acks: 0,
        }
    }

    /// Puts timestamps into every segment.
    pub fn offer_timestamps(&mut self) {
        self.stamps = true;
        self.template[46] = 8 << 4;
    }

    /// Makes every request differ from those before: `marker` in it is followed by eight digits that count.
    pub fn number_requests(&mut self, marker: &[u8]) {
        let at = self.request.windows(marker.len()).position(|window| window == marker).expect("the marker");
        self.unique_at = Some(at + marker.len());
    }

    fn next_number(&mut self) {
        let Some(at) = self.unique_at else { return };
        for digit in self.request[at..at + 8].iter_mut().rev() {
            *digit = if *digit == b'9' { b'0' } else { *digit + 1 };
            if *digit != b'0' {
                break;
            }
        }
    }

    /// Has the router ask for the gateway, which tells the gateway who the router is.
    pub fn greet(&mut self, port: &mut SimPort) {
        let mut request = [0; 42];
        request[..6].copy_from_slice(&[0xff; 6]);
        request[6..12].copy_from_slice(&ROUTER_MAC);
        request[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        request[22..28].copy_from_slice(&ROUTER_MAC);
        request[28..32].copy_from_slice(&[10, 7, 0, 1]);
        request[38..42].copy_from_slice(&GATEWAY_IP);
        port.rx.push_back(self.pool.frame(&request).expect("the pool holds all frames of a turn"));
    }

    /// Sends one segment of peer `i`.
    fn send(&mut self, port: &mut SimPort, i: usize, flags: u8, payload: bool) {
        let payload = if payload { &self.request[..] } else { &[] };
        let peer = &mut self.peers[i];
        let mut frame = self.pool.take().expect("the pool holds all frames of a turn");
        let options = if self.stamps { &STAMPS[..] } else { &[] };
        let headers = HEADERS + options.len();
        frame.set_len(headers + payload.len());
        let bytes = frame.bytes_mut();
        bytes[..HEADERS].copy_from_slice(&self.template);
        bytes[HEADERS..headers].copy_from_slice(options);
        bytes[headers..].copy_from_slice(payload);
        let ip_len = (headers - 14 + payload.len()) as u16;
        bytes[16..18].copy_from_slice(&ip_len.to_be_bytes());
        let source = 0x0a09_0001 + (i / PORTS_PER_ADDRESS) as u32;
        bytes[26..30].copy_from_slice(&source.to_be_bytes());
        let source_port = (FIRST_PORT + i % PORTS_PER_ADDRESS) as u16;
        bytes[34..36].copy_from_slice(&source_port.to_be_bytes());
        bytes[38..42].copy_from_slice(&peer.seq.to_be_bytes());
        bytes[42..46].copy_from_slice(&peer.ack.to_be_bytes());
        bytes[47] = flags;
        peer.seq = peer.seq.wrapping_add(payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0));
        frame.set_rx(RxMeta { ip_checksum: Checksum::Good, l4_checksum: Checksum::Good, ..RxMeta::default() });
        port.rx.push_back(frame);
    }

    /// Begins a connection.
    pub fn open(&mut self, port: &mut SimPort, i: usize) {
        // Beyond what the former connection of this 4-tuple used, as RFC 6191 wants of one that ends a TIME-WAIT.
        let seq = self.peers[i].seq.wrapping_add(0x1_0000);
        self.peers[i] = Peer { seq, ..Peer::default() };
        self.send(port, i, SYN, false);
    }

    /// Sends the request; on a new connection its ACK completes the handshake.
    pub fn ask(&mut self, port: &mut SimPort, i: usize) {
        self.peers[i].answered = false;
        self.next_number();
        self.send(port, i, PSH | ACK, true);
    }

    /// Acknowledges what was received, which completes a handshake.
    pub fn acknowledge(&mut self, port: &mut SimPort, i: usize) {
        self.send(port, i, ACK, false);
    }

    /// Acknowledges the answer and the gateway's FIN, and closes.
    pub fn close(&mut self, port: &mut SimPort, i: usize) {
        assert!(self.peers[i].closed, "the gateway closes after Connection: close");
        self.send(port, i, FIN | ACK, false);
    }

    /// Whether the gateway closed.
    pub fn is_closed(&self, i: usize) -> bool {
        self.peers[i].closed
    }

    /// Takes everything the gateway sent.
    pub fn drain(&mut self, port: &mut SimPort) {
        while let Some(frame) = port.tx.pop_front() {
            self.take(port, &frame);
        }
    }

    fn take(&mut self, port: &mut SimPort, frame: &SimFrame) {
        let bytes = frame.bytes();
        if bytes[12..14] == [8, 6] {
            return self.answer_arp(port, bytes);
        }
        if bytes[12..14] != [8, 0] {
            return;
        }
        assert_eq!(&bytes[..6], &ROUTER_MAC, "frames go to the router");
        let address = u32::from_be_bytes([bytes[30], bytes[31], bytes[32], bytes[33]]) - 0x0a09_0001;
        let port_number = usize::from(u16::from_be_bytes([bytes[36], bytes[37]]));
        let i = address as usize * PORTS_PER_ADDRESS + port_number - FIRST_PORT;
        let seq = u32::from_be_bytes([bytes[38], bytes[39], bytes[40], bytes[41]]);
        let flags = bytes[47];
        let payload = bytes.len() - 34 - usize::from(bytes[46] >> 4) * 4;
        let peer = &mut self.peers[i];
        assert_eq!(flags & 4, 0, "connection {i} was reset");
        if flags & SYN != 0 {
            peer.ack = seq.wrapping_add(1);
            self.syn_acks += 1;
            return;
        }
        assert_eq!(seq, peer.ack, "connection {i} lost a segment");
        peer.ack = peer.ack.wrapping_add(payload as u32 + u32::from(flags & FIN));
        peer.closed |= flags & FIN != 0;
        if payload > 0 {
            self.check(i, &bytes[bytes.len() - payload..]);
        }
    }

    fn check(&mut self, i: usize, answer: &[u8]) {
        if self.answer_len == 0 {
            assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(answer));
            self.answer_len = answer.len();
        }
        assert_eq!(answer.len(), self.answer_len, "every answer is one whole segment");
        assert!(!self.peers[i].answered, "connection {i} was answered twice");
        self.peers[i].answered = true;
        self.answers += 1;
    }

    fn answer_arp(&mut self, port: &mut SimPort, request: &[u8]) {
        if request[20..22] != [0, 1] || request[28..32] == request[38..42] {
            return;
        }
        let mut reply = request[..42].to_vec();
        reply[..6].copy_from_slice(&GATEWAY_MAC);
        reply[6..12].copy_from_slice(&ROUTER_MAC);
        reply[20..22].copy_from_slice(&[0, 2]);
        reply[22..28].copy_from_slice(&ROUTER_MAC);
        reply[28..32].copy_from_slice(&request[38..42]);
        reply[32..38].copy_from_slice(&GATEWAY_MAC);
        reply[38..42].copy_from_slice(&GATEWAY_IP);
        port.rx.push_back(self.pool.frame(&reply).expect("the pool holds all frames of a turn"));
    }
}

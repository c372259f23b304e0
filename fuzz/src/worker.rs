//! Frames into a whole worker: any bytes, and conversations with bytes changed on the way.
//!
//! Owns the language that an input is written in. Refuses to judge: `bed` does, after every turn.

use crate::bed::{self, ACK, Bed, FIN, GATEWAY_MAC, PEERS, PSH, RST, SYN};
use crate::input::Input;
use penstock::port::Checksum;
use penstock::sim::packet;
use std::time::Duration;

/// What peers send, whole or in part.
const TEXTS: [&[u8]; 6] = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HEAD / HTTP/1.0\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
];
const FLAGS: [u8; 6] = [SYN, ACK, PSH | ACK, FIN | ACK, RST | ACK, RST];

/// Types and codes of errors.
const ERRORS: [(u8, u8); 8] = [(3, 4), (2, 0), (3, 1), (11, 0), (12, 0), (1, 0), (3, 0), (5, 1)];

/// A list of operations.
pub fn worker(input: &[u8]) {
    let mut input = Input(input);
    let mut bed = Bed::new();
    bed.listen();
    let mut damage: &[u8] = &[];
    for _ in 0..200 {
        if input.is_empty() {
            break;
        }
        let code = input.byte();
        let frame = match code % 16 {
            0 => Some(input.piece().to_vec()),
            kind @ 1..=8 => Some(segment(&mut bed, kind, &mut input)),
            9 => Some(link(&mut input)),
            10 => Some(icmp(&bed, &mut input)),
            11 => {
                bed.turn(later(input.byte()));
                None
            }
            12 => {
                bed.limit_tx(usize::from(input.byte()));
                None
            }
            13 => {
                bed.pool.set_limit(usize::from(input.byte()) * 2);
                None
            }
            14 => {
                damage = input.piece();
                None
            }
            _ => {
                bed.listen();
                None
            }
        };
        if let Some(frame) = frame {
            deliver(&mut bed, frame, core::mem::take(&mut damage), code);
        }
    }
    bed.listen();
    bed.end();
}

/// Hands a frame over, changed, and has a turn unless the burst goes on.
fn deliver(bed: &mut Bed, mut frame: Vec<u8>, damage: &[u8], code: u8) {
    for pair in damage.chunks_exact(2) {
        match pair {
            [255, len] => frame.truncate(usize::from(*len)),
            [254, len] => frame.extend(std::iter::repeat_n(*len, usize::from(*len))),
            [at, value] => {
                if let Some(byte) = frame.get_mut(usize::from(*at)) {
                    *byte ^= value;
                }
            }
            _ => {}
        }
    }
    // Damage gets further than the first check where the device vouches for the frame.
    let sums = if damage.is_empty() || code & 0x20 == 0 { Checksum::Unknown } else { Checksum::Good };
    if code & 0x40 != 0 {
        let cut = frame.len() / 2;
        bed.give_chained(&frame[..cut], &frame[cut..], sums);
    } else {
        bed.give(&frame, sums);
    }
    if code & 0x80 == 0 {
        bed.turn(Duration::from_micros(300));
        bed.listen();
    }
}

fn segment(bed: &mut Bed, kind: u8, input: &mut Input<'_>) -> Vec<u8> {
    let how = input.byte();
    let peer = usize::from(how) % PEERS;
    let text = TEXTS[usize::from(how >> 2 & 7) % TEXTS.len()];
    match kind {
        1 => bed.segment(peer, SYN, 0, &[], &[]),
        2 => bed.segment(peer, ACK, 0, &[], &[]),
        3 => bed.segment(peer, PSH | ACK, 0, &[], text),
        4 => {
            let (from, len) = (usize::from(input.byte()), usize::from(input.byte()));
            let from = from.min(text.len());
            bed.segment(peer, PSH | ACK, 0, &[], &text[from..text.len().min(from + len)])
        }
        5 => bed.segment(peer, PSH | ACK, 0, &[], input.piece()),
        6 => bed.segment(peer, FLAGS[usize::from(how >> 5) % FLAGS.len()], 0, &[], &[]),
        7 => {
            let (flags, seq) = (input.byte(), input.byte() as i8);
            let options = input.piece();
            bed.segment(peer, flags, seq, options, input.piece())
        }
        _ => bed.segment(peer, SYN, 0, input.piece(), &[]),
    }
}

/// ARP and neighbour discovery.
fn link(input: &mut Input<'_>) -> Vec<u8> {
    let (how, value) = (input.byte(), input.byte());
    let peer = usize::from(how) % PEERS;
    let mut target = [0xfd, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, value];
    match how >> 2 & 7 {
        0 => bed::greeting(peer),
        1 => bed::arp(how >> 5, bed::peer_mac(peer), [10, 7, 0, value], [10, 7, 0, 2]),
        2 => bed::arp(2, [2, 0, 0, 0, 9, value], [10, 7, 0, 10 + how % 4], [10, 7, 0, 2]),
        3 => bed::arp(1, [2, 0, 0, 0, 9, value], [10, 7, 0, 2], [10, 7, 0, 2]),
        kind => {
            if kind & 1 == 0 {
                target[..4].copy_from_slice(&[0xfe, 0x80, 0, 0]);
            }
            bed::discovery(2 + peer % 2, 135 + (kind >> 1 & 1), &target, how >> 5)
        }
    }
}

/// An echo request, or an error about what the gateway sent.
fn icmp(bed: &Bed, input: &mut Input<'_>) -> Vec<u8> {
    let how = input.byte();
    let peer = usize::from(how) % PEERS;
    let (from, to) = (bed::peer_address(peer), bed::gateway_address(peer));
    let packet = if how & 0x80 == 0 {
        packet::echo_request(from, to, 1, input.piece())
    } else {
        let (kind, code) = ERRORS[usize::from(how >> 2 & 7)];
        let back = u32::from(input.byte()) * 16;
        let [mtu, size] = [(); 2].map(|()| [input.byte(), input.byte()]);
        let ports = [80, 40_000 + peer as u16].map(u16::to_be_bytes);
        let quoted = [ports.as_flattened(), &bed.peers[peer].ack.wrapping_sub(back).to_be_bytes(), &[0; 12]].concat();
        let mut quoted = packet::packet(to, from, packet::TCP, quoted, 16);
        let at = if from.is_ipv4() { 2 } else { 4 };
        quoted[at..at + 2].copy_from_slice(&size);
        let message = [&[kind, code, 0, 0, 0, 0][..], &mtu, &quoted].concat();
        packet::packet(from, to, if from.is_ipv4() { packet::ICMP } else { packet::ICMPV6 }, message, 2)
    };
    let ether_type = if peer < 2 { packet::IPV4 } else { packet::IPV6 };
    packet::wrap(GATEWAY_MAC, bed::peer_mac(peer), None, ether_type, &packet)
}

fn later(value: u8) -> Duration {
    match value {
        0..=99 => Duration::from_micros(u64::from(value)),
        100..=199 => Duration::from_millis(u64::from(value) - 100),
        _ => Duration::from_millis((u64::from(value) - 199) * 200),
    }
}

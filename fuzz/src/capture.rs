//! Captured frames: the filter, and the stream of pcapng.
//!
//! Owns a second reader of pcapng and of frames. Refuses to capture: the black-box tests do.

use crate::input::Input;
use penstock::control::capture::Request;
use penstock::control::pcapng::{self, Seen};
use penstock::sim::packet;
use penstock::telemetry::Counter;
use penstock::telemetry::tap::{Direction, Record};
use std::net::{IpAddr, Ipv6Addr};

/// Any bytes as a stream of blocks: looked at in pieces or at once, the same is seen.
pub fn pcapng_stream(input: &[u8]) {
    let Some((piece, stream)) = input.split_first() else { return };
    in_pieces(stream, usize::from(*piece).max(1));
}

/// Blocks are found the same way however the stream arrives; the result is their end.
fn in_pieces(stream: &[u8], piece: usize) -> (Option<usize>, Seen) {
    let mut whole = Seen::default();
    let end = whole.look(stream);
    let (mut seen, mut from) = (Seen::default(), 0);
    for to in (0..stream.len()).step_by(piece).skip(1).chain([stream.len()]) {
        match seen.look(&stream[from..to]) {
            Some(len) => from += len,
            None => {
                assert_eq!(end, None);
                return (end, whole);
            }
        }
    }
    assert_eq!((end, whole), (Some(from), seen));
    (end, whole)
}

/// Any frames written, and read by another reader.
pub fn pcapng_written(input: &[u8]) {
    let mut input = Input(input);
    let mut stream = Vec::new();
    let name = String::from_utf8_lossy(input.piece()).into_owned();
    let piece = usize::from(input.byte()).max(1);
    pcapng::begin(&mut stream, &name, 2048);
    let mut written = Vec::new();
    while !input.is_empty() && written.len() < 50 {
        let (kind, at_ns) = (input.byte(), input.number());
        let direction = if kind & 1 == 0 { Direction::Inbound } else { Direction::Outbound };
        let dropped = (kind & 2 != 0).then(|| Counter::ALL[usize::from(kind >> 2) % Counter::ALL.len()]);
        let bytes = input.piece().to_vec();
        let record = Record { at_ns, direction, dropped, len: bytes.len() + 1, bytes };
        pcapng::packet(&mut stream, &record, at_ns, u32::from(kind));
        written.push(record);
    }
    pcapng::statistics(&mut stream, 1, written.len() as u64, 3);
    let (end, seen) = in_pieces(&stream, piece);
    assert_eq!((end, seen), (Some(stream.len()), Seen { packets: written.len() as u64, lost: 3 }));
    let read = read(&stream);
    assert_eq!(read.len(), written.len());
    for (record, (at_ns, len, bytes)) in written.iter().zip(read) {
        assert_eq!((record.at_ns, record.len as u32, &record.bytes[..]), (at_ns, len, bytes));
    }
}

/// Times, lengths and bytes of the packets of a file in this machine's byte order (draft-ietf-opsawg-pcapng, 4.3).
fn read(mut file: &[u8]) -> Vec<(u64, u32, &[u8])> {
    let mut packets = Vec::new();
    let word = |bytes: &[u8], at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    while !file.is_empty() {
        let len = word(file, 4) as usize;
        let (block, rest) = file.split_at(len);
        assert_eq!((len % 4, word(block, len - 4) as usize), (0, len));
        let options = match word(block, 0) {
            0x0a0d_0d0a => 24,
            1 => 16,
            5 => 20,
            6 => {
                let captured = word(block, 20) as usize;
                let time = u64::from(word(block, 12)) << 32 | u64::from(word(block, 16));
                packets.push((time, word(block, 24), &block[28..28 + captured]));
                28 + captured.next_multiple_of(4)
            }
            kind => panic!("block type {kind}"),
        };
        check_options(&block[options..len - 4]);
        file = rest;
    }
    packets
}

/// Options fill their place up to an end (3.5).
fn check_options(mut options: &[u8]) {
    loop {
        let half = |at: usize| u16::from_ne_bytes([options[at], options[at + 1]]);
        let (code, len) = (half(0), usize::from(half(2)));
        if code == 0 {
            return assert_eq!(options, [0; 4]);
        }
        options = &options[4 + len.next_multiple_of(4)..];
    }
}

/// A line that asks for a capture, and a frame that it may want: another reader of frames agrees.
pub fn filter(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let (Some(query), Some(frame)) = (parts.next(), parts.next()) else { return };
    let Ok(Ok(request)) = std::str::from_utf8(query).map(Request::parse) else { return };
    let filter = request.filter;
    let [inbound, outbound] = [Direction::Inbound, Direction::Outbound].map(|way| filter.takes(way, frame));
    if filter.listener.is_none() {
        assert_eq!(inbound, outbound, "only a listener is the gateway's end");
    }
    let Some(ip) = packet::ip(frame).filter(|ip| is_plain(frame, ip)) else { return };
    let Some((source, destination)) = packet::tcp_ports(frame) else { return };
    let ends = [(ip.source, source), (ip.destination, destination)];
    let wanted = |local: (IpAddr, u16)| {
        filter.host.is_none_or(|host| ends.iter().any(|(address, _)| *address == host))
            && filter.port.is_none_or(|port| ends.iter().any(|(_, own)| *own == port))
            && filter
                .listener
                .is_none_or(|(address, port)| local.1 == port && address.is_none_or(|address| address == local.0))
    };
    assert_eq!((inbound, outbound), (wanted(ends[1]), wanted(ends[0])), "{}", packet::summary(frame));
}

/// Neither a fragment nor an address in two spellings.
fn is_plain(frame: &[u8], ip: &packet::Ip) -> bool {
    let mapped =
        |address: IpAddr| matches!(address, IpAddr::V6(address) if Ipv6Addr::to_ipv4_mapped(&address).is_some());
    let fragment = ip.source.is_ipv4() && (frame[ip.l3 + 6] & 0x1f != 0 || frame[ip.l3 + 7] != 0);
    !fragment && !mapped(ip.source) && !mapped(ip.destination)
}

//! Handshakes without a socket, and sockets without a handshake.
//!
//! Owns segments that no socket sends, such as the SYN-ACK that answers a SYN of which nothing is kept, and how a socket comes
//! to the state of a connection that began elsewhere or was parked. Refuses to judge who deserves one: the stack does.

use super::{Engine, PacketIn, Tcb, Wire, address, capabilities, discard, smol};
use crate::mem::Block;
use crate::net::key::FlowKey;
use crate::port::Port;
use crate::time::Instant;
use arrayvec::ArrayVec;
use core::net::IpAddr;
use core::time::Duration;
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, TxToken};
use smoltcp::socket::tcp::State;
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::{IpAddress, IpProtocol, IpRepr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, TcpTimestampRepr};

/// A TCP header with the MSS option alone.
const SYN_ACK_LEN: usize = 24;
/// A TCP header with options for MSS, window scale, SACK and timestamps.
const SYN_LEN_MAX: usize = 20 + 20;
/// The same behind an IPv6 header.
const SYN_MAX: usize = 40 + SYN_LEN_MAX;

/// Room for timestamps.
const BLANK: TcpTimestampRepr = TcpTimestampRepr { tsval: 0, tsecr: 0 };

/// A connection on which nothing is under way: everything sent was acknowledged, everything received was read.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Quiescent {
    /// The 4-tuple.
    pub key: FlowKey,
    /// The next sequence number to send.
    pub snd_nxt: u32,
    /// The next sequence number to receive.
    pub rcv_nxt: u32,
    /// What the peer's SYN said.
    pub offer: Offer,
}

/// An established connection without a socket.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Parked {
    /// Where both ends stand.
    pub connection: Quiescent,
    /// The peer's window as last told, not scaled.
    pub window: u16,
    /// The round trip of the path, as far as it is known.
    pub round_trip: Duration,
}

/// What a peer said in its SYN and never says again (RFC 9293, 3.7.1; RFC 7323, 2; RFC 2018).
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Offer {
    /// The largest segment it takes, in bytes; None: it did not say.
    pub mss: Option<u16>,
    /// Its window scale, if it offered one.
    pub window_scale: Option<u8>,
    /// Whether it permits selective acknowledgments.
    pub sack: bool,
    /// Whether it offers timestamps.
    pub timestamps: bool,
}

impl Offer {
    /// The offer of a TCP header, read as smoltcp reads it; nothing when it cannot.
    pub fn of(tcp: &[u8]) -> Offer {
        let unspecified = IpAddress::v4(0, 0, 0, 0);
        let packet = TcpPacket::new_checked(tcp);
        let sums = ChecksumCapabilities::ignored();
        match packet.and_then(|packet| TcpRepr::parse(&packet, &unspecified, &unspecified, &sums)) {
            Ok(TcpRepr { max_seg_size: mss, window_scale, sack_permitted: sack, timestamp, .. }) => {
                Offer { mss, window_scale, sack, timestamps: timestamp.is_some() }
            }
            Err(_) => Offer::default(),
        }
    }
}

impl<P: Port> Wire<'_, P> {
    /// Sends an ACK without data that no socket sends.
    pub fn bare_ack(&mut self, key: &FlowKey, seq: u32, ack: u32, window: u16) {
        self.bare(key, TcpControl::None, seq, ack, window);
    }

    /// Sends an RST that no socket sends.
    pub fn bare_reset(&mut self, key: &FlowKey, seq: u32, ack: u32) {
        self.bare(key, TcpControl::Rst, seq, ack, 0);
    }

    fn bare(&mut self, key: &FlowKey, control: TcpControl, seq: u32, ack: u32, window: u16) {
        let (local, remote) = (address(key.local_ip()), address(key.remote_ip()));
        let tcp = TcpRepr {
            timestamp: self.stamp.filter(|_| control != TcpControl::Rst).map(|_| BLANK),
            ..empty((key.local_port, key.remote_port), control, seq, Some(ack), window)
        };
        let ip = IpRepr::new(local, remote, IpProtocol::Tcp, tcp.buffer_len(), 64);
        let sums = ChecksumCapabilities::ignored();
        let fill = |bytes: &mut [u8]| {
            ip.emit(&mut *bytes, &sums);
            let mut packet = TcpPacket::new_unchecked(&mut bytes[ip.header_len()..]);
            tcp.emit(&mut packet, &local, &remote, &sums);
        };
        self.emit(ip.buffer_len(), fill);
    }

    /// Sends a SYN-ACK for which there is no socket, as an answer to `offer`. It offers a segment size, and nothing else
    /// without timestamps, in which the rest would come back.
    pub fn syn_ack(&mut self, key: &FlowKey, isn: u32, ack: u32, window: u16, offer: &Offer) {
        let ends = (key.local_ip(), key.remote_ip());
        let ip_len = if ends.0.is_ipv4() { 20 } else { 40 };
        let mss = usize::from(self.caps.mtu).saturating_sub(ip_len + 20) as u16;
        let mut options = ArrayVec::<u8, { SYN_LEN_MAX - SYN_ACK_LEN }>::new();
        if self.stamp.is_some() {
            options.extend(offer.window_scale.map(|_| [3, 3, 0]).into_iter().flatten());
            options.extend(offer.sack.then_some([4, 2]).into_iter().flatten());
            options.extend([8, 10].into_iter().chain([0; 8]));
            options.extend(core::iter::repeat_n(0, options.len().wrapping_neg() % 4));
        }
        let tcp_len = SYN_ACK_LEN + options.len();
        self.emit(ip_len + tcp_len, |bytes| {
            let (ip, tcp) = bytes.split_at_mut(ip_len);
            match ends {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    ip[..12].copy_from_slice(&[0x45, 0, 0, 20 + tcp_len as u8, 0, 0, 0x40, 0, 64, 6, 0, 0]);
                    ip[12..16].copy_from_slice(&from.octets());
                    ip[16..].copy_from_slice(&to.octets());
                }
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    ip[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, tcp_len as u8, 6, 64]);
                    ip[8..24].copy_from_slice(&from.octets());
                    ip[24..].copy_from_slice(&to.octets());
                }
                _ => debug_assert!(false, "both ends are of one family"),
            }
            tcp[..2].copy_from_slice(&key.local_port.to_be_bytes());
            tcp[2..4].copy_from_slice(&key.remote_port.to_be_bytes());
            tcp[4..8].copy_from_slice(&isn.to_be_bytes());
            tcp[8..12].copy_from_slice(&ack.to_be_bytes());
            // SYN and ACK; the checksum is filled in later.
            tcp[12..14].copy_from_slice(&[(tcp_len as u8 / 4) << 4, 0x12]);
            tcp[14..16].copy_from_slice(&window.to_be_bytes());
            tcp[16..22].copy_from_slice(&[0, 0, 0, 0, 2, 4]);
            tcp[22..24].copy_from_slice(&mss.to_be_bytes());
            tcp[24..].copy_from_slice(&options);
        });
    }
}

impl Tcb {
    /// A socket that took the packet `syn`. Its SYN-ACK, with the initial sequence number `isn`, leaves by `Engine::send`. One
    /// that smoltcp does not take leaves it in LISTEN.
    pub fn accept(block: Block, rx_ring: usize, key: &FlowKey, syn: &[u8], isn: u32, mtu: u16, now: Instant) -> Tcb {
        let mut tcb = Tcb::listen(block, rx_ring, key);
        Engine::choosing(isn, mtu, now).replay(&mut tcb, syn, mtu, now);
        tcb
    }

    /// A socket that goes on with `connection` once it receives a segment that acknowledges `snd_nxt`, as every segment of the
    /// peer does; until then it is in SYN-RECEIVED. It has seen a SYN that never was, and its SYN-ACK went nowhere. None
    /// when no connection can be like this.
    pub fn import(block: Block, rx_ring: usize, connection: &Quiescent, mtu: u16, now: Instant) -> Option<Tcb> {
        let mut syn = [0; SYN_MAX];
        let len = connection.write(TcpControl::Syn, 0, &mut syn);
        let mut engine = Engine::choosing(connection.snd_nxt.wrapping_sub(1), mtu, now);
        let mut tcb = Tcb::listen(block, rx_ring, &connection.key);
        engine.replay(&mut tcb, &syn[..len], mtu, now);
        if tcb.state() != State::SynReceived {
            return None;
        }
        if connection.offer.timestamps {
            tcb.use_timestamps();
        }
        // The window that the peer was told counts from here.
        engine.send_nowhere(&mut tcb, mtu, now);
        Some(tcb)
    }

    /// Whether a socket made anew could go on where this one is in the middle of a turn: everything sent was acknowledged and
    /// everything received was read. What was not acknowledged yet, what is sent next acknowledges.
    pub(crate) fn is_replaceable(&mut self) -> bool {
        self.socket(|s| s.state() == State::Established && s.send_queue() == 0 && s.recv_queue() == 0)
    }

    /// Whether smoltcp has nothing to do for an open connection: nothing to send, acknowledge, repeat or hand over.
    pub(crate) fn is_quiescent(&mut self, engine: &mut Engine, now: Instant) -> bool {
        self.is_replaceable() && engine.poll_at(now, self).is_none()
    }
}

impl Quiescent {
    /// Writes the peer's SYN that would have begun the connection, or else its ACK of everything with this window, not
    /// scaled; returns its length.
    fn write(&self, control: TcpControl, window: u16, out: &mut [u8; SYN_MAX]) -> usize {
        let syn = control == TcpControl::Syn;
        let (seq, ack) = (self.rcv_nxt.wrapping_sub(u32::from(syn)), (!syn).then_some(self.snd_nxt));
        let tcp = TcpRepr {
            window_scale: self.offer.window_scale.filter(|_| syn),
            max_seg_size: self.offer.mss.filter(|_| syn),
            sack_permitted: self.offer.sack && syn,
            ..empty((self.key.remote_port, self.key.local_port), control, seq, ack, window)
        };
        write_from_peer(&self.key, &tcp, out)
    }
}

/// A segment without content and options, from the first port to the second.
pub(super) fn empty(
    ports: (u16, u16),
    control: TcpControl,
    seq: u32,
    ack: Option<u32>,
    window: u16,
) -> TcpRepr<'static> {
    TcpRepr {
        src_port: ports.0,
        dst_port: ports.1,
        control,
        seq_number: TcpSeqNumber(seq.cast_signed()),
        ack_number: ack.map(|ack| TcpSeqNumber(ack.cast_signed())),
        window_len: window,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    }
}

/// Writes a segment as the peer of `key` would send it, from the IP header on; returns its length.
pub(super) fn write_from_peer(key: &FlowKey, tcp: &TcpRepr<'_>, out: &mut [u8]) -> usize {
    let (from, to) = (address(key.remote_ip()), address(key.local_ip()));
    let ip = IpRepr::new(from, to, IpProtocol::Tcp, tcp.buffer_len(), 64);
    let sums = ChecksumCapabilities::ignored();
    ip.emit(&mut *out, &sums);
    let end = ip.buffer_len();
    tcp.emit(&mut TcpPacket::new_unchecked(&mut out[ip.header_len()..end]), &from, &to, &sums);
    end
}

impl Engine {
    /// An established socket that goes on with a parked connection. Its handshake seems to have begun a round trip ago on the
    /// quickened clock: that is all it knows of the path. None when no connection can be like this.
    pub fn revive(&mut self, block: Block, rx_ring: usize, parked: &Parked, mtu: u16, now: Instant) -> Option<Tcb> {
        let Parked { connection, window, round_trip } = parked;
        let began = Instant::from_nanos(now.nanos().saturating_sub(round_trip.as_nanos() as u64));
        let mut tcb = Tcb::import(block, rx_ring, connection, mtu, began)?;
        tcb.quicken(began);
        let mut ack = [0; SYN_MAX];
        let len = connection.write(TcpControl::None, *window, &mut ack);
        self.replay(&mut tcb, &ack[..len], mtu, now);
        (tcb.state() == State::Established).then_some(tcb)
    }

    /// Gives a packet to a socket whose answers go nowhere.
    pub(super) fn replay(&mut self, tcb: &mut Tcb, packet: &[u8], mtu: u16, now: Instant) {
        let mut device = Replay { mtu, packet: Some(packet) };
        let now = smol(tcb.local(now, self.pace));
        tcb.held.with(|(set, _)| self.iface.poll_ingress_single(now, &mut device, set));
    }

    /// Has a socket send its next segment into nothing.
    pub(super) fn send_nowhere(&mut self, tcb: &mut Tcb, mtu: u16, now: Instant) {
        let now = smol(tcb.local(now, self.pace));
        tcb.held.with(|(set, _)| self.iface.poll_egress(now, &mut Replay { mtu, packet: None }, set));
    }
}

/// A device that receives one packet and sends into nothing.
struct Replay<'a> {
    mtu: u16,
    packet: Option<&'a [u8]>,
}

impl<'a> Device for Replay<'a> {
    type RxToken<'w>
        = PacketIn<'a>
    where
        Self: 'w;
    type TxToken<'w>
        = Nowhere
    where
        Self: 'w;

    fn receive(&mut self, _now: SmolInstant) -> Option<(PacketIn<'a>, Nowhere)> {
        Some((PacketIn(self.packet.take()?), Nowhere))
    }

    fn transmit(&mut self, _now: SmolInstant) -> Option<Nowhere> {
        Some(Nowhere)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.mtu)
    }
}

struct Nowhere;

impl TxToken for Nowhere {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        // A SYN-ACK or RST: clearing room for the longest packet would cost more than the handshake.
        let mut scratch = [0; 2 * SYN_MAX];
        match scratch.get_mut(..len) {
            Some(room) => f(room),
            None => discard(len, f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Hugepages;
    use crate::mem::{Arena, ArenaOptions};
    use crate::net::link::LinkHeader;
    use crate::net::stamp::Stamp;
    use crate::net::tcb::Unresolved;
    use crate::net::tx::TxQueue;
    use crate::port::{Caps, Frame};
    use crate::sim::packet;
    use crate::sim::port::{FramePool, SimFrame, SimPort};
    use crate::telemetry::Counters;

    const MTU: u16 = 1500;
    const KEYS: [FlowKey; 2] = [
        FlowKey { remote: 0xffff_0a00_0001, local: 0xffff_0a00_0002, remote_port: 40_000, local_port: 80 },
        FlowKey { remote: 0xfd00 << 112 | 1, local: 0xfd00 << 112 | 2, remote_port: 40_000, local_port: 80 },
    ];

    fn block() -> Block {
        let arena = Arena::new(1 << 20, ArenaOptions { hugepages: Hugepages::Off, numa_node: None }).unwrap();
        arena.pool(Tcb::footprint(4096, 4096), 1).unwrap().take().unwrap()
    }

    /// Lets `f` use a wire and a packet to receive; returns the frames sent.
    fn on_wire(packet: &[u8], f: impl for<'a> FnOnce(&mut Wire<'a, SimPort>, &'a [u8])) -> Vec<SimFrame> {
        let caps = Caps { mtu: MTU, ..Caps::default() };
        let mut port = SimPort::new(caps.clone(), FramePool::new(16));
        let (mut tx, mut spare, mut unresolved) = (TxQueue::default(), None, Unresolved::new());
        let (counters, l2) = (Counters::default(), LinkHeader::default());
        f(&mut Wire::new(&mut port, &mut tx, &mut spare, &caps, &counters, 14, Some(&l2), &mut unresolved), packet);
        tx.flush(&mut port, &counters);
        port.tx.into_iter().collect()
    }

    fn segment(key: &FlowKey, seq: u32, ack: u32, flags: u8, window: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend([key.remote_port, key.local_port].map(u16::to_be_bytes).as_flattened());
        bytes.extend([seq, ack].map(u32::to_be_bytes).as_flattened());
        bytes.extend([0x50, flags]);
        bytes.extend(window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload);
        packet::packet(key.remote_ip(), key.local_ip(), packet::TCP, bytes, 16)
    }

    #[test]
    fn a_syn_ack_without_socket_is_the_one_a_socket_sends() {
        let mss = [2, 4, 0x05, 0xb4];
        let (sack, scale, stamps) = ([4, 2, 1, 1], [1, 3, 3, 7], [1, 1, 8, 10, 0, 0, 0, 5, 0, 0, 0, 0]);
        let offers: [&[&[u8]]; 5] = [
            &[&mss],
            &[&mss, &stamps],
            &[&mss, &sack, &stamps],
            &[&mss, &scale, &stamps],
            &[&mss, &sack, &scale, &stamps],
        ];
        for (key, offer) in KEYS.iter().flat_map(|key| offers.map(|offer| (key, offer))) {
            let options = offer.concat();
            let mut syn = segment(key, 999, 0, 2, 1000, &options);
            let tcp = syn.len() - options.len() - 20;
            syn[tcp + 12] = ((20 + options.len() / 4 * 4) as u8 / 4) << 4;
            let offer = Offer::of(&syn[tcp..]);
            let stamp = offer.timestamps.then_some(Stamp { value: 0x0102_0304, echo: 5 });
            let mut tcb = Tcb::accept(block(), 4096, key, &syn, 77, MTU, Instant::ZERO);
            if offer.timestamps {
                tcb.use_timestamps();
            }
            let mut engine = Engine::new(MTU, 1, Instant::ZERO);
            let by_socket = on_wire(&[], |wire, _| {
                wire.stamp = stamp;
                assert!(engine.send(Instant::ZERO, &mut tcb, wire));
            });
            let without = on_wire(&[], |wire, _| {
                wire.stamp = stamp;
                wire.syn_ack(key, 77, 1000, 4096, &offer);
            });
            assert_eq!(by_socket[0].bytes()[14..], without[0].bytes()[14..]);
            assert_eq!(Stamp::of(&without[0].bytes()[14 + tcp..]), stamp);
        }
    }

    #[test]
    fn a_parked_connection_has_timestamps_if_it_had_them() {
        let mut engine = Engine::new(MTU, 1, Instant::ZERO);
        for (timestamps, segment, headers) in [(true, 988, 14 + 20 + 32), (false, 1_000, 14 + 20 + 20)] {
            let offer = Offer { mss: Some(1_000), timestamps, ..Offer::default() };
            let connection = Quiescent { key: KEYS[0], snd_nxt: 5, rcv_nxt: 9, offer };
            let parked = Parked { connection, window: 60_000, round_trip: Duration::ZERO };
            let mut tcb = engine.revive(block(), 4096, &parked, MTU, Instant::from_millis(5)).unwrap();
            assert_eq!(tcb.send(&[b'x'; 2000]), 2000);
            let sent = on_wire(&[], |wire, _| {
                wire.stamp = Some(Stamp { value: 8, echo: 9 });
                assert!(engine.send(Instant::from_millis(5), &mut tcb, wire));
            });
            assert_eq!(sent[0].bytes().len() - headers, segment);
            let stamp = Stamp::usual(&sent[0].bytes()[34..]);
            assert_eq!(stamp, timestamps.then_some(Stamp { value: 8, echo: 9 }));
        }
    }

    #[test]
    fn an_imported_connection_goes_on_with_data_in_its_first_segment() {
        for key in &KEYS {
            for (snd_nxt, rcv_nxt) in [(0, 0), (1, u32::MAX), (u32::MAX, 1), (0x8000_0000, 0x7fff_ffff)] {
                let connection =
                    Quiescent { key: *key, snd_nxt, rcv_nxt, offer: Offer { mss: Some(536), ..Offer::default() } };
                let mut tcb = Tcb::import(block(), 4096, &connection, MTU, Instant::ZERO).unwrap();
                let mut engine = Engine::new(MTU, 1, Instant::ZERO);
                let first = segment(key, rcv_nxt, snd_nxt, 0x18, 900, b"hello");
                let sent = on_wire(&first, |wire, first| {
                    engine.receive(Instant::ZERO, &mut tcb, first, wire);
                    assert_eq!(tcb.state(), State::Established);
                    assert_eq!(tcb.recv(|bytes, _| (5, bytes.to_vec())), Some(b"hello".to_vec()));
                    assert_eq!(tcb.send(&[b'x'; 2000]), 2000);
                    while engine.send(Instant::ZERO, &mut tcb, wire) {}
                });
                // The peer's segment size and window hold: 536, then what is left of 900.
                let headers = 14 + if key.remote_ip().is_ipv4() { 40 } else { 60 };
                let lengths: Vec<usize> = sent.iter().map(|frame| frame.bytes().len() - headers).collect();
                assert_eq!(lengths, [536, 364]);
            }
        }
    }

    #[test]
    fn an_imported_connection_answers_a_wrong_acknowledgment_with_rst_and_stays() {
        let connection = Quiescent {
            key: KEYS[0],
            snd_nxt: 5,
            rcv_nxt: 9,
            offer: Offer { mss: None, window_scale: Some(7), sack: true, timestamps: false },
        };
        let mut tcb = Tcb::import(block(), 4096, &connection, MTU, Instant::ZERO).unwrap();
        let mut engine = Engine::new(MTU, 1, Instant::ZERO);
        on_wire(&segment(&KEYS[0], 9, 6, 0x10, 900, b""), |wire, wrong| {
            engine.receive(Instant::ZERO, &mut tcb, wrong, wire);
            assert!(wire.sent.last.is_reset());
        });
        assert_eq!(tcb.state(), State::SynReceived);
    }

    #[test]
    fn what_is_no_connection_is_not_imported() {
        let key = FlowKey { remote_port: 0, ..KEYS[0] };
        let connection = Quiescent { key, snd_nxt: 5, rcv_nxt: 9, offer: Offer::default() };
        assert!(Tcb::import(block(), 4096, &connection, MTU, Instant::ZERO).is_none());
    }

    #[test]
    fn a_parked_connection_is_established_at_once_with_the_window_and_timeout_it_had() {
        for key in &KEYS {
            let offer = Offer { mss: Some(1_000), window_scale: Some(1), sack: true, timestamps: false };
            let connection = Quiescent { key: *key, snd_nxt: u32::MAX - 9, rcv_nxt: 7, offer };
            let ms = Duration::from_millis;
            for (round_trip, timeout) in [(ms(0), ms(200)), (ms(300), ms(900))] {
                let parked = Parked { connection, window: 600, round_trip };
                let now = Instant::from_millis(50_000);
                let mut engine = Engine::new(MTU, 1, Instant::ZERO).with_rto_min(ms(200));
                let mut tcb = engine.revive(block(), 4096, &parked, MTU, now).unwrap();
                assert!(tcb.is_quiescent(&mut engine, now));
                assert_eq!(tcb.send(&[b'x'; 2000]), 2000);
                assert!(!tcb.is_quiescent(&mut engine, now));
                let sent = on_wire(&[], |wire, _| while engine.send(now, &mut tcb, wire) {});
                let tcp = 14 + if key.remote_ip().is_ipv4() { 20 } else { 40 };
                let at = |frame: &SimFrame, at: usize| {
                    u32::from_be_bytes(frame.bytes()[tcp + at..tcp + at + 4].try_into().unwrap())
                };
                assert_eq!((at(&sent[0], 4), at(&sent[0], 8)), (u32::MAX - 9, 7));
                // 1,200 bytes of window, in segments of 1,000.
                let lengths: Vec<usize> = sent.iter().map(|frame| frame.bytes().len() - tcp - 20).collect();
                assert_eq!(lengths, [1_000, 200]);
                assert_eq!(engine.poll_at(now, &mut tcb), Some(now + timeout));
            }
        }
    }

    #[test]
    fn an_offer_is_what_smoltcp_reads() {
        let mut syn = segment(&KEYS[0], 999, 0, 2, 1000, &[2, 4, 0x05, 0xb4, 1, 3, 3, 15, 4, 2, 1, 1]);
        syn[32] = 0x80;
        // A scale beyond 14 is 14 (RFC 7323, 2.3).
        let offer = Offer { mss: Some(1460), window_scale: Some(14), sack: true, timestamps: false };
        assert_eq!(Offer::of(&syn[20..]), offer);
        assert_eq!(Offer::of(&segment(&KEYS[0], 999, 0, 2, 1000, &[])[20..]), Offer::default());
        assert_eq!(Offer::of(&syn[20..50]), Offer::default(), "cut off");
    }
}

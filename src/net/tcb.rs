//! A connection's TCP: one smoltcp socket in a `SocketSet` of its own, driven through the worker's one `Interface`.
//!
//! Owns every use of smoltcp's sockets. Refuses to know the flow table, timers or the link: packets come in as bytes and
//! leave as frames through [`Wire`]. smoltcp runs on `Medium::Ip` with any_ip and ignored checksums: `link` has filtered
//! addresses and verified sums before, and `ip::finish` computes them after.

mod clock;
mod end;
mod handshake;
mod lead;
mod path;
mod sent;

pub use handshake::{Offer, Parked, Quiescent};
pub use lead::Standing;
pub use sent::{Last, Sent};

use crate::limits::{CHAIN_MAX, SEGMENTS_PER_TURN};
use crate::mem::{Block, Borrower, Lent};
use crate::net::ip;
use crate::net::isn;
use crate::net::key::FlowKey;
use crate::net::link::LinkHeader;
use crate::net::pmtu::PathMtu;
use crate::net::sacked::Sacked;
use crate::net::stamp::Stamp;
use crate::net::tx::TxQueue;
use crate::port::{Caps, Frame, Port};
use crate::telemetry::{Counter, Counters};
use crate::time::Instant;
use arrayvec::ArrayVec;
use core::net::IpAddr;
use core::time::Duration;
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet, SocketStorage};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer};
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpEndpoint, IpListenEndpoint};

pub use smoltcp::socket::tcp::State;

/// Where a connection's frames go, and what became of them: smoltcp's `Device` for one call.
pub struct Wire<'a, P: Port> {
    /// Frames are allocated here.
    pub port: &'a mut P,
    /// Frames with a link header are queued here.
    pub tx: &'a mut TxQueue<P::Frame>,
    /// A frame allocated for a token that was not used, kept for the next one.
    pub spare: &'a mut Option<P::Frame>,
    /// The port's capabilities.
    pub caps: &'a Caps,
    /// Drops are counted here.
    pub counters: &'a Counters,
    /// The link header length of the port, in bytes.
    pub l2_len: usize,
    /// The connection's link header; None while its neighbour is unresolved.
    pub l2: Option<&'a LinkHeader>,
    /// Frames without a link header, for `Link::send`.
    pub unresolved: &'a mut Unresolved<P::Frame>,
    /// What was sent through this wire.
    pub sent: Sent,
    /// What segments say where timestamps are in use.
    pub stamp: Option<Stamp>,
    /// Where smoltcp went back, SND.NXT: segments without content are sent from there, as the peer expects them.
    pub nxt: Option<u32>,
    /// Segments that end there or before stay here. smoltcp takes them for sent.
    pub withhold: bool,
    /// The packet to receive, from the IP header on.
    packet: Option<&'a [u8]>,
    /// Room for frames that smoltcp may count on.
    room: usize,
}

/// Frames of one call whose neighbour is unresolved: one per packet in, or one flush.
pub type Unresolved<F> = ArrayVec<F, { SEGMENTS_PER_TURN + 1 }>;

impl<'a, P: Port> Wire<'a, P> {
    /// A wire over the given parts; it has sent nothing yet.
    #[expect(clippy::too_many_arguments, reason = "every part is borrowed from another field of the stack")]
    pub fn new(
        port: &'a mut P,
        tx: &'a mut TxQueue<P::Frame>,
        spare: &'a mut Option<P::Frame>,
        caps: &'a Caps,
        counters: &'a Counters,
        l2_len: usize,
        l2: Option<&'a LinkHeader>,
        unresolved: &'a mut Unresolved<P::Frame>,
    ) -> Self {
        let room = if l2.is_some() { tx.room() } else { unresolved.remaining_capacity() };
        let (sent, stamp, packet) = (Sent::default(), None, None);
        let (nxt, withhold) = (None, false);
        Wire { port, tx, spare, caps, counters, l2_len, l2, unresolved, sent, stamp, nxt, withhold, packet, room }
    }

    /// Whether another frame can be taken.
    fn ready(&mut self) -> bool {
        if self.room == 0 {
            return false;
        }
        if self.spare.is_none() {
            *self.spare = self.port.alloc(self.l2_len + usize::from(self.caps.mtu));
        }
        self.spare.is_some()
    }

    /// Whether another segment can be taken; a connection that finds no room is put off to the next turn.
    pub fn has_room(&mut self) -> bool {
        self.ready()
    }

    /// Sends an IP packet of `len` bytes that `fill` writes. Without room it is dropped and counted: only answers that
    /// smoltcp makes on receipt (ACKs, RSTs) get here unasked, never a segment it counts as sent.
    #[inline]
    fn emit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        if !self.ready() {
            let reason = if self.room == 0 { Counter::DropBacklog } else { Counter::DropFrameAlloc };
            self.counters.inc(reason);
            return discard(len, fill);
        }
        let Some(mut frame) = self.spare.take() else { return discard(len, fill) };
        frame.set_len(self.l2_len + len);
        let bytes = frame.bytes_mut();
        let result = fill(&mut bytes[self.l2_len..]);
        if let Some(stamp) = self.stamp {
            sent::stamp(stamp, &mut bytes[self.l2_len..]);
        }
        self.note(&frame.bytes()[self.l2_len..]);
        if let Some(nxt) = self.nxt
            && self.is_again(&mut frame.bytes_mut()[self.l2_len..], nxt)
        {
            *self.spare = Some(frame);
            return result;
        }
        let meta = ip::finish(frame.bytes_mut(), self.l2_len, self.caps);
        frame.set_tx(meta);
        self.room -= 1;
        match self.l2 {
            Some(header) => {
                header.write(frame.bytes_mut());
                let pushed = self.tx.push(frame);
                debug_assert!(pushed.is_ok(), "room was counted at the start");
            }
            None => self.unresolved.push(frame),
        }
        result
    }

    /// Of a segment that smoltcp sends behind `nxt`: whether it stays here.
    #[cold]
    fn is_again(&mut self, packet: &mut [u8], nxt: u32) -> bool {
        if self.sent.last.is_empty() {
            sent::renumber(packet, nxt);
            self.note(packet);
            self.sent.segments -= 1;
            return false;
        }
        let again = self.withhold && self.sent.last.is_again(nxt);
        self.sent.segments -= usize::from(again);
        self.sent.withheld += usize::from(again);
        again
    }

    /// Records what a segment of ours says.
    #[inline]
    fn note(&mut self, packet: &[u8]) {
        let ip_len = if packet[0] >> 4 == 4 { 20 } else { 40 };
        let Some(tcp) = packet[ip_len..].first_chunk::<20>() else { return };
        let payload = packet.len() - ip_len - usize::from(tcp[12] >> 4) * 4;
        let [_, _, _, _, fields @ .., _, _, _, _] = *tcp;
        self.sent.segments += 1;
        self.sent.payload = payload;
        self.sent.last = Last { fields, payload: payload as u16 };
    }
}

/// Lets smoltcp write a packet that nobody will see.
#[cold]
fn discard<R>(len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut scratch = [0; CHAIN_MAX];
    fill(&mut scratch[..len.min(CHAIN_MAX)])
}

/// smoltcp's token for one packet in.
pub struct PacketIn<'a>(&'a [u8]);

/// smoltcp's token for one packet out.
pub struct PacketOut<'w, 'a, P: Port>(&'w mut Wire<'a, P>);

impl RxToken for PacketIn<'_> {
    #[inline]
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl<P: Port> TxToken for PacketOut<'_, '_, P> {
    #[inline]
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.0.emit(len, f)
    }
}

impl<'a, P: Port> Device for Wire<'a, P> {
    type RxToken<'w>
        = PacketIn<'a>
    where
        Self: 'w;
    type TxToken<'w>
        = PacketOut<'w, 'a, P>
    where
        Self: 'w;

    #[inline]
    fn receive(&mut self, _now: SmolInstant) -> Option<(PacketIn<'a>, PacketOut<'_, 'a, P>)> {
        let packet = self.packet.take()?;
        Some((PacketIn(packet), PacketOut(self)))
    }

    #[inline]
    fn transmit(&mut self, _now: SmolInstant) -> Option<PacketOut<'_, 'a, P>> {
        self.ready().then_some(PacketOut(self))
    }

    #[inline]
    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.caps.mtu)
    }
}

fn capabilities(mtu: u16) -> DeviceCapabilities {
    let mut caps = DeviceCapabilities::default();
    caps.medium = Medium::Ip;
    caps.max_transmission_unit = usize::from(mtu);
    caps.checksum = ChecksumCapabilities::ignored();
    caps
}

/// A device that only tells its capabilities, to make the `Interface`.
struct Blueprint(u16);

impl Device for Blueprint {
    type RxToken<'a> = PacketIn<'a>;
    type TxToken<'a> = Discard;

    fn receive(&mut self, _now: SmolInstant) -> Option<(PacketIn<'_>, Discard)> {
        None
    }

    fn transmit(&mut self, _now: SmolInstant) -> Option<Discard> {
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.0)
    }
}

/// A token that is never made.
pub enum Discard {}

impl TxToken for Discard {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, _len: usize, _f: F) -> R {
        match self {}
    }
}

/// smoltcp's least retransmission timeout, and its first (RFC 6298, 2.1 and 2.4).
const RTO_MIN: Duration = Duration::from_secs(1);

/// The worker's one smoltcp `Interface`, and one for each size of packets below the device's.
pub struct Engine {
    iface: Interface,
    /// By plateau; none in an engine for one call.
    narrow: Vec<Interface>,
    /// How many times faster the clocks of quickened connections run.
    pace: u32,
}

impl Engine {
    /// An engine for packets of at most `mtu` bytes; `seed` begins smoltcp's random numbers.
    pub fn new(mtu: u16, seed: u64, now: Instant) -> Engine {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut iface = Interface::new(config, &mut Blueprint(mtu), smol(now));
        iface.set_any_ip(true);
        Engine { iface, narrow: Vec::new(), pace: 1 }
    }

    /// With retransmission timeouts of at least `rto_min`, at most a second, for quickened connections.
    #[must_use]
    pub fn with_rto_min(mut self, rto_min: Duration) -> Engine {
        let ns = rto_min.as_nanos().max(1);
        self.pace = u32::try_from(RTO_MIN.as_nanos() / ns).unwrap_or(u32::MAX).max(1);
        self
    }

    /// An engine for one call, in which a connection begins with the initial sequence number `isn`: smoltcp draws those from
    /// its own generator, a permuted congruential one, of which the output can be computed backwards.
    pub fn choosing(isn: u32, mtu: u16, now: Instant) -> Engine {
        Engine::new(mtu, isn::seed_before(isn), now)
    }

    /// Gives a packet to a connection; its immediate answer, if any, goes to the wire.
    #[inline]
    pub fn receive<'a, P: Port>(&mut self, now: Instant, tcb: &mut Tcb, packet: &'a [u8], wire: &mut Wire<'a, P>) {
        wire.packet = Some(packet);
        let now = smol(tcb.local(now, self.pace));
        tcb.held.with(|(set, _)| self.iface.poll_ingress_single(now, wire, set));
    }

    /// Answers a packet that belongs to no connection: an RST, or nothing.
    pub fn refuse<'a, P: Port>(&mut self, now: Instant, packet: &'a [u8], wire: &mut Wire<'a, P>) {
        wire.packet = Some(packet);
        self.iface.poll_ingress_single(smol(now), wire, &mut SocketSet::new(&mut [][..]));
    }

    /// Sends at most one segment; false when there was nothing to send or no room.
    #[inline]
    pub fn send<P: Port>(&mut self, now: Instant, tcb: &mut Tcb, wire: &mut Wire<'_, P>) -> bool {
        let now = smol(tcb.local(now, self.pace));
        let iface = self.narrow.get_mut(tcb.path.plateau()).unwrap_or(&mut self.iface);
        let result = tcb.held.with(|(set, _)| iface.poll_egress(now, wire, set));
        result == PollResult::SocketStateChanged
    }

    /// When the connection next has something to do by itself; None: only when a packet arrives.
    pub fn poll_at(&mut self, now: Instant, tcb: &mut Tcb) -> Option<Instant> {
        let local = smol(tcb.local(now, self.pace));
        let at = tcb.held.with(|(set, _)| self.iface.poll_at(local, set))?;
        let at = Instant::from_nanos(u64::try_from(at.total_micros()).unwrap_or(0) * 1_000);
        Some(tcb.real(at, self.pace))
    }
}

#[inline]
fn smol(now: Instant) -> SmolInstant {
    SmolInstant::from_micros(now.micros() as i64)
}

/// A socket, and what its peer holds of what it sent.
struct OneSocket;

impl Borrower for OneSocket {
    type With<'a> = (SocketSet<'a>, &'a mut Sacked);
}

/// The only socket of a one-socket set.
fn only() -> SocketHandle {
    SocketHandle::default()
}

/// One connection's socket and rings, all in one block of the arena.
pub struct Tcb {
    held: Lent<OneSocket>,
    /// From here on the connection's clock runs faster, by the engine's pace; FAR: not yet.
    paced_from: Instant,
    path: PathMtu,
    ring: Ring,
    /// A FIN follows when everything is acknowledged.
    fin_waits: bool,
}

/// Which transmit ring a connection has.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Ring {
    /// The one all have.
    Small,
    /// That, and a larger one is asked for.
    Wanted,
    /// That, and none larger could be had.
    Refused,
    /// A larger one.
    Large,
    /// That, and nothing needed it since the last look.
    Spare,
}

impl Ring {
    /// Whether it is a larger one.
    pub fn is_large(self) -> bool {
        matches!(self, Ring::Large | Ring::Spare)
    }
}

impl Tcb {
    /// Bytes of block a connection needs for the given rings.
    pub const fn footprint(rx_ring: usize, tx_ring: usize) -> usize {
        (size_of::<SocketStorage<'static>>() + size_of::<Sacked>() + align_of::<Sacked>()).next_multiple_of(64)
            + rx_ring
            + tx_ring
    }

    /// A socket that waits for the SYN of `key`'s connection.
    pub fn listen(block: Block, rx_ring: usize, key: &FlowKey) -> Tcb {
        let endpoint = IpListenEndpoint { addr: Some(address(key.local_ip())), port: key.local_port };
        Tcb::build(block, rx_ring, |socket| {
            let listening = socket.listen(endpoint);
            debug_assert!(listening.is_ok(), "link refuses port 0");
        })
    }

    /// A socket whose SYN `Engine::send` emits next, with the initial sequence number `isn`. None for a key that no
    /// connection can have: port or address zero, or families that differ.
    pub fn connect(block: Block, rx_ring: usize, key: &FlowKey, isn: u32, mtu: u16, now: Instant) -> Option<Tcb> {
        let remote = IpEndpoint { addr: address(key.remote_ip()), port: key.remote_port };
        let local = IpListenEndpoint { addr: Some(address(key.local_ip())), port: key.local_port };
        let mut engine = Engine::choosing(isn, mtu, now);
        let mut connected = false;
        let tcb = Tcb::build(block, rx_ring, |socket| {
            connected = socket.connect(engine.iface.context(), remote, local).is_ok();
        });
        connected.then_some(tcb)
    }

    /// Always a new socket: smoltcp's reset keeps congestion, SACK and timestamp state.
    fn build(block: Block, rx_ring: usize, begin: impl FnOnce(&mut Socket<'_>)) -> Tcb {
        let held = Lent::new(block, |room| {
            let storage = room.place([SocketStorage::EMPTY]);
            let sacked = room.place(Sacked::default());
            room.next_line();
            let rx = room.bytes(rx_ring);
            let tx = room.bytes(room.left());
            let mut socket = Socket::new(SocketBuffer::new(rx), SocketBuffer::new(tx));
            socket.set_nagle_enabled(false);
            // An answer carries the ACK in the same turn; without one the ACK leaves at the end of the turn.
            socket.set_ack_delay(None);
            // The congestion window is the stack's, also after a timeout.
            socket.set_congestion_control(CongestionControl::None);
            begin(&mut socket);
            let mut set = SocketSet::new(&mut storage[..]);
            let handle = set.add(socket);
            debug_assert_eq!(handle, only());
            (set, sacked)
        });
        Tcb { held, paced_from: Instant::FAR, path: PathMtu::default(), ring: Ring::Small, fin_waits: false }
    }

    /// Which transmit ring it has.
    #[inline]
    pub fn ring(&self) -> Ring {
        self.ring
    }

    /// Notes which transmit ring it has.
    pub fn set_ring(&mut self, ring: Ring) {
        self.ring = ring;
    }

    /// The number of its block in the pool that block is from.
    pub fn block_index(&self) -> usize {
        self.held.block_index()
    }

    /// Starts loading the socket's cache lines.
    #[inline]
    pub fn prefetch(&self) {
        self.held.prefetch(size_of::<SocketStorage<'static>>().div_ceil(64));
    }

    /// What the peer acknowledged selectively.
    pub fn sacked<R>(&mut self, f: impl FnOnce(&mut Sacked) -> R) -> R {
        self.held.with(|(_, sacked)| f(sacked))
    }

    #[inline]
    fn socket<R>(&mut self, f: impl for<'a> FnOnce(&mut Socket<'a>) -> R) -> R {
        self.held.with(|(set, _)| f(set.get_mut(only())))
    }

    /// The receive ring's size in bytes.
    pub fn recv_capacity(&mut self) -> usize {
        self.socket(|s| s.recv_capacity())
    }

    /// Bytes received and not yet consumed.
    #[inline]
    pub fn recv_queue(&mut self) -> usize {
        self.socket(|s| s.recv_queue())
    }

    /// Shows the front of the received bytes up to the ring's end, and how many were received in all; `f` returns how
    /// many it consumed. None when the ring is empty.
    #[inline]
    pub fn recv<R>(&mut self, f: impl FnOnce(&[u8], usize) -> (usize, R)) -> Option<R> {
        self.socket(|s| match s.recv_queue() {
            0 => None,
            queued => s.recv(|bytes| f(bytes, queued)).ok(),
        })
    }

    /// Copies received bytes without consuming them; returns how many.
    pub fn peek(&mut self, out: &mut [u8]) -> usize {
        self.socket(|s| s.peek_slice(out).unwrap_or(0))
    }

    /// Bytes queued and not yet acknowledged.
    #[inline]
    pub fn send_queue(&mut self) -> usize {
        self.socket(|s| s.send_queue())
    }

    /// Bytes the send ring has room for; 0 when sending is over.
    #[inline]
    pub fn send_room(&mut self) -> usize {
        if self.fin_waits {
            return 0;
        }
        self.socket(|s| if s.may_send() { s.send_capacity() - s.send_queue() } else { 0 })
    }

    /// Lets `f` write into the contiguous free part of the send ring; it returns how many bytes it wrote.
    #[inline]
    pub fn send_with<R>(&mut self, f: impl FnOnce(&mut [u8]) -> (usize, R)) -> Option<R> {
        if self.fin_waits { None } else { self.socket(|s| s.send(f).ok()) }
    }

    /// Queues a prefix of `bytes`; returns its length.
    #[inline]
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        if self.fin_waits { 0 } else { self.socket(|s| s.send_slice(bytes).unwrap_or(0)) }
    }

    /// Whether the peer closed its half and everything it sent was consumed.
    #[inline]
    pub fn peer_closed(&mut self) -> bool {
        self.socket(|s| !s.may_recv())
    }
}

fn address(ip: IpAddr) -> IpAddress {
    match ip {
        IpAddr::V4(ip) => IpAddress::Ipv4(ip),
        IpAddr::V6(ip) => IpAddress::Ipv6(ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Hugepages;
    use crate::mem::{Arena, ArenaOptions};
    use crate::port::Caps;
    use crate::sim::port::{FramePool, SimPort};

    /// The sequence number of the SYN that a connection with this initial sequence number sends.
    fn sent_isn(isn: u32) -> u32 {
        let options = ArenaOptions { hugepages: Hugepages::Off, numa_node: None };
        let arena = Arena::new(1 << 20, options).unwrap();
        let pool = arena.pool(Tcb::footprint(2048, 2048), 1).unwrap();
        let key = FlowKey::v4([10, 0, 0, 2], [10, 0, 0, 1], 80, 5000);
        let mut tcb = Tcb::connect(pool.take().unwrap(), 2048, &key, isn, 1500, Instant::ZERO).unwrap();
        let caps = Caps { mtu: 1500, ..Caps::default() };
        let mut port = SimPort::new(caps.clone(), FramePool::new(8));
        let (mut tx, mut spare, mut unresolved) = (TxQueue::default(), None, Unresolved::new());
        let (counters, l2) = (Counters::default(), LinkHeader::default());
        let mut wire = Wire::new(&mut port, &mut tx, &mut spare, &caps, &counters, 14, Some(&l2), &mut unresolved);
        assert!(Engine::new(1500, 7, Instant::ZERO).send(Instant::ZERO, &mut tcb, &mut wire));
        // SYN counts for one.
        wire.sent.last.seq_end().wrapping_sub(1)
    }

    #[test]
    fn the_initial_sequence_number_is_the_chosen_one() {
        for isn in [0, 1, 2, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x1234_5678] {
            assert_eq!(sent_isn(isn), isn);
        }
    }
}

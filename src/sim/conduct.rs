//! TCP's promises, checked on every segment that passes the device.
//!
//! Owns what a machine was told of each connection, accepted or begun: windows, the largest segment, how far the data goes.
//! Refuses to guess what its TCP thinks; it only holds the machine's segments against what was delivered to it.

use super::packet::{self, TCP};
use core::net::IpAddr;
use smoltcp::wire::TcpPacket;
use std::collections::BTreeMap;

/// The segment size a SYN without the option allows (RFC 9293, 3.7.1), by address family.
const DEFAULT_MSS: [usize; 2] = [536, 1220];

/// Every connection of a machine.
#[derive(Default)]
pub struct Conduct {
    flows: BTreeMap<Key, Flow>,
}

/// The peer's address and port, and the machine's port.
type Key = (IpAddr, u16, u16);

/// What is known of one connection from the segments that passed.
struct Flow {
    /// The peer's initial sequence number; None before its SYN came.
    isn: Option<u32>,
    /// That of a connection which the machine began.
    own_isn: Option<u32>,
    mss: usize,
    /// Window scale that the peer offered, whether the machine offered one, and whether both did.
    scale: Option<u8>,
    offers: bool,
    scaled: bool,
    /// After the last sequence number delivered.
    data_end: u32,
    /// After the last sequence number the peer's window admits.
    window_end: Option<u32>,
    /// The last sequence number that the peer acknowledged.
    acked: u32,
    /// The 4-tuple had another connection before, whose segments may still arrive and say other things.
    reused: bool,
}

impl Flow {
    fn new(default_mss: usize) -> Flow {
        Flow {
            isn: None,
            own_isn: None,
            mss: default_mss,
            scale: None,
            offers: false,
            scaled: false,
            data_end: 0,
            window_end: None,
            acked: 0,
            reused: false,
        }
    }

    /// The peer's SYN was delivered.
    fn met(&mut self, segment: &Segment) {
        self.isn = Some(segment.seq);
        self.mss = segment.mss.map_or(self.mss, usize::from);
        self.scale = segment.scale;
        self.scaled = self.offers && self.scale.is_some();
        self.data_end = segment.end;
    }
}

/// What a segment says.
struct Segment {
    seq: u32,
    ack: Option<u32>,
    syn: bool,
    rst: bool,
    window: u16,
    payload: usize,
    end: u32,
    mss: Option<u16>,
    scale: Option<u8>,
}

impl Conduct {
    /// A frame was delivered to the machine's device.
    pub fn received(&mut self, frame: &[u8]) {
        let Some((packet, segment)) = read(frame) else { return };
        let Some((remote, local)) = packet::tcp_ports(frame) else { return };
        let key = (packet.source, remote, local);
        if segment.syn && segment.ack.is_none() {
            let flow = self.begin(key, |flow| flow.isn != Some(segment.seq));
            if flow.isn.is_none() {
                flow.met(&segment);
            }
        }
        let Some(flow) = self.flows.get_mut(&key) else { return };
        if segment.syn && flow.own_isn.is_some() && flow.isn.is_none() {
            flow.met(&segment);
        }
        if flow.isn.is_none() {
            return;
        }
        flow.data_end = later(flow.data_end, segment.end);
        if let Some(ack) = segment.ack {
            let shift = if flow.scaled && !segment.syn { flow.scale.unwrap_or(0) } else { 0 };
            let end = ack.wrapping_add(u32::from(segment.window) << shift);
            flow.acked = flow.window_end.map_or(ack, |_| later(flow.acked, ack));
            flow.window_end = Some(flow.window_end.map_or(end, |before| later(before, end)));
        }
    }

    /// The flow of a SYN: a new one if there is none, or if this SYN is another's.
    fn begin(&mut self, key: Key, another: impl Fn(&Flow) -> bool) -> &mut Flow {
        let fresh = || Flow::new(DEFAULT_MSS[usize::from(key.0.is_ipv6())]);
        let flow = self.flows.entry(key).or_insert_with(fresh);
        if another(flow) {
            let reused = flow.reused || flow.isn.is_some() || flow.own_isn.is_some();
            *flow = Flow { reused, ..fresh() };
        }
        flow
    }

    /// The machine sent a frame.
    pub fn sent(&mut self, frame: &[u8]) -> Result<(), String> {
        let Some((packet, segment)) = read(frame) else { return Ok(()) };
        let Some((local, remote)) = packet::tcp_ports(frame) else { return Ok(()) };
        let key = (packet.destination, remote, local);
        if segment.syn && segment.ack.is_none() {
            let flow = self.begin(key, |flow| flow.own_isn != Some(segment.seq));
            (flow.own_isn, flow.offers) = (Some(segment.seq), segment.scale.is_some());
            return Ok(());
        }
        let Some(flow) = self.flows.get_mut(&key) else {
            return Err(format!("a segment from port {local} to port {remote}, which never sent a SYN"));
        };
        if segment.rst {
            return Ok(());
        }
        if segment.syn {
            flow.offers = segment.scale.is_some();
            flow.scaled = flow.offers && flow.scale.is_some();
        }
        let ack = segment.ack.ok_or("neither RST nor ACK")?;
        if segment.payload > flow.mss {
            return Err(format!("{} bytes exceed the MSS {}", segment.payload, flow.mss));
        }
        if flow.reused {
            return Ok(());
        }
        if flow.isn.is_none() {
            return Err("an ACK before the peer's SYN".into());
        }
        if later(ack, flow.data_end) != flow.data_end {
            return Err(format!("acknowledges {} bytes that were not delivered", ack.wrapping_sub(flow.data_end)));
        }
        // One byte may probe a closed window (RFC 9293, 3.8.6.1).
        let data_end = segment.seq.wrapping_add(segment.payload as u32);
        match flow.window_end {
            // smoltcp's fast retransmission takes a whole segment, whatever the window (docs/decisions.md).
            Some(_) if segment.seq == flow.acked => Ok(()),
            Some(end) if segment.payload > 1 && later(data_end, end) != end => {
                Err(format!("{} bytes beyond the peer's window", data_end.wrapping_sub(end)))
            }
            None if segment.payload > 0 => Err("data before the handshake's end".into()),
            _ => Ok(()),
        }
    }
}

/// The later of two sequence numbers (RFC 9293, 3.4).
fn later(a: u32, b: u32) -> u32 {
    if (a.wrapping_sub(b) as i32) > 0 { a } else { b }
}

/// Reads a whole, undamaged TCP segment.
fn read(frame: &[u8]) -> Option<(packet::Ip, Segment)> {
    let ip = packet::ip(frame).filter(|ip| ip.protocol == TCP)?;
    if !packet::ip_checksum_good(frame, &ip) || !packet::l4_checksum_good(frame, &ip) {
        return None;
    }
    let tcp = TcpPacket::new_checked(&frame[ip.l4..ip.end]).ok()?;
    let payload = tcp.payload().len();
    let seq = tcp.seq_number().0 as u32;
    let flags = u32::from(tcp.syn()) + u32::from(tcp.fin());
    let (mss, scale) = options(tcp.options());
    let segment = Segment {
        seq,
        ack: tcp.ack().then(|| tcp.ack_number().0 as u32),
        syn: tcp.syn(),
        rst: tcp.rst(),
        window: tcp.window_len(),
        payload,
        end: seq.wrapping_add(payload as u32).wrapping_add(flags),
        mss,
        scale,
    };
    Some((ip, segment))
}

/// Maximum segment size and window scale, if told (RFC 9293, 3.1; RFC 7323, 2.2).
fn options(mut bytes: &[u8]) -> (Option<u16>, Option<u8>) {
    let (mut mss, mut scale) = (None, None);
    while let [kind, rest @ ..] = bytes {
        match (kind, rest) {
            (0, _) => break,
            (1, _) => bytes = rest,
            (_, [len, ..]) if (2..=bytes.len()).contains(&usize::from(*len)) => {
                let (option, after) = bytes.split_at(usize::from(*len));
                match option {
                    [2, 4, high, low] => mss = Some(u16::from_be_bytes([*high, *low])),
                    [3, 3, shift] => scale = Some((*shift).min(14)),
                    _ => {}
                }
                bytes = after;
            }
            _ => break,
        }
    }
    (mss, scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::packet::{IPV4, wrap};

    const SYN: u8 = 2;
    const ACK: u8 = 16;

    /// A segment between the client (port 9) and the gateway (port 80).
    fn segment(up: bool, seq: u32, ack: u32, flags: u8, window: u16, payload: usize) -> Vec<u8> {
        let (client, gateway): (IpAddr, IpAddr) = ("10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap());
        let (from, to, ports) = if up { (client, gateway, [0, 9, 0, 80]) } else { (gateway, client, [0, 80, 0, 9]) };
        let options: &[u8] = if flags & SYN == 0 { &[] } else { &[2, 4, 0, 100, 1, 3, 3, 2] };
        let head = [(5 + options.len() as u8 / 4) << 4, flags];
        let rest = [&window.to_be_bytes()[..], &[0; 4], options, &vec![b'x'; payload]].concat();
        let bytes = [&ports[..], &seq.to_be_bytes(), &ack.to_be_bytes(), &head, &rest].concat();
        wrap([2; 6], [2; 6], None, IPV4, &packet::packet(from, to, TCP, bytes, 16))
    }

    fn open() -> Conduct {
        let mut conduct = Conduct::default();
        conduct.received(&segment(true, u32::MAX, 0, SYN, 200, 0));
        assert_eq!(conduct.sent(&segment(false, 1000, 0, SYN | ACK, 500, 0)), Ok(()));
        conduct
    }

    #[test]
    fn a_gateway_that_keeps_its_promises_passes() {
        let mut conduct = open();
        conduct.received(&segment(true, 0, 1001, ACK, 50, 10));
        assert_eq!(conduct.sent(&segment(false, 1001, 10, ACK, 500, 100)), Ok(()));
        assert_eq!(conduct.sent(&segment(false, 1101, 10, ACK, 500, 100)), Ok(()), "the window is scaled: 200");
        assert_eq!(conduct.sent(&segment(false, 1201, 10, ACK, 500, 1)), Ok(()), "a probe");
    }

    #[test]
    fn broken_promises_are_named() {
        let fault = |conduct: &mut Conduct, frame: Vec<u8>| conduct.sent(&frame).unwrap_err();
        let mut conduct = open();
        assert!(fault(&mut conduct, segment(false, 1001, 0, ACK, 500, 9)).contains("before the handshake"));
        conduct.received(&segment(true, 0, 1001, ACK, 50, 10));
        assert!(fault(&mut conduct, segment(false, 1001, 11, ACK, 500, 0)).contains("1 bytes that were not delivered"));
        assert!(fault(&mut conduct, segment(false, 1001, 10, ACK, 500, 101)).contains("exceed the MSS"));
        assert_eq!(
            conduct.sent(&segment(false, 1001, 10, ACK, 500, 100)),
            Ok(()),
            "the segment a retransmission takes"
        );
        assert!(fault(&mut conduct, segment(false, 1151, 10, ACK, 500, 60)).contains("10 bytes beyond"));
        assert!(fault(&mut Conduct::default(), segment(false, 1, 1, ACK, 1, 0)).contains("never sent a SYN"));
    }

    #[test]
    fn who_began_is_judged_too() {
        // The other way round: the machine is the client of `segment`.
        let mut conduct = Conduct::default();
        let send = |conduct: &mut Conduct, seq, ack, flags, payload| {
            conduct.sent(&segment(true, seq, ack, flags, 500, payload))
        };
        assert_eq!(send(&mut conduct, 0, 0, SYN, 0), Ok(()));
        assert!(send(&mut conduct, 1, 9, ACK, 0).unwrap_err().contains("before the peer's SYN"));
        conduct.received(&segment(false, 1000, 1, SYN | ACK, 90, 0));
        assert_eq!(send(&mut conduct, 1, 1001, ACK, 90), Ok(()), "a SYN's window is not scaled");
        assert!(send(&mut conduct, 91, 1001, ACK, 2).unwrap_err().contains("2 bytes beyond"));
        assert!(send(&mut conduct, 91, 1002, ACK, 0).unwrap_err().contains("1 bytes that were not delivered"));
        conduct.received(&segment(false, 1001, 91, ACK, 50, 0));
        assert_eq!(send(&mut conduct, 91, 1001, ACK, 100), Ok(()), "later ones are: 200");
        // The next connection of the same ports is taken on trust, but for what its own SYN-ACK says.
        assert_eq!(send(&mut conduct, 9000, 0, SYN, 0), Ok(()));
        assert_eq!(send(&mut conduct, 9001, 7, ACK, 3), Ok(()));
        assert!(send(&mut conduct, 9001, 7, ACK, 1300).unwrap_err().contains("exceed the MSS"));
    }
}

//! TCP's promises, checked on every segment that passes the device.
//!
//! Owns what each side of a connection was told: windows, the largest segment, how far the data goes. Refuses to guess
//! what the gateway's TCP thinks; it only holds the gateway's segments against what was delivered to it.

use super::packet::{self, TCP};
use core::net::IpAddr;
use smoltcp::wire::TcpPacket;
use std::collections::BTreeMap;

/// The segment size a SYN without the option allows (RFC 9293, 3.7.1), by address family.
const DEFAULT_MSS: [usize; 2] = [536, 1220];

/// Every connection of a run, by the client's address and port.
#[derive(Default)]
pub struct Conduct {
    flows: BTreeMap<(IpAddr, u16), Flow>,
}

/// What was delivered to the gateway of one connection.
struct Flow {
    isn: u32,
    mss: usize,
    /// Window scale the client offered, and whether the gateway's SYN accepted it.
    scale: Option<u8>,
    scaled: bool,
    /// After the last sequence number delivered.
    data_end: u32,
    /// After the last sequence number the client's window admits.
    window_end: Option<u32>,
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
    /// A frame was delivered to the gateway's device.
    pub fn received(&mut self, frame: &[u8]) {
        let Some((packet, segment)) = read(frame) else { return };
        let Some((port, _)) = packet::tcp_ports(frame) else { return };
        let key = (packet.source, port);
        if segment.syn && self.flows.get(&key).is_none_or(|flow| flow.isn != segment.seq) {
            let default = DEFAULT_MSS[usize::from(packet.source.is_ipv6())];
            let mss = segment.mss.map_or(default, usize::from);
            let flow = Flow {
                isn: segment.seq,
                mss,
                scale: segment.scale,
                scaled: false,
                data_end: segment.end,
                window_end: None,
            };
            self.flows.insert(key, flow);
        }
        let Some(flow) = self.flows.get_mut(&key) else { return };
        flow.data_end = later(flow.data_end, segment.end);
        if let (Some(ack), false) = (segment.ack, segment.syn) {
            let shift = if flow.scaled { flow.scale.unwrap_or(0) } else { 0 };
            let end = ack.wrapping_add(u32::from(segment.window) << shift);
            flow.window_end = Some(flow.window_end.map_or(end, |before| later(before, end)));
        }
    }

    /// The gateway sent a frame.
    pub fn sent(&mut self, frame: &[u8]) -> Result<(), String> {
        let Some((packet, segment)) = read(frame) else { return Ok(()) };
        let Some((from, port)) = packet::tcp_ports(frame) else { return Ok(()) };
        let Some(flow) = self.flows.get_mut(&(packet.destination, port)) else {
            return Err(format!("a segment from port {from} to port {port}, which never sent a SYN"));
        };
        if segment.rst {
            return Ok(());
        }
        if segment.syn {
            flow.scaled = flow.scale.is_some() && segment.scale.is_some();
        }
        let ack = segment.ack.ok_or("neither RST nor ACK")?;
        if later(ack, flow.data_end) != flow.data_end {
            return Err(format!("acknowledges {} bytes that were not delivered", ack.wrapping_sub(flow.data_end)));
        }
        if segment.payload > flow.mss {
            return Err(format!("{} bytes exceed the MSS {}", segment.payload, flow.mss));
        }
        // One byte may probe a closed window (RFC 9293, 3.8.6.1).
        let data_end = segment.seq.wrapping_add(segment.payload as u32);
        match flow.window_end {
            Some(end) if segment.payload > 1 && later(data_end, end) != end => {
                Err(format!("{} bytes beyond the client's window", data_end.wrapping_sub(end)))
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
        assert!(fault(&mut conduct, segment(false, 1151, 10, ACK, 500, 60)).contains("10 bytes beyond"));
        assert!(fault(&mut Conduct::default(), segment(false, 1, 1, ACK, 1, 0)).contains("never sent a SYN"));
    }
}

//! A false network device with several queue pairs.
//!
//! Owns what hardware does between wire and driver: choosing the receive queue, checksums it was configured to verify or
//! fill in, and the frames it loses because a ring is full or no buffer is free. Refuses to know what the gateway does
//! with a frame.

use super::packet::{self, ICMP, ICMPV6, TCP};
use super::port::{FramePool, SimFrame, SimPort};
use crate::port::{Caps, Checksum, Frame, RxMeta};

/// What the device did with received frames.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct DeviceTally {
    /// Frames from the wire.
    pub offered: u64,
    /// Frames put on a receive ring.
    pub delivered: u64,
    /// Frames lost because the ring was full.
    pub missed: u64,
    /// Frames lost because the pool had none left.
    pub no_frame: u64,
    /// Frames delivered whose IP header or TCP checksum is wrong, or whose protocol no client speaks.
    pub damaged: u64,
    /// ICMP messages delivered whose checksum is wrong.
    pub damaged_icmp: u64,
    /// Frames delivered to a group, which may not be one of this machine's: every station on the link hears them.
    pub group: u64,
}

/// A device whose queue pairs are [`SimPort`]s.
pub struct Device {
    caps: Caps,
    pool: FramePool,
    queues: usize,
    ring: usize,
    strips_vlan: bool,
    key: RssKey,
    tally: DeviceTally,
}

/// The secret of the hash that chooses a queue.
pub type RssKey = [u8; 40];

/// Entries of the indirection table.
const TABLE: usize = 128;

impl Device {
    /// A device with `queues` receive rings of `ring` frames each, which takes its buffers from `pool`.
    pub fn new(caps: Caps, pool: FramePool, queues: usize, ring: usize, strips_vlan: bool, key: RssKey) -> Device {
        Device { caps, pool, queues, ring, strips_vlan, key, tally: DeviceTally::default() }
    }

    /// What a driver reads back: the key of the hash, and the indirection table.
    pub fn rss(&self) -> (RssKey, Vec<u16>) {
        (self.key, (0..TABLE).map(|entry| (entry % self.queues) as u16).collect())
    }

    /// A queue pair of this device.
    pub fn port(&self) -> SimPort {
        SimPort::new(self.caps.clone(), self.pool.clone())
    }

    /// What the device did so far.
    pub fn tally(&self) -> DeviceTally {
        self.tally
    }

    /// The queue for a frame: TCP by its addresses and ports, all else the first.
    pub fn queue_of(&self, frame: &[u8]) -> usize {
        self.flow_hash(frame).map_or(0, |hash| hash as usize % TABLE % self.queues)
    }

    /// Puts a frame, and further segments of it, on a queue's ring; returns whether there was room.
    pub fn receive(&mut self, frame: &[u8], chain: &[u8], port: &mut SimPort) -> bool {
        self.tally.offered += 1;
        if port.rx.len() >= self.ring {
            self.tally.missed += 1;
            return false;
        }
        let (meta, tag) = self.describe(frame);
        let Some(mut buffer) = self.pool.frame(frame) else {
            self.tally.no_frame += 1;
            return false;
        };
        if tag {
            let bytes = buffer.bytes_mut();
            bytes.copy_within(16.., 12);
            let len = bytes.len() - 4;
            buffer.set_len(len);
        }
        buffer.set_rx(meta);
        if !chain.is_empty() {
            buffer.chain(chain);
        }
        port.rx.push_back(buffer);
        self.tally.delivered += 1;
        self.tally.group += u64::from(frame[0] & 1);
        true
    }

    /// Notes what the wire did to a frame that was delivered.
    pub fn note_damage(&mut self, frame: &[u8]) {
        match damage(frame) {
            Damage::None => {}
            Damage::Icmp => self.tally.damaged_icmp += 1,
            Damage::Other => self.tally.damaged += 1,
        }
    }

    /// What the device says of a frame, and whether it strips a VLAN tag.
    fn describe(&self, frame: &[u8]) -> (RxMeta, bool) {
        let mut meta = RxMeta::default();
        let tag = packet::ethernet(frame).and_then(|header| header.vlan).filter(|_| self.strips_vlan);
        meta.vlan = tag;
        if self.caps.rx_hash {
            meta.hash = self.flow_hash(frame);
        }
        let Some(packet) = packet::ip(frame) else { return (meta, tag.is_some()) };
        if self.caps.rx_ip_checksum && packet.source.is_ipv4() {
            meta.ip_checksum = verdict(packet::ip_checksum_good(frame, &packet));
        }
        if self.caps.rx_tcp_checksum && packet.protocol == TCP {
            meta.l4_checksum = verdict(packet::l4_checksum_good(frame, &packet));
        }
        (meta, tag.is_some())
    }

    /// The Toeplitz hash over addresses and ports of a TCP segment ("RSS Hashing Types", Microsoft).
    fn flow_hash(&self, frame: &[u8]) -> Option<u32> {
        let ports = packet::tcp_ports(frame)?;
        let packet = packet::ip(frame)?;
        let addresses = if packet.source.is_ipv4() { 12..20 } else { 8..40 };
        let mut input = frame[packet.l3..][addresses].to_vec();
        input.extend_from_slice(&ports.0.to_be_bytes());
        input.extend_from_slice(&ports.1.to_be_bytes());
        Some(toeplitz(&self.key, &input))
    }

    /// Takes a frame the driver gave and makes of it what goes on the wire.
    pub fn transmit(&self, buffer: &SimFrame) -> Result<Vec<u8>, String> {
        let meta = buffer.tx();
        let mut frame = buffer.bytes().to_vec();
        if buffer.is_chained() || meta.tso_segment > 0 {
            return Err("a chain or segmentation that the device does not offer".into());
        }
        if meta.ip_checksum && !self.caps.tx_ip_checksum || meta.tcp_checksum && !self.caps.tx_tcp_checksum {
            return Err("a checksum that the device does not offer to fill in".into());
        }
        if meta.ip_checksum || meta.tcp_checksum {
            let packet = packet::ip(&frame).ok_or("checksum offload for something else than IP")?;
            let said = (usize::from(meta.l2_len), usize::from(meta.l3_len), meta.ipv6);
            if said != (packet.l3, packet.l4 - packet.l3, packet.source.is_ipv6()) {
                return Err(format!("header lengths {said:?} that are not the packet's"));
            }
            if meta.ip_checksum {
                fill(&mut frame[packet.l3..packet.l4], 10)?;
            }
            if meta.tcp_checksum {
                fill(&mut frame[packet.l4..packet.end], 16)?;
            }
        }
        frame.resize(frame.len().max(60), 0);
        Ok(frame)
    }
}

enum Damage {
    None,
    Icmp,
    Other,
}

/// What an IP packet went through on the wire.
fn damage(frame: &[u8]) -> Damage {
    if packet::ip_offset(frame).is_none() {
        return Damage::None;
    }
    let Some(packet) = packet::ip(frame) else { return Damage::Other };
    let l4_good = packet::l4_checksum_good(frame, &packet);
    match packet.protocol {
        _ if !packet::ip_checksum_good(frame, &packet) => Damage::Other,
        TCP | ICMP | ICMPV6 if l4_good => Damage::None,
        ICMP | ICMPV6 => Damage::Icmp,
        _ => Damage::Other,
    }
}

/// Inverts the sum of `bytes`, in which the field at `at` holds zero or a pseudo-header's sum, into the field.
fn fill(bytes: &mut [u8], at: usize) -> Result<(), String> {
    let sum = !packet::ones_complement(bytes, 0);
    bytes.get_mut(at..at + 2).ok_or("checksum offload for a truncated header")?.copy_from_slice(&sum.to_be_bytes());
    Ok(())
}

fn verdict(good: bool) -> Checksum {
    if good { Checksum::Good } else { Checksum::Bad }
}

/// For each bit of the input that is set, adds the 32 bits of the key that begin at its place.
fn toeplitz(key: &RssKey, input: &[u8]) -> u32 {
    let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (7 - at % 8) & 1 == 1;
    let mut window = u32::from_be_bytes([key[0], key[1], key[2], key[3]]);
    let mut hash = 0;
    for at in 0..input.len() * 8 {
        if bit(input, at) {
            hash ^= window;
        }
        window = window << 1 | u32::from(bit(key, (at + 32) % (key.len() * 8)));
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::TxMeta;
    use crate::sim::packet::{IPV4, pseudo_header, wrap};
    use core::net::IpAddr;

    const KEY: RssKey = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca,
        0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b,
        0xbe, 0xac, 0x01, 0xfa,
    ];

    #[test]
    fn the_hash_is_that_of_the_published_example() {
        // 66.9.149.187:2794 to 161.142.100.80:1766, of Microsoft's verification suite.
        let input = [66, 9, 149, 187, 161, 142, 100, 80, 0x0a, 0xea, 0x06, 0xe6];
        assert_eq!(toeplitz(&KEY, &input), 0x51cc_c178);
    }

    /// A TCP segment with zero checksums.
    fn segment(port: u16, vlan: Option<u16>) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend_from_slice(&[0, 80, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
        packet[22..24].copy_from_slice(&port.to_be_bytes());
        wrap([1; 6], [2; 6], vlan, IPV4, &packet)
    }

    fn offloads() -> Caps {
        Caps {
            rx_ip_checksum: true,
            rx_tcp_checksum: true,
            tx_ip_checksum: true,
            tx_tcp_checksum: true,
            rx_hash: true,
            ..Caps::default()
        }
    }

    #[test]
    fn offloaded_checksums_come_out_right_and_are_verified_on_receipt() {
        let pool = FramePool::new(8);
        let mut device = Device::new(offloads(), pool.clone(), 2, 8, false, KEY);
        let mut bytes = segment(9, None);
        let ip: IpAddr = "10.0.0.1".parse().unwrap();
        let sum = pseudo_header(ip, "10.0.0.2".parse().unwrap(), TCP, 20) as u16;
        bytes[14 + 20 + 16..][..2].copy_from_slice(&sum.to_be_bytes());
        let mut buffer = pool.frame(&bytes).unwrap();
        buffer.set_tx(TxMeta {
            l2_len: 14,
            l3_len: 20,
            l4_len: 20,
            ip_checksum: true,
            tcp_checksum: true,
            ..TxMeta::default()
        });
        let sent = device.transmit(&buffer).unwrap();
        let mut port = device.port();
        device.receive(&sent, &[], &mut port);
        let mut broken = sent.clone();
        broken[50] ^= 1;
        device.receive(&broken, &[], &mut port);
        let meta: Vec<RxMeta> = port.rx.iter().map(Frame::rx).collect();
        assert_eq!((meta[0].ip_checksum, meta[0].l4_checksum), (Checksum::Good, Checksum::Good));
        assert_eq!((meta[1].ip_checksum, meta[1].l4_checksum), (Checksum::Good, Checksum::Bad));
        buffer.set_tx(TxMeta { l2_len: 18, l3_len: 20, tcp_checksum: true, ..TxMeta::default() });
        assert!(device.transmit(&buffer).is_err(), "wrong header lengths");
    }

    #[test]
    fn flows_spread_over_queues_and_stay_there() {
        let device = Device::new(Caps::default(), FramePool::new(0), 2, 8, false, KEY);
        let queues: Vec<usize> = (0..64).map(|port| device.queue_of(&segment(port, None))).collect();
        let second = queues.iter().filter(|q| **q == 1).count();
        assert!((16..48).contains(&second), "{second}");
        assert_eq!(device.queue_of(&segment(7, None)), device.queue_of(&segment(7, Some(3))));
        assert_eq!(device.queue_of(&[0; 60]), 0);
    }

    #[test]
    fn full_rings_and_an_empty_pool_lose_frames_by_name() {
        let mut device = Device::new(Caps::default(), FramePool::new(2), 1, 1, false, KEY);
        let (mut a, mut b, mut c) = (device.port(), device.port(), device.port());
        device.receive(&segment(1, None), &[], &mut a);
        device.receive(&segment(1, None), &[], &mut a);
        device.receive(&segment(1, None), &[], &mut b);
        device.receive(&segment(1, None), &[], &mut c);
        assert_eq!(
            device.tally(),
            DeviceTally { offered: 4, delivered: 2, missed: 1, no_frame: 1, group: 2, ..DeviceTally::default() }
        );
    }

    #[test]
    fn a_stripped_tag_moves_to_the_metadata() {
        let mut device = Device::new(Caps::default(), FramePool::new(2), 1, 8, true, KEY);
        let mut port = device.port();
        device.receive(&segment(1, Some(7)), &[], &mut port);
        assert_eq!(port.rx[0].rx().vlan, Some(7));
        assert_eq!(port.rx[0].bytes()[..54], segment(1, None)[..54]);
    }
}

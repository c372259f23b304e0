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
}

/// A device whose queue pairs are [`SimPort`]s.
pub struct Device {
    caps: Caps,
    pool: FramePool,
    queues: usize,
    ring: usize,
    strips_vlan: bool,
    tally: DeviceTally,
}

impl Device {
    /// A device with `queues` receive rings of `ring` frames each, which takes its buffers from `pool`.
    pub fn new(caps: Caps, pool: FramePool, queues: usize, ring: usize, strips_vlan: bool) -> Device {
        Device { caps, pool, queues, ring, strips_vlan, tally: DeviceTally::default() }
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
        flow_hash(frame).map_or(0, |hash| hash as usize % self.queues)
    }

    /// Puts a frame from the wire on a queue's ring.
    pub fn receive(&mut self, frame: &[u8], port: &mut SimPort) {
        self.tally.offered += 1;
        if port.rx.len() >= self.ring {
            self.tally.missed += 1;
            return;
        }
        let (meta, tag) = self.describe(frame);
        let Some(mut buffer) = self.pool.frame(frame) else {
            self.tally.no_frame += 1;
            return;
        };
        if tag {
            let bytes = buffer.bytes_mut();
            bytes.copy_within(16.., 12);
            let len = bytes.len() - 4;
            buffer.set_len(len);
        }
        buffer.set_rx(meta);
        port.rx.push_back(buffer);
        self.tally.delivered += 1;
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
            meta.hash = flow_hash(frame);
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

/// FNV-1a over addresses and ports: no secret, as hardware; symmetric it need not be.
fn flow_hash(frame: &[u8]) -> Option<u32> {
    let ports = packet::tcp_ports(frame)?;
    let packet = packet::ip(frame)?;
    let mut hash = 0x811c_9dc5u32;
    let mut add = |bytes: &[u8]| bytes.iter().for_each(|b| hash = (hash ^ u32::from(*b)).wrapping_mul(0x0100_0193));
    let addresses = if packet.source.is_ipv4() { 12..20 } else { 8..40 };
    add(&frame[packet.l3..][addresses]);
    add(&ports.0.to_be_bytes());
    add(&ports.1.to_be_bytes());
    Some(hash ^ hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::TxMeta;
    use crate::sim::packet::{IPV4, pseudo_header, wrap};
    use core::net::IpAddr;

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
        let mut device = Device::new(offloads(), pool.clone(), 2, 8, false);
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
        device.receive(&sent, &mut port);
        let mut broken = sent.clone();
        broken[50] ^= 1;
        device.receive(&broken, &mut port);
        let meta: Vec<RxMeta> = port.rx.iter().map(Frame::rx).collect();
        assert_eq!((meta[0].ip_checksum, meta[0].l4_checksum), (Checksum::Good, Checksum::Good));
        assert_eq!((meta[1].ip_checksum, meta[1].l4_checksum), (Checksum::Good, Checksum::Bad));
        buffer.set_tx(TxMeta { l2_len: 18, l3_len: 20, tcp_checksum: true, ..TxMeta::default() });
        assert!(device.transmit(&buffer).is_err(), "wrong header lengths");
    }

    #[test]
    fn flows_spread_over_queues_and_stay_there() {
        let device = Device::new(Caps::default(), FramePool::new(0), 2, 8, false);
        let queues: Vec<usize> = (0..64).map(|port| device.queue_of(&segment(port, None))).collect();
        let second = queues.iter().filter(|q| **q == 1).count();
        assert!((16..48).contains(&second), "{second}");
        assert_eq!(device.queue_of(&segment(7, None)), device.queue_of(&segment(7, Some(3))));
        assert_eq!(device.queue_of(&[0; 60]), 0);
    }

    #[test]
    fn full_rings_and_an_empty_pool_lose_frames_by_name() {
        let mut device = Device::new(Caps::default(), FramePool::new(2), 1, 1, false);
        let (mut a, mut b, mut c) = (device.port(), device.port(), device.port());
        device.receive(&segment(1, None), &mut a);
        device.receive(&segment(1, None), &mut a);
        device.receive(&segment(1, None), &mut b);
        device.receive(&segment(1, None), &mut c);
        assert_eq!(
            device.tally(),
            DeviceTally { offered: 4, delivered: 2, missed: 1, no_frame: 1, damaged: 2, damaged_icmp: 0 }
        );
    }

    #[test]
    fn a_stripped_tag_moves_to_the_metadata() {
        let mut device = Device::new(Caps::default(), FramePool::new(2), 1, 8, true);
        let mut port = device.port();
        device.receive(&segment(1, Some(7)), &mut port);
        assert_eq!(port.rx[0].rx().vlan, Some(7));
        assert_eq!(port.rx[0].bytes()[..54], segment(1, None)[..54]);
    }
}

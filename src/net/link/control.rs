//! Control packets: ARP, ICMP and neighbour discovery, received and answered.
//!
//! Owns what is believed and what is answered. Refuses the byte formats: `arp`, `nd` and `icmp` have them.

use super::arp::{Arp, Operation};
use super::io::Io;
use super::nd::{self, Kind, Message};
use super::{DEFEND_INTERVAL, Link, is_host_mac, multicast_mac};
use crate::net::icmp;
use crate::net::ip::{self, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Packet};
use crate::net::neighbor::{Claim, Mac};
use crate::port::{Frame, Port, TxMeta};
use crate::telemetry::Counter;
use core::net::IpAddr;

impl<F: Frame> Link<F> {
    pub(super) fn try_control<P: Port<Frame = F>>(&mut self, frame: F, io: &mut Io<'_, P>) -> Result<(), Counter> {
        if frame.is_chained() {
            return Err(Counter::DropChain);
        }
        let (bytes, rx) = (frame.bytes(), frame.rx());
        let ethernet = self.host.ethernet(bytes, rx)?;
        match ethernet.ethertype {
            ETHERTYPE_ARP => {
                let arp = Arp::parse(&bytes[ethernet.l3..]).ok_or(Counter::DropArp)?;
                self.arp(frame, arp, io)
            }
            ETHERTYPE_IPV4 => {
                let packet = self.host.ipv4(bytes, ethernet, rx)?;
                self.icmp(frame, &packet, io)
            }
            ETHERTYPE_IPV6 => {
                let packet = self.host.ipv6(bytes, ethernet)?;
                self.icmp(frame, &packet, io)
            }
            _ => Err(Counter::DropEtherType),
        }
    }

    /// RFC 826, but the sender is learnt only when it asks for us or is known already.
    fn arp<P: Port<Frame = F>>(&mut self, frame: F, arp: Arp, io: &mut Io<'_, P>) -> Result<(), Counter> {
        let sender = IpAddr::from(arp.sender);
        let for_us = self.host.v4().contains(&arp.target);
        let announcement = arp.sender == arp.target;
        if self.host.v4().contains(&arp.sender) {
            return Err(self.conflict(sender, arp.sender_mac, io));
        }
        if !(for_us || announcement) {
            return Err(Counter::DropArp);
        }
        if for_us && arp.operation == Operation::Request {
            io.counters.inc(Counter::ArpRequestsRx);
            // A probe (RFC 5227, 2.1.1) has no sender address to learn.
            self.learn_requester(sender, arp.sender_mac, io);
            let reply = Arp {
                operation: Operation::Reply,
                sender_mac: self.mac,
                sender: arp.target,
                target_mac: arp.sender_mac,
                target: arp.sender,
            };
            let header = self.header(arp.sender_mac, ETHERTYPE_ARP);
            return io.reply(frame, &header, &reply.emit(), Counter::ArpRepliesTx);
        }
        let claim = Claim::Answer { overrides: true, solicited: !announcement };
        if !self.learn(sender, Some(arp.sender_mac), claim, io) {
            return Err(Counter::DropArp);
        }
        // An announcement counts as the reply it stands for, whichever operation it uses.
        io.counters.inc(Counter::ArpRepliesRx);
        Ok(())
    }

    fn icmp<P: Port<Frame = F>>(&mut self, frame: F, packet: &Packet, io: &mut Io<'_, P>) -> Result<(), Counter> {
        let protocol = if packet.ipv6 { ip::PROTOCOL_ICMPV6 } else { ip::PROTOCOL_ICMP };
        if packet.protocol != protocol {
            return Err(Counter::DropProtocol);
        }
        let bytes = frame.bytes();
        if !icmp::is_intact(bytes, packet) {
            return Err(Counter::DropIcmp);
        }
        if icmp::is_echo_request(bytes, packet) {
            return self.echo(frame, packet, io);
        }
        match icmp::error(bytes, packet) {
            Some(_) if packet.group => return Err(Counter::DropIcmp),
            Some(icmp::Error::Soft) => return Err(Counter::DropIcmpError),
            Some(icmp::Error::TooBig(report)) => {
                return self.reports.push(report, io.now).then_some(()).ok_or(Counter::DropIcmpLimit);
            }
            None => {}
        }
        match bytes[packet.l4] {
            nd::SOLICITATION | nd::ADVERTISEMENT if packet.ipv6 => {
                let message = Message::parse(bytes, packet).ok_or(Counter::DropNeighbor)?;
                self.neighbor_discovery(frame, message, io)
            }
            // Router solicitation, router advertisement, redirect: routes are configured.
            133 | 134 | 137 if packet.ipv6 => Err(Counter::DropNeighbor),
            _ => Err(Counter::DropIcmp),
        }
    }

    /// RFC 1122, 3.2.2.6 and RFC 4443, 4.2; requests sent to a group are not answered, which both permit.
    fn echo<P: Port<Frame = F>>(&mut self, mut frame: F, packet: &Packet, io: &mut Io<'_, P>) -> Result<(), Counter> {
        let requester: Mac = *frame.bytes()[6..].first_chunk().ok_or(Counter::DropRunt)?;
        let nobody = ip::v6_addresses(&frame.bytes()[packet.l3..]).is_some_and(|[s, _]| ip::is_v6_unspecified(&s));
        if packet.group || !is_host_mac(requester) || (packet.ipv6 && nobody) {
            return Err(Counter::DropIcmp);
        }
        io.counters.inc(Counter::IcmpEchoRx);
        if !self.echo_limit.take(io.now) {
            return Err(Counter::DropIcmpLimit);
        }
        let l3 = self.header_len();
        let (old, new) = (frame.bytes().len(), l3 + icmp::echo_reply_len(packet));
        frame.set_len(old.max(new));
        if frame.bytes().len() < new {
            return Err(Counter::DropFrameAlloc);
        }
        icmp::echo_reply(frame.bytes_mut(), packet, l3);
        frame.set_len(new);
        let ethertype = if packet.ipv6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
        self.header(requester, ethertype).write(frame.bytes_mut());
        frame.set_tx(TxMeta::default());
        io.push(frame, Counter::IcmpEchoTx);
        Ok(())
    }

    fn neighbor_discovery<P: Port<Frame = F>>(
        &mut self,
        frame: F,
        message: Message,
        io: &mut Io<'_, P>,
    ) -> Result<(), Counter> {
        let ours = self.host.v6().contains(&message.target);
        match message.kind {
            Kind::Solicitation if ours => self.solicited(frame, &message, io),
            Kind::Advertisement { solicited, overrides } if !ours => {
                let claim = Claim::Answer { overrides, solicited };
                if !self.learn(IpAddr::from(message.target), message.mac, claim, io) {
                    return Err(Counter::DropNeighbor);
                }
                io.counters.inc(Counter::NdAdvertsRx);
                Ok(())
            }
            Kind::Advertisement { .. } => {
                let claimant = message.mac.unwrap_or(self.mac);
                Err(self.conflict(IpAddr::from(message.target), claimant, io))
            }
            // Somebody else's address is asked for.
            Kind::Solicitation => Err(Counter::DropNeighbor),
        }
    }

    /// Somebody claims an address of ours. It is configured, so it is defended and never given up (RFC 5227, 2.4 (c)): an
    /// announcement repairs what the claim taught our neighbors. Says what to count the frame as.
    #[cold]
    fn conflict<P: Port<Frame = F>>(&mut self, address: IpAddr, claimant: Mac, io: &mut Io<'_, P>) -> Counter {
        if claimant == self.mac {
            return if address.is_ipv4() { Counter::DropArp } else { Counter::DropNeighbor };
        }
        if io.now >= self.next_defense {
            self.next_defense = io.now + DEFEND_INTERVAL;
            self.announce_address(address, io);
        }
        Counter::DropAddressConflict
    }

    /// RFC 4861, 7.2.3 and 7.2.4. The answer goes to the MAC that the solicitation names, else to its sender's.
    fn solicited<P: Port<Frame = F>>(
        &mut self,
        frame: F,
        message: &Message,
        io: &mut Io<'_, P>,
    ) -> Result<(), Counter> {
        let sender: Mac = *frame.bytes()[6..].first_chunk().ok_or(Counter::DropRunt)?;
        io.counters.inc(Counter::NdSolicitsRx);
        if let Some(mac) = message.mac {
            self.learn_requester(IpAddr::from(message.source), mac, io);
        }
        let detection = ip::is_v6_unspecified(&message.source);
        let destination = if detection { ip::ALL_NODES } else { message.source };
        let mac = match message.mac {
            _ if detection => multicast_mac(&destination),
            Some(mac) => mac,
            None if is_host_mac(sender) => sender,
            None => return Err(Counter::DropNeighbor),
        };
        let kind = Kind::Advertisement { solicited: !detection, overrides: true };
        let answer = Message { kind, source: message.target, destination, target: message.target, mac: None };
        let header = self.header(mac, ETHERTYPE_IPV6);
        io.reply(frame, &header, &answer.emit(self.mac), Counter::NdAdvertsTx)
    }

    /// Learns who asked us. A rate limit bounds the new snapshots that invented requesters cause; who is not learnt is asked
    /// for when there is something to send.
    fn learn_requester<P: Port<Frame = F>>(&mut self, ip: IpAddr, mac: Mac, io: &mut Io<'_, P>) {
        if !self.routes.is_on_link(ip) || !self.learn_limit.take(io.now) {
            return;
        }
        let known = self.snapshot.knows(ip);
        let admitted = known || self.newcomer_limit.take(io.now);
        let learnt = admitted && self.learn(ip, Some(mac), Claim::Request, io);
        if !known && !learnt {
            io.counters.inc(Counter::NeighborRefused);
        }
    }

    fn learn<P: Port<Frame = F>>(&mut self, ip: IpAddr, mac: Option<Mac>, claim: Claim, io: &mut Io<'_, P>) -> bool {
        let believed = self.neighbors.learn(ip, mac, claim, io.now);
        self.refresh();
        if self.flushed != self.generation {
            self.flush(io);
        }
        believed
    }
}

//! ARP packets (RFC 826) for IPv4 over Ethernet: parse and emit.
//!
//! Owns the 28 bytes. Refuses other hardware and protocol types, and to decide what to believe: `link` does.

use crate::net::neighbor::Mac;

/// Length in bytes.
pub(super) const LEN: usize = 28;

/// Ethernet, IPv4, and their address lengths: how every accepted packet starts.
const PREFIX: [u8; 6] = [0, 1, 8, 0, 6, 4];

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    Request = 1,
    Reply = 2,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Arp {
    pub(super) operation: Operation,
    pub(super) sender_mac: Mac,
    pub(super) sender: [u8; 4],
    pub(super) target_mac: Mac,
    pub(super) target: [u8; 4],
}

impl Arp {
    /// The packet at the start of `bytes`; None unless it is a request or reply from a host's MAC.
    pub(super) fn parse(bytes: &[u8]) -> Option<Arp> {
        let bytes: &[u8; LEN] = bytes.first_chunk()?;
        let operation = match bytes.strip_prefix(&PREFIX)? {
            [0, 1, ..] => Operation::Request,
            [0, 2, ..] => Operation::Reply,
            _ => return None,
        };
        let arp = Arp {
            operation,
            sender_mac: *bytes[8..].first_chunk()?,
            sender: *bytes[14..].first_chunk()?,
            target_mac: *bytes[18..].first_chunk()?,
            target: *bytes[24..].first_chunk()?,
        };
        super::is_host_mac(arp.sender_mac).then_some(arp)
    }

    pub(super) fn emit(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..6].copy_from_slice(&PREFIX);
        bytes[7] = self.operation as u8;
        bytes[8..14].copy_from_slice(&self.sender_mac);
        bytes[14..18].copy_from_slice(&self.sender);
        bytes[18..24].copy_from_slice(&self.target_mac);
        bytes[24..].copy_from_slice(&self.target);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emitted_packets_parse_and_others_do_not() {
        let arp = Arp {
            operation: Operation::Request,
            sender_mac: [2, 0, 0, 0, 0, 1],
            sender: [10, 0, 0, 1],
            target_mac: [0; 6],
            target: [10, 0, 0, 2],
        };
        let bytes = arp.emit();
        assert_eq!(Arp::parse(&bytes), Some(arp));
        assert_eq!(Arp::parse(&bytes[..27]), None);
        // Hardware type, protocol type, lengths, operation, group sender MAC.
        for (at, value) in [(1, 6), (2, 0x86), (4, 8), (5, 16), (7, 0), (7, 3), (6, 1), (8, 3)] {
            let mut wrong = bytes;
            wrong[at] = value;
            assert_eq!(Arp::parse(&wrong), None, "byte {at} is {value}");
        }
    }
}

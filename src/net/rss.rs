//! Receive-side scaling: which queue of a device a segment comes to.
//!
//! Owns the Toeplitz hash over addresses and ports, and the indirection table behind it, as read back from the device. Refuses
//! to serve as the hash of our own tables: peers may know its key.

use super::key::FlowKey;
use core::net::IpAddr;

/// What a device hashes with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rss {
    key: Box<[u8]>,
    /// Queues by the lower bits of the hash.
    table: Box<[u16]>,
    /// Ports are hashed too, not addresses only.
    ports: bool,
}

impl Rss {
    /// None when a key of that length cannot hash IPv6 with ports, or the table is empty.
    pub fn new(key: Vec<u8>, table: Vec<u16>, ports: bool) -> Option<Rss> {
        // 36 bytes of input slide along the key.
        (key.len() >= 40 && !table.is_empty()).then(|| Rss { key: key.into(), table: table.into(), ports })
    }

    /// The queue to which the segments of this connection's peer come.
    pub fn queue(&self, key: &FlowKey) -> u16 {
        self.table[self.hash(key) as usize % self.table.len()]
    }

    fn hash(&self, key: &FlowKey) -> u32 {
        let mut hash = Toeplitz { key: &self.key, at: 0, sum: 0 };
        for address in [key.remote_ip(), key.local_ip()] {
            match address {
                IpAddr::V4(address) => hash.add(&address.octets()),
                IpAddr::V6(address) => hash.add(&address.octets()),
            }
        }
        if self.ports {
            hash.add(&key.remote_port.to_be_bytes());
            hash.add(&key.local_port.to_be_bytes());
        }
        hash.sum
    }
}

/// The hash under way: each bit of the input that is set adds the 32 bits of the key from its place on.
struct Toeplitz<'a> {
    key: &'a [u8],
    at: usize,
    sum: u32,
}

impl Toeplitz<'_> {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let window = self.key.get(self.at..).and_then(|rest| rest.first_chunk::<5>());
            let window = window.map_or(0, |five| five.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte)));
            for bit in 0..8 {
                if byte & (0x80 >> bit) != 0 {
                    self.sum ^= (window >> (8 - bit)) as u32;
                }
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and the hashes of the verification suite in Microsoft's "RSS Hashing Types".
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca,
        0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b,
        0xbe, 0xac, 0x01, 0xfa,
    ];

    fn key(remote: &str, remote_port: u16, local: &str, local_port: u16) -> FlowKey {
        match (remote.parse::<IpAddr>().unwrap(), local.parse::<IpAddr>().unwrap()) {
            (IpAddr::V4(remote), IpAddr::V4(local)) => {
                FlowKey::v4(remote.octets(), local.octets(), remote_port, local_port)
            }
            (IpAddr::V6(remote), IpAddr::V6(local)) => {
                FlowKey::v6(remote.octets(), local.octets(), remote_port, local_port)
            }
            _ => panic!("one family"),
        }
    }

    #[test]
    fn hashes_are_those_of_the_verification_suite() {
        for (key, with_ports, without) in [
            (key("66.9.149.187", 2794, "161.142.100.80", 1766), 0x51cc_c178, 0x323e_8fc2),
            (key("199.92.111.2", 14230, "65.69.140.83", 4739), 0xc626_b0ea, 0xd718_262a),
            (key("24.19.198.95", 12898, "12.22.207.184", 38024), 0x5c2b_394a, 0xd2d0_a5de),
            (key("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766), 0x4020_7d3d, 0x2cc1_8cd5),
            (key("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739), 0xdde5_1bbf, 0x0f0c_461c),
        ] {
            let hash = |ports| Rss::new(KEY.to_vec(), vec![0], ports).unwrap().hash(&key);
            assert_eq!((hash(true), hash(false)), (with_ports, without), "{key:?}");
        }
    }

    #[test]
    fn the_table_names_the_queue() {
        let rss = Rss::new(KEY.to_vec(), (0..128).map(|i| i % 3).collect(), true).unwrap();
        let found = key("66.9.149.187", 2794, "161.142.100.80", 1766);
        assert_eq!(rss.queue(&found), (0x51cc_c178u32 % 128 % 3) as u16);
        assert!(Rss::new(vec![0; 39], vec![0], true).is_none() && Rss::new(vec![0; 40], vec![], true).is_none());
    }
}

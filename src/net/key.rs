//! The 4-tuple that names a connection.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Remote and local address and port, as seen from us. IPv4 addresses are held IPv4-mapped (RFC 4291, 2.5.5.2), so one
/// key serves both families.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct FlowKey {
    /// The peer's address, big-endian value.
    pub remote: u128,
    /// Our address, big-endian value.
    pub local: u128,
    /// The peer's port.
    pub remote_port: u16,
    /// Our port.
    pub local_port: u16,
}

const V4_MAPPED: u128 = 0xffff_0000_0000;

impl FlowKey {
    /// The key of an IPv4 connection, from addresses in wire order.
    #[inline]
    pub fn v4(remote: [u8; 4], local: [u8; 4], remote_port: u16, local_port: u16) -> FlowKey {
        FlowKey {
            remote: V4_MAPPED | u128::from(u32::from_be_bytes(remote)),
            local: V4_MAPPED | u128::from(u32::from_be_bytes(local)),
            remote_port,
            local_port,
        }
    }

    /// The key of an IPv6 connection, from addresses in wire order.
    #[inline]
    pub fn v6(remote: [u8; 16], local: [u8; 16], remote_port: u16, local_port: u16) -> FlowKey {
        FlowKey { remote: u128::from_be_bytes(remote), local: u128::from_be_bytes(local), remote_port, local_port }
    }

    /// The peer's address.
    pub fn remote_ip(&self) -> IpAddr {
        unmap(self.remote)
    }

    /// Our address.
    pub fn local_ip(&self) -> IpAddr {
        unmap(self.local)
    }
}

fn unmap(value: u128) -> IpAddr {
    if value >> 32 == V4_MAPPED >> 32 {
        IpAddr::V4(Ipv4Addr::from(value as u32))
    } else {
        IpAddr::V6(Ipv6Addr::from(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_do_not_collide() {
        let v4 = FlowKey::v4([10, 0, 0, 1], [10, 0, 0, 2], 1, 80);
        assert_eq!(v4.remote_ip(), "10.0.0.1".parse::<IpAddr>().unwrap());
        assert_eq!(v4.local_ip(), "10.0.0.2".parse::<IpAddr>().unwrap());
        let v6 = FlowKey::v6([0; 16], [1; 16], 1, 80);
        assert_eq!(v6.remote_ip(), "::".parse::<IpAddr>().unwrap());
        assert_ne!(v4, v6);
    }
}

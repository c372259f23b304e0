//! One gateway per device.
//!
//! Owns the claim on a device's name, an abstract socket that the kernel frees when the process ends, however it ends.
//! Refuses to claim what EAL arguments name: who writes those may share a device on purpose; and a virtual device
//! without arguments, for `net_null0` or `net_tap0` is another one in each process.

use crate::failure::{Exit, Failure};
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// The claim; it ends when dropped.
pub(super) struct Claim {
    _socket: Option<UnixListener>,
}

/// Claims a device for this process, or says that another has it. Drivers such as af_packet would let both start and
/// both answer every frame.
pub(super) fn claim(device: &str) -> Result<Claim, Failure> {
    let Some(name) = shared_name(device) else { return Ok(Claim { _socket: None }) };
    let bound = SocketAddr::from_abstract_name(format!("penstock/{name}")).and_then(|at| UnixListener::bind_addr(&at));
    match bound {
        Ok(socket) => Ok(Claim { _socket: Some(socket) }),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let what = format!("another penstock on this machine uses {name}");
            Err(Failure::new(Exit::Environment, what).fix("stop it (pgrep -a penstock), or choose another port.device"))
        }
        // Without abstract sockets there is no claim, and no reason not to start.
        Err(_) => Ok(Claim { _socket: None }),
    }
}

/// What two processes would share: the kernel interface a vdev names, or the whole device. None: nothing.
fn shared_name(device: &str) -> Option<&str> {
    let interface = device.split(',').find_map(|argument| argument.trim().strip_prefix("iface="));
    interface.or_else(|| device.contains([',', ':']).then_some(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_claimed_once_by_interface() {
        let first = claim("net_af_packet0,iface=claimtest0,qpairs=1").unwrap();
        let second = claim("net_tap3,iface=claimtest0").err().unwrap();
        assert!(second.to_string().contains("another penstock on this machine uses claimtest0"), "{second}");
        let pci = claim("0000:ff:1f.7").unwrap();
        assert!(claim("0000:ff:1f.7").is_err());
        let everyones = (claim("net_null0").unwrap(), claim("net_null0").unwrap());
        drop((pci, everyones));
        drop(first);
        assert!(claim("net_tap3,iface=claimtest0").is_ok());
    }
}

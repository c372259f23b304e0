//! Waiting for frames of net_af_packet, which has no interrupts: each of its queues is a packet socket of this process.
//!
//! Owns finding the sockets and waiting for one of them. Refuses to read from them: the driver does, through the ring
//! that it shares with the kernel.

use core::mem::offset_of;
use core::time::Duration;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{BorrowedFd, OwnedFd, RawFd};
use rustix::net::sockopt::socket_error;
use rustix::net::{AddressFamily, getsockname};

/// A second descriptor of one queue's socket. The socket stays open until this is dropped, too.
pub(super) struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// The sockets that are bound to an interface, in the order of their queues. None where they are not as many as the
    /// queues: a worker must not wait for another one's frames.
    pub(super) fn of_interface(index: u32, queues: usize) -> Option<Vec<PacketSocket>> {
        let entries = std::fs::read_dir("/proc/self/fd").ok()?;
        let mut numbers: Vec<RawFd> =
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        // The driver opens them one after the other, and the kernel gives the lowest free number.
        numbers.sort_unstable();
        // A duplicate must not take a number of the list that has become free: the list's own, for one.
        let above = numbers.last()? + 1;
        let duplicates = numbers.into_iter().filter_map(|number| duplicate(number, above));
        let sockets: Vec<PacketSocket> = duplicates.filter(|socket| socket.is_on(index)).collect();
        (sockets.len() == queues).then_some(sockets)
    }

    fn is_on(&self, index: u32) -> bool {
        let Ok(address) = getsockname(&self.0) else { return false };
        let known = offset_of!(libc::sockaddr_ll, sll_ifindex) + size_of::<i32>();
        if address.address_family() != AddressFamily::PACKET || (address.addr_len() as usize) < known {
            return false;
        }
        let link = address.as_ptr().cast::<libc::sockaddr_ll>();
        // SAFETY: the address is of the packet family and reaches beyond this field; nothing else of it is read.
        let bound = unsafe { (&raw const (*link).sll_ifindex).read_unaligned() };
        u32::try_from(bound) == Ok(index)
    }

    /// Sleeps until the ring holds a frame, for `max` at most. True: it holds one.
    pub(super) fn wait(&self, max: Duration) -> bool {
        let Ok(timeout) = Timespec::try_from(max) else { return false };
        let mut sockets = [PollFd::new(&self.0, PollFlags::IN)];
        match poll(&mut sockets, Some(&timeout)) {
            Ok(0) => false,
            Ok(_) if sockets[0].revents().contains(PollFlags::IN) => true,
            _ => {
                // An interface that went down leaves an error, which would end every wait at once; reading clears it.
                let _ = socket_error(&self.0);
                std::thread::sleep(max);
                false
            }
        }
    }
}

/// A second descriptor of whatever has this number; its own one is `above` or greater.
fn duplicate(number: RawFd, above: RawFd) -> Option<PacketSocket> {
    if number < 0 {
        return None;
    }
    // SAFETY: the descriptor is used for this one duplication. Should another thread close it meanwhile, that fails or
    // duplicates what took its number, which is judged for itself.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_dupfd_cloexec(borrowed, above).ok().map(PacketSocket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{SocketType, socket};

    #[test]
    fn sockets_of_other_kinds_and_interfaces_are_not_taken() {
        let _other = socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
        assert!(PacketSocket::of_interface(u32::MAX, 1).is_none());
        assert!(PacketSocket::of_interface(u32::MAX, 0).is_some_and(|none| none.is_empty()));
    }
}

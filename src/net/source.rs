//! Addresses and ports of connections that we begin.
//!
//! Owns which 4-tuple is tried next: every port of every address in turn, from a random start (RFC 6056, 3.3.3 in spirit:
//! one counter for each destination), so that a 4-tuple comes back as late as possible; of several queues, those whose
//! answers come to ours. Refuses to know which are in use.

use super::key::FlowKey;
use super::rss::Rss;
use core::net::{IpAddr, SocketAddr};
use core::ops::RangeInclusive;
use std::sync::Arc;

/// The 4-tuples to one destination.
#[derive(Clone, Debug)]
pub struct Sources {
    remote: SocketAddr,
    locals: Vec<IpAddr>,
    first: u16,
    /// Ports of each address.
    ports: u32,
    next: u64,
    /// Answers have to come to this queue.
    queue: Option<(Arc<Rss>, u16)>,
}

/// 4-tuples tried for one whose answers come to our queue: more than enough for 128 queues.
const TRIES_MAX: u64 = 4096;

impl Sources {
    /// 4-tuples from each of `locals` that is of `remote`'s family; None when there is none, or no port. `start`: a random
    /// number.
    pub fn new(remote: SocketAddr, locals: &[IpAddr], ports: &RangeInclusive<u16>, start: u64) -> Option<Sources> {
        let locals: Vec<IpAddr> = locals.iter().copied().filter(|ip| ip.is_ipv4() == remote.is_ipv4()).collect();
        if locals.is_empty() || ports.is_empty() || *ports.end() == 0 {
            return None;
        }
        let first = (*ports.start()).max(1);
        let ports = u32::from(*ports.end()) - u32::from(first) + 1;
        Some(Sources { remote, locals, first, ports, next: start, queue: None })
    }

    /// Only those whose answers the device gives to this queue; None when there is none among those that are tried for one.
    /// The hash is linear, so that a short range of ports may come to one queue as a whole.
    pub fn for_queue(mut self, rss: Arc<Rss>, queue: u16) -> Option<Sources> {
        let mut tried = self.clone();
        let found = (0..TRIES_MAX.min(self.count())).any(|_| rss.queue(&tried.step()) == queue);
        self.queue = Some((rss, queue));
        found.then_some(self)
    }

    /// How many there are, for all queues.
    pub fn count(&self) -> u64 {
        u64::from(self.ports) * self.locals.len() as u64
    }

    /// The next one. Addresses alternate, so that few connections already spread over all of them.
    pub fn draw(&mut self) -> FlowKey {
        let mut key = self.step();
        for _ in 1..TRIES_MAX.min(self.count()) {
            if self.queue.as_ref().is_none_or(|(rss, queue)| rss.queue(&key) == *queue) {
                break;
            }
            key = self.step();
        }
        key
    }

    fn step(&mut self) -> FlowKey {
        let at = self.next % self.count();
        self.next = self.next.wrapping_add(1) % self.count();
        let local = self.locals[(at % self.locals.len() as u64) as usize];
        let port = self.first + (at / self.locals.len() as u64) as u16;
        match (self.remote.ip(), local) {
            (IpAddr::V4(remote), IpAddr::V4(local)) => {
                FlowKey::v4(remote.octets(), local.octets(), self.remote.port(), port)
            }
            (remote, local) => FlowKey::v6(octets(remote), octets(local), self.remote.port(), port),
        }
    }
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_tuple_comes_once_before_any_comes_twice() {
        let remote = "10.0.0.9:80".parse().unwrap();
        let locals = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let mut sources = Sources::new(remote, &locals, &(65_530..=65_535), 7).unwrap();
        assert_eq!(sources.count(), 12);
        let round = |sources: &mut Sources| (0..12).map(|_| sources.draw()).collect::<HashSet<_>>();
        let (first, second) = (round(&mut sources), round(&mut sources));
        assert_eq!((first.len(), &first), (12, &second));
        assert!(first.iter().all(|key| key.remote_ip() == remote.ip() && key.local_port >= 65_530));
    }

    #[test]
    fn each_queue_gets_its_own_and_together_they_get_all() {
        let remote = "10.0.0.9:80".parse().unwrap();
        let local = ["10.0.0.1".parse().unwrap()];
        let key = (0..40u32).map(|i| (i * 37 + 11) as u8).collect();
        let rss = Arc::new(Rss::new(key, (0..64).map(|i| i % 4).collect(), true).unwrap());
        let mut seen = HashSet::new();
        for queue in 0..4 {
            let sources = Sources::new(remote, &local, &(1024..=2047), 5).unwrap();
            let mut own = sources.for_queue(Arc::clone(&rss), queue).unwrap();
            for _ in 0..1024 {
                let key = own.draw();
                assert_eq!(rss.queue(&key), queue);
                seen.insert(key);
            }
        }
        assert_eq!(seen.len(), 1024);
    }

    #[test]
    fn ports_that_all_come_to_one_queue_leave_none_for_the_others() {
        let remote = "10.0.0.9:80".parse().unwrap();
        // A key of one bit: the hash does not see the ports.
        let mut key = vec![0; 40];
        key[0] = 1;
        let rss = Arc::new(Rss::new(key, vec![0, 1], true).unwrap());
        let found = [0, 1].map(|queue| {
            let sources = Sources::new(remote, &["10.0.0.1".parse().unwrap()], &(1024..=1031), 3).unwrap();
            sources.for_queue(Arc::clone(&rss), queue).is_some()
        });
        assert_eq!(found.iter().filter(|found| **found).count(), 1, "{found:?}");
    }

    #[test]
    fn there_is_none_without_an_address_of_the_family_or_a_port() {
        let remote = "10.0.0.9:80".parse().unwrap();
        assert!(Sources::new(remote, &["fd00::1".parse().unwrap()], &(1024..=2048), 0).is_none());
        assert!(Sources::new(remote, &["10.0.0.1".parse().unwrap()], &RangeInclusive::new(9, 8), 0).is_none());
    }
}

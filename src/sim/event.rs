//! What happens to a run from outside: cut wires, an orderly stop, empty pools, strangers' frames.
//!
//! Owns the kinds of events and how they are drawn. Refuses to act: `world` does.

use super::rng::Rng;
use super::stray::Stray;
use core::time::Duration;

/// Something that happens once.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// When, since the run's begin.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What happens.
#[derive(Clone, PartialEq, Debug)]
pub enum What {
    /// A partition: both wires of a station lose everything for so long. Stations are the hosts, then the loads.
    Partition {
        /// The station.
        station: usize,
        /// For how long.
        lasts: Duration,
    },
    /// Every gateway worker stops in order, and after `drain_timeout` resets what is left.
    Drain,
    /// The gateway's pool has at most so many frames for so long.
    Starve {
        /// Frames.
        frames: usize,
        /// For how long.
        lasts: Duration,
    },
    /// The gateway's transmit rings take nothing for so long.
    Block(Duration),
    /// SYNs from addresses at which there is nobody, sent by host 0 to this port.
    Spoof {
        /// How many.
        syns: usize,
        /// To which port.
        port: u16,
    },
    /// Echo requests from host 0, all at once.
    Ping(usize),
    /// A frame that the gateway must drop, and count under its own reason.
    Stray(Stray),
}

impl Event {
    /// The events of a run with so many hosts and stations in all: none in most runs.
    pub fn draw(hosts: usize, stations: usize, rng: &mut Rng) -> Vec<Event> {
        let mut events = Vec::new();
        let mut add = |rng: &mut Rng, ppm, what: &dyn Fn(&mut Rng) -> What| {
            if rng.chance(ppm) {
                let at = Duration::from_millis(50) + rng.up_to(Duration::from_millis(2500));
                events.push(Event { at, what: what(rng) });
            }
        };
        let lasts = |rng: &mut Rng| {
            let most = *rng.pick(&[50, 500, 4000]);
            Duration::from_millis(rng.within(1..=most))
        };
        for station in 0..stations {
            add(rng, 100_000, &|rng| What::Partition { station, lasts: lasts(rng) });
        }
        add(rng, 50_000, &|_| What::Drain);
        add(rng, 60_000, &|rng| What::Starve { frames: rng.below(4) as usize, lasts: lasts(rng) });
        add(rng, 60_000, &|rng| What::Block(lasts(rng)));
        if hosts > 0 {
            let port = |rng: &mut Rng| *rng.pick(&[80, 80, 80, 81]);
            add(rng, 150_000, &|rng| What::Spoof { syns: *rng.pick(&[1, 100, 400, 1500]), port: port(rng) });
            add(rng, 40_000, &|rng| What::Ping(*rng.pick(&[1, 3])));
            // More than are answered in a second.
            add(rng, 50_000, &|_| What::Ping(1200));
            add(rng, 30_000, &|_| What::Spoof { syns: 2500, port: 81 });
        }
        for _ in 0..3 {
            add(rng, 150_000, &|rng| What::Stray(*rng.pick(Stray::ALL)));
        }
        // Answers that cannot leave pile up.
        let spoof = events.iter().find(|event| matches!(event.what, What::Spoof { .. })).map(|event| event.at);
        if let Some(at) = spoof.filter(|_| rng.chance(400_000)) {
            events.push(Event { at, what: What::Block(Duration::from_millis(100)) });
        }
        events.sort_by_key(|event| event.at);
        events
    }
}

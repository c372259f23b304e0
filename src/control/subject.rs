//! What the control side knows of the gateway it speaks for.
//!
//! Owns the facts that do not change, and what is asked of the runtime each time. Refuses to know DPDK and workers:
//! `runtime` fills it in.

use super::log::Logs;
use crate::config::Config;
use crate::telemetry::requests::{CLASSES, METHODS};
use crate::telemetry::{Counter, Counters};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// A gateway as its control side sees it.
pub struct Subject {
    /// The configuration it runs with.
    pub config: Arc<Config>,
    /// Its fingerprint.
    pub config_hash: String,
    /// DPDK's release.
    pub dpdk: String,
    /// The device.
    pub device: Device,
    /// The workers, by number.
    pub workers: Vec<Worker>,
    /// Where it says what happens.
    pub logs: Logs,
    /// What changes.
    pub probe: Box<dyn Probe>,
}

/// The device's unchanging side.
#[derive(Clone, Debug)]
pub struct Device {
    /// The name EAL knows it by.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Its hardware address.
    pub mac: String,
}

/// A worker's place, and its counters.
#[derive(Clone, Debug)]
pub struct Worker {
    /// EAL's number of its lcore.
    pub lcore: u32,
    /// The CPU it is pinned to, if it is one.
    pub cpu: Option<u32>,
    /// The NUMA node of its CPUs, if it is one.
    pub node: Option<u32>,
    /// What it counts.
    pub counters: Arc<Counters>,
}

/// Where a gateway is in its life.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Workers reserve their memory.
    Starting,
    /// Every worker serves.
    Serving,
    /// No new connections; the others come to their end.
    Draining,
    /// The workers return.
    Stopping,
}

impl Phase {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Serving => "serving",
            Phase::Draining => "draining",
            Phase::Stopping => "stopping",
        }
    }
}

/// What is asked of the runtime.
pub trait Probe: Send {
    /// The workers' clock, in nanoseconds.
    fn now_ns(&self) -> u64;
    /// The phase.
    fn phase(&self) -> Phase;
    /// The device and its pools; None when the thread that owns them does not answer in time.
    fn look(&self) -> Option<DeviceView>;
}

/// The device's changing side.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeviceView {
    /// The link is up; None: nobody can tell, because the interface is in another network namespace.
    pub link_up: Option<bool>,
    /// Basic counters by the names of DPDK's `rte_eth_stats`.
    pub stats: Vec<(String, u64)>,
    /// Extended counters.
    pub xstats: Vec<(String, u64)>,
    /// Frame pools.
    pub pools: Vec<PoolView>,
}

/// A frame pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolView {
    /// Its name.
    pub name: String,
    /// Frames in all.
    pub frames: u32,
    /// Frames outside the pool and its caches.
    pub in_use: u32,
}

/// What changes, all of it asked at one time.
pub struct View {
    /// The workers' clock, in nanoseconds.
    pub now_ns: u64,
    /// The phase.
    pub phase: Phase,
    /// The device, if its owner answered.
    pub device: Option<DeviceView>,
}

impl Subject {
    /// Asks the runtime for everything.
    pub fn view(&self) -> View {
        let device = self.probe.look();
        View { device, phase: self.probe.phase(), now_ns: self.probe.now_ns() }
    }

    /// A counter's sum over the workers.
    pub fn sum(&self, counter: Counter) -> u64 {
        self.workers.iter().map(|worker| worker.counters.read(counter)).sum()
    }

    /// The listeners' names, such as `*:80` and `10.7.0.2:8080`, in the order of the configuration.
    pub fn listeners(&self) -> Vec<String> {
        let name = |listener: &crate::config::Listener| match listener.address {
            Some(address) => SocketAddr::new(address, listener.port).to_string(),
            None => format!("*:{}", listener.port),
        };
        self.config.listeners.iter().map(name).collect()
    }

    /// The routes' names in the order of the configuration: the path as configured, after the host if there is one.
    pub fn routes(&self) -> Vec<String> {
        let name = |route: &crate::config::Route| {
            let (crate::config::PathMatch::Exact(path) | crate::config::PathMatch::Prefix(path)) = &route.path;
            format!("{}{path}", route.host.as_deref().unwrap_or(""))
        };
        self.config.routes.iter().map(name).collect()
    }

    /// Answered requests by listener, route, method and status class; routes of one name are one.
    pub fn requests(&self) -> BTreeMap<[String; 4], u64> {
        let (listeners, routes) = (self.listeners(), self.routes());
        let mut all = BTreeMap::new();
        for entry in self.workers.iter().flat_map(|worker| worker.counters.requests.read()) {
            let listener = listeners.get(entry.listener).cloned().unwrap_or_default();
            let route = entry.route.and_then(|i| routes.get(i)).cloned().unwrap_or_else(|| "none".to_string());
            let key = [listener, route, METHODS[entry.method].to_string(), CLASSES[entry.class].to_string()];
            *all.entry(key).or_insert(0) += entry.count;
        }
        all
    }
}

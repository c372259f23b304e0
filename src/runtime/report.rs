//! Facts as words for the log.
//!
//! Owns what needs more than a format string; the rest of the wording is in `control::log::events`. Refuses to decide when
//! something is said, counters at the end excepted.

use crate::config::Config;
use crate::control::log::events;
use crate::port::Caps;
use crate::telemetry::{Counter, Counters};
use std::sync::Arc;

/// `52:54:00:12:34:56`.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// What the device does for us, as words.
pub fn offloads_text(caps: &Caps) -> String {
    let all = [
        (caps.rx_ip_checksum, "rx-ip-checksum"),
        (caps.rx_tcp_checksum, "rx-tcp-checksum"),
        (caps.tx_ip_checksum, "tx-ip-checksum"),
        (caps.tx_tcp_checksum, "tx-tcp-checksum"),
        (caps.rx_hash, "rx-hash"),
    ];
    let used: Vec<&str> = all.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
    if used.is_empty() { "none".into() } else { used.join(" ") }
}

/// Addresses and gateways, and listeners.
pub fn network_texts(config: &Config) -> [String; 2] {
    let port = &config.port;
    let mut addresses: Vec<String> =
        port.addresses.iter().map(|cidr| format!("{}/{}", cidr.address, cidr.prefix_len)).collect();
    addresses.extend(port.gateways.iter().map(|gateway| format!("gateway {gateway}")));
    addresses.extend(port.vlan.map(|vlan| format!("VLAN {vlan}")));
    let listeners = config.listeners.iter().map(|listener| match listener.address {
        Some(address) => std::net::SocketAddr::new(address, listener.port).to_string(),
        None => format!("*:{}", listener.port),
    });
    [addresses.join(", "), listeners.collect::<Vec<_>>().join(", ")]
}

/// Says what was done, summed over the workers: traffic, then each reason for which frames were dropped.
pub fn say_totals(workers: &[Arc<Counters>]) {
    let sum = |counter: Counter| workers.iter().map(|counters| counters.read(counter)).sum::<u64>();
    let [requests, connections] = [Counter::HttpRequests, Counter::ConnAccepted].map(sum);
    events::served(requests, connections, sum(Counter::RxFrames), sum(Counter::TxFrames));
    for counter in Counter::ALL {
        let (name, _, reason, meaning) = counter.describe();
        let count = sum(*counter);
        if name == "penstock_dropped_frames_total" && count > 0 {
            events::dropped(reason, count, meaning);
        }
    }
}

/// Says what the device lost, if it did.
pub fn say_loss(stats: &[(String, u64)]) {
    let read = |name| stats.iter().find(|(own, _)| own == name).map_or(0, |(_, value)| *value);
    let [missed, rx_errors, tx_errors, no_frame] = ["imissed", "ierrors", "oerrors", "rx_nombuf"].map(read);
    if missed + rx_errors + tx_errors + no_frame > 0 {
        events::device_loss(missed, rx_errors, tx_errors, no_frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that `call` has written.
    fn lines(call: impl FnOnce()) -> Vec<String> {
        let (lines, _) = crate::control::log::record(crate::config::LogLevel::Info, false, |_| call());
        lines
            .iter()
            .map(|line| line.split_once(" INFO ").or(line.split_once(" WARN ")).unwrap().1.to_string())
            .collect()
    }

    #[test]
    fn counters_are_summed_and_drops_have_reasons() {
        let workers = [Arc::new(Counters::default()), Arc::new(Counters::default())];
        workers[0].add(Counter::HttpRequests, 2);
        workers[1].add(Counter::HttpRequests, 3);
        workers[1].inc(Counter::DropRunt);
        let lines = lines(|| say_totals(&workers));
        assert!(lines[0].contains("5 requests on 0 connections"), "{}", lines[0]);
        assert_eq!(lines.len(), 2);
        assert!(lines[1].starts_with("dropped: 1 runt"));
    }

    #[test]
    fn loss_is_named_and_silence_means_none() {
        let stats = |missed| vec![("ipackets".to_string(), 9), ("imissed".to_string(), missed)];
        assert!(lines(|| say_loss(&stats(0))).is_empty());
        assert!(lines(|| say_loss(&stats(4)))[0].starts_with("device loss: imissed 4, "));
    }

    #[test]
    fn words_for_addresses_and_offloads() {
        assert_eq!(mac_text([0x52, 0x54, 0, 1, 2, 0xff]), "52:54:00:01:02:ff");
        assert_eq!(offloads_text(&Caps::default()), "none");
        assert_eq!(
            offloads_text(&Caps { rx_hash: true, tx_ip_checksum: true, ..Caps::default() }),
            "tx-ip-checksum rx-hash"
        );
    }
}

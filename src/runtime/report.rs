//! What the program says on standard output: one line for each thing an operator needs to know.
//!
//! Owns the wording. Refuses to decide anything.

use crate::config::Config;
use crate::port::Caps;
use crate::telemetry::{Counter, Counters};
use std::io::Write;
use std::sync::Arc;

/// Prints a line. A closed standard output is no reason to stop.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

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

/// Addresses and gateways in one line, listeners in another.
pub fn network_lines(config: &Config) -> [String; 2] {
    let port = &config.port;
    let mut addresses: Vec<String> =
        port.addresses.iter().map(|cidr| format!("{}/{}", cidr.address, cidr.prefix_len)).collect();
    addresses.extend(port.gateways.iter().map(|gateway| format!("gateway {gateway}")));
    addresses.extend(port.vlan.map(|vlan| format!("VLAN {vlan}")));
    let listeners = config.listeners.iter().map(|listener| match listener.address {
        Some(address) => std::net::SocketAddr::new(address, listener.port).to_string(),
        None => format!("*:{}", listener.port),
    });
    [format!("addresses: {}", addresses.join(", ")), format!("listening: {}", listeners.collect::<Vec<_>>().join(", "))]
}

/// `12 KiB`, `3 MiB`: binary, rounded up.
pub fn bytes_text(bytes: usize) -> String {
    match bytes {
        0..=1023 => format!("{bytes} B"),
        1024..=1_048_575 => format!("{} KiB", bytes.div_ceil(1 << 10)),
        _ => format!("{} MiB", bytes.div_ceil(1 << 20)),
    }
}

/// The counters that are not zero, summed over the workers: traffic in one line, then a line for each dropped frame's
/// reason.
pub fn counter_lines(workers: &[Arc<Counters>]) -> Vec<String> {
    let sum = |counter: Counter| workers.iter().map(|counters| counters.read(counter)).sum::<u64>();
    let mut lines = vec![format!(
        "served: {} requests on {} connections; frames {} in, {} out",
        sum(Counter::HttpRequests),
        sum(Counter::ConnAccepted),
        sum(Counter::RxFrames),
        sum(Counter::TxFrames)
    )];
    for counter in Counter::ALL {
        let (name, _, reason, help) = counter.describe();
        let count = sum(*counter);
        if name == "penstock_dropped_frames_total" && count > 0 {
            lines.push(format!("dropped: {count} {reason} ({help})"));
        }
    }
    lines
}

/// The device's counters that tell of loss, in one line; None when there was none.
pub fn loss_line(stats: &[(String, u64)]) -> Option<String> {
    const LOSS: [&str; 4] = ["imissed", "ierrors", "oerrors", "rx_nombuf"];
    let lost = stats.iter().filter(|(name, value)| *value > 0 && LOSS.contains(&name.as_str()));
    let words: Vec<String> = lost.map(|(name, value)| format!("{name} {value}")).collect();
    (!words.is_empty()).then(|| format!("device loss: {}", words.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_and_drops_have_reasons() {
        let workers = [Arc::new(Counters::default()), Arc::new(Counters::default())];
        workers[0].add(Counter::HttpRequests, 2);
        workers[1].add(Counter::HttpRequests, 3);
        workers[1].inc(Counter::DropRunt);
        let lines = counter_lines(&workers);
        assert!(lines[0].contains("5 requests on 0 connections"), "{}", lines[0]);
        assert_eq!(lines.len(), 2);
        assert!(lines[1].starts_with("dropped: 1 runt"));
    }

    #[test]
    fn loss_is_named_and_silence_means_none() {
        let stats = |missed| vec![("ipackets".to_string(), 9), ("imissed".to_string(), missed)];
        assert_eq!(loss_line(&stats(0)), None);
        assert_eq!(loss_line(&stats(4)).as_deref(), Some("device loss: imissed 4"));
    }

    #[test]
    fn words_for_sizes_addresses_and_offloads() {
        assert_eq!([bytes_text(1000), bytes_text(1025), bytes_text(3 << 20)], ["1000 B", "2 KiB", "3 MiB"]);
        assert_eq!(mac_text([0x52, 0x54, 0, 1, 2, 0xff]), "52:54:00:01:02:ff");
        assert_eq!(offloads_text(&Caps::default()), "none");
        assert_eq!(
            offloads_text(&Caps { rx_hash: true, tx_ip_checksum: true, ..Caps::default() }),
            "tx-ip-checksum rx-hash"
        );
    }
}

//! The sections that are numbers only: `[workers]`, `[http]`, `[tcp]`.

use super::reader::Section;
use super::units;
use crate::config::{HttpLimits, Hugepages, Idle, SynCookies, TcpConfig, WorkersConfig};

pub(super) fn workers(section: &Section) -> WorkersConfig {
    let default = WorkersConfig::default();
    let connections = section.integer("connections").map_or(default.connections, |n| n.into_inner() as u32);
    let active = section.integer("active").map(|n| n.into_inner() as u32);
    if let Some(active) = active.filter(|active| *active > connections) {
        let what = format!("`active` ({active}) is more than `connections` ({connections}), of which it is a part");
        section.report.add(section.span_of("active"), what, "lower active or raise connections");
    }
    WorkersConfig {
        count: section.integer("count").map(|n| n.into_inner() as u16),
        connections,
        active,
        hugepages: match section.choice("hugepages") {
            Some("auto") => Hugepages::Auto,
            Some("require") => Hugepages::Require,
            Some("off") => Hugepages::Off,
            _ => default.hugepages,
        },
        idle: Idle {
            sleep: section.choice("idle").map_or(default.idle.sleep, |choice| choice == "sleep"),
            sleep_after: section.duration("idle_after").unwrap_or(default.idle.sleep_after),
            sleep_max: section.duration("idle_sleep").unwrap_or(default.idle.sleep_max),
            ..default.idle
        },
        drain_timeout: section.duration("drain_timeout").unwrap_or(default.drain_timeout),
    }
}

pub(super) fn http(section: &Section) -> HttpLimits {
    let default = HttpLimits::default();
    let size = |name, default: u64| section.size(name).map_or(default, |n| n.into_inner());
    let integer = |name, default: u64| section.integer(name).map_or(default, |n| n.into_inner());
    let duration = |name, default| section.duration(name).unwrap_or(default);
    let http = HttpLimits {
        request_line: size("request_line", default.request_line as u64) as usize,
        head_size: size("head_size", default.head_size as u64) as usize,
        header_count: integer("header_count", default.header_count as u64) as usize,
        body_size: size("body_size", default.body_size),
        head_timeout: duration("head_timeout", default.head_timeout),
        body_timeout: duration("body_timeout", default.body_timeout),
        idle_timeout: duration("idle_timeout", default.idle_timeout),
        write_timeout: duration("write_timeout", default.write_timeout),
        requests_per_connection: integer("requests_per_connection", default.requests_per_connection),
    };
    if http.request_line > http.head_size {
        let key = if section.has("request_line") { "request_line" } else { "head_size" };
        let show = |bytes: usize| units::show_size(bytes as u64);
        let what = format!(
            "`request_line` ({}) is more than `head_size` ({}), which includes it",
            show(http.request_line),
            show(http.head_size)
        );
        section.report.add(section.span_of(key), what, "lower request_line or raise head_size");
    }
    http
}

pub(super) fn tcp(section: &Section) -> TcpConfig {
    let default = TcpConfig::default();
    let size = |name, default: usize| section.size(name).map_or(default, |n| n.into_inner() as usize);
    let integer = |name, default: u32| section.integer(name).map_or(default, |n| n.into_inner() as u32);
    let duration = |name, default| section.duration(name).unwrap_or(default);
    TcpConfig {
        rx_ring: size("rx_ring", default.rx_ring),
        tx_ring: size("tx_ring", default.tx_ring),
        bulk_tx_ring: size("bulk_tx_ring", default.bulk_tx_ring),
        bulk_rings: integer("bulk_rings", default.bulk_rings),
        half_open: integer("half_open", default.half_open),
        syn_cookies: match section.choice("syn_cookies") {
            Some("always") => SynCookies::Always,
            Some("off") => SynCookies::Off,
            _ => default.syn_cookies,
        },
        timestamps: section.flag("timestamps").unwrap_or(default.timestamps),
        connections_per_source: integer("connections_per_source", default.connections_per_source),
        handshake_timeout: duration("handshake_timeout", default.handshake_timeout),
        fin_timeout: duration("fin_timeout", default.fin_timeout),
        rto_min: duration("rto_min", default.rto_min),
        park_after: duration("park_after", default.park_after),
        time_wait: duration("time_wait", default.time_wait),
        time_wait_entries: integer("time_wait_entries", default.time_wait_entries),
    }
}

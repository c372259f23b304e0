//! What a configuration amounts to, for people.
//!
//! Owns the text of `penstock check`. Refuses to judge: `load` has.

use std::fmt::Write;
use std::path::Path;

use super::load::units::{show_duration, show_size};
use crate::config::{Body, Config, Hugepages, PathMatch, Route};
use crate::worker;

/// Routes that are listed; further ones are only counted.
const ROUTES_SHOWN_MAX: usize = 100;

/// Several lines about `config`, which was loaded from `path`; the last one is `config OK`.
pub fn summary(path: &Path, config: &Config) -> String {
    let mut text = format!("{}\n", path.display());
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<11}{value}");
    };
    let port = &config.port;
    row("device", port.device.clone().unwrap_or_else(|| "from EAL arguments".into()));
    let addresses = port.addresses.iter().map(|own| format!("{}/{}", own.address, own.prefix_len));
    row("address", join(addresses));
    row("gateway", join(port.gateways.iter().map(|gateway| gateway.to_string())));
    if let Some(vlan) = port.vlan {
        row("vlan", vlan.to_string());
    }
    if let Some(mtu) = port.mtu {
        row("mtu", mtu.to_string());
    }
    row("listener", join(listeners(config)));
    row("workers", workers(config));
    row("memory", memory(config));
    row("limits", limits(config));
    text.push_str(&routes(&config.routes));
    text.push_str("config OK\n");
    text
}

fn join(values: impl Iterator<Item = String>) -> String {
    let values: Vec<String> = values.collect();
    if values.is_empty() { "none".to_string() } else { values.join(", ") }
}

fn listeners(config: &Config) -> impl Iterator<Item = String> + '_ {
    config.listeners.iter().flat_map(|listener| {
        let own = config.port.addresses.iter().map(|own| own.address);
        own.filter(|address| listener.address.is_none_or(|only| only == *address))
            .map(|address| core::net::SocketAddr::new(address, listener.port).to_string())
    })
}

fn workers(config: &Config) -> String {
    let workers = &config.workers;
    let hugepages = match workers.hugepages {
        Hugepages::Auto => "hugepages where reserved",
        Hugepages::Require => "hugepages required",
        Hugepages::Off => "no hugepages",
    };
    let count = workers.count.map_or("planned at start".to_string(), |count| count.to_string());
    let active = match workers.active() {
        active if active < workers.connections => format!(", {active} of them active"),
        _ => String::new(),
    };
    format!("{count}, {} connections each{active}, {hugepages}", workers.connections)
}

fn memory(config: &Config) -> String {
    let total_mib = worker::arena_size(config).div_ceil(1 << 20);
    let connection = worker::bytes_per_connection(config);
    let bodies: usize = config.routes.iter().map(|route| route.respond.body.bytes().len()).sum();
    let bodies = match bodies {
        bytes if bytes >= 1 << 20 => format!("{}MiB", bytes.div_ceil(1 << 20)),
        bytes => show_size(bytes as u64),
    };
    let parked = match config.workers.active() < config.workers.connections {
        true => format!(", {} parked", worker::bytes_per_parked_connection(config)),
        false => String::new(),
    };
    format!(
        "{total_mib}MiB per worker ({connection} bytes a connection{parked}) and packet buffers; {bodies} of bodies"
    )
}

fn limits(config: &Config) -> String {
    let http = &config.http;
    format!(
        "head {} in {}, {} fields, body {}, idle {}",
        show_size(http.head_size as u64),
        show_duration(http.head_timeout),
        http.header_count,
        show_size(http.body_size),
        show_duration(http.idle_timeout)
    )
}

fn routes(routes: &[Route]) -> String {
    let mut rows = vec![["host", "path", "method", "answer"].map(String::from)];
    for route in routes.iter().take(ROUTES_SHOWN_MAX) {
        let path = match &route.path {
            PathMatch::Exact(path) => path.clone(),
            PathMatch::Prefix(path) => format!("{}/...", path.strip_suffix('/').unwrap_or(path)),
        };
        let methods = if route.methods.is_empty() { "any".to_string() } else { route.methods.join(",") };
        let host = route.host.clone().unwrap_or_else(|| "any".to_string());
        rows.push([host, path, methods, answer(route)]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let mut text = format!("  {} route{}\n", routes.len(), if routes.len() == 1 { "" } else { "s" });
    for [host, path, method, answer] in &rows {
        let [a, b, c] = widths;
        let _ = writeln!(text, "    {host:<a$}  {path:<b$}  {method:<c$}  {answer}");
    }
    if routes.len() > ROUTES_SHOWN_MAX {
        let _ = writeln!(text, "    and {} more", routes.len() - ROUTES_SHOWN_MAX);
    }
    text
}

fn answer(route: &Route) -> String {
    let respond = &route.respond;
    match &respond.body {
        Body::Inline(bytes) if bytes.is_empty() => format!("{}", respond.status),
        Body::Inline(bytes) => format!("{}, {} bytes", respond.status, bytes.len()),
        Body::File { path, content } => format!("{}, {} bytes of {}", respond.status, content.len(), path.display()),
    }
}

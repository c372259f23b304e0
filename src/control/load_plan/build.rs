//! The whole plan: its sections read, and what must hold between them.
//!
//! Owns those relations: names, addresses, ports and connections. Refuses to read single values: the reader and the files
//! for stages, requests, thresholds and rates do.

use core::net::{IpAddr, SocketAddr};
use core::ops::RangeInclusive;
use core::time::Duration;
use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

use super::request::{self, Common, add};
use super::{same_family, schema, stages, target, threshold};
use crate::config::{
    AdminConfig, AdminSocket, Config, HttpLimits, Hugepages, Idle, LogConfig, MetricsConfig, PortConfig, TcpConfig,
    WorkersConfig,
};
use crate::control::load::network;
use crate::control::load::reader::Section;
use crate::loadgen::plan::{Arrivals, CELLS_MAX, Class, Plan, Stage, Target, Threshold};

/// Connections when nothing says.
const CONNECTIONS: u32 = 100;
/// The first port that is ours; those below belong to servers.
const PORT_MIN: u16 = 1024;
/// TIME-WAIT of a client whose ports are few and whose peers are on a network of its own.
const TIME_WAIT: Duration = Duration::from_secs(1);

/// The plan, what it runs with, and its name; None when a mistake has been reported.
pub(super) fn plan(root: &Section, base_dir: &Path, abort: bool) -> Option<(Plan, Config, String)> {
    let report = root.report;
    let load = root.section_or_empty("load");
    let url = load.text("url");
    if !load.has("url") {
        report.add_missing("there is no URL", "name it: penstock load run http://10.7.0.2/, or url in [load]");
    }
    let parts = url.as_ref().and_then(|url| {
        let wrong = |(what, fix): target::Wrong| report.add(url.span(), what, fix);
        target::parse(url.get_ref()).map_err(wrong).ok()
    });
    let port = port(root);
    let address = url.as_ref().zip(parts.as_ref()).and_then(|(url, parts)| reachable(root, url, parts, &port));
    let per_connection = load.integer("requests_per_connection").map_or(0, |n| n.into_inner() as u32);
    let common = Common {
        authority: parts.as_ref().map_or("", |parts| &parts.authority),
        path: parts.as_ref().map_or("/", |parts| &parts.path),
        close: per_connection == 1,
        base_dir,
    };
    let classes = classes(root, &common);
    let stages = stages::stages(root, &load);
    let (arrivals, stages) = stages.unwrap_or((Arrivals::Constant, Vec::new()));
    let name = load.text("name").and_then(|name| run_name(&load, &name));
    let (address, url) = (address?, url?);
    let plan = Plan {
        target: Target { url: url.get_ref().to_string(), address },
        arrivals,
        thresholds: thresholds(root, &stages, &classes, abort),
        stages,
        classes,
        connections: load.integer("connections").map_or(CONNECTIONS, |n| n.into_inner() as u32),
        requests_per_connection: per_connection,
        pipeline: load.integer("pipeline").map_or(1, |n| n.into_inner() as u8),
        timeout: load.duration("timeout").unwrap_or(Duration::from_secs(10)),
        connect_timeout: load.duration("connect_timeout").unwrap_or(Duration::from_secs(5)),
        source_ports: source_ports(&load).unwrap_or(PORT_MIN..=u16::MAX),
        seed: load.integer("seed").map_or(1, |n| n.into_inner()),
    };
    let config = config(root, &plan, port);
    check(root, &load, &plan, &config);
    Some((plan, config, name.unwrap_or_else(|| url.get_ref().to_string())))
}

fn run_name(load: &Section, text: &Spanned<&str>) -> Option<String> {
    let name = text.get_ref().trim();
    if name.is_empty() || name.len() > schema::NAME_MAX || name.contains(char::is_control) {
        let fix = format!("a name has 1 to {} bytes, without control characters", schema::NAME_MAX);
        load.report.add(text.span(), format!("not a name: {name:?}"), fix);
        return None;
    }
    Some(name.to_string())
}

fn port(root: &Section) -> PortConfig {
    let section = root.section_or_empty("port");
    if !section.has("address") {
        let fix = "add --source 10.7.0.1/24, or in the plan: [port]\naddress = \"10.7.0.1/24\"";
        root.report.add_missing("there is no address to send from", fix);
        return PortConfig::default();
    }
    network::port(&section)
}

/// The target's address, if it can be reached from one of ours.
fn reachable(root: &Section, url: &Spanned<&str>, parts: &target::Parts, port: &PortConfig) -> Option<SocketAddr> {
    let wrong = |what: String, fix: String| root.report.add(url.span(), what, fix);
    let usable = |address: &IpAddr| port.addresses.iter().any(|own| same_family(&own.address, address));
    let address = target::resolve(parts, usable).map_err(|(what, fix)| wrong(what, fix)).ok()?;
    let ip = address.ip();
    if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || ip == IpAddr::from([255; 4]) {
        let fix = "name an address on the network of the DPDK port; the kernel's loopback is not on it".to_string();
        wrong(format!("{ip} cannot be reached over a DPDK port"), fix);
        return None;
    }
    // That there are no addresses has been reported.
    if port.addresses.is_empty() {
        return None;
    }
    if port.addresses.iter().any(|own| own.address == ip) {
        wrong(format!("{ip} is our own address"), "choose another --source".into());
        return None;
    }
    if !usable(&ip) {
        let (family, example) = if ip.is_ipv4() { ("IPv4", "10.7.0.1/24") } else { ("IPv6", "fd00:7::1/64") };
        let fix = format!("add --source {example}, or to `address` of [port]");
        wrong(format!("{ip} is an {family} address, and we have none to send from"), fix);
        return None;
    }
    let link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let on_link =
        link_local || port.addresses.iter().any(|own| same_family(&own.address, &ip) && network::on_link(own, ip));
    if !on_link && !port.gateways.iter().any(|gateway| same_family(gateway, &ip)) {
        let fix = "add --gateway ADDRESS, or correct the prefix length of --source".to_string();
        wrong(format!("{ip} is on none of our networks, and there is no gateway"), fix);
        return None;
    }
    Some(address)
}

fn classes(root: &Section, common: &Common) -> Vec<Class> {
    let sections = root.sections("requests");
    if sections.is_empty() {
        return vec![request::class(&Section::empty(root.report, &schema::REQUEST), 1, common)];
    }
    let mut classes: Vec<Class> = Vec::new();
    for (n, section) in sections.iter().enumerate().take(CELLS_MAX + 1) {
        let class = request::class(section, n + 1, common);
        if classes.iter().any(|other| other.name == class.name) {
            let what = format!("two requests have the name {:?}", class.name);
            root.report.add(section.span_of("name"), what, "give each its own");
        }
        classes.push(class);
    }
    classes
}

fn source_ports(load: &Section) -> Option<RangeInclusive<u16>> {
    let text = load.text("source_ports")?;
    let number = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port >= PORT_MIN);
    let range = text.get_ref().split_once('-').and_then(|(from, to)| number(from).zip(number(to)));
    match range.filter(|(from, to)| from <= to) {
        Some((from, to)) => Some(from..=to),
        None => {
            let what = format!("not a range of ports: {:?}", text.get_ref());
            load.report.add(text.span(), what, "ports are from 1024 to 65535: \"1024-65535\"");
            None
        }
    }
}

fn config(root: &Section, plan: &Plan, port: PortConfig) -> Config {
    let (workers, tcp) = (root.section_or_empty("workers"), root.section_or_empty("tcp"));
    let count = workers.integer("count").map(|n| n.into_inner() as u16);
    let connections = plan.connections.div_ceil(u32::from(count.unwrap_or(1))).max(16);
    let ring = |name, default: usize| tcp.size(name).map_or(default, |size| size.into_inner() as usize);
    Config {
        log: LogConfig::default(),
        port,
        workers: WorkersConfig {
            count,
            connections,
            hugepages: match workers.choice("hugepages") {
                Some("require") => Hugepages::Require,
                Some("off") => Hugepages::Off,
                _ => Hugepages::Auto,
            },
            // A generator that sleeps does not hold its schedule.
            idle: Idle { sleep: false, ..Idle::default() },
            ..WorkersConfig::default()
        },
        listeners: Vec::new(),
        http: HttpLimits::default(),
        tcp: TcpConfig {
            rx_ring: ring("rx_ring", 8 * 1024),
            tx_ring: ring("tx_ring", 4 * 1024),
            half_open: connections,
            // Only answers take them.
            bulk_rings: 0,
            handshake_timeout: plan.connect_timeout,
            time_wait: TIME_WAIT,
            ..TcpConfig::default()
        },
        metrics: MetricsConfig { address: None },
        admin: AdminConfig { socket: AdminSocket::Off },
        routes: Vec::new(),
    }
}

/// What must hold between sections.
fn check(root: &Section, load: &Section, plan: &Plan, config: &Config) {
    let report = root.report;
    let cells = plan.stages.len() * plan.classes.len();
    if cells > CELLS_MAX {
        let what = format!("{} stages times {} requests are {cells} pairs", plan.stages.len(), plan.classes.len());
        report.add_missing(what, format!("at most {CELLS_MAX} pairs: each has histograms of its own"));
    }
    if config.workers.count.is_some_and(|count| plan.connections < u32::from(count)) {
        let what = format!("{} connections for more workers than that", plan.connections);
        report.add(load.span_of("connections"), what, "give each worker a connection, or use fewer workers");
    }
    let target = plan.target.address.ip();
    let own = config.port.addresses.iter().filter(|own| same_family(&own.address, &target)).count();
    let ports = usize::from(*plan.source_ports.end() - *plan.source_ports.start()) + 1;
    if plan.connections as usize > own * ports {
        let what = format!("{} connections from {own} addresses with {ports} ports each", plan.connections);
        let fix = "add addresses (--source, at most 16) or ports (--source-ports), or use fewer connections";
        report.add(load.span_of("connections"), what, fix);
    }
    let per_connection = plan.requests_per_connection;
    if per_connection != 0 && per_connection < u32::from(plan.pipeline) {
        let what = format!("`pipeline` is {}, but a connection serves {per_connection} requests", plan.pipeline);
        report.add(load.span_of("pipeline"), what, "lower pipeline or raise requests_per_connection");
    }
    for class in plan.classes.iter().filter(|class| class.head.len() > config.tcp.tx_ring) {
        let (name, bytes, ring) = (&class.name, class.head.len(), config.tcp.tx_ring);
        let what = format!("the header section of {name:?} has {bytes} bytes, more than `tcp.tx_ring` ({ring})");
        let power = bytes.next_power_of_two();
        report
            .add_missing(what, format!("raise tx_ring of [tcp] to {power}, at most 32KiB, or send fewer header bytes"));
    }
}

fn thresholds(root: &Section, stages: &[Stage], classes: &[Class], abort: bool) -> Vec<Threshold> {
    let mut thresholds = Vec::new();
    let Some(value) = root.value("thresholds") else { return thresholds };
    let DeValue::Table(table) = value.get_ref() else {
        let fix = "write [thresholds] on a line of its own, and below: http_req_duration = [\"p(99.9)<1ms\"]";
        root.report.add(value.span(), "`thresholds` must be a section", fix);
        return thresholds;
    };
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(_, value)| value.span().start);
    for (key, value) in entries {
        let metric = Spanned::new(key.span(), key.get_ref().as_ref());
        let selector = match threshold::selector(metric.get_ref()) {
            Ok(selector) => selector,
            Err(mistake) => {
                add(root.report, &metric, mistake);
                continue;
            }
        };
        let checked = check_names(root, &metric, &selector, stages, classes);
        let conditions = match value.get_ref() {
            DeValue::Array(values) => values.iter().collect(),
            _ => vec![value],
        };
        for value in conditions {
            let found = condition(root, &metric, &selector, value);
            thresholds
                .extend(found.filter(|_| checked).map(|found| Threshold { abort: abort || found.abort, ..found }));
        }
    }
    thresholds
}

fn check_names(
    root: &Section,
    metric: &Spanned<&str>,
    selector: &threshold::Selector,
    stages: &[Stage],
    classes: &[Class],
) -> bool {
    let before = root.report.count();
    let wrong = |at: usize, len: usize, what: String, known: Vec<&str>| {
        let span = root.report.within(&metric.span(), metric.get_ref(), at..at + len);
        root.report.add(span, what, format!("known: {}", known.join(", ")));
    };
    // Stages with mistakes are not known, and those have been reported.
    if let Some((at, name)) = selector.stage.as_ref().filter(|_| !stages.is_empty()) {
        let judged: Vec<&str> = stages.iter().filter(|stage| !stage.warmup).map(|stage| stage.name.as_str()).collect();
        if stages.iter().any(|stage| stage.warmup && stage.name == *name) {
            wrong(*at, name.len(), format!("the stage {name:?} is warm-up, which is not judged"), judged);
        } else if !judged.contains(&name.as_str()) {
            wrong(*at, name.len(), format!("there is no stage {name:?}"), judged);
        }
    }
    if let Some((at, name)) = &selector.class {
        let known: Vec<&str> = classes.iter().map(|class| class.name.as_str()).collect();
        if !known.contains(&name.as_str()) {
            wrong(*at, name.len(), format!("there is no request {name:?}"), known);
        }
    }
    root.report.count() == before
}

fn condition<'a>(
    root: &Section<'a>,
    metric: &Spanned<&str>,
    selector: &threshold::Selector,
    value: &'a Spanned<DeValue<'a>>,
) -> Option<Threshold> {
    let (text, abort, delay) = match value.get_ref() {
        DeValue::String(text) => (Spanned::new(value.span(), text.as_ref()), false, Duration::ZERO),
        DeValue::Table(table) => {
            let section = Section::new(root.report, &schema::THRESHOLD, table, value.span());
            if section.lacks("threshold") {
                root.report.add(value.span(), "the table has no `threshold`", "add: threshold = \"p(99.9)<1ms\"");
            }
            let (abort, delay) = (section.flag("abort_on_fail"), section.duration("delay"));
            (section.text("threshold")?, abort.unwrap_or(false), delay.unwrap_or_default())
        }
        _ => {
            let fix = "write \"p(99.9)<1ms\" or { threshold = \"p(99.9)<1ms\", abort_on_fail = true }";
            root.report.add(value.span(), "a threshold is a string or a table", fix);
            return None;
        }
    };
    let found = threshold::condition(selector.metric, text.get_ref());
    let condition = found.map_err(|mistake| add(root.report, &text, mistake)).ok()?;
    Some(Threshold {
        text: format!("{}: {}", metric.get_ref().trim(), text.get_ref().trim()),
        metric: selector.metric,
        stage: selector.stage.as_ref().map(|(_, name)| name.clone()),
        class: selector.class.as_ref().map(|(_, name)| name.clone()),
        aggregation: condition.aggregation,
        comparison: condition.comparison,
        value: condition.value,
        abort,
        abort_delay: delay,
    })
}

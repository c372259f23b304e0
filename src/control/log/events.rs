//! Every event, once: its name, level, target, fields and wording.
//!
//! Owns the list, from which the functions are made that say them; docs/logs.md describes all, and a test compares.
//! Refuses to decide when something is said. A message says in words what the fields say as numbers, for the text format
//! shows it alone.

use tracing::Level;

/// What an event looks like.
#[derive(Copy, Clone, Debug)]
pub struct Described {
    /// Its name: the field `event`.
    pub name: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What it is about.
    pub target: &'static str,
    /// Its own fields.
    pub fields: &'static [&'static str],
    /// When it is said.
    pub when: &'static str,
}

/// What stands in brackets is for the message alone.
macro_rules! events {
    ($($(#[doc = $when:literal])* $name:ident: $level:ident $target:literal
        { $($field:ident: $type:ty),* $(,)? } $([$word:ident: &str])? ($($message:tt)*);)*) => {
        /// Every event, in the order of the documentation.
        pub const ALL: &[Described] = &[$(Described {
            name: stringify!($name),
            level: Level::$level,
            target: $target,
            fields: &[$(stringify!($field)),*],
            when: concat!($($when),*).trim_ascii(),
        }),*];

        $($(#[doc = $when])*
        #[allow(clippy::too_many_arguments)]
        pub fn $name($($field: $type,)* $($word: &str)?) {
            tracing::event!(target: $target, Level::$level, event = stringify!($name), $($field = $field,)* $($message)*);
        })*
    };
}

events! {
    /// Before EAL starts; the arguments are the planned or the given ones.
    eal: INFO "runtime" { arguments: &str, dpdk: &str } ("EAL: {arguments} ({dpdk})");
    /// The planned start is not the best this machine could do.
    plan: WARN "runtime" { notice: &str } ("note: {notice}");
    /// EAL was given fewer worker lcores than `workers.count`.
    lcores_missing: WARN "runtime" { wanted: u64, lcores: u64 } ("note: workers.count = {wanted}, but EAL has {lcores} worker lcores");
    /// The device has fewer queue pairs than there are lcores.
    lcores_idle: WARN "runtime" { device: &str, queue_pairs: u64, lcores: u64, idle: u64 }
        ("note: {device} has {queue_pairs} queue pairs: {idle} of {lcores} lcores stay idle");
    /// The link is not up at once; the start goes on when it is, or after some seconds.
    link_wait: INFO "runtime" { device: &str, seconds: u64 } ("waiting up to {seconds} s for the link of {device}");
    /// The device runs.
    port: INFO "runtime" {
        device: &str, driver: &str, mac: &str, mtu_bytes: u64, queue_pairs: u64, spread: &str, rx_descriptors: u64,
        tx_descriptors: u64, offloads: &str,
    } (
        "port: {device} ({driver}), {mac}, MTU {mtu_bytes}, queue pairs: {queue_pairs}, spread: {spread}, \
         descriptors: {rx_descriptors}+{tx_descriptors}, offloads: {offloads}"
    );
    /// Our place in the network.
    addresses: INFO "runtime" { addresses: &str } ("addresses: {addresses}");
    /// Where connections are accepted.
    listening: INFO "runtime" { listeners: &str } ("listening: {listeners}");
    /// Where metrics and health are.
    metrics: INFO "control" { address: &str } ("metrics: http://{address}/metrics, /livez, /readyz");
    /// Where the admin socket is.
    admin: INFO "control" { path: &str } ("admin: {path}");
    /// The process became the user of `--user`.
    user: INFO "runtime" { user: &str, uid: u64 } ("user: {user} ({uid}), without capabilities");
    /// A worker could not give up its thread's capabilities.
    capabilities_kept: WARN "runtime" { error: &str } ("note: a worker keeps its capabilities: {error}");
    /// All memory is reserved.
    memory: INFO "runtime" { frames: u64, frames_bytes: u64, arena_bytes: u64, connections: u64, workers: u64, backing: &str } (
        "memory: {frames} frames in {}; {} for {connections} connections of each of {workers} workers, on {backing}",
        bytes_text(frames_bytes),
        bytes_text(arena_bytes)
    );
    /// Every worker serves.
    ready: INFO "runtime" { workers: u64 } ("ready");
    /// The link came up, or is up again.
    link_up: INFO "port" { device: &str, changes: u64 } ("link of {device}: up ({changes} changes)");
    /// The link went down, or is down when the start ends.
    link_down: WARN "port" { device: &str, changes: u64, fix: &str } ("link of {device}: down ({changes} changes); {fix}");
    /// A limit was reached: `reason` says which.
    limit_reached: WARN "limits" { reason: &str, metric: &str, count: u64, total: u64, seconds: f64, fix: &str }
        ("limit reached: {reason}, {count} in {seconds:.1} s, {total} in all; {fix}");
    /// The network or the device damaged, misdirected or lost something: `reason` says what.
    network_fault: WARN "network" { reason: &str, metric: &str, count: u64, total: u64, seconds: f64, fix: &str }
        ("network fault: {reason}, {count} in {seconds:.1} s, {total} in all; {fix}");
    /// Another host claims one of our addresses.
    address_conflict: WARN "network" { reason: &str, metric: &str, count: u64, total: u64, seconds: f64, fix: &str }
        ("address conflict: another host claims one of our addresses, {count} times in {seconds:.1} s, {total} in all; {fix}");
    /// Something ordinary was dropped, refused or closed: `reason` says what.
    counter_moved: DEBUG "counters" { reason: &str, metric: &str, count: u64, total: u64, seconds: f64 }
        ("{metric} {reason}: {count} in {seconds:.1} s, {total} in all");
    /// The level was changed.
    log_level: INFO "control" { new_level: &str, former_level: &str } ("log level: {new_level}, was {former_level}");
    /// Lines found the queue to standard output full, or could not be written.
    log_lost: WARN "control" { count: u64, total: u64, seconds: f64 }
        ("{count} lines of this log were lost in {seconds:.1} s, {total} in all: its reader is too slow");
    /// DPDK or a driver logged an error.
    dpdk_error: ERROR "dpdk" {} [text: &str] ("{text}");
    /// DPDK or a driver logged a warning, or the gateway has one about DPDK.
    dpdk_warning: WARN "dpdk" {} [text: &str] ("{text}");
    /// DPDK or a driver logged something else; EAL arguments ask for that.
    dpdk_note: INFO "dpdk" {} [text: &str] ("{text}");
    /// DPDK or a driver logged more than 100 lines in a second.
    dpdk_held_back: WARN "dpdk" { count: u64 } ("{count} more lines of DPDK in the last second are not shown");
    /// The first signal: no new connections, the others come to their end.
    draining: INFO "runtime" { signal: &str, timeout_seconds: f64 }
        ("{signal}: draining connections for up to {timeout_seconds} s; INT again stops at once");
    /// Once a second while draining.
    drain_progress: INFO "runtime" { connections: u64, requests: u64 }
        ("draining: {connections} connections, {requests} requests in progress");
    /// The second INT.
    stopping: INFO "runtime" { signal: &str } ("{signal}: stopping at once");
    /// At the end: what was done.
    served: INFO "runtime" { requests: u64, connections: u64, rx_frames: u64, tx_frames: u64 }
        ("served: {requests} requests on {connections} connections; frames {rx_frames} in, {tx_frames} out");
    /// At the end, for each reason for which frames were dropped.
    dropped: INFO "runtime" { reason: &str, count: u64, meaning: &str } ("dropped: {count} {reason} ({meaning})");
    /// At the end, when the device lost or damaged frames; the fields are DPDK's counters.
    device_loss: WARN "runtime" { imissed: u64, ierrors: u64, oerrors: u64, rx_nombuf: u64 }
        ("device loss: imissed {imissed}, ierrors {ierrors}, oerrors {oerrors}, rx_nombuf {rx_nombuf}");
    /// At the end: connections that the drain's deadline or a stop cut off.
    cut: WARN "runtime" { connections: u64 } ("cut: {connections} connections were still open");
    /// At the end: frames that the driver did not take.
    refused: WARN "runtime" { frames: u64 } ("refused: {frames} frames that the driver could not send");
    /// At the end: frames that did not come back, which is a defect.
    leaked: WARN "runtime" { pool: &str, frames: u64 } ("warning: {frames} frames of pool {pool} leaked");
    /// The end.
    stopped: INFO "runtime" {} ("stopped");
    /// The program ends with an error, at its start or later. JSON only; standard error has it in words.
    failed: ERROR "runtime" { exit_code: u64, fix: Option<&str> } [what: &str] ("{what}");
}

/// `12 KiB`, `3 MiB`: binary, rounded up.
fn bytes_text(bytes: u64) -> String {
    match bytes {
        0..=1023 => format!("{bytes} B"),
        1024..=1_048_575 => format!("{} KiB", bytes.div_ceil(1 << 10)),
        _ => format!("{} MiB", bytes.div_ceil(1 << 20)),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_for_sizes() {
        assert_eq!([1000, 1025, 3 << 20].map(super::bytes_text), ["1000 B", "2 KiB", "3 MiB"]);
    }
}

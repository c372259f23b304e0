//! The configuration as plain data.
//!
//! Owns the types every layer may read. Refuses to parse: `control::load` turns a TOML file into a [`Config`] that is
//! complete and within its ranges, so nothing here is checked again later.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::path::PathBuf;

/// A checked configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The network side: device, addresses, gateways.
    pub port: PortConfig,
    /// Cores and memory.
    pub workers: WorkersConfig,
    /// Where to accept connections; at least one.
    pub listeners: Vec<Listener>,
    /// HTTP limits.
    pub http: HttpLimits,
    /// TCP limits and buffers.
    pub tcp: TcpConfig,
    /// Metrics and health.
    pub metrics: MetricsConfig,
    /// The admin socket.
    pub admin: AdminConfig,
    /// What the program says while it runs.
    pub log: LogConfig,
    /// Routes in file order.
    pub routes: Vec<Route>,
}

/// The device and our place in the network.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PortConfig {
    /// A DPDK vdev argument (`net_tap0,iface=tap0`) or PCI address (`0000:01:00.0`); None: from EAL arguments.
    pub device: Option<String>,
    /// Our addresses with their on-link prefix lengths; at least one.
    pub addresses: Vec<Cidr>,
    /// Default gateways, at most one for each address family.
    pub gateways: Vec<IpAddr>,
    /// VLAN identifier 1..=4094 of a tagged port.
    pub vlan: Option<u16>,
    /// IP packet size limit in bytes, 576..=1500 (IPv6 needs 1280); the device's own limit, 1500 at most, when None.
    pub mtu: Option<u16>,
}

/// An address and the length of its on-link prefix.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Cidr {
    /// The address.
    pub address: IpAddr,
    /// Prefix length in bits, 0..=32 or 0..=128.
    pub prefix_len: u8,
}

/// Cores and memory.
#[derive(Clone, PartialEq, Debug)]
pub struct WorkersConfig {
    /// Number of workers; None: as many as planned from the CPUs and queues.
    pub count: Option<u16>,
    /// Connections per worker, 16..=16,777,216.
    pub connections: u32,
    /// Connections per worker with socket and rings, 16..=`connections`: the others are parked. None: all of them.
    pub active: Option<u32>,
    /// Hugepages for packets and connections.
    pub hugepages: Hugepages,
    /// What a worker does while there is nothing to do.
    pub idle: Idle,
    /// From TERM to the end, at most; 1 ms..=1 h.
    pub drain_timeout: Duration,
}

/// What a worker does while there is nothing to do: it polls for `spin`, then polls with pauses, then, if it may, sleeps.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Idle {
    /// Whether it sleeps at all.
    pub sleep: bool,
    /// Polling at full speed after the last work.
    pub spin: Duration,
    /// From the last work to the first sleep, 1 ms..=1 h.
    pub sleep_after: Duration,
    /// The longest sleep, 1..=100 ms: what the first frame may wait.
    pub sleep_max: Duration,
}

impl Default for Idle {
    fn default() -> Self {
        Idle {
            sleep: true,
            spin: Duration::from_micros(200),
            sleep_after: Duration::from_millis(10),
            sleep_max: Duration::from_millis(1),
        }
    }
}

/// Whether hugepages back packet and connection memory.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Hugepages {
    /// Use them where reserved, plain pages otherwise, and say so at start.
    #[default]
    Auto,
    /// Refuse to start without them.
    Require,
    /// Plain pages.
    Off,
}

/// Where to accept connections.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// One of the port's addresses; None: all of them.
    pub address: Option<IpAddr>,
    /// TCP port, 1..=65535.
    pub port: u16,
}

/// Limits on what a client may send; README and docs/configuration.md name the answer to each.
#[derive(Clone, PartialEq, Debug)]
pub struct HttpLimits {
    /// Request line in bytes, CRLF excluded; over it: 414.
    pub request_line: usize,
    /// Whole head in bytes; over it: 431.
    pub head_size: usize,
    /// Header fields; over it: 431.
    pub header_count: usize,
    /// Request body in bytes; over it: 413.
    pub body_size: u64,
    /// To the end of a head: from the connection's start for the first, from its first byte for others; over it: 408.
    pub head_timeout: Duration,
    /// Between two reads of a body; over it: 408.
    pub body_timeout: Duration,
    /// Between two requests; over it: closed.
    pub idle_timeout: Duration,
    /// Without progress while the client reads a response; over it: reset.
    pub write_timeout: Duration,
    /// Requests on one connection, then `Connection: close`; 0: no limit.
    pub requests_per_connection: u64,
}

/// TCP buffers and deadlines.
#[derive(Clone, PartialEq, Debug)]
pub struct TcpConfig {
    /// Receive ring per connection in bytes, a power of two 2,048..=32,768.
    pub rx_ring: usize,
    /// Transmit ring per connection in bytes, a power of two 2,048..=32,768.
    pub tx_ring: usize,
    /// Larger transmit ring, in bytes, for bodies that exceed `tx_ring`; 2,048..=4,194,304.
    pub bulk_tx_ring: usize,
    /// Larger transmit rings per worker, 0..=65,536.
    pub bulk_rings: u32,
    /// Handshakes under way per worker.
    pub half_open: u32,
    /// When SYNs are answered by cookies.
    pub syn_cookies: SynCookies,
    /// Whether timestamps are offered, and taken when a peer offers them (RFC 7323).
    pub timestamps: bool,
    /// Connections of one source per worker, handshakes included; 0: no limit.
    pub connections_per_source: u32,
    /// From SYN to the handshake's last ACK.
    pub handshake_timeout: Duration,
    /// From our FIN, queued behind the last answer, to the end of the connection.
    pub fin_timeout: Duration,
    /// The least retransmission timeout of an established connection, 20 ms..=1 s.
    pub rto_min: Duration,
    /// An idle connection is parked after this time, or twice that, while there are fewer active places than connections.
    pub park_after: Duration,
    /// TIME-WAIT: 2 MSL of RFC 9293, 3.4.1, shortened as usual to 60 s or less.
    pub time_wait: Duration,
    /// TIME-WAIT entries per worker.
    pub time_wait_entries: u32,
}

/// When a SYN is answered by a cookie (RFC 4987, 3.6), so that nothing of it is kept.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum SynCookies {
    /// From `half_open` handshakes under way, or half as many as there are places for connections if that is less.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never: a SYN beyond `half_open` is dropped.
    Off,
}

/// Metrics and health, over HTTP on a kernel socket.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct MetricsConfig {
    /// Where to listen; None: nowhere.
    pub address: Option<SocketAddr>,
}

/// The admin socket, which `penstock status` and `penstock top` ask.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AdminConfig {
    /// Where it is.
    pub socket: AdminSocket,
}

/// Where the admin socket is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum AdminSocket {
    /// `PID.sock` in the runtime folder.
    #[default]
    Auto,
    /// There is none.
    Off,
    /// A path.
    Path(PathBuf),
}

/// What the program says while it runs.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct LogConfig {
    /// The form of a line.
    pub format: LogFormat,
    /// Events of this level and worse are said.
    pub level: LogLevel,
}

/// The form of a line.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// Time, level and message.
    Text,
    /// One JSON object.
    Json,
}

/// How bad an event is; the less bad, the greater.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum LogLevel {
    /// The program ends, or a driver failed.
    Error,
    /// Something is worth a change.
    Warn,
    /// Beginning, end, and changes of state.
    #[default]
    Info,
    /// What strangers send, and other ordinary refusals.
    Debug,
}

impl LogFormat {
    /// All of them.
    pub const ALL: [LogFormat; 3] = [LogFormat::Auto, LogFormat::Text, LogFormat::Json];

    /// As written in a file.
    pub fn name(self) -> &'static str {
        match self {
            LogFormat::Auto => "auto",
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<LogFormat> {
        LogFormat::ALL.into_iter().find(|format| format.name() == name)
    }
}

impl LogLevel {
    /// All of them, the worst first.
    pub const ALL: [LogLevel; 4] = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug];

    /// As written in a file.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<LogLevel> {
        LogLevel::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// A route: what to match, and the answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Route {
    /// Host to match, lower case, without port; None: any.
    pub host: Option<String>,
    /// Path to match.
    pub path: PathMatch,
    /// Methods to match; empty: any.
    pub methods: Vec<String>,
    /// The answer.
    pub respond: DirectResponse,
}

/// How a path is matched: the names of the Gateway API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PathMatch {
    /// The whole path, query excluded.
    Exact(String),
    /// Whole path segments: `/a` matches `/a` and `/a/b`, not `/ab`.
    Prefix(String),
}

/// A response that needs no upstream.
#[derive(Clone, PartialEq, Debug)]
pub struct DirectResponse {
    /// 200..=599.
    pub status: u16,
    /// Further fields, in order; framing fields and Date are ours.
    pub headers: Vec<(String, String)>,
    /// The content.
    pub body: Body,
}

/// Where a direct response's content comes from.
#[derive(Clone, PartialEq, Debug)]
pub enum Body {
    /// The bytes themselves.
    Inline(Vec<u8>),
    /// A file, read once at start; `control::load` has filled in the content.
    File {
        /// The path as configured.
        path: PathBuf,
        /// The file's bytes.
        content: std::sync::Arc<[u8]>,
    },
}

impl Body {
    /// The content's bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Body::Inline(bytes) => bytes,
            Body::File { content, .. } => content,
        }
    }
}

impl Default for WorkersConfig {
    fn default() -> Self {
        WorkersConfig {
            count: None,
            connections: 16_384,
            active: None,
            hugepages: Hugepages::Auto,
            idle: Idle::default(),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

impl WorkersConfig {
    /// Connections per worker that have socket and rings at the same time.
    pub fn active(&self) -> u32 {
        self.active.unwrap_or(self.connections).min(self.connections)
    }
}

impl Default for MetricsConfig {
    fn default() -> Self {
        MetricsConfig { address: Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9902)) }
    }
}

impl Default for HttpLimits {
    fn default() -> Self {
        HttpLimits {
            request_line: 8 * 1024,
            head_size: 32 * 1024,
            header_count: 100,
            body_size: 1024 * 1024,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(60),
            requests_per_connection: 0,
        }
    }
}

impl Default for TcpConfig {
    fn default() -> Self {
        TcpConfig {
            rx_ring: 4 * 1024,
            tx_ring: 8 * 1024,
            bulk_tx_ring: 512 * 1024,
            bulk_rings: 64,
            half_open: 4096,
            syn_cookies: SynCookies::Auto,
            timestamps: false,
            connections_per_source: 0,
            handshake_timeout: Duration::from_secs(10),
            fin_timeout: Duration::from_secs(20),
            rto_min: Duration::from_millis(200),
            park_after: Duration::from_secs(5),
            time_wait: Duration::from_secs(60),
            time_wait_entries: 32_768,
        }
    }
}

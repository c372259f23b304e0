//! Loading: every key, every mistake with its place, limits at their edges.

use super::schema;
use super::table::rows;
use super::*;
use crate::config::{
    AdminConfig, AdminSocket, Body, Cidr, HttpLimits, Hugepages, Idle, Listener, LogConfig, LogFormat, LogLevel,
    MetricsConfig, PathMatch, SynCookies, TcpConfig, WorkersConfig,
};
use proptest::prelude::*;

mod mistakes;

const MINIMAL: &str = r#"[port]
address = "10.7.0.2/24"

[[listener]]
port = 80

[[route]]
path = "/"
respond = { body = "hello\n" }
"#;

fn load(text: &str) -> Result<Config, Failure> {
    load_str("test.toml", text, Path::new(""))
}

/// The whole message as a user sees it.
fn message(text: &str) -> String {
    match load(text) {
        Ok(config) => panic!("loaded: {config:?}\n{text}"),
        Err(failure) => {
            assert_eq!(failure.exit, Exit::Config);
            failure.to_string()
        }
    }
}

#[test]
fn the_smallest_file_has_every_default() {
    let config = load(MINIMAL).unwrap();
    let address = Cidr { address: "10.7.0.2".parse().unwrap(), prefix_len: 24 };
    assert_eq!(config.port.addresses, [address]);
    assert_eq!((config.port.device, config.port.vlan, config.port.mtu), (None, None, None));
    assert!(config.port.gateways.is_empty());
    assert_eq!(config.listeners, [Listener { address: None, port: 80 }]);
    assert_eq!(config.http, HttpLimits::default());
    assert_eq!(config.tcp, TcpConfig::default());
    assert_eq!(config.workers, WorkersConfig::default());
    assert_eq!((config.metrics, config.admin), (MetricsConfig::default(), AdminConfig::default()));
    assert_eq!(config.log, LogConfig::default());
    let [route] = &config.routes[..] else { panic!("{:?}", config.routes) };
    assert_eq!((&route.host, &route.path, &route.methods), (&None, &PathMatch::Prefix("/".into()), &Vec::new()));
    assert_eq!((route.respond.status, route.respond.body.bytes()), (200, b"hello\n".as_slice()));
    assert_eq!(route.respond.headers, [("Content-Type".into(), "text/plain; charset=utf-8".into())]);
}

const EVERY_KEY: &str = r#"
port = { device = "0000:01:00.0", address = ["10.7.0.2/24", "fd00:7::2/64"], gateway = ["10.7.0.1", "fe80::1"], vlan = 7, mtu = 1400 }
listener = [{ port = 80 }, { port = 8080, address = "fd00:7::2" }]
[workers]
count = 3
connections = 100
active = 20
hugepages = "off"
idle = "poll"
idle_after = "20ms"
idle_sleep = "5ms"
drain_timeout = "8s"
[http]
request_line = "1KiB"
head_size = 2_048
header_count = 5
body_size = "0B"
head_timeout = "1s"
body_timeout = "2s"
idle_timeout = "3m"
write_timeout = "400ms"
requests_per_connection = 6
[tcp]
rx_ring = "2KiB"
tx_ring = "32KiB"
bulk_tx_ring = "65535B"
bulk_rings = 5
half_open = 9
syn_cookies = "always"
timestamps = true
connections_per_source = 11
handshake_timeout = "5s"
fin_timeout = "6s"
rto_min = "50ms"
park_after = "700ms"
time_wait = "7s"
time_wait_entries = 80
[[route]]
host = "Example.COM."
exact = "/a/"
method = ["GET", "BREW"]
respond = { status = 404, body = "x", headers = { content-type = "a/b", Set-Cookie = ["a=1", "b=2"] } }
[[route]]
path = "/b/"
method = "PUT"
[route.respond]
status = 204
"#;

#[test]
fn every_key_is_read() {
    let config = load(EVERY_KEY).unwrap();
    assert_eq!(config.port.device.as_deref(), Some("0000:01:00.0"));
    assert_eq!((config.port.vlan, config.port.mtu, config.port.gateways.len()), (Some(7), Some(1400), 2));
    assert_eq!(config.listeners[1], Listener { address: Some("fd00:7::2".parse().unwrap()), port: 8080 });
    let ms = core::time::Duration::from_millis;
    let idle = Idle { sleep: false, sleep_after: ms(20), sleep_max: ms(5), ..Idle::default() };
    let (hugepages, drain_timeout) = (Hugepages::Off, ms(8000));
    let workers = WorkersConfig { count: Some(3), connections: 100, active: Some(20), hugepages, idle, drain_timeout };
    assert_eq!(config.workers, workers);
    let ms = core::time::Duration::from_millis;
    let http = HttpLimits {
        request_line: 1024,
        head_size: 2048,
        header_count: 5,
        body_size: 0,
        head_timeout: ms(1000),
        body_timeout: ms(2000),
        idle_timeout: ms(180_000),
        write_timeout: ms(400),
        requests_per_connection: 6,
    };
    assert_eq!(config.http, http);
    let tcp = TcpConfig {
        rx_ring: 2048,
        tx_ring: 32_768,
        bulk_tx_ring: 65_535,
        bulk_rings: 5,
        half_open: 9,
        syn_cookies: SynCookies::Always,
        timestamps: true,
        connections_per_source: 11,
        handshake_timeout: ms(5000),
        fin_timeout: ms(6000),
        rto_min: ms(50),
        park_after: ms(700),
        time_wait: ms(7000),
        time_wait_entries: 80,
    };
    assert_eq!(config.tcp, tcp);
    assert_eq!(config.routes[0].host.as_deref(), Some("example.com"));
    assert_eq!(config.routes[0].path, PathMatch::Exact("/a/".into()));
    assert_eq!(config.routes[0].methods, ["GET", "BREW"]);
    let headers: Vec<_> = config.routes[0].respond.headers.iter().map(|(n, v)| format!("{n}: {v}")).collect();
    assert_eq!(headers, ["content-type: a/b", "Set-Cookie: a=1", "Set-Cookie: b=2"]);
    assert_eq!(config.routes[1].path, PathMatch::Prefix("/b".into()));
    assert!(config.routes[1].respond.headers.is_empty());
}

#[test]
fn bodies_come_from_files_beside_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("www")).unwrap();
    fs::write(dir.path().join("www/index.html"), "<p>").unwrap();
    fs::write(dir.path().join("x.bin"), [0, 1]).unwrap();
    let file = dir.path().join("penstock.toml");
    let text = MINIMAL.replace("body = \"hello\\n\"", "file = \"www/index.html\"")
        + "[[route]]\npath = \"/x\"\nrespond = { file = \"x.bin\" }\n";
    fs::write(&file, &text).unwrap();
    let config = load_file(&file).unwrap();
    assert_eq!(config.routes[0].respond.body.bytes(), b"<p>");
    assert!(matches!(&config.routes[0].respond.body, Body::File { path, .. } if path == Path::new("www/index.html")));
    assert_eq!(config.routes[0].respond.headers[0].1, "text/html; charset=utf-8");
    assert_eq!(config.routes[1].respond.headers[0].1, "application/octet-stream");
    // A directory is there and is no content.
    let error = load_str("t", &text.replace("x.bin", "www"), dir.path()).unwrap_err();
    assert!(error.what.contains("t:12:20: cannot read \"www\": it is not a regular file"), "{error}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("nowhere.toml");
    let error = load_file(&missing).unwrap_err();
    assert!(error.what.contains(&missing.display().to_string()) && error.fix.is_some(), "{error}");
    assert!(load_file(dir.path()).is_err());
    let latin = dir.path().join("latin.toml");
    fs::write(&latin, b"[port]\ndevice = \"\xe9\"").unwrap();
    let error = load_file(&latin).unwrap_err();
    assert!(error.what.ends_with("latin.toml:2:11: not UTF-8 text"), "{error}");
    fs::write(&latin, vec![b'#'; CONFIG_FILE_MAX + 1]).unwrap();
    assert!(load_file(&latin).unwrap_err().what.contains("at most 4MiB"));
}

#[test]
fn several_problems_are_shown_in_file_order() {
    let text = MINIMAL.replace("port = 80", "port = 0").replace("path = \"/\"", "paht = \"/\"");
    let expected = "error: test.toml: 2 problems\n\n\
        test.toml:5:8: `port` is out of range\n  5 | port = 0\n    |        ^\n  fix: port is from 1 to 65535\n\n\
        test.toml:8:1: unknown key `paht` in [[route]]\n  8 | paht = \"/\"\n    | ^^^^\n  \
        fix: did you mean `path`? Known keys: host, path, exact, method, respond";
    assert_eq!(message(&text), expected);
    let many: String = (0..30).map(|n| format!("key{n} = 1\n")).collect();
    assert!(message(&many).ends_with("and 13 more"), "{}", message(&many));
}

#[test]
fn long_and_hostile_lines_are_shown_safely() {
    let escape = message(&format!("{MINIMAL}\n\"\\u001b[31m\" = 1\n"));
    assert!(!escape.contains('\u{1b}') && escape.contains("unknown key `\u{fffd}[31m`"), "{escape}");
    let text = format!("{}\n[http]\nbody_size = \"\u{9b}{}\" # é\n", MINIMAL, "x".repeat(500));
    let message = message(&text);
    assert!(message.contains("body_size = \"\u{fffd}xxx") && message.contains(" | "), "{message}");
    assert!(message.lines().filter(|l| l.contains(" | ")).all(|l| l.chars().count() < 120), "{message}");
}

#[test]
fn defaults_of_the_schema_are_those_of_the_program() {
    let mut text = String::from(MINIMAL);
    for schema in [&schema::WORKERS, &schema::HTTP, &schema::TCP, &schema::METRICS, &schema::ADMIN, &schema::LOG] {
        text += &format!("{}\n", schema.name);
        for key in schema.keys.iter().filter(|key| !["planned", "connections"].contains(&key.default)) {
            text += &format!("{} = {}\n", key.name, key.default);
        }
    }
    assert_eq!(load(&text), load(MINIMAL));
}

#[test]
fn active_connections_are_a_part_of_all() {
    let with = |workers: &str| load(&format!("{MINIMAL}\n[workers]\n{workers}\n"));
    assert_eq!(with("connections = 100").unwrap().workers.active(), 100);
    assert_eq!(with("connections = 100\nactive = 100").unwrap().workers.active(), 100);
    assert_eq!(with("connections = 100\nactive = 16").unwrap().workers.active(), 16);
    let error = with("connections = 100\nactive = 101").unwrap_err().to_string();
    assert!(error.contains("`active` (101) is more than `connections` (100)"), "{error}");
    assert!(error.contains("lower active or raise connections"), "{error}");
}

#[test]
fn sockets_of_the_control_side() {
    let with = |section: &str| load(&format!("{MINIMAL}\n{section}\n"));
    for (text, address) in [("off", None), ("[::1]:80", Some("[::1]:80")), ("0.0.0.0:1", Some("0.0.0.0:1"))] {
        let config = with(&format!("[metrics]\naddress = \"{text}\"")).unwrap();
        assert_eq!(config.metrics.address, address.map(|a| a.parse().unwrap()));
    }
    for (text, socket) in [("off", AdminSocket::Off), ("/a/b.sock", AdminSocket::Path("/a/b.sock".into()))] {
        assert_eq!(with(&format!("[admin]\nsocket = \"{text}\"")).unwrap().admin.socket, socket);
    }
    let long = format!("/{}", "a".repeat(107));
    for (section, key, value) in [
        ("metrics", "address", "localhost:9902"),
        ("metrics", "address", "127.0.0.1"),
        ("metrics", "address", "127.0.0.1:0"),
        ("admin", "socket", "relative.sock"),
        ("admin", "socket", &long),
    ] {
        let failure = with(&format!("[{section}]\n{key} = \"{value}\"")).unwrap_err().to_string();
        assert!(failure.contains("fix: examples: ") && failure.contains(value), "{failure}");
    }
}

#[test]
fn format_and_level_of_the_log() {
    let with = |text: &str| load(&format!("{MINIMAL}\n[log]\n{text}\n"));
    for (format, level) in LogFormat::ALL.into_iter().zip(LogLevel::ALL.into_iter().cycle()) {
        let text = format!("format = \"{}\"\nlevel = \"{}\"", format.name(), level.name());
        assert_eq!(with(&text).unwrap().log, LogConfig { format, level });
    }
    assert_eq!(with("level = \"debug\"").unwrap().log.level, LogLevel::Debug);
    let failure = with("level = \"trace\"\nformat = \"xml\"").unwrap_err().to_string();
    for fragment in ["\"error\", \"warn\", \"info\", \"debug\"", "\"auto\", \"text\", \"json\""] {
        assert!(failure.contains(fragment), "{failure}");
    }
}

#[test]
fn the_documentation_has_every_key_as_the_program_reads_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let doc = fs::read_to_string(&path).unwrap();
    let all = [
        &schema::ROOT,
        &schema::PORT,
        &schema::WORKERS,
        &schema::LISTENER,
        &schema::HTTP,
        &schema::TCP,
        &schema::METRICS,
        &schema::ADMIN,
        &schema::LOG,
        &schema::ROUTE,
        &schema::RESPOND,
    ];
    for schema in all {
        let table = rows(schema).join("\n");
        assert!(doc.contains(&table), "docs/configuration.md must have this table of {}:\n{table}", schema.name);
    }
}

#[test]
fn examples_in_the_documentation_load() {
    let doc = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    let examples: Vec<&str> = doc.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        load(example).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn every_example_loads() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("dpdk-config");
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            load_file(&path).unwrap_or_else(|failure| panic!("{failure}"));
            names.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    assert!(names.len() >= 6, "{names:?}");
    let minimal = fs::read_to_string(dir.join("minimal.toml")).unwrap();
    assert!(minimal.lines().count() <= 12, "minimal.toml is to be the smallest useful file");
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text: String, bytes: Vec<u8>) {
        let _ = load(&text);
        let _ = load(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn mutated_files_never_panic(at in 0..400usize, remove in 0..20usize, insert in "[\\[\\]{}=\".,#\n /a-z0-9é\u{0}-]{0,6}") {
        let full = format!(
            "{MINIMAL}[http]\nhead_size = \"4KiB\"\nidle_timeout = \"3s\"\n[tcp]\nrx_ring = 4096\n[workers]\ncount = 2\n\
             [[route]]\nhost = \"a.example\"\nexact = \"/a%20b\"\nmethod = [\"GET\"]\n\
             respond = {{ status = 200, headers = {{ A = [\"b\"] }} }}\n"
        );
        let at = at.min(full.len());
        let end = (at + remove).min(full.len());
        let text = format!("{}{insert}{}", &full[..at], &full[end..]);
        match load(&text) {
            Ok(config) => {
                prop_assert!(!config.port.addresses.is_empty());
                prop_assert!(!config.listeners.is_empty() && !config.routes.is_empty());
            }
            Err(failure) => prop_assert!(failure.to_string().contains("test.toml"), "{}", failure),
        }
    }
}

#[test]
fn deep_nesting_is_refused_without_exhausting_the_stack() {
    for deep in ["[".repeat(100_000), "a = ".to_string() + &"[".repeat(100_000), "a.".repeat(100_000) + "b = 1"] {
        assert!(load(&deep).is_err());
    }
    let tables = "{ a = ".repeat(10_000);
    assert!(load(&format!("port = {tables}")).is_err());
}

#[test]
fn more_than_the_limits_is_refused() {
    let list = |n: usize, item: &dyn Fn(usize) -> String| (0..n).map(item).collect::<Vec<_>>().join(", ");
    let address = |n| format!("\"10.7.0.{}/24\"", n + 1);
    let with_addresses = |n| MINIMAL.replace("\"10.7.0.2/24\"", &format!("[{}]", list(n, &address)));
    let listeners = |n| format!("{MINIMAL}{}", "[[listener]]\nport = PORT\n".repeat(n - 1));
    let listeners =
        |n: usize| (0..n - 1).fold(listeners(n), |text, i| text.replacen("PORT", &(i + 100).to_string(), 1));
    let methods = |n| MINIMAL.replace("path =", &format!("method = [{}]\npath =", list(n, &|i| format!("\"M{i}\""))));
    let fields =
        |n| MINIMAL.replace("body =", &format!("headers = {{ A = [{}] }}, body =", list(n, &|_| "\"b\"".into())));
    let route = |i| format!("[[route]]\npath = \"/{i}\"\nrespond = {{}}\n");
    let routes = |n: usize| format!("{MINIMAL}{}", (1..n).map(route).collect::<String>());
    let path = |n: usize| MINIMAL.replace("\"/\"", &format!("\"/{}\"", "a".repeat(n - 1)));
    type Text<'a> = &'a dyn Fn(usize) -> String;
    let cases: [(&str, usize, Text); 6] = [
        ("too many addresses", 16, &with_addresses),
        ("too many listeners", 16, &listeners),
        ("too many methods", 16, &methods),
        ("33 header fields", 32, &fields),
        ("too many routes", 4096, &routes),
        ("the path is too long", 1024, &path),
    ];
    for (what, max, text) in cases {
        load(&text(max)).unwrap_or_else(|failure| panic!("{what}: {failure}"));
        assert!(message(&text(max + 1)).contains(what), "{what}");
    }
}

#[test]
fn empty_lists_of_sections_are_refused() {
    let text = format!("listener = []\n{}", MINIMAL.replace("[[listener]]\nport = 80\n", ""));
    assert!(message(&text).contains("test.toml:1:12: `listener` is an empty list"), "{}", message(&text));
}

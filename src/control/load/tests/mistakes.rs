//! One mistake each: where it is reported, what is said, and what is suggested.

use super::*;

struct Mistake {
    /// A line of [`MINIMAL`] to be replaced, or empty to append.
    replace: &'static str,
    with: &'static str,
    /// line:column, or empty for something missing as a whole.
    at: &'static str,
    what: &'static str,
    fix: &'static str,
}

const fn mistake(
    replace: &'static str,
    with: &'static str,
    at: &'static str,
    what: &'static str,
    fix: &'static str,
) -> Mistake {
    Mistake { replace, with, at, what, fix }
}

const ADDRESS: &str = "address = \"10.7.0.2/24\"";
const PORT: &str = "port = 80";
const PATH: &str = "path = \"/\"";
const RESPOND: &str = "respond = { body = \"hello\\n\" }";

const KEYS: &[Mistake] = &[
    mistake(ADDRESS, "adress = \"10.7.0.2/24\"", "2:1", "unknown key `adress` in [port]", "did you mean `address`?"),
    mistake("", "[[listner]]\nport = 1", "10:3", "unknown key `listner` in the file", "did you mean `listener`?"),
    mistake("", "[zebra]", "10:2", "unknown key `zebra` in the file", "known keys: port, workers, listener, http"),
    mistake("", "[http]\nhead-size = \"4KiB\"", "11:1", "unknown key `head-size` in [http]", "`head_size`"),
    mistake(RESPOND, "respond = { boddy = \"x\" }", "9:13", "unknown key `boddy` in respond", "did you mean `body`?"),
    mistake("[[listener]]", "[listener]", "4:1", "must be a list of sections, not a table", "[[listener]] with double"),
    mistake("[port]", "[[port]]", "1:1", "`port` must be a section, not an array", "[port] with single brackets"),
    mistake(
        "[port]\naddress = \"10.7.0.2/24\"",
        "port = 80",
        "1:8",
        "`port` must be a section, not an integer",
        "[port]",
    ),
    mistake("[port]\naddress = \"10.7.0.2/24\"\n", "", "", "there is no [port] section", "add: [port]"),
    mistake("[[listener]]\nport = 80\n", "", "", "there is no [[listener]]", "add: [[listener]]"),
    mistake(
        "[[route]]\npath = \"/\"\nrespond = { body = \"hello\\n\" }",
        "",
        "",
        "there is no [[route]]",
        "add: [[route]]",
    ),
    mistake(PORT, "port = 80\nport = 81", "6:1", "not valid TOML: duplicate key", "keep one"),
    mistake(PORT, "port = 80 # é\n= 1", "6:1", "not valid TOML", "the form is"),
    mistake("", "[http]\nidle_timeout = 10s", "11:16", "not valid TOML", ""),
    mistake("[[listener]]\nport = 80", "[workers]\n[[listener]]", "5:1", "[[listener]] has no `port`", "port = 80"),
    mistake("", "[http", "10:6", "not valid TOML: unclosed table", "sections: [port], [[listener]]"),
];

const VALUES: &[Mistake] = &[
    mistake(PORT, "port = \"80\"", "5:8", "`port` must be a whole number, not a string", "quotes: port = 80"),
    mistake(PORT, "port = 65536", "5:8", "`port` is out of range", "port is from 1 to 65535"),
    mistake(PORT, "port = -1", "5:8", "`port` is out of range", "from 1 to 65535"),
    mistake(PORT, "port = 8e1", "5:8", "`port` must be a whole number, not a float", "a number from 1 to 65535"),
    mistake(
        "",
        "[http]\nbody_size = \"64KB\"",
        "11:13",
        "`body_size` is not a size: \"64KB\"",
        "did you mean \"64KiB\"?",
    ),
    mistake("", "[http]\nhead_size = \"1MiB\"", "11:13", "`head_size` is out of range", "from 1KiB to 64KiB"),
    mistake(
        "",
        "[http]\nhead_size = true",
        "11:13",
        "must be a size in bytes, not a boolean",
        "write head_size = \"32KiB\"",
    ),
    mistake("", "[http]\nidle_timeout = 10", "11:16", "must be a duration, not an integer", "\"10s\" or \"10ms\""),
    mistake("", "[http]\nidle_timeout = \"10 sec\"", "11:16", "is not a duration", "did you mean \"10s\"?"),
    mistake("", "[http]\nidle_timeout = \"2h\"", "11:16", "out of range", "idle_timeout is from 100ms to 1h"),
    mistake("", "[http]\nrequest_line = \"40KiB\"", "11:16", "is more than `head_size` (32KiB)", "lower request_line"),
    mistake("", "[http]\nheader_count = 129", "11:16", "out of range", "from 1 to 128"),
    mistake("", "[tcp]\nrx_ring = \"5KiB\"", "11:11", "`rx_ring` must be a power of two", "\"4KiB\" or \"8KiB\""),
    mistake("", "[tcp]\ntx_ring = \"64KiB\"", "11:11", "out of range", "from 2KiB to 32KiB"),
    mistake("", "[tcp]\ntime_wait = \"5m\"", "11:13", "out of range", "from 1s to 4m"),
    mistake(
        "",
        "[workers]\nhugepages = \"on\"",
        "11:13",
        "`hugepages` cannot be \"on\"",
        "\"auto\", \"require\", \"off\"",
    ),
    mistake("", "[workers]\ncount = 0", "11:9", "out of range", "from 1 to 128"),
    mistake("", "[workers]\nconnections = 99_999_999_999_999_999_999", "11:15", "out of range", "from 16 to 16777216"),
];

const NETWORK: &[Mistake] = &[
    mistake(ADDRESS, "", "1:1", "[port] has no `address`", "address = \"10.7.0.2/24\""),
    mistake(ADDRESS, "address = []", "2:11", "`address` is an empty list", "add a string"),
    mistake(ADDRESS, "address = 10", "2:11", "`address` must be a string, not an integer", "put it in quotes"),
    mistake(ADDRESS, "address = \"10.7.0.2\"", "2:11", "10.7.0.2 has no prefix length", "\"10.7.0.2/24\""),
    mistake(ADDRESS, "address = \"10.7.0.2/33\"", "2:11", "not a prefix length: \"33\"", "from 0 to 32"),
    mistake(ADDRESS, "address = \"10.7.0/24\"", "2:11", "not an IP address: \"10.7.0\"", "examples"),
    mistake(ADDRESS, "address = \"10.7.0.0/24\"", "2:11", "is the network address", "between the first and the last"),
    mistake(ADDRESS, "address = \"10.7.0.255/24\"", "2:11", "is the broadcast address", "between"),
    mistake(ADDRESS, "address = [\"10.7.0.2/24\", \"224.0.0.1/24\"]", "2:27", "multicast", "unicast"),
    mistake(ADDRESS, "address = \"127.0.0.1/8\"", "2:11", "loopback", "unicast"),
    mistake(ADDRESS, "address = \"::/64\"", "2:11", "unspecified", "unicast"),
    mistake(ADDRESS, "address = \"::ffff:10.7.0.2/96\"", "2:11", "IPv4-mapped", "unicast"),
    mistake(ADDRESS, "address = [\"10.7.0.2/24\", \"10.7.0.2/16\"]", "2:27", "10.7.0.2 is listed twice", "remove"),
    mistake(
        ADDRESS,
        "address = \"10.7.0.2/24\"\ngateway = \"10.8.0.1\"",
        "3:11",
        "not within the prefix",
        "prefix length",
    ),
    mistake(
        ADDRESS,
        "address = \"10.7.0.2/24\"\ngateway = \"fd00::1\"",
        "3:11",
        "no IPv6 address",
        "add an IPv6 address",
    ),
    mistake(ADDRESS, "address = \"10.7.0.2/24\"\ngateway = \"10.7.0.2\"", "3:11", "our own address", "router"),
    mistake(
        ADDRESS,
        "address = \"10.7.0.2/24\"\ngateway = \"10.7.0.1/24\"",
        "3:11",
        "not an IP address",
        "without prefix",
    ),
    mistake(
        ADDRESS,
        "address = \"10.7.0.2/24\"\ngateway = [\"10.7.0.1\", \"10.7.0.3\"]",
        "3:24",
        "second IPv4 gateway",
        "one for each family",
    ),
    mistake(ADDRESS, "address = \"10.7.0.2/24\"\nmtu = 1501", "3:7", "jumbo frames are not supported", "mtu = 1500"),
    mistake(ADDRESS, "address = \"10.7.0.2/24\"\nmtu = 575", "3:7", "`mtu` is out of range", "from 576 to 1500"),
    mistake(ADDRESS, "address = \"fd00::2/64\"\nmtu = 1279", "3:7", "`mtu` must be at least 1280", "mtu = 1280"),
    mistake(ADDRESS, "address = \"10.7.0.2/24\"\nvlan = 4095", "3:8", "`vlan` is out of range", "from 1 to 4094"),
    mistake(
        ADDRESS,
        "address = \"10.7.0.2/24\"\ndevice = \"eth0\"",
        "3:10",
        "neither a DPDK vdev",
        "net_af_packet0,iface=eth0",
    ),
    mistake(
        ADDRESS,
        "address = \"10.7.0.2/24\"\ndevice = \"a b\"",
        "3:10",
        "`device` is empty or has spaces",
        "net_tap0",
    ),
    mistake(PORT, "", "4:1", "[[listener]] has no `port`", "port = 80"),
    mistake(PORT, "port = 80\naddress = \"10.7.0.3\"", "6:11", "not one of the port's addresses", "one of: 10.7.0.2"),
    mistake(PORT, "port = 80\n[[listener]]\nport = 80", "7:8", "by the [[listener]] of line 4", "remove one of them"),
    mistake(
        PORT,
        "port = 80\n[[listener]]\nport = 80\naddress = \"10.7.0.2\"",
        "7:8",
        "port 80 is already listened on",
        "without `address`",
    ),
];

const ROUTES: &[Mistake] = &[
    mistake(PATH, "", "7:1", "neither `path` nor `exact`", "path = \"/\""),
    mistake(PATH, "path = \"/\"\nexact = \"/\"", "9:9", "both `path` and `exact`", "keep"),
    mistake(PATH, "path = \"a\"", "8:8", "does not begin with `/`", "\"/a\""),
    mistake(PATH, "path = \"\"", "8:8", "the path is empty", "\"/\""),
    mistake(PATH, "path = \"/a?b=c\"", "8:8", "has a query", "from `?` on"),
    mistake(PATH, "path = \"/a/*\"", "8:8", "wildcard", "path = \"/a/\""),
    mistake(PATH, "path = \"/a/../b\"", "8:8", "`..` segment", "answered 400"),
    mistake(PATH, "path = \"/a%2Fb\"", "8:8", "encoded slash", "answered 400"),
    mistake(PATH, "path = \"/%61//b é\"", "8:8", "a space", "answered 400"),
    mistake(PATH, "exact = \"/%61//caf\u{e9}\"", "8:9", "canonical form", "\"/a/caf%C3%A9\""),
    mistake(PATH, "path = \"/\"\nhost = \"a.example:80\"", "9:8", "`host` has a port", "\"a.example\""),
    mistake(PATH, "path = \"/\"\nhost = \"[fd00::1]:80\"", "9:8", "`host` has a port", "\"[fd00::1]\""),
    mistake(PATH, "path = \"/\"\nhost = \"fd00::1\"", "9:8", "without brackets", "\"[fd00::1]\""),
    mistake(PATH, "path = \"/\"\nhost = \"*.a.example\"", "9:8", "wildcard", "leave `host` out"),
    mistake(PATH, "path = \"/\"\nhost = \"http://a/\"", "9:8", "is a URI", "host's name only"),
    mistake(PATH, "path = \"/\"\nhost = \"b\u{fc}cher.example\"", "9:8", "not a host name", "punycode"),
    mistake(PATH, "path = \"/\"\nmethod = \"get\"", "9:10", "case-sensitive", "\"GET\""),
    mistake(PATH, "path = \"/\"\nmethod = [\"GET\", \"P T\"]", "9:18", "not a method: \"P T\"", "GET"),
    mistake(PATH, "path = \"/\"\nmethod = [\"GET\", \"GET\"]", "9:18", "listed twice", "remove"),
    mistake(PATH, "path = \"/\"\nmethod = \"CONNECT\"", "9:10", "CONNECT", "remove"),
    mistake(PATH, "path = \"/\"\nmethod = [\"GET\", \"trace\"]", "9:18", "trace is answered 501", "remove"),
    mistake("", "[[route]]\npath = \"/\"\nrespond = {}", "10:1", "the one of line 7 match the same", "let them differ"),
    mistake(
        PATH,
        "path = \"/a/\"\nmethod = [\"PUT\", \"GET\"]\nrespond = {}\n[[route]]\npath = \"/a\"\nmethod = \"GET\"",
        "11:1",
        "the one of line 7 match the same",
        "method",
    ),
    mistake(RESPOND, "", "7:1", "[[route]] has no `respond`", "respond = {"),
    mistake(RESPOND, "respond = \"hello\"", "9:11", "must be a table, not a string", "respond = { status = 200 }"),
    mistake(RESPOND, "respond = { status = 101 }", "9:22", "out of range", "from 200 to 599"),
    mistake(RESPOND, "respond = { status = 204, body = \"x\" }", "9:34", "status 204 has no content", "status 200"),
    mistake(
        RESPOND,
        "respond = { status = 304, file = \"Cargo.toml\" }",
        "9:34",
        "status 304 has no content",
        "remove",
    ),
    mistake(RESPOND, "respond = { body = \"\", file = \"x\" }", "9:31", "both `body` and `file`", "keep one"),
    mistake(
        RESPOND,
        "respond = { file = \"no/where\" }",
        "9:20",
        "cannot read \"no/where\": No such file",
        "looked for no/where",
    ),
    mistake(RESPOND, "respond = { headers = 1 }", "9:23", "must be a table of header fields", "Cache-Control"),
    mistake(RESPOND, "respond = { headers = { \"A B\" = \"c\" } }", "9:25", "not a header field name: \"A B\"", "9110"),
    mistake(RESPOND, "respond = { headers = { A = \"b\\r\\nC: d\" } }", "9:29", "has a control character", "remove"),
    mistake(RESPOND, "respond = { headers = { A = \" b\" } }", "9:29", "begins or ends with space", "remove"),
    mistake(RESPOND, "respond = { headers = { A = 1 } }", "9:29", "`A` must be a string", "put it in quotes"),
    mistake(RESPOND, "respond = { headers = { A = \"1\", a = \"2\" } }", "9:34", "a is there twice", "a = [\"...\""),
    mistake(RESPOND, "respond = { headers = { date = \"x\" } }", "9:25", "date cannot be set", "remove it"),
    mistake(RESPOND, "respond = { headers = { Content-Length = \"1\" } }", "9:25", "cannot be set", "remove it"),
    mistake(RESPOND, "respond = { headers = { Transfer-Encoding = \"chunked\" } }", "9:25", "cannot be set", ""),
    mistake(RESPOND, "respond = { headers = { connection = \"close\" } }", "9:25", "cannot be set", ""),
];

#[test]
fn each_mistake_is_explained_where_it_is() {
    let mut wrong = Vec::new();
    for mistake in [KEYS, VALUES, NETWORK, ROUTES].into_iter().flatten() {
        let text = match mistake.replace {
            "" => format!("{MINIMAL}{}\n", mistake.with),
            line => {
                assert!(MINIMAL.contains(line), "{line}");
                MINIMAL.replacen(line, mistake.with, 1)
            }
        };
        let message = message(&text);
        let (what, fix) = message.split_once("  fix: ").unwrap_or((&message, ""));
        let place = match mistake.at {
            "" => "error: test.toml: ".to_string(),
            at => format!("test.toml:{at}: "),
        };
        if !what.contains(&place) || !what.contains(mistake.what) || !fix.contains(mistake.fix) {
            wrong.push(format!("expected {place}{} / {}, got\n{message}", mistake.what, mistake.fix));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n\n"));
}

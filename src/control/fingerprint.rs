//! A short name for what a configuration says: equal for equal configurations, whatever their files look like.
//!
//! Owns the hash. Refuses to be a secret or a signature: it tells apart, it does not prove.

use crate::config::Config;
use core::fmt::{self, Write};

/// 16 hexadecimal digits. Defaults count as if they were written; response bodies count by content.
pub fn fingerprint(config: &Config) -> String {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    let Config { port, workers, listeners, http, tcp, metrics, admin, log, routes } = config;
    hash.debug(&(port, workers, listeners, http, tcp, metrics, admin, log));
    for route in routes {
        let respond = &route.respond;
        hash.debug(&(&route.host, &route.path, &route.methods, respond.status, &respond.headers));
        hash.debug(&respond.body.bytes().len());
        hash.bytes(respond.body.bytes());
    }
    format!("{:016x}", hash.0)
}

/// FNV-1a: the same in every build, which the standard library's hashes do not promise.
struct Fnv(u64);

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    }

    fn debug(&mut self, value: &impl fmt::Debug) {
        // `write_str` below does not fail.
        let _ = write!(self, "{value:?}");
    }
}

impl Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::load::load_str;
    use std::path::Path;

    const TEXT: &str = "[port]\naddress = \"10.7.0.2/24\"\n[[listener]]\nport = 80\n[[route]]\npath = \"/\"\n\
                        respond = { body = \"hello\" }\n";

    fn of(text: &str) -> String {
        fingerprint(&load_str("test.toml", text, Path::new("")).unwrap())
    }

    #[test]
    fn it_depends_on_what_is_said_not_on_how() {
        let spelled = TEXT.replace("port = 80", "# the web\nport = 80").replace("[[route]]", "http = {}\n[[route]]");
        let spelled = spelled.replace("http = {}\n", "");
        assert_eq!(of(TEXT), of(&spelled));
        assert_eq!(of(TEXT), of(&format!("{TEXT}[tcp]\nrx_ring = \"4KiB\"\n")), "a default, written");
        for changed in [TEXT.replace("hello", "hallo"), TEXT.replace("80", "81"), TEXT.replace("\"/\"", "\"/a\"")] {
            assert_ne!(of(TEXT), of(&changed), "{changed}");
        }
    }
}

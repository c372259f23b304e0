//! The Date field's value (RFC 9110, 5.6.7 and 6.6.1).
//!
//! Owns the text of one second, rendered once. Refuses to read a clock.

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

/// Length of an IMF-fixdate in bytes: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub const DATE_LEN: usize = 29;

/// The last second of the year 9999, beyond which there is no IMF-fixdate.
const UNIX_S_MAX: u64 = 253_402_300_799;

/// The date of the present second.
#[derive(Clone, Debug)]
pub struct DateCache {
    unix_s: u64,
    text: [u8; DATE_LEN],
}

impl Default for DateCache {
    fn default() -> Self {
        DateCache { unix_s: 0, text: *b"Thu, 01 Jan 1970 00:00:00 GMT" }
    }
}

impl DateCache {
    /// The text for `unix_s`, in seconds since 1970-01-01 UTC; rendered only if the second has changed.
    #[inline]
    pub fn at(&mut self, unix_s: u64) -> &[u8; DATE_LEN] {
        if unix_s != self.unix_s {
            self.render(unix_s);
        }
        &self.text
    }

    #[cold]
    fn render(&mut self, unix_s: u64) {
        let date = httpdate::HttpDate::from(UNIX_EPOCH + Duration::from_secs(unix_s.min(UNIX_S_MAX)));
        // Always exactly DATE_LEN bytes, so that writing cannot fail; a failure would leave the text of another second.
        if write!(&mut self.text[..], "{date}").is_ok() {
            self.unix_s = unix_s;
        }
    }
}

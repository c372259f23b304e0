//! Where a head ends, found piece by piece.
//!
//! Owns the search for the empty line and the refusals that need no whole head. Refuses to understand the head:
//! [`super::parse`] judges every byte of what is found here.

use core::ops::Range;

use crate::config::HttpLimits;
use crate::http::lanes;
use crate::http::reject::Reject;
use crate::http::syntax::{self, TCHAR, VALUE};
use crate::limits::EMPTY_LINES_MAX;

/// How far the search has come. Positions count from the first byte of the buffer, which must stay the same byte until the
/// head is found.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Scan {
    /// Bytes of empty lines before the request line.
    skipped: u32,
    /// Bytes of the head that were looked at; each was valid so far.
    looked: u32,
    /// Whether the request line's end was among them.
    line_ended: bool,
}

/// `None`: no end yet. `Some`: where the head is; whatever stands before it is to be discarded with it.
pub type ScanResult = Result<Option<Range<usize>>, Reject>;

/// Looks for the end of the first head in `buf`. Each byte is looked at once or twice, however many calls it takes.
///
/// `state` is a default one for a new head; it becomes so again when the head is found. Limits: a request line over
/// `request_line` is 414, a head over `head_size` bytes 431, both without waiting for the end.
#[inline]
pub fn scan(buf: &[u8], state: &mut Scan, limits: &HttpLimits) -> ScanResult {
    if buf.get(state.skipped as usize) == Some(&b'\r') && !skip_empty_lines(buf, state)? {
        return Ok(None);
    }
    let start = state.skipped as usize;
    let head = buf.get(start..).unwrap_or_default();
    let window = &head[..head.len().min(limits.head_size)];
    if let Some(end) = find_end(window, state.looked as usize) {
        *state = Scan::default();
        return Ok(Some(start..start + end));
    }
    state.check_partial(window, limits)?;
    if head.len() >= limits.head_size {
        return Err(Reject::HeadTooLarge);
    }
    Ok(None)
}

/// False if there is half an empty line: what it becomes can't be told yet.
#[cold]
fn skip_empty_lines(buf: &[u8], state: &mut Scan) -> Result<bool, Reject> {
    loop {
        match buf.get(state.skipped as usize..).unwrap_or_default() {
            [b'\r'] => return Ok(false),
            [b'\r', b'\n', ..] if state.skipped as usize == 2 * EMPTY_LINES_MAX => return Err(Reject::EmptyLines),
            [b'\r', b'\n', ..] => state.skipped += 2,
            [b'\r', ..] => return Err(Reject::BareCr),
            _ => return Ok(true),
        }
    }
}

/// The length of `window` up to and with the first CRLF CRLF that ends at `looked` or later.
#[inline]
fn find_end(window: &[u8], looked: usize) -> Option<usize> {
    let mut from = looked.saturating_sub(2);
    loop {
        let lf = from + lanes::find_lf_cr(window.get(from..)?)?;
        if lf > 0 && window[lf - 1] == b'\r' && window.get(lf + 2) == Some(&b'\n') {
            return Some(lf + 3);
        }
        from = lf + 1;
    }
}

impl Scan {
    /// Whether nothing was looked at yet.
    #[inline]
    pub(super) fn is_new(&self) -> bool {
        self.skipped == 0 && self.looked == 0
    }

    /// Refuses what can't become a valid head any more. Only bytes that are new are looked at.
    #[cold]
    fn check_partial(&mut self, window: &[u8], limits: &HttpLimits) -> Result<(), Reject> {
        for at in self.looked as usize..window.len() {
            let before = at.checked_sub(1).map_or(0, |i| window[i]);
            match window[at] {
                b'\n' if before != b'\r' => return Err(Reject::BareLf),
                b'\n' if !self.line_ended => self.end_line(&window[..=at], limits)?,
                b'\n' => {}
                _ if before == b'\r' => return Err(Reject::BareCr),
                b'\r' if at > 0 => {}
                0x16 if at == 0 => return Err(Reject::Tls),
                byte if at == 0 && !syntax::is(byte, TCHAR) => return Err(Reject::RequestLine),
                byte if syntax::is(byte, VALUE) => {}
                _ => return Err(Reject::ControlByte),
            }
        }
        self.looked = window.len() as u32;
        let line_len = window.len() - usize::from(window.last() == Some(&b'\r'));
        if !self.line_ended && line_len > limits.request_line {
            return Err(Reject::RequestLineTooLong);
        }
        Ok(())
    }

    fn end_line(&mut self, line: &[u8], limits: &HttpLimits) -> Result<(), Reject> {
        self.line_ended = true;
        if line.len() - 2 > limits.request_line {
            return Err(Reject::RequestLineTooLong);
        }
        super::line::check(line)
    }
}

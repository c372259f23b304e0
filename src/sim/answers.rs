//! A reader of HTTP/1.1 responses that knows what must come.
//!
//! Owns the comparison of every byte with the right answer, as early as it differs. Refuses to share code with `http`, and
//! to be lenient: what RFC 9112 lets a client tolerate is an error here.

use super::site::Answer;
use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

const HEAD_MAX: usize = 4096;

/// What was wrong, or why the connection gave up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The gateway did what it must not.
    Wrong(String),
    /// The gateway gave up waiting: 408.
    TimedOut,
}

/// Responses of one connection.
#[derive(Default)]
pub struct Answers {
    expected: VecDeque<Answer>,
    head: Vec<u8>,
    /// Bytes of the first expected answer's content that were read; None while its head is.
    content: Option<Content>,
    answered: usize,
    interim: usize,
    closing: bool,
}

struct Content {
    len: usize,
    at: usize,
}

impl Answers {
    /// A further request was sent, and this is its right answer.
    pub fn expect(&mut self, answer: Answer) {
        self.expected.push_back(answer);
    }

    /// Answers read to their end.
    pub fn answered(&self) -> usize {
        self.answered
    }

    /// Interim responses read (RFC 9110, 15.2).
    pub fn interim(&self) -> usize {
        self.interim
    }

    /// Answers still to come.
    pub fn outstanding(&self) -> usize {
        self.expected.len()
    }

    /// Whether the last head said that the connection ends.
    pub fn closing(&self) -> bool {
        self.closing
    }

    /// Reads received bytes. `now_s` and `began_s` (seconds since 1970) bound the Date field.
    pub fn read(&mut self, mut bytes: &[u8], began_s: u64, now_s: u64) -> Result<(), Fault> {
        while !bytes.is_empty() {
            if self.expected.is_empty() {
                return wrong(format!("{} bytes that nobody asked for: {:?}", bytes.len(), text(bytes)));
            }
            bytes = match &mut self.content {
                Some(_) => self.read_content(bytes)?,
                None => self.read_head(bytes, began_s, now_s)?,
            };
            self.finish();
        }
        Ok(())
    }

    fn read_content<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Fault> {
        let (Some(content), Some(answer)) = (&mut self.content, self.expected.front()) else { return Ok(bytes) };
        let (now, later) = bytes.split_at(bytes.len().min(content.len - content.at));
        if let Some(body) = &answer.body {
            let want = &body[content.at..content.at + now.len()];
            if let Some(i) = now.iter().zip(want).position(|(got, want)| got != want) {
                return wrong(format!("content differs from byte {}", content.at + i));
            }
        }
        content.at += now.len();
        Ok(later)
    }

    fn read_head<'a>(&mut self, bytes: &'a [u8], began_s: u64, now_s: u64) -> Result<&'a [u8], Fault> {
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let Some(end) = self.head.windows(4).position(|window| window == b"\r\n\r\n") else {
            if self.head.len() > HEAD_MAX {
                return wrong(format!("a head without end: {:?}", text(&self.head)));
            }
            return Ok(&[]);
        };
        let head = String::from_utf8(self.head[..end].to_vec());
        self.head.clear();
        let head = head.or_else(|_| wrong("a head that is not text".into()))?;
        self.judge_head(&head, began_s, now_s)?;
        Ok(&bytes[end + 4 - before..])
    }

    fn judge_head(&mut self, head: &str, began_s: u64, now_s: u64) -> Result<(), Fault> {
        let Some(answer) = self.expected.front() else { return Ok(()) };
        let Some(head) = Head::parse(head) else { return wrong(format!("not a response head: {head:?}")) };
        if head.status == 100 {
            self.interim += 1;
            return Ok(());
        }
        if head.status == 408 && answer.status != 408 {
            return Err(Fault::TimedOut);
        }
        if head.status != answer.status {
            return wrong(format!("status {} instead of {}", head.status, answer.status));
        }
        let len = head.content_length.ok_or_else(|| Fault::Wrong("no or several Content-Length".into()))?;
        if answer.body.as_ref().is_some_and(|body| body.len() != len) {
            return wrong(format!("Content-Length {len} of another content"));
        }
        let date = head.date.ok_or_else(|| Fault::Wrong("no or several or an invalid Date".into()))?;
        if !(began_s..=now_s).contains(&date) {
            return wrong(format!("Date {date} outside {began_s}..={now_s}"));
        }
        if answer.closes && !head.close {
            return wrong("a last answer without Connection: close".into());
        }
        self.closing |= head.close;
        self.content = Some(Content { len: if answer.no_body { 0 } else { len }, at: 0 });
        Ok(())
    }

    fn finish(&mut self) {
        if self.content.as_ref().is_some_and(|content| content.at == content.len) {
            self.content = None;
            self.expected.pop_front();
            self.answered += 1;
        }
    }
}

struct Head {
    status: u16,
    content_length: Option<usize>,
    date: Option<u64>,
    close: bool,
}

impl Head {
    fn parse(head: &str) -> Option<Head> {
        let mut lines = head.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.split_once(' ')?.0;
        let mut fields = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':')?;
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) {
                return None;
            }
            fields.push((name.to_ascii_lowercase(), value.trim()));
        }
        let one = |name: &str| {
            let mut values = fields.iter().filter(|(n, _)| n == name).map(|(_, value)| *value);
            values.next().filter(|_| values.next().is_none())
        };
        if status.len() != 3 || fields.iter().any(|(name, _)| name == "transfer-encoding") {
            return None;
        }
        let date = one("date").and_then(|date| httpdate::parse_http_date(date).ok());
        Some(Head {
            status: status.parse().ok()?,
            content_length: one("content-length").and_then(|len| len.parse().ok()),
            date: date.map(|date| date.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()),
            close: one("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
        })
    }
}

fn wrong<T>(what: String) -> Result<T, Fault> {
    Err(Fault::Wrong(what))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    const DATE: &str = "Date: Thu, 01 Jan 1970 00:01:00 GMT\r\n";

    fn answer(status: u16, body: &[u8]) -> Answer {
        Answer { status, body: Some(Rc::from(body)), no_body: false, closes: false }
    }

    fn read(answers: Vec<Answer>, bytes: &str, step: usize) -> Result<(usize, bool), Fault> {
        let mut reader = Answers::default();
        answers.into_iter().for_each(|answer| reader.expect(answer));
        for chunk in bytes.as_bytes().chunks(step) {
            reader.read(chunk, 60, 60)?;
        }
        Ok((reader.answered(), reader.closing()))
    }

    #[test]
    fn right_answers_are_read_in_any_pieces() {
        let bytes = format!(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n{DATE}content-length: 3\r\n\r\nabc\
             HTTP/1.1 404 Not Found\r\n{DATE}Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        for step in [1, 2, 7, 1000] {
            assert_eq!(read(vec![answer(200, b"abc"), answer(404, b"")], &bytes, step), Ok((2, true)), "{step}");
        }
    }

    #[test]
    fn wrong_answers_are_noticed() {
        let ok = |rest: &str| format!("HTTP/1.1 200 OK\r\n{DATE}{rest}");
        for bytes in [
            ok("Content-Length: 3\r\n\r\nabd"),
            ok("Content-Length: 4\r\n\r\nabcd"),
            ok("Content-Length: 3\r\n\r\nabcd"),
            ok("Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
            ok("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
            ok("\r\nabc"),
            ok(&DATE.replace("00:01", "00:02")),
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc".into(),
            ok("Content-Length: 3\r\n\r\nabc").replace("00:01", "00:02"),
            ok("Content-Length: 3\r\n\r\nabc").replace("200", "404"),
            "HTTP/1.0 200 OK\r\n\r\n".into(),
            "x".repeat(HEAD_MAX + 1),
        ] {
            assert!(
                matches!(read(vec![answer(200, b"abc")], &(bytes.clone() + "\r\n\r\n"), 9), Err(Fault::Wrong(_))),
                "{bytes}"
            );
        }
        assert_eq!(read(vec![answer(200, b"")], "HTTP/1.1 408 Request Timeout\r\n\r\n", 99), Err(Fault::TimedOut));
    }
}

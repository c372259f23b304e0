//! Asking a target for its metrics while something else goes on.
//!
//! Owns the request, its limits, and the thread that repeats it. Refuses to understand the answer: a closure does, on that
//! thread.

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The largest answer, in bytes.
const ANSWER_SIZE_MAX: usize = 16 << 20;
/// A target has this long to answer, or the time between two samples if that is less.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Samples that wait to be fetched; one more is lost.
const WAITING_MAX: usize = 64;

/// Where metrics are: `http://HOST[:PORT]/PATH`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// As given.
    pub text: String,
    host: String,
    port: u16,
    path: String,
}

impl Place {
    /// Reads a URL; the error is a suggestion.
    pub fn parse(text: &str) -> Result<Place, String> {
        let fix = || "write http://HOST:PORT/PATH: http://127.0.0.1:9902/metrics".to_string();
        let uri: Uri = text.parse().map_err(|_| fix())?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(fix)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_string();
        if uri.scheme_str() != Some("http") || host.is_empty() {
            return Err(fix());
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Place { text: text.into(), host, port: authority.port_u16().unwrap_or(80), path: path.into() })
    }

    /// Asks once.
    ///
    /// # Errors
    /// Says why there is no text.
    pub fn ask(&self, patience: Duration) -> Result<String, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("no event loop: {error}"))?;
        let patience = patience.min(ANSWER_MAX);
        let asked = runtime.block_on(async { tokio::time::timeout(patience, self.exchange()).await });
        // A look-up of a name that hangs is left alone.
        runtime.shutdown_background();
        asked.map_err(|_| format!("no answer within {} ms", patience.as_millis()))?
    }

    async fn exchange(&self) -> Result<String, String> {
        let stream = tokio::net::TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
        let broken = |error: hyper::Error| format!("no HTTP: {error}");
        let (mut requests, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let connection = tokio::spawn(connection);
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let request = Request::get(&self.path)
            .header(header::HOST, format!("{host}:{}", self.port))
            .header(header::ACCEPT, "text/plain;version=0.0.4")
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let answer = requests.send_request(request).await.map_err(broken)?;
        if !answer.status().is_success() {
            return Err(format!("its answer is {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), ANSWER_SIZE_MAX).collect().await;
        let body = body.map_err(|error| format!("its answer cannot be read: {error}"))?.to_bytes();
        connection.abort();
        String::from_utf8(body.into()).map_err(|_| "its answer is not UTF-8".into())
    }
}

/// A sample.
#[derive(Debug)]
pub struct Scraped<T> {
    /// When it was asked for.
    pub at: Instant,
    /// What was made of it, or why there is none.
    pub result: Result<T, String>,
}

/// A thread that asks again and again, until it is dropped.
pub struct Scraper<T> {
    samples: Receiver<Scraped<T>>,
    /// Dropped to stop.
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Scraper<T> {
    /// Asks now and after each period; `read` makes something of each answer.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(
        place: Place,
        period: Duration,
        read: impl Fn(&str) -> T + Send + 'static,
    ) -> std::io::Result<Scraper<T>> {
        let (sender, samples) = mpsc::sync_channel(WAITING_MAX);
        let (stop, stopped) = mpsc::sync_channel::<()>(0);
        let work = move || {
            let mut due = Instant::now();
            loop {
                let at = Instant::now();
                let result = place.ask(period).map(|text| read(&text));
                // Full: nobody looks, and a sample less is no harm.
                if let Err(mpsc::TrySendError::Disconnected(_)) = sender.try_send(Scraped { at, result }) {
                    return;
                }
                // What took too long is not made up for.
                due = (due + period).max(Instant::now());
                match stopped.recv_timeout(due.saturating_duration_since(Instant::now())) {
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => return,
                }
            }
        };
        let thread = thread::Builder::new().name("scrape".into()).spawn(work)?;
        Ok(Scraper { samples, stop: Some(stop), thread: Some(thread) })
    }

    /// The next sample that is there; never waits.
    pub fn take(&self) -> Option<Scraped<T>> {
        self.samples.try_recv().ok()
    }
}

impl<T> Drop for Scraper<T> {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It panicked at worst, and is gone either way.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// Answers one connection after the other, then hangs up.
    fn serve(answers: Vec<Vec<u8>>) -> Place {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = Place::parse(&format!("http://{}/metrics?a=1", listener.local_addr().unwrap())).unwrap();
        thread::spawn(move || {
            for answer in answers {
                let Ok((mut stream, _)) = listener.accept() else { return };
                let mut seen = Vec::new();
                let mut buffer = [0; 1024];
                while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
                    let Ok(n @ 1..) = stream.read(&mut buffer) else { break };
                    seen.extend_from_slice(&buffer[..n]);
                }
                assert!(seen.starts_with(b"GET /metrics?a=1 HTTP/1.1\r\n"));
                let _ = stream.write_all(&answer);
            }
        });
        place
    }

    fn answer(body: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    #[test]
    fn places_are_plain_http() {
        let place = Place::parse("http://[::1]:9902/metrics").unwrap();
        assert_eq!((place.host.as_str(), place.port, place.path.as_str()), ("::1", 9902, "/metrics"));
        assert_eq!(Place::parse("http://gateway").unwrap().port, 80);
        for text in ["", "gateway", "https://gateway/metrics", "http://", "/metrics", "http://a:b@c/", "http://a b/"] {
            assert!(Place::parse(text).unwrap_err().contains("http://127.0.0.1:9902"), "{text}");
        }
    }

    #[test]
    fn every_way_to_have_no_answer_is_an_error() {
        let ask = |answer: Vec<u8>| serve(vec![answer]).ask(Duration::from_secs(5));
        assert_eq!(ask(answer("a 1\n")).unwrap(), "a 1\n");
        assert!(
            ask(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec()).unwrap_err().contains("503")
        );
        assert!(ask(b"SSH-2.0-x\r\n".to_vec()).unwrap_err().contains("no HTTP"));
        assert!(ask(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na".to_vec()).is_err());
        assert!(ask(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\xff".to_vec()).unwrap_err().contains("UTF-8"));
        let mut endless = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n".to_vec();
        endless.resize(ANSWER_SIZE_MAX + 1024, b'#');
        assert!(ask(endless).unwrap_err().contains("cannot be read"));
        // Accepts, and says nothing.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = Place::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        assert!(place.ask(Duration::from_millis(50)).unwrap_err().contains("no answer within 50 ms"));
        drop(listener);
        assert!(place.ask(Duration::from_secs(5)).unwrap_err().contains("cannot connect"));
    }

    #[test]
    fn samples_come_one_after_the_other_and_a_missing_one_is_told() {
        let place = serve(vec![answer("1"), b"x".to_vec(), answer("3")]);
        let scraper = Scraper::start(place, Duration::from_millis(20), |text| text.to_string()).unwrap();
        let mut seen = Vec::new();
        while seen.len() < 3 {
            seen.extend(scraper.take());
            thread::yield_now();
        }
        drop(scraper);
        assert!(seen.is_sorted_by_key(|sample| sample.at));
        let results: Vec<Option<&str>> = seen.iter().map(|sample| sample.result.as_deref().ok()).collect();
        assert_eq!(results, [Some("1"), None, Some("3")]);
    }
}

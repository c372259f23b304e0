//! The control side's server: metrics and health on a TCP socket, everything on the admin socket.
//!
//! Owns the listeners, the thread that serves them, and what is answered where. Refuses to judge or to render, and to
//! hold more than a few connections or to hold one for long. hyper speaks HTTP, on one thread that never runs on a
//! worker's CPU; what it does is bounded by what few, slow clients ask.

use super::log::{events, level};
use super::socket::AdminListener;
use super::status::Status;
use super::subject::Subject;
use super::{capture, health, metrics};
use crate::config::Config;
use crate::failure::{Exit, Failure};
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

/// Connections at a time; one more is closed at once.
const CONNECTIONS_MAX: usize = 32;
/// Bytes of a request's head, at most.
const HEAD_MAX: usize = 16 * 1024;
/// A client has this long for a request's head, or between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection ends after this long, once it is idle.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// And after this long again in any case.
const GRACE: Duration = Duration::from_secs(5);
/// Between two attempts to accept when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const PCAPNG: &str = "application/x-pcapng";

type Answer = Response<Either<Full<Bytes>, capture::Stream>>;

/// The sockets, bound and not yet served.
pub struct Doors {
    metrics: Option<TcpListener>,
    admin: Option<AdminListener>,
}

/// Which socket a request came through.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Door {
    Metrics,
    Admin,
}

impl Doors {
    /// Binds what the configuration names, before anything else is started.
    ///
    /// # Errors
    /// `Exit::Listen` when an address or path is in use or not ours.
    pub fn open(config: &Config) -> Result<Doors, Failure> {
        Ok(Doors {
            metrics: config.metrics.address.map(bind).transpose()?,
            admin: AdminListener::bind(&config.admin.socket)?,
        })
    }

    /// Says where they are.
    pub fn say(&self) {
        if let Some(address) = self.metrics.as_ref().and_then(|listener| listener.local_addr().ok()) {
            events::metrics(&address.to_string());
        }
        if let Some(admin) = &self.admin {
            events::admin(&admin.path().to_string_lossy());
        }
    }

    /// Serves them on a thread of their own until the server is dropped. `settle` runs on that thread first.
    ///
    /// # Errors
    /// `Exit::Environment` when there is no thread to be had.
    pub fn serve(self, subject: Subject, settle: impl FnOnce() + Send + 'static) -> Result<Server, Failure> {
        let fail = |error: io::Error| Failure::new(Exit::Environment, format!("metrics cannot be served: {error}"));
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("penstock-admin".into()).spawn(move || {
            settle();
            run(self, subject, stopped)
        });
        Ok(Server { stop: Some(stop), thread: Some(thread.map_err(fail)?) })
    }
}

/// Serves until it is dropped.
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was printed and changes nothing here.
            let _ = thread.join();
        }
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).map_err(|error| {
        let (what, fix) = match error.kind() {
            io::ErrorKind::AddrInUse => (
                format!("the metrics address {address} is in use"),
                format!(
                    "see who has it: ss -ltnp 'sport = :{}'\nchoose another one: [metrics] address = \"{}\"\n\
                     or do without: [metrics] address = \"off\"",
                    address.port(),
                    SocketAddr::new(address.ip(), address.port().checked_add(1).unwrap_or(9902))
                ),
            ),
            _ => (
                format!("the metrics address {address} cannot be listened on: {error}"),
                "name an address of this machine's kernel: [metrics] address = \"127.0.0.1:9902\"".to_string(),
            ),
        };
        Failure::new(Exit::Listen, what).fix(fix)
    })
}

fn run(doors: Doors, subject: Subject, stopped: oneshot::Receiver<()>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let subject = Rc::new(subject);
    let open = Rc::new(Cell::new(0));
    let mut place = None;
    let tasks = async {
        if let Some(listener) = doors.metrics {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let (subject, open) = (Rc::clone(&subject), Rc::clone(&open));
            tokio::task::spawn_local(async move {
                loop {
                    let accepted = listener.accept().await.map(|(stream, _)| stream);
                    admit(accepted, Door::Metrics, &subject, &open).await;
                }
            });
        }
        if let Some(admin) = doors.admin {
            let (listener, guard) = admin.into_parts();
            place = Some(guard);
            listener.set_nonblocking(true)?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            tokio::task::spawn_local(async move {
                loop {
                    let accepted = listener.accept().await.map(|(stream, _)| stream);
                    admit(accepted, Door::Admin, &subject, &open).await;
                }
            });
        }
        // An error says that the server was dropped, which is what is waited for.
        let _ = stopped.await;
        Ok(())
    };
    local.block_on(&runtime, tasks)
}

/// Has a connection served, or closes it when there are too many.
async fn admit<S>(accepted: io::Result<S>, door: Door, subject: &Rc<Subject>, open: &Rc<Cell<usize>>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let Ok(stream) = accepted else { return sleep(ACCEPT_PAUSE).await };
    if open.get() == CONNECTIONS_MAX {
        return;
    }
    open.set(open.get() + 1);
    let (subject, open) = (Rc::clone(subject), Rc::clone(open));
    tokio::task::spawn_local(async move {
        converse(stream, door, subject).await;
        open.set(open.get() - 1);
    });
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: S, door: Door, subject: Rc<Subject>) {
    let capturing = Rc::new(Cell::new(false));
    let service = service_fn(|request: Request<Incoming>| {
        let answer = match (request.uri().path(), request.method(), door) {
            ("/capture", &Method::GET, Door::Admin) => capture(&request, &subject, &capturing),
            _ => answer(&request, door, &subject).map(Either::Left),
        };
        async { Ok::<_, Infallible>(answer) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_MAX);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    while timeout(CONNECTION_TIMEOUT, connection.as_mut()).await.is_err() {
        if capturing.get() {
            continue;
        }
        connection.as_mut().graceful_shutdown();
        let _ = timeout(GRACE, connection).await;
        break;
    }
}

/// A live capture, for as long as the client reads.
fn capture(request: &Request<Incoming>, subject: &Subject, capturing: &Rc<Cell<bool>>) -> Answer {
    let asked = match capture::Request::parse(request.uri().query().unwrap_or_default()) {
        Ok(asked) => asked,
        Err(error) => return respond(StatusCode::BAD_REQUEST, TEXT, format!("{error}\n")).map(Either::Left),
    };
    match capture::start(subject, &asked, Rc::clone(capturing)) {
        Some(stream) => {
            let mut response = Response::new(Either::Right(stream));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PCAPNG));
            response
        }
        None => respond(StatusCode::CONFLICT, TEXT, "another capture is running\n".into()).map(Either::Left),
    }
}

fn answer<B>(request: &Request<B>, door: Door, subject: &Subject) -> Response<Full<Bytes>> {
    let settable = (request.uri().path(), door) == (level::PATH, Door::Admin);
    if settable && request.method() == Method::PUT {
        return match level::set(&subject.logs, request.uri().query().unwrap_or_default()) {
            Ok(answer) => respond(StatusCode::OK, JSON, answer.json()),
            Err(error) => respond(StatusCode::BAD_REQUEST, TEXT, format!("{error}\n")),
        };
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let allow = if settable { "GET, HEAD, PUT" } else { "GET, HEAD" };
        let mut refusal = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, format!("{allow} only\n"));
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
        return refusal;
    }
    let verbose = request.uri().query().is_some_and(|query| query.split('&').any(|word| word == "verbose"));
    match (request.uri().path(), door) {
        ("/metrics", _) => respond(StatusCode::OK, metrics::CONTENT_TYPE, metrics::render(subject, &subject.view())),
        ("/livez", _) => verdict("live", &health::live(subject, &subject.view()), verbose),
        ("/readyz", _) => verdict("ready", &health::ready(subject, &subject.view()), verbose),
        ("/status", Door::Admin) => match serde_json::to_string(&Status::of(subject, &subject.view())) {
            Ok(json) => respond(StatusCode::OK, JSON, json),
            Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        (level::PATH, Door::Admin) => respond(StatusCode::OK, JSON, level::show(&subject.logs).json()),
        (_, Door::Metrics) => respond(StatusCode::NOT_FOUND, TEXT, "there are /metrics, /livez and /readyz\n".into()),
        (_, Door::Admin) => {
            let paths = "there are /status, /capture, /log-level, /metrics, /livez and /readyz\n";
            respond(StatusCode::NOT_FOUND, TEXT, paths.into())
        }
    }
}

fn verdict(what: &str, checks: &[health::Check], verbose: bool) -> Response<Full<Bytes>> {
    let status = if health::all_ok(checks) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match verbose {
        true => respond(status, JSON, health::json(what, checks)),
        false => respond(status, TEXT, health::text(what, checks)),
    }
}

fn respond(status: StatusCode, media_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AdminSocket, LogLevel};
    use crate::control::fake::{Fake, subject};
    use crate::control::log::record;
    use crate::control::socket;
    use crate::control::subject::Phase;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    fn config(address: Option<SocketAddr>, socket: AdminSocket) -> Config {
        let mut config = Config::clone(&subject(Fake::default()).config);
        config.metrics.address = address;
        config.admin.socket = socket;
        config
    }

    fn status(fake: Fake, method: &str, target: &str, door: Door) -> (u16, String) {
        let request = Request::builder().method(method).uri(target).body(()).unwrap();
        let response = answer(&request, door, &subject(fake));
        (response.status().as_u16(), response.headers()[CONTENT_TYPE].to_str().unwrap().to_string())
    }

    #[test]
    fn what_is_answered_where() {
        let draining = Fake { phase: Phase::Draining, ..Fake::default() };
        for (fake, method, target, door, code, media_type) in [
            (Fake::default(), "GET", "/metrics", Door::Metrics, 200, metrics::CONTENT_TYPE),
            (Fake::default(), "HEAD", "/livez", Door::Metrics, 200, TEXT),
            (Fake::default(), "GET", "/readyz?verbose", Door::Metrics, 200, JSON),
            (Fake::default(), "GET", "/status", Door::Metrics, 404, TEXT),
            (Fake::default(), "GET", "/status", Door::Admin, 200, JSON),
            (Fake::default(), "GET", "/", Door::Admin, 404, TEXT),
            (Fake::default(), "GET", "/log-level", Door::Admin, 200, JSON),
            (Fake::default(), "PUT", "/log-level?level=warn", Door::Admin, 200, JSON),
            (Fake::default(), "PUT", "/log-level?level=WARN", Door::Admin, 400, TEXT),
            (Fake::default(), "PUT", "/log-level", Door::Admin, 400, TEXT),
            (Fake::default(), "POST", "/log-level?level=warn", Door::Admin, 405, TEXT),
            (Fake::default(), "GET", "/log-level", Door::Metrics, 404, TEXT),
            (Fake::default(), "PUT", "/log-level?level=warn", Door::Metrics, 405, TEXT),
            (Fake::default(), "POST", "/metrics", Door::Admin, 405, TEXT),
            (draining.clone(), "GET", "/readyz", Door::Metrics, 503, TEXT),
            (draining.clone(), "GET", "/readyz?a&verbose", Door::Metrics, 503, JSON),
            (draining, "GET", "/livez", Door::Metrics, 200, TEXT),
        ] {
            assert_eq!(status(fake, method, target, door), (code, media_type.to_string()), "{method} {target}");
        }
    }

    #[test]
    fn both_sockets_are_served_until_the_server_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let doors = Doors::open(&config(Some(local), AdminSocket::Path(path.clone()))).unwrap();
        let address = doors.metrics.as_ref().unwrap().local_addr().unwrap();
        let (said, _) = record(LogLevel::Info, false, |_| doors.say());
        assert!(said[0].ends_with(&format!(" metrics: http://{address}/metrics, /livez, /readyz")), "{said:?}");
        assert!(said[1].ends_with(&format!(" admin: {}", path.display())) && said.len() == 2, "{said:?}");
        let server = doors.serve(subject(Fake::default()), || {}).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("\r\n\r\nready\n"), "{said}");
        let status: Status = serde_json::from_slice(&socket::get(&path, "/status").unwrap()).unwrap();
        assert_eq!(status.phase, "serving");
        let set = |level| level::ask(&path, level).unwrap().text();
        assert_eq!([None, Some(LogLevel::Debug), None].map(set), ["info\n", "debug, was info\n", "debug\n"]);
        assert!(socket::get(&path, "/nonesuch").unwrap_err().to_string().contains("404"));
        drop(server);
        assert!(!path.exists() && TcpStream::connect(address).is_err());
    }

    #[test]
    fn too_many_connections_are_closed() {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let doors = Doors::open(&config(Some(local), AdminSocket::Off)).unwrap();
        let address = doors.metrics.as_ref().unwrap().local_addr().unwrap();
        let _server = doors.serve(subject(Fake::default()), || {}).unwrap();
        let held: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert_eq!(TcpStream::connect(address).unwrap().read(&mut [0]).unwrap(), 0, "closed at once");
        drop(held);
    }

    #[test]
    fn an_address_in_use_names_its_fix() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let failure = Doors::open(&config(Some(address), AdminSocket::Off)).err().unwrap();
        assert_eq!(failure.exit, Exit::Listen);
        let fix = failure.fix.unwrap();
        assert!(fix.contains("ss -ltnp") && fix.contains("\"off\""), "{fix}");
        let foreign = Doors::open(&config(Some("198.51.100.1:9902".parse().unwrap()), AdminSocket::Off)).err().unwrap();
        assert_eq!((foreign.exit, foreign.what.contains("cannot be listened on")), (Exit::Listen, true));
    }
}

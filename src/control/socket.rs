//! The admin socket: its place, its making and end, finding those of running gateways, asking one.
//!
//! Owns the runtime folder. Refuses to know what is asked. Who may connect is decided by the file's permissions, so a
//! gateway in another network namespace is found too.

use crate::config::AdminSocket;
use crate::failure::{Exit, Failure};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Method;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A gateway has this long to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The largest answer, in bytes.
const ANSWER_SIZE_MAX: usize = 64 << 20;

/// Between two looks at who reads a stream that brings nothing.
const STREAM_TICK: Duration = Duration::from_millis(100);

type Requests = hyper::client::conn::http1::SendRequest<Empty<Bytes>>;

/// A bound socket; its file goes when it does.
pub struct AdminListener {
    listener: UnixListener,
    path: PathBuf,
}

/// A path of ours that is there, whatever it is.
struct Place(PathBuf);

impl AdminListener {
    /// Binds the socket of this process.
    ///
    /// # Errors
    /// `Exit::Listen` when the path cannot be had; the message says by whom or why.
    pub fn bind(socket: &AdminSocket) -> Result<Option<AdminListener>, Failure> {
        let path = match socket {
            AdminSocket::Off => return Ok(None),
            AdminSocket::Path(path) => path.clone(),
            AdminSocket::Auto => {
                let folder = runtime_folder();
                // It exists already, or binding says what is wrong.
                let _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
                check_owner(&folder)?;
                sweep(&folder);
                folder.join(format!("{}.sock", std::process::id()))
            }
        };
        let bound = bind(&path);
        let listener = bound.map_err(|error| {
            let what = match error.kind() {
                io::ErrorKind::AddrInUse => format!("the admin socket {} is in use by another gateway", path.display()),
                _ => format!("the admin socket {} cannot be made: {error}", path.display()),
            };
            Failure::new(Exit::Listen, what)
                .fix("choose another path: [admin] socket = \"PATH\"\nor do without: [admin] socket = \"off\"")
        })?;
        Ok(Some(AdminListener { listener, path }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn into_parts(self) -> (UnixListener, impl Drop + Send + use<>) {
        (self.listener, Place(self.path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Somebody removed it before: fine.
        let _ = fs::remove_file(&self.0);
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    let bound = match UnixListener::bind(path) {
        // What a killed gateway left behind.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
            fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    };
    let listener = bound?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Whether it is a socket that nobody listens on.
fn is_stale(path: &Path) -> bool {
    // Connecting to a plain file is refused too.
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
        && matches!(UnixStream::connect(path), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Where gateways of this user put their sockets: the places DPDK uses for its own files.
pub fn runtime_folder() -> PathBuf {
    let uid = rustix::process::getuid();
    match std::env::var_os("XDG_RUNTIME_DIR") {
        _ if uid.is_root() => PathBuf::from("/run/penstock"),
        Some(folder) if !folder.is_empty() => PathBuf::from(folder).join("penstock"),
        _ => PathBuf::from(format!("/tmp/penstock-{}", uid.as_raw())),
    }
}

/// Refuses a folder that somebody else made, who could put another socket in place of ours.
fn check_owner(folder: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(folder) {
        Ok(found) if found.uid() != rustix::process::getuid().as_raw() || !found.is_dir() => {
            let what = format!("{} is not a folder of this user's", folder.display());
            Err(Failure::new(Exit::Listen, what)
                .fix(format!("remove it: rm -r {}\nor name a socket: [admin] socket = \"PATH\"", folder.display())))
        }
        _ => Ok(()),
    }
}

/// The sockets of a folder, sorted.
fn sockets(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut sockets: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "sock")).collect();
    sockets.sort();
    sockets
}

/// Removes what killed gateways left behind.
fn sweep(folder: &Path) {
    for path in sockets(folder).iter().filter(|path| is_stale(path)) {
        let _ = fs::remove_file(path);
    }
}

/// The socket of the gateway that is meant: the one named, or the only one that runs.
///
/// # Errors
/// `Exit::Runtime` when none runs, or several do and none is named.
pub fn choose(named: Option<&Path>) -> Result<PathBuf, Failure> {
    choose_in(&runtime_folder(), named)
}

fn choose_in(folder: &Path, named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        // A process id stands for its socket.
        let is_pid = path.to_str().is_some_and(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
        return Ok(if is_pid { folder.join(format!("{}.sock", path.display())) } else { path.to_path_buf() });
    }
    check_owner(folder)?;
    let mut running: Vec<PathBuf> = sockets(folder).into_iter().filter(|path| !is_stale(path)).collect();
    match running.len() {
        1 => Ok(running.remove(0)),
        0 => {
            let what = format!("no gateway is running: there is no socket in {}", folder.display());
            Err(Failure::new(Exit::Runtime, what).fix(
                "start one: penstock run -c FILE\nor name its socket if it has a path of its own or another user's: --socket PATH",
            ))
        }
        count => {
            let fix = running.iter().map(|path| format!("--socket {}", path.display())).collect::<Vec<_>>();
            Err(Failure::new(Exit::Runtime, format!("{count} gateways are running")).fix(fix.join("\n")))
        }
    }
}

fn silent(socket: &Path, why: &str) -> Failure {
    let what = format!("the gateway behind {} does not answer: {why}", socket.display());
    Failure::new(Exit::Runtime, what).fix("see whether it runs: pgrep -a penstock\nstart it: penstock run -c FILE")
}

/// Asks the gateway behind a socket.
///
/// # Errors
/// `Exit::Runtime` when it does not answer.
pub fn get(socket: &Path, target: &str) -> Result<Bytes, Failure> {
    exchange(socket, Method::GET, target)
}

/// Has the gateway behind a socket change something.
///
/// # Errors
/// `Exit::Runtime` when it does not answer.
pub fn put(socket: &Path, target: &str) -> Result<Bytes, Failure> {
    exchange(socket, Method::PUT, target)
}

fn exchange(socket: &Path, method: Method, target: &str) -> Result<Bytes, Failure> {
    let fail = |why: String| silent(socket, &why);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| fail(error.to_string()))?;
    let asked = runtime.block_on(async { tokio::time::timeout(ANSWER_MAX, ask(socket, method, target)).await });
    match asked {
        Ok(answer) => answer.map_err(fail),
        Err(_) => Err(fail(format!("nothing came for {} s", ANSWER_MAX.as_secs()))),
    }
}

/// Asks the gateway behind a socket for what goes on, and hands its pieces to `take` until that returns false or the
/// stream ends. `take` is called with nothing ten times a second.
///
/// # Errors
/// `Exit::Runtime` when it does not answer or refuses, with its words; what `take` returns.
pub fn stream(
    socket: &Path,
    target: &str,
    mut take: impl FnMut(&[u8]) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| silent(socket, &error.to_string()))?;
    runtime.block_on(async {
        let asked = tokio::time::timeout(ANSWER_MAX, request(socket, Method::GET, target)).await;
        let too_late = |_| format!("nothing came for {} s", ANSWER_MAX.as_secs());
        let (response, _sender) =
            asked.map_err(too_late).and_then(|asked| asked).map_err(|why| silent(socket, &why))?;
        let status = response.status();
        let mut body = response.into_body();
        if !status.is_success() {
            let words = Limited::new(body, ANSWER_SIZE_MAX).collect().await.map(http_body_util::Collected::to_bytes);
            let words = String::from_utf8_lossy(&words.unwrap_or_default()).trim().to_string();
            return Err(Failure::new(Exit::Runtime, format!("the gateway refuses: {words} ({status})")));
        }
        loop {
            let piece = match tokio::time::timeout(STREAM_TICK, body.frame()).await {
                Err(_) => Bytes::new(),
                // The gateway ended, with the stream or in the middle of it.
                Ok(None | Some(Err(_))) => return Ok(()),
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            };
            if !take(&piece)? {
                return Ok(());
            }
        }
    })
}

async fn ask(socket: &Path, method: Method, target: &str) -> Result<Bytes, String> {
    let (response, _sender) = request(socket, method, target).await?;
    if !response.status().is_success() {
        return Err(format!("it says {}", response.status()));
    }
    let body = Limited::new(response.into_body(), ANSWER_SIZE_MAX).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
}

/// The head of the answer, and what keeps the connection.
async fn request(socket: &Path, method: Method, target: &str) -> Result<(hyper::Response<Incoming>, Requests), String> {
    let stream = tokio::net::UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let request = hyper::Request::builder().method(method).uri(target).header("Host", "penstock");
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    // The connection ends when the sender is dropped; both run on this thread.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    Ok((response, sender))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_had_once_and_a_stale_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let socket = AdminSocket::Path(path.clone());
        let first = AdminListener::bind(&socket).unwrap().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let failure = AdminListener::bind(&socket).err().unwrap();
        assert!(failure.exit == Exit::Listen && failure.to_string().contains("in use by another gateway"), "{failure}");
        // Dropped without its guard: what a kill leaves.
        drop(first);
        assert!(path.exists());
        let (listener, place) = AdminListener::bind(&socket).unwrap().unwrap().into_parts();
        drop((listener, place));
        assert!(!path.exists());
        assert!(AdminListener::bind(&AdminSocket::Off).unwrap().is_none());
        let missing = AdminListener::bind(&AdminSocket::Path(folder.path().join("no/a.sock"))).err().unwrap();
        assert!(missing.fix.unwrap().contains("\"off\""));
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        fs::write(&path, "text").unwrap();
        assert!(AdminListener::bind(&AdminSocket::Path(path.clone())).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"text");
    }

    #[test]
    fn one_running_gateway_is_found_several_must_be_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let none = choose_in(folder.path(), None).unwrap_err();
        assert!(none.to_string().contains("start one: penstock run"), "{none}");
        drop(UnixListener::bind(at("1.sock")).unwrap());
        let _second = UnixListener::bind(at("2.sock")).unwrap();
        assert_eq!(choose_in(folder.path(), None).unwrap(), at("2.sock"));
        let _third = UnixListener::bind(at("3.sock")).unwrap();
        let several = choose_in(folder.path(), None).unwrap_err().to_string();
        assert!(
            several.contains("2 gateways") && several.contains("3.sock") && !several.contains("1.sock"),
            "{several}"
        );
        assert_eq!(choose_in(folder.path(), Some(Path::new("3"))).unwrap(), at("3.sock"));
        assert_eq!(choose_in(folder.path(), Some(Path::new("/x/y.sock"))).unwrap(), Path::new("/x/y.sock"));
        sweep(folder.path());
        assert_eq!(sockets(folder.path()), [at("2.sock"), at("3.sock")]);
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        let failure = choose_in(&link, None).unwrap_err();
        assert!(
            failure.exit == Exit::Listen && failure.to_string().contains("not a folder of this user's"),
            "{failure}"
        );
    }

    #[test]
    fn nobody_there_is_a_failure_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        let failure = get(&folder.path().join("a.sock"), "/status").unwrap_err();
        assert_eq!(failure.exit, Exit::Runtime);
        assert!(failure.to_string().contains("does not answer") && failure.fix.is_some(), "{failure}");
    }
}

//! `penstock pcap`: a live capture of a running gateway, into a file or standard output.
//!
//! Owns the file, which holds whole blocks only, whenever and however the capture ends. Refuses to look into frames.

use super::capture::Request;
use super::pcapng::Seen;
use super::socket;
use crate::failure::{Exit, Failure};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Captures until the request's end, an interrupt, or the gateway's end.
///
/// # Errors
/// `Exit::Usage` for standard output that is a terminal; `Exit::Runtime` when the gateway refuses, or the output fails.
pub fn run(socket: &Path, request: &Request, file: Option<&Path>) -> Result<(), Failure> {
    let file = file.filter(|file| *file != Path::new("-"));
    if file.is_none() && io::stdout().is_terminal() {
        let what = "a capture is no text, and standard output is a terminal";
        return Err(Failure::new(Exit::Usage, what)
            .fix("penstock pcap -w FILE\nor have it read: penstock pcap | tcpdump -n -r -"));
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Without it, the signal ends this process, and the file holds whole blocks all the same.
        let _ = signal_hook::flag::register(signal, Arc::clone(&stop));
    }
    let mut output =
        Output { file: file.map(Path::to_path_buf), sink: None, pending: Vec::new(), seen: Seen::default() };
    socket::stream(socket, &format!("/capture?{}", request.query()), |piece| {
        // Looked at between pieces, and ten times a second.
        Ok(!stop.load(Relaxed) && output.take(piece)?)
    })?;
    let Seen { packets, lost } = output.seen;
    let advice = if lost > 0 { ": a narrower filter or a smaller --snaplen loses fewer" } else { "" };
    eprintln!("{packets} frames captured, {lost} lost{advice}");
    Ok(())
}

struct Output {
    file: Option<PathBuf>,
    sink: Option<Box<dyn Write>>,
    /// The beginning of a block whose end did not come yet.
    pending: Vec<u8>,
    seen: Seen,
}

impl Output {
    /// Writes the whole blocks; false when nobody reads any more.
    fn take(&mut self, piece: &[u8]) -> Result<bool, Failure> {
        if piece.is_empty() {
            return Ok(true);
        }
        self.pending.extend_from_slice(piece);
        let Some(whole) = self.seen.look(&self.pending) else {
            return Err(Failure::new(Exit::Runtime, "the gateway's answer is no capture")
                .fix("use the penstock program that the gateway was started with"));
        };
        let sink = match &mut self.sink {
            Some(sink) => sink,
            none => none.insert(open(self.file.as_deref())?),
        };
        match sink.write_all(&self.pending[..whole]).and_then(|()| sink.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
            Err(error) => {
                let name = self.file.as_deref().map_or("standard output".into(), |file| file.display().to_string());
                return Err(Failure::new(Exit::Runtime, format!("cannot write to {name}: {error}")));
            }
        }
        self.pending.drain(..whole);
        Ok(true)
    }
}

/// The file, once there is something to write: what it held before goes then. Captured traffic is its owner's alone.
fn open(file: Option<&Path>) -> Result<Box<dyn Write>, Failure> {
    let Some(path) = file else { return Ok(Box::new(io::stdout())) };
    let opened: io::Result<File> = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    match opened {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => {
            let what = format!("cannot write to {}: {error}", path.display());
            Err(Failure::new(Exit::Usage, what).fix("name another file: penstock pcap -w FILE"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::pcapng;

    fn output(file: PathBuf) -> Output {
        Output { file: Some(file), sink: None, pending: Vec::new(), seen: Seen::default() }
    }

    #[test]
    fn the_file_holds_whole_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pcapng");
        let mut stream = Vec::new();
        pcapng::begin(&mut stream, "net_tap0", 64);
        let first = stream.len();
        pcapng::statistics(&mut stream, 1, 0, 5);
        let mut output = output(path.clone());
        assert!(output.take(b"").unwrap() && !path.exists());
        assert!(output.take(&stream[..first + 5]).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), stream[..first]);
        assert!(output.take(&stream[first + 5..]).unwrap());
        assert_eq!((std::fs::read(&path).unwrap(), output.seen.lost), (stream, 5));
        assert!(output.take(b"<html>\n\n").is_err());
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named() {
        let mut stream = Vec::new();
        pcapng::begin(&mut stream, "net_tap0", 64);
        let failure = output("/nonexistent/a.pcapng".into()).take(&stream).unwrap_err();
        assert!(failure.exit == Exit::Usage && failure.to_string().contains("/nonexistent/a.pcapng"), "{failure}");
    }
}

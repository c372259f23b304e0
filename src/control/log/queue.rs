//! Lines on their way out: a bounded queue, and the thread that empties it.
//!
//! Owns what happens when nobody reads: whoever speaks never waits, and lines that find the queue full are lost and
//! counted. Refuses to know what the lines say.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// Lines that may wait; a full pipe holds a few hundred more.
pub const LINES_MAX: usize = 1024;
/// The end of the program waits this long for its last lines to be taken.
const FLUSH_MAX: Duration = Duration::from_secs(1);
/// Between two looks at whether they were, and between two attempts to write to what is full and does not block.
const PAUSE: Duration = Duration::from_millis(5);

enum Item {
    Line(Vec<u8>),
    Call(Box<dyn FnOnce() + Send>),
}

/// The way in; clones lead to the same thread, which ends with the last of them.
#[derive(Clone)]
pub struct Queue {
    items: SyncSender<Item>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    queued: AtomicU64,
    done: AtomicU64,
    lost: AtomicU64,
}

impl Queue {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Queue> {
        let (items, taken) = sync_channel(LINES_MAX);
        let counts = Arc::new(Counts::default());
        let theirs = Arc::clone(&counts);
        std::thread::Builder::new().name("penstock-log".into()).spawn(move || drain(out, &taken, &theirs))?;
        Ok(Queue { items, counts })
    }

    /// Lines that were not written: the queue was full, or writing failed.
    pub fn lost(&self) -> u64 {
        self.counts.lost.load(Relaxed)
    }

    /// Whether a line would find room.
    pub fn has_room(&self) -> bool {
        let Counts { queued, done, .. } = &*self.counts;
        queued.load(Relaxed).saturating_sub(done.load(Relaxed)) < LINES_MAX as u64
    }

    /// Runs `call` on the thread, in turn; not at all while the queue is full.
    pub fn call(&self, call: impl FnOnce() + Send + 'static) {
        self.put(Item::Call(Box::new(call)));
    }

    fn put(&self, item: Item) -> bool {
        // Counted before it is there, so that the thread is never ahead.
        self.counts.queued.fetch_add(1, Relaxed);
        match self.items.try_send(item) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counts.queued.fetch_sub(1, Relaxed);
                false
            }
        }
    }

    /// Waits until everything is written, `FLUSH_MAX` at most.
    pub fn flush(&self) {
        let until = Instant::now() + FLUSH_MAX;
        while self.counts.done.load(Relaxed) < self.counts.queued.load(Relaxed) && Instant::now() < until {
            std::thread::sleep(PAUSE);
        }
    }
}

/// Each write is a line; it never fails and never waits.
impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !self.put(Item::Line(line.to_vec())) {
            self.counts.lost.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn drain(mut out: impl Write, items: &Receiver<Item>, counts: &Counts) {
    let mut torn = false;
    for item in items {
        match item {
            Item::Call(call) => call(),
            Item::Line(line) => {
                // What is left of a line whose end could not be written must not spoil the next one.
                torn = torn && write(&mut out, b"\n").is_err();
                let written = if torn { Err(true) } else { write(&mut out, &line) };
                if let Err(partly) = written {
                    torn = partly;
                    counts.lost.fetch_add(1, Relaxed);
                }
            }
        }
        counts.done.fetch_add(1, Relaxed);
    }
}

/// Writes all of it, or says whether a part of it was written.
fn write(out: &mut impl Write, bytes: &[u8]) -> Result<(), bool> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(0) => return Err(rest.len() < bytes.len()),
            Ok(n) => rest = &rest[n..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Somebody else made this file non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
            Err(_) => return Err(rest.len() < bytes.len()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::mpsc::{Sender, channel};

    /// Takes a write for each permit, and keeps what it took.
    struct Gate {
        permits: Receiver<io::Result<usize>>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = self.permits.recv().unwrap_or(Ok(usize::MAX))?.min(bytes.len());
            self.taken.lock().unwrap().extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    type Permit = Sender<io::Result<usize>>;

    fn gated() -> (Queue, Permit, Arc<Mutex<Vec<u8>>>) {
        let (permit, permits) = channel();
        let taken = Arc::default();
        (Queue::start(Gate { permits, taken: Arc::clone(&taken) }).unwrap(), permit, taken)
    }

    #[test]
    fn a_reader_that_takes_nothing_costs_lines_and_nobody_waits() {
        let (mut queue, permit, taken) = gated();
        let lines = 3 * LINES_MAX as u64;
        (0..lines).for_each(|n| writeln_once(&mut queue, n));
        let lost = queue.lost();
        // The thread holds one, or has not taken it yet.
        assert!(!queue.has_room());
        assert!((lines - LINES_MAX as u64 - 1..=lines - LINES_MAX as u64).contains(&lost), "{lost}");
        queue.flush();
        assert!(taken.lock().unwrap().is_empty());
        // Reading again brings what was not lost, whole and in order, the oldest ones among it.
        drop(permit);
        (0..60).for_each(|_| queue.flush());
        let text = String::from_utf8(taken.lock().unwrap().clone()).unwrap();
        let numbers: Vec<u64> = text.lines().map(|line| line.strip_prefix("line ").unwrap().parse().unwrap()).collect();
        assert!(queue.has_room());
        assert_eq!((numbers.len() as u64, queue.lost()), (lines - lost, lost));
        assert!(numbers.is_sorted() && numbers[..LINES_MAX].iter().copied().eq(0..LINES_MAX as u64), "{numbers:?}");
    }

    /// As the formatter does: a line is one write.
    fn writeln_once(queue: &mut Queue, n: u64) {
        queue.write_all(format!("line {n}\n").as_bytes()).unwrap();
    }

    #[test]
    fn short_interrupted_and_failed_writes_leave_lines_whole() {
        let (mut queue, permit, taken) = gated();
        for outcome in [
            Ok(3),
            Err(ErrorKind::Interrupted.into()),
            Err(ErrorKind::WouldBlock.into()),
            Ok(99),
            // The second line is torn, the third not begun.
            Ok(2),
            Err(ErrorKind::StorageFull.into()),
            Err(ErrorKind::StorageFull.into()),
        ] {
            permit.send(outcome).unwrap();
        }
        drop(permit);
        (0..4).for_each(|n| writeln_once(&mut queue, n));
        queue.flush();
        assert_eq!(String::from_utf8_lossy(&taken.lock().unwrap()), "line 0\nli\nline 3\n");
        assert_eq!(queue.lost(), 2);
    }

    #[test]
    fn a_call_runs_on_the_thread() {
        let (queue, _permit, _) = gated();
        let (name, named) = channel();
        queue.call(move || name.send(std::thread::current().name().map(str::to_string)).unwrap());
        assert_eq!(named.recv().unwrap().as_deref(), Some("penstock-log"));
    }
}

//! The control thread's part: signals, the wall clock, and the end of workers.

use super::shutdown::{Shutdown, Signal};
use super::turn_loop::{Event, Shared};
use crate::control::subject::DeviceView;
use crate::failure::{Exit, Failure};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two synchronisations of the wall clock, and looks at the drain deadline.
const TICK: Duration = Duration::from_millis(500);

/// Receives TERM and INT from its making on; a thread turns them into events once EAL runs.
pub(super) struct SignalSource {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl SignalSource {
    /// Starts the thread, off the worker CPUs.
    pub(super) fn start(events: Sender<Event>, cpus: &[usize], worker_cpus: &[usize]) -> Result<SignalSource, Failure> {
        let fail =
            |error: std::io::Error| Failure::new(Exit::Environment, format!("signals cannot be handled: {error}"));
        let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(fail)?;
        let handle = signals.handle();
        let (cpus, worker_cpus) = (cpus.to_vec(), worker_cpus.to_vec());
        let thread = std::thread::Builder::new().name("penstock-signal".into()).spawn(move || {
            keep_off(&cpus, &worker_cpus);
            for number in signals.forever() {
                let signal = if number == SIGINT { Signal::Int } else { Signal::Term };
                if events.send(Event::Signal(signal)).is_err() {
                    break;
                }
            }
        });
        Ok(SignalSource { handle, thread: Some(thread.map_err(fail)?) })
    }
}

impl Drop for SignalSource {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // A panic there was printed and changes nothing here.
            let _ = thread.join();
        }
    }
}

/// Pins the calling thread to those of `cpus` that no worker has; leaves it where it is when none remains. For every
/// control thread: each moment it takes from a worker's CPU is a moment without `rx_burst`.
pub(super) fn keep_off(cpus: &[usize], worker_cpus: &[usize]) -> bool {
    let mut set = rustix::thread::CpuSet::new();
    for cpu in cpus.iter().filter(|cpu| !worker_cpus.contains(cpu)) {
        set.set(*cpu);
    }
    set.count() > 0 && rustix::thread::sched_setaffinity(None, &set).is_ok()
}

/// Tells `workers` workers what to do until all of them have returned. `ready` is called once, when each of them
/// serves, with what backs the arenas.
/// `look` is asked how the device does.
pub(super) fn supervise(
    shared: &Shared,
    events: &Receiver<Event>,
    workers: usize,
    ready: impl Fn(&str),
    look: impl Fn() -> DeviceView,
) {
    let mut shutdown = Shutdown::Running;
    let (mut running, mut starting) = (workers, workers);
    while running > 0 {
        match events.recv_timeout(TICK) {
            Ok(Event::Signal(signal)) => {
                let before = shutdown;
                shutdown.handle_signal(signal, shared.clock.instant());
                announce(before, shutdown, signal);
            }
            Ok(Event::Ended) => {
                running -= 1;
                shutdown.handle_worker_end();
            }
            Ok(Event::Ready(backing)) => {
                starting -= 1;
                if starting == 0 && shutdown == Shutdown::Running {
                    shared.ready.store(true, Relaxed);
                    ready(&backing);
                }
            }
            // Who asked may have given up.
            Ok(Event::Look(answer)) => drop(answer.try_send(look())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        shared.clock.synchronise();
        shutdown.handle_time(shared.clock.instant());
        shared.command.store(shutdown.command() as u8, Relaxed);
    }
}

fn announce(before: Shutdown, after: Shutdown, signal: Signal) {
    let name = if signal == Signal::Int { "INT" } else { "TERM" };
    match after {
        Shutdown::Draining { .. } if before == Shutdown::Running => {
            let seconds = super::shutdown::DRAIN_MAX.as_secs();
            super::report::say(&format!("{name}: draining connections for up to {seconds} s; INT again stops at once"));
        }
        Shutdown::Stopping if before != Shutdown::Stopping => super::report::say(&format!("{name}: stopping at once")),
        _ => {}
    }
}

//! The control thread's part: signals, the wall clock, and the end of workers.

use super::shutdown::{Shutdown, Signal};
use super::turn_loop::{Event, Shared};
use crate::control::log::{Logs, complain, events};
use crate::control::subject::DeviceView;
use crate::failure::{Exit, Failure};
use crate::time::Instant;
use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_default};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::unregister;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two synchronisations of the wall clock, and looks at the drain deadline.
const TICK: Duration = Duration::from_millis(500);

/// Between two reports of what draining waits for.
const PROGRESS: Duration = Duration::from_secs(1);

const SIGNALS: [i32; 2] = [SIGTERM, SIGINT];

/// How long workers may take to return when told to stop at once. A turn takes microseconds; one that hangs must not
/// leave a process that only KILL ends.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Keeps a TERM or INT that comes while EAL and the device start: then the gateway goes on starting, drains and cleans
/// up. A second one ends the process, in case the start hangs.
pub(super) struct EarlySignals {
    signals: Signals,
    actions: Vec<SigId>,
}

impl EarlySignals {
    pub(super) fn keep() -> Result<EarlySignals, Failure> {
        let seen = Arc::new(AtomicBool::new(false));
        let mut actions = Vec::new();
        for signal in SIGNALS {
            // Actions run in this order.
            actions.push(register_conditional_default(signal, Arc::clone(&seen)).map_err(|error| no_signals(&error))?);
            actions.push(register(signal, Arc::clone(&seen)).map_err(|error| no_signals(&error))?);
        }
        Ok(EarlySignals { signals: Signals::new(SIGNALS).map_err(|error| no_signals(&error))?, actions })
    }
}

fn no_signals(error: &std::io::Error) -> Failure {
    Failure::new(Exit::Environment, format!("signals cannot be handled: {error}"))
}

/// A thread that turns TERM and INT into events.
pub(super) struct SignalSource {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl SignalSource {
    /// Starts the thread, off the worker CPUs.
    pub(super) fn start(
        early: EarlySignals,
        events: Sender<Event>,
        cpus: &[usize],
        worker_cpus: &[usize],
    ) -> Result<SignalSource, Failure> {
        let EarlySignals { mut signals, actions } = early;
        for action in actions {
            unregister(action);
        }
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
        Ok(SignalSource { handle, thread: Some(thread.map_err(|error| no_signals(&error))?) })
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

/// What the main thread does with the device while workers run.
pub(super) struct Device<'a> {
    /// How it does.
    pub(super) look: &'a dyn Fn() -> DeviceView,
    /// Called twice a second or more: turns counters into events.
    pub(super) watch: &'a mut dyn FnMut(Instant),
}

/// Tells `workers` workers what to do until all of them have returned. `ready` is called once, when each of them
/// serves, with what backs the arenas.
pub(super) fn supervise(
    shared: &Shared,
    events: &Receiver<Event>,
    workers: usize,
    ready: impl Fn(&str),
    device: &mut Device,
    logs: &Logs,
) {
    let mut shutdown = Shutdown::Running;
    let drain = shared.config.workers.drain_timeout;
    let mut stopping = None;
    let mut progress = None;
    let (mut running, mut starting) = (workers, workers);
    while running > 0 {
        match events.recv_timeout(TICK) {
            Ok(Event::Signal(signal)) => {
                let before = shutdown;
                shutdown.handle_signal(signal, shared.clock.instant(), drain);
                announce(before, shutdown, signal, drain);
            }
            Ok(Event::Ended) => {
                running -= 1;
                shutdown.handle_worker_end();
            }
            Ok(Event::Ready { backing, capabilities }) => {
                starting -= 1;
                if let Err(error) = capabilities {
                    events::capabilities_kept(&error);
                }
                if starting == 0 && shutdown == Shutdown::Running {
                    shared.ready.store(true, Relaxed);
                    ready(&backing);
                }
            }
            // Who asked may have given up.
            Ok(Event::Look(answer)) => drop(answer.try_send((device.look)())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        shared.clock.synchronise();
        let now = shared.clock.instant();
        shutdown.handle_time(now);
        if matches!(shutdown, Shutdown::Draining { .. }) && now >= *progress.get_or_insert(now + PROGRESS) {
            progress = Some(now + PROGRESS);
            say_progress(shared);
        }
        if shutdown == Shutdown::Stopping && now >= *stopping.get_or_insert(now) + STOP_MAX && running > 0 {
            give_up(running, logs);
        }
        shared.command.store(shutdown.command() as u8, Relaxed);
        (device.watch)(now);
    }
}

/// Ends the process: its lcores cannot be ended one by one, nor DPDK cleaned up under them.
fn give_up(running: usize, logs: &Logs) -> ! {
    let seconds = STOP_MAX.as_secs();
    let what = format!("{running} workers did not stop within {seconds} s: ended without closing the device");
    let failure = Failure::new(Exit::Runtime, what)
        .fix("start it again; should it hang again, report where: gdb -p PID -batch -ex 'thread apply all bt'");
    logs.fail(&failure);
    complain(&failure);
    std::process::exit(Exit::Runtime as i32)
}

fn say_progress(shared: &Shared) {
    let connections = shared.remaining.connections.load(Relaxed);
    let requests = shared.remaining.requests.load(Relaxed);
    events::drain_progress(connections as u64, requests as u64);
}

fn announce(before: Shutdown, after: Shutdown, signal: Signal, drain: Duration) {
    let name = if signal == Signal::Int { "INT" } else { "TERM" };
    match after {
        Shutdown::Draining { .. } if before == Shutdown::Running => {
            events::draining(name, drain.as_secs_f64());
        }
        Shutdown::Stopping if before != Shutdown::Stopping => events::stopping(name),
        _ => {}
    }
}

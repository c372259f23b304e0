//! The control thread's part: signals, the wall clock, and the end of workers.

use super::shutdown::{Shutdown, Signal};
use super::turn_loop::{Event, Shared};
use crate::control::subject::DeviceView;
use crate::failure::{Exit, Failure};
use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_default};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::unregister;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two synchronisations of the wall clock, and looks at the drain deadline.
const TICK: Duration = Duration::from_millis(500);

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
    let mut stopping = None;
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
        let now = shared.clock.instant();
        shutdown.handle_time(now);
        if shutdown == Shutdown::Stopping && now >= *stopping.get_or_insert(now) + STOP_MAX && running > 0 {
            give_up(running);
        }
        shared.command.store(shutdown.command() as u8, Relaxed);
    }
}

/// Ends the process: its lcores cannot be ended one by one, nor DPDK cleaned up under them.
fn give_up(running: usize) -> ! {
    let seconds = STOP_MAX.as_secs();
    let what = format!("{running} workers did not stop within {seconds} s: ended without closing the device");
    let failure = Failure::new(Exit::Runtime, what)
        .fix("start it again; should it hang again, report where: gdb -p PID -batch -ex 'thread apply all bt'");
    // A closed standard error leaves only the exit code to tell.
    let _ = writeln!(std::io::stderr(), "{failure}");
    std::process::exit(Exit::Runtime as i32)
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

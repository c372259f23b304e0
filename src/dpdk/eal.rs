//! EAL, the environment abstraction layer: started once, cleaned up when its last handle is gone.

use super::{explain, log};
use crate::failure::{Exit, Failure};
use dpdk_sys as sys;
use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ThreadId};

/// A file prefix that begins so and ends in a process id is that process's own (see `runtime::plan`).
const PREFIX: &str = "penstock_";

static STARTED: AtomicBool = AtomicBool::new(false);

/// A handle to the running EAL; clones share it.
#[derive(Clone)]
pub struct Eal {
    _inner: Arc<Inner>,
}

struct Inner {
    started_on: ThreadId,
    /// Removed after clean-up; EAL leaves it behind.
    own_runtime_dir: Option<PathBuf>,
    /// rte_pdump is set up.
    capturable: bool,
}

impl Eal {
    /// Starts EAL with a command line, program name first. The calling thread becomes the main lcore: EAL pins it to
    /// that lcore's CPU. Possible once per process, even after a failure: EAL does not undo what it did.
    ///
    /// # Errors
    /// `Exit::Environment` with the lines that EAL logged and, for the usual causes, the command that fixes them.
    pub fn start(args: &[String]) -> Result<Eal, Failure> {
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(Failure::new(
                Exit::Environment,
                "EAL was started before in this process and cannot start twice",
            ));
        }
        let (argv, argc) = leak_argv(args)?;
        let plain = args.iter().any(|arg| matches!(arg.as_str(), "-h" | "--help" | "-v"));
        let verbose = args.iter().any(|arg| arg.starts_with("--log-level"));
        log::capture(verbose)?;
        // SAFETY: argv points to argc pointers to NUL-terminated strings and a final null pointer; all of it is leaked
        // and unshared, so EAL may reorder it and keep it.
        let code = unsafe { sys::shim_eal_init(argc, argv, i32::from(plain)) };
        let own_runtime_dir = own_runtime_dir(args);
        if code < 0 {
            remove(own_runtime_dir.as_deref());
            // SAFETY: reads a per-thread variable.
            let errno = unsafe { sys::shim_errno() };
            return Err(explain::start_failure(args, &log::lines(), &super::error_text(errno)));
        }
        if let Some(base) = own_runtime_dir.as_deref().and_then(Path::parent) {
            sweep(base);
        }
        // Lets dpdk-dumpcap, a secondary process, ask for copies of frames; it costs nothing until one does.
        // SAFETY: EAL runs. It registers a function of the library with EAL's own thread for such questions.
        let capturable = unsafe { sys::rte_pdump_init() } == 0;
        if !capturable {
            log::warn("note: dpdk-dumpcap will not work: DPDK's packet capture cannot be set up");
        }
        let inner = Inner { started_on: thread::current().id(), own_runtime_dir, capturable };
        Ok(Eal { _inner: Arc::new(inner) })
    }

    /// Ends the start-up phase: until now, errors were kept to explain a failure (see `EthPort::find`); those that
    /// nothing explained are shown, as errors or, when the start `survived` them, as notes. Later ones are shown as
    /// they come.
    pub fn settle(&self, survived: bool) {
        log::settle(survived);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if thread::current().id() != self.started_on {
            // EAL memory may be in use by the main lcore; the process gives it back when it ends.
            log::warn(
                "warning: the last user of DPDK ended on a thread other than the main lcore; EAL is not cleaned up",
            );
            return;
        }
        // SAFETY: this is the main lcore, and no port, pool or task exists: each holds an `Eal`.
        unsafe {
            if self.capturable {
                sys::rte_pdump_uninit();
            }
            sys::rte_eal_cleanup();
        }
        remove(self.own_runtime_dir.as_deref());
    }
}

/// Removes the runtime folders of gateways that were killed: named like ours, with no such process. They hold a
/// telemetry socket at most.
fn sweep(base: &Path) {
    let proc = Path::new("/proc");
    let Ok(entries) = std::fs::read_dir(base) else { return };
    if !proc.join("self").exists() {
        return;
    }
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !proc.join(pid.to_string()).exists()) {
            remove(Some(&entry.path()));
        }
    }
}

fn remove(runtime_dir: Option<&Path>) {
    if let Some(dir) = runtime_dir {
        // A folder that stays is untidy, not a failure.
        let _ = std::fs::remove_dir_all(dir);
    }
}

/// The runtime folder, when its name holds our process id (see `runtime::plan`) and so can be no one else's.
fn own_runtime_dir(args: &[String]) -> Option<PathBuf> {
    let prefix = args.iter().find_map(|arg| arg.strip_prefix("--file-prefix="))?;
    if prefix != format!("{PREFIX}{}", std::process::id()) {
        return None;
    }
    // SAFETY: EAL has read its arguments; the string is NUL-terminated, lives in EAL's static storage and is copied at
    // once.
    let dir = unsafe { CStr::from_ptr(sys::rte_eal_get_runtime_dir()) };
    let dir = PathBuf::from(dir.to_str().ok()?);
    dir.ends_with(prefix).then_some(dir)
}

/// A C argv for the rest of the process: EAL keeps pointers into it.
fn leak_argv(args: &[String]) -> Result<(*mut *mut core::ffi::c_char, i32), Failure> {
    let nul = |_| Failure::new(Exit::Usage, "an EAL argument contains a NUL character");
    let strings = args.iter().map(|arg| CString::new(arg.as_str())).collect::<Result<Vec<_>, _>>().map_err(nul)?;
    let count = i32::try_from(strings.len()).map_err(|_| Failure::new(Exit::Usage, "too many EAL arguments"))?;
    let mut argv: Vec<_> = strings.into_iter().map(CString::into_raw).collect();
    argv.push(core::ptr::null_mut());
    Ok((Box::leak(argv.into_boxed_slice()).as_mut_ptr(), count))
}

//! Lcores: which there are, and running a closure on one with its panic caught.

use super::{Eal, check};
use crate::failure::{Exit, Failure};
use dpdk_sys as sys;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

/// One of EAL's threads. Had from EAL only, so that its number is one of EAL's.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Lcore {
    id: u32,
    node: Option<u32>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Eal {
    /// The lcores except the main one, in EAL's order.
    pub fn worker_lcores(&self) -> Vec<Lcore> {
        let next = |after: u32| {
            // SAFETY: EAL runs; any number is a valid start, the last one wraps to the first.
            let id = unsafe { sys::rte_get_next_lcore(after, 1, 0) };
            (id < sys::SHIM_LCORE_NONE).then_some(id)
        };
        std::iter::successors(next(u32::MAX), |id| next(*id)).map(Lcore::describe).collect()
    }

    /// The main lcore: the thread that started EAL.
    pub fn main_lcore(&self) -> Lcore {
        // SAFETY: EAL runs.
        Lcore::describe(unsafe { sys::rte_get_main_lcore() })
    }

    /// Runs `job` on a worker lcore.
    ///
    /// # Errors
    /// `Exit::Environment` when the lcore is busy, or the main one.
    pub fn launch<T, F>(&self, lcore: Lcore, job: F) -> Result<Task<T>, Failure>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        if lcore == self.main_lcore() {
            // EAL would wait on its own thread for an answer to a pipe that it never opened.
            return Err(Failure::new(Exit::Environment, format!("lcore {} is the main one", lcore.id)));
        }
        let (sender, result) = mpsc::sync_channel(1);
        let job: Job = Box::new(move || {
            // What the closure owned is dropped by the unwinding, here on the lcore; nothing broken is seen afterwards.
            let outcome = catch_unwind(AssertUnwindSafe(job)).map_err(|payload| panic_text(payload.as_ref()));
            // The task is gone only when nobody wants the result.
            let _ = sender.send(outcome);
        });
        let argument = Box::into_raw(Box::new(job)).cast::<c_void>();
        // SAFETY: `enter` takes the box back exactly once.
        let code = unsafe { sys::rte_eal_remote_launch(Some(enter), argument, lcore.id) };
        if code < 0 {
            // SAFETY: the launch was refused, so the box is still ours.
            drop(unsafe { Box::from_raw(argument.cast::<Job>()) });
        }
        check(code, || format!("lcore {} could not be started", lcore.id))?;
        Ok(Task { lcore, result, _eal: self.clone() })
    }
}

impl Lcore {
    fn describe(id: u32) -> Lcore {
        // SAFETY: EAL runs and has this lcore.
        let node = unsafe { sys::rte_lcore_to_socket_id(id) };
        // SOCKET_ID_ANY, which is -1, when its CPUs are on several nodes.
        Lcore { id, node: i32::try_from(node).is_ok().then_some(node) }
    }

    /// EAL's number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The NUMA node of its CPUs; None: they are on several.
    pub fn node(&self) -> Option<u32> {
        self.node
    }

    /// The CPUs its thread may run on, ascending; usually one.
    pub fn cpus(&self) -> Vec<usize> {
        // SAFETY: the lcore is one of EAL's; any CPU number may be asked about.
        let on = |cpu: &u32| unsafe { sys::shim_lcore_on_cpu(self.id, *cpu) } != 0;
        (0..sys::SHIM_CPUS_MAX).filter(on).map(|cpu| cpu as usize).collect()
    }
}

unsafe extern "C" fn enter(argument: *mut c_void) -> i32 {
    // SAFETY: `launch` passes a box it gave up, once.
    let job = unsafe { Box::from_raw(argument.cast::<Job>()) };
    job();
    0
}

/// A closure that runs on an lcore; dropping it waits for the end.
pub struct Task<T> {
    lcore: Lcore,
    result: mpsc::Receiver<Result<T, String>>,
    _eal: Eal,
}

impl<T> Task<T> {
    /// Waits for the end; the error is the panic's message.
    ///
    /// # Errors
    /// The message of the panic that ended the closure.
    pub fn join(self) -> Result<T, String> {
        self.wait();
        self.result.try_recv().unwrap_or_else(|_| Err("the lcore ended without a result".into()))
    }

    fn wait(&self) {
        // SAFETY: the lcore is one of EAL's; waiting twice is allowed.
        unsafe { sys::rte_eal_wait_lcore(self.lcore.id) };
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.wait();
    }
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_string(),
        (_, Some(text)) => text.clone(),
        _ => "no message".into(),
    }
}

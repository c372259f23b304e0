//! Who the process is once the device runs.
//!
//! Owns the change from root to an unprivileged user, of every thread and for good, and what a worker gives up in any
//! case. Refuses to keep a capability for those who read frames: devices, hugepages and sockets are open by then.

use crate::control::log::events;
use crate::failure::{Exit, Failure};
use nix::errno::Errno;
use nix::unistd::{Uid, User, geteuid, setgroups, setresgid, setresuid};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

/// The user to become.
pub(super) struct Identity(Option<User>);

impl Identity {
    /// Finds a user by name; None: stay who we are.
    pub(super) fn find(name: Option<&str>) -> Result<Identity, Failure> {
        let Some(name) = name else { return Ok(Identity(None)) };
        if !geteuid().is_root() {
            let what = format!("only root can become user {name}");
            return Err(Failure::new(Exit::Environment, what).fix("start as root, or without --user"));
        }
        match User::from_name(name) {
            Ok(Some(user)) if !user.uid.is_root() => Ok(Identity(Some(user))),
            Ok(Some(_)) => Err(Failure::new(Exit::Usage, format!("--user {name} is root")).fix("name another user")),
            Ok(None) => Err(Failure::new(Exit::Environment, format!("there is no user {name}"))
                .fix(format!("useradd --system --no-create-home {name}, or name another with --user"))),
            Err(error) => Err(Failure::new(Exit::Environment, format!("user {name} cannot be looked up: {error}"))),
        }
    }

    /// Becomes the user. The C library does it for every thread, the lcores' included; leaving user 0 takes every
    /// capability away (capabilities(7)).
    pub(super) fn assume(&self) -> Result<(), Failure> {
        let Some(User { name, uid, gid, .. }) = &self.0 else { return Ok(()) };
        let (uid, gid) = (*uid, *gid);
        let changed = setgroups(&[gid]).and_then(|()| setresgid(gid, gid, gid)).and_then(|()| setresuid(uid, uid, uid));
        let root = Uid::from_raw(0);
        // A way back would be one for whoever takes over the process.
        let outcome = changed.and_then(|()| match setresuid(root, root, root) {
            Err(Errno::EPERM) => Ok(()),
            outcome => outcome.and(Err(Errno::EPERM)),
        });
        outcome.map_err(|error| {
            Failure::new(Exit::Environment, format!("cannot become user {name}: {error}"))
                .fix("allow CAP_SETUID and CAP_SETGID at start, or start without --user")
        })?;
        events::user(name, uid.as_raw().into());
        Ok(())
    }
}

/// Gives up every capability of the calling thread, which keeps its user. For workers, whoever runs the process. The
/// error is for the control thread to tell.
pub(super) fn drop_capabilities() -> Result<(), String> {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets).map_err(|error| error.to_string())
}

//! What this process may do.
//!
//! Owns capabilities and resource limits, from /proc/self. Refuses to change them.

use super::Root;
use super::root::field;

/// Permissions and limits.
#[derive(Clone, Default, Debug)]
pub struct Process {
    /// Effective capabilities, a bit each; None: unknown.
    pub capabilities: Option<u64>,
    /// Memory that may be locked, in bytes.
    pub memlock: Limit,
    /// Open files.
    pub nofile: Limit,
}

/// A soft resource limit; None: unlimited or unknown.
pub type Limit = Option<u64>;

impl Process {
    pub fn read(root: &Root) -> Process {
        let status = root.text_or_empty("proc/self/status");
        let limits = root.text_or_empty("proc/self/limits");
        Process {
            capabilities: field(&status, "CapEff").and_then(|text| u64::from_str_radix(text, 16).ok()),
            memlock: limit(&limits, "Max locked memory"),
            nofile: limit(&limits, "Max open files"),
        }
    }

    /// Whether it has a capability; unknown counts as yes.
    pub fn has(&self, capability: u32) -> bool {
        self.capabilities.is_none_or(|bits| bits >> capability & 1 == 1)
    }
}

fn limit(limits: &str, name: &str) -> Limit {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

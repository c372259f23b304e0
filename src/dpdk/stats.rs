//! A device's own counters, as names and numbers.

use core::ffi::CStr;
use core::mem::MaybeUninit;
use dpdk_sys as sys;

/// The basic counters, then the extended ones; empty when the device counts nothing.
pub(super) fn read(port: u16) -> Vec<(String, u64)> {
    let mut all = basic(port);
    all.extend(extended(port));
    all
}

/// The basic counters.
pub(super) fn basic(port: u16) -> Vec<(String, u64)> {
    let mut stats = MaybeUninit::<sys::rte_eth_stats>::zeroed();
    // SAFETY: the port exists; the call fills in integers, for which all zero is a value too.
    let (code, stats) = unsafe { (sys::rte_eth_stats_get(port, stats.as_mut_ptr()), stats.assume_init()) };
    if code != 0 {
        return Vec::new();
    }
    [
        ("ipackets", stats.ipackets),
        ("opackets", stats.opackets),
        ("ibytes", stats.ibytes),
        ("obytes", stats.obytes),
        ("imissed", stats.imissed),
        ("ierrors", stats.ierrors),
        ("oerrors", stats.oerrors),
        ("rx_nombuf", stats.rx_nombuf),
    ]
    .map(|(name, value)| (name.to_string(), value))
    .to_vec()
}

fn extended(port: u16) -> Vec<(String, u64)> {
    // SAFETY: without an array the call returns the number of counters.
    let count = unsafe { sys::rte_eth_xstats_get_names(port, core::ptr::null_mut(), 0) };
    let Ok(len) = usize::try_from(count) else { return Vec::new() };
    let mut names = vec![sys::rte_eth_xstat_name { name: [0; 64] }; len];
    let mut values = vec![sys::rte_eth_xstat { id: 0, value: 0 }; len];
    // SAFETY: both arrays have `len` elements, the size given.
    let (named, valued) = unsafe {
        (
            sys::rte_eth_xstats_get_names(port, names.as_mut_ptr(), len as u32),
            sys::rte_eth_xstats_get(port, values.as_mut_ptr(), len as u32),
        )
    };
    if named != count || valued != count {
        return Vec::new();
    }
    let text = |value: &sys::rte_eth_xstat| {
        let name = names.get(value.id as usize)?;
        // SAFETY: DPDK ends each name in NUL within its array.
        let name = unsafe { CStr::from_ptr(name.name.as_ptr()) };
        Some((name.to_string_lossy().into_owned(), value.value))
    };
    values.iter().filter_map(text).collect()
}

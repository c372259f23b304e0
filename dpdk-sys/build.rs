//! Asks pkg-config for DPDK, compiles its static inlines and makes the bindings.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::Command;

const FUNCTIONS: &[&str] = &[
    "shim_.*",
    "rte_eal_(cleanup|remote_launch|wait_lcore|get_runtime_dir)",
    "rte_(get_main_lcore|get_next_lcore|lcore_to_socket_id|get_tsc_hz|version|strerror)",
    "rte_log_set_global_level",
    "rte_pdump_(init|uninit)",
    "rte_pktmbuf_pool_create",
    "rte_mempool_(free|in_use_count|avail_count)",
    "rte_eth_dev_(info_get|configure|adjust_nb_rx_tx_desc|start|stop|close|socket_id|set_mtu|get_mtu)",
    "rte_eth_dev_(get_port_by_name|get_name_by_port|count_avail)",
    "rte_eth_(find_next_owned_by|rx_queue_setup|tx_queue_setup|macaddr_get|link_get_nowait|stats_get)",
    "rte_eth_dev_rx_intr_ctl_q|rte_epoll_wait",
    "rte_eth_dev_rss_(hash_conf_get|reta_query)",
    "rte_eth_(allmulticast_enable|promiscuous_enable|xstats_get|xstats_get_names)",
];

fn main() {
    for name in ["PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "PKG_CONFIG_SYSROOT_DIR"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=shim");
    // Run here and not by the pkg-config crate, which drops `-include rte_config.h` and `-march`: without them the
    // structures have another layout than in the library.
    let Some(cflags) = pkg_config(&["--cflags"]) else { return };
    let Some(libs) = pkg_config(&["--libs"]) else { return };
    if let Some(dir) = pkg_config(&["--variable=pcfiledir"]).and_then(|words| words.into_iter().next()) {
        // Another DPDK was installed.
        println!("cargo::rerun-if-changed={dir}/libdpdk.pc");
    }
    link(&libs);
    compile_shim(&cflags);
    generate(&cflags);
}

/// The words pkg-config prints for libdpdk. On failure the build ends with advice for people.
fn pkg_config(arguments: &[&str]) -> Option<Vec<String>> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let problem = match Command::new(&program).args(arguments).arg("libdpdk >= 22.11").output() {
        Ok(output) if output.status.success() => {
            return Some(String::from_utf8_lossy(&output.stdout).split_whitespace().map(String::from).collect());
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_string();
            format!("DPDK (libdpdk 22.11 or newer) was not found by {program}: {said}")
        }
        Err(error) => format!("{program} could not be run: {error}"),
    };
    println!("cargo::error={problem}");
    println!("cargo::error=fix: apt-get install libdpdk-dev pkg-config clang libclang-dev");
    println!("cargo::error=or build without the feature `dpdk`: everything except `penstock run` works without it");
    None
}

fn link(libs: &[String]) {
    for word in libs {
        if let Some(library) = word.strip_prefix("-l:") {
            println!("cargo::rustc-link-lib=dylib:+verbatim={library}");
        } else if let Some(library) = word.strip_prefix("-l") {
            println!("cargo::rustc-link-lib=dylib={library}");
        } else if let Some(folder) = word.strip_prefix("-L") {
            println!("cargo::rustc-link-search=native={folder}");
        }
    }
}

fn compile_shim(cflags: &[String]) {
    let mut build = cc::Build::new();
    build.file("shim/shim.c").opt_level(3).warnings(false);
    for flag in cflags {
        build.flag(flag);
    }
    build.compile("penstock_dpdk_shim");
}

fn generate(cflags: &[String]) {
    let mut builder = bindgen::Builder::default()
        .header("shim/shim.h")
        .clang_args(cflags)
        .generate_comments(false)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .use_core()
        .derive_debug(false)
        .derive_default(false)
        .allowlist_var("SHIM_.*")
        .allowlist_type(
            "rte_eth_(conf|dev_info|rss_conf|rss_reta_entry64|rxconf|txconf|link|stats|xstat|xstat_name|rx_mq_mode)",
        )
        // An mbuf's fields are reached by the SHIM_MBUF_ offsets.
        .opaque_type("rte_mbuf")
        .opaque_type("rte_mempool")
        .opaque_type("rte_device")
        // Packed and aligned at once, which Rust cannot express.
        .opaque_type("rte_l2tpv2_.*")
        .opaque_type("rte_gtp_psc_generic_hdr")
        .opaque_type("rte_arp_hdr")
        .opaque_type("rte_arp_ipv4");
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("bindings.rs");
    // bindgen panics when there is no libclang.
    let generate = AssertUnwindSafe(|| builder.generate().map_err(|error| error.to_string()));
    let bindings = catch_unwind(generate).unwrap_or_else(|_| Err("libclang was not found".into()));
    let written = bindings.and_then(|bindings| bindings.write_to_file(&out).map_err(|error| error.to_string()));
    if let Err(error) = written {
        println!("cargo::error=the bindings to DPDK could not be made: {error}");
        println!("cargo::error=fix: apt-get install clang libclang-dev");
    }
}

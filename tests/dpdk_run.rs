//! `runtime::run` as a process: it says when it is ready, ends by signal with its frames back and its traces gone, and
//! names what is wrong when it cannot start. Runs itself again as the gateway, on a net_null port and plain pages.
#![cfg(feature = "dpdk")]

use penstock::config::{
    Body, Cidr, Config, DirectResponse, HttpLimits, Hugepages, Listener, LogConfig, LogFormat, PathMatch, PortConfig,
    Route, TcpConfig, WorkersConfig,
};
use penstock::control::log::Logs;
use penstock::runtime::{RunOptions, run};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

const CHILD: &str = "PENSTOCK_TEST_DEVICE";

fn config(device: String) -> Config {
    let body = Body::Inline(b"hello\n".to_vec());
    Config {
        port: PortConfig {
            device: Some(device),
            addresses: vec![Cidr { address: "198.18.0.2".parse().unwrap(), prefix_len: 24 }],
            ..PortConfig::default()
        },
        workers: WorkersConfig {
            count: Some(1),
            connections: 64,
            hugepages: Hugepages::Off,
            ..WorkersConfig::default()
        },
        listeners: vec![Listener { address: None, port: 80 }],
        http: HttpLimits::default(),
        tcp: TcpConfig { half_open: 16, time_wait_entries: 64, ..TcpConfig::default() },
        metrics: penstock::config::MetricsConfig { address: None },
        admin: penstock::config::AdminConfig::default(),
        log: LogConfig::default(),
        routes: vec![Route {
            host: None,
            path: PathMatch::Prefix("/".into()),
            methods: Vec::new(),
            respond: DirectResponse { status: 200, headers: Vec::new(), body },
        }],
    }
}

/// The gateway, when this process is to be it.
#[test]
fn gateway() {
    let Ok(device) = std::env::var(CHILD) else { return };
    let logs = Logs::start(LogConfig { format: LogFormat::Text, ..LogConfig::default() }).unwrap();
    let outcome = run(RunOptions { eal_args: None, config: config(device), user: None, logs: logs.clone() });
    logs.flush();
    if let Err(failure) = outcome {
        eprintln!("{failure}");
        std::process::exit(i32::from(failure.exit as u8));
    }
}

fn start(device: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("the test knows its own file"));
    command.args(["--exact", "gateway", "--nocapture"]).env(CHILD, device);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs itself")
}

/// Starts the gateway, signals it when it is ready, and returns what it said.
fn run_until(signal: rustix::process::Signal) -> String {
    let mut child = start("net_null0");
    let pid = rustix::process::Pid::from_child(&child);
    let mut said = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    while !said.ends_with("ready\n") {
        if out.read_line(&mut said).unwrap() == 0 {
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("ended early: {said}");
        }
    }
    rustix::process::kill_process(pid, signal).unwrap();
    out.read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    let runtime_dir = format!("dpdk/penstock_{}", child.id());
    for base in ["/var/run", "/tmp"] {
        assert!(!std::path::Path::new(base).join(&runtime_dir).exists(), "{base}/{runtime_dir} is left");
    }
    said
}

#[test]
fn term_and_int_end_it_cleanly() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let said = run_until(signal);
        for line in ["EAL: penstock --lcores=", "port: net_null0 (net_null)", "memory: ", "listening: *:80", "stopped"]
        {
            assert!(said.contains(line), "no {line}: {said}");
        }
        assert!(!said.contains("leaked"), "{said}");
    }
}

#[test]
fn what_a_killed_gateway_left_is_removed_by_the_next() {
    // No process has this number: the kernel's limit is 2^22.
    let bases = ["/var/run".into(), "/tmp".into(), std::env::var("XDG_RUNTIME_DIR").unwrap_or("/tmp".into())];
    let left = bases.map(|base| std::path::Path::new(&base).join("dpdk/penstock_4194305"));
    let left: Vec<_> = left.into_iter().filter(|dir| std::fs::create_dir_all(dir).is_ok()).collect();
    run_until(rustix::process::Signal::TERM);
    assert!(left.iter().any(|dir| !dir.exists()), "none of {left:?} was removed");
    left.iter().filter(|dir| dir.exists()).for_each(|dir| std::fs::remove_dir_all(dir).unwrap());
}

#[test]
fn a_device_that_is_not_there_is_exit_code_4_and_a_fix() {
    let output = start("net_af_packet0,iface=no_such_if").wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{complaint}");
    assert!(complaint.contains("net_af_packet0") && complaint.contains("fix: "), "{complaint}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("ready"));
}

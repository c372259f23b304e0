//! What results are stamped with: host, build, processor.

use crate::report::Stamp;

/// The stamp of this machine and build, without what only a running EAL knows.
pub fn stamp() -> Stamp {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    Stamp {
        host: read("/proc/sys/kernel/hostname").trim().into(),
        version: env!("CARGO_PKG_VERSION").into(),
        git_sha: env!("PENSTOCK_GIT_SHA").into(),
        build_id: build_id(),
        cpu: field("model name").or_else(|| field("CPU part")).unwrap_or_else(|| "unknown".into()),
        cores: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        kernel: read("/proc/sys/kernel/osrelease").trim().into(),
        ..Stamp::default()
    }
}

/// The first half of the executable's SHA-256: it tells two builds of one commit apart.
fn build_id() -> String {
    use sha2::{Digest, Sha256};
    let Ok(mut file) = std::fs::File::open("/proc/self/exe") else { return "unknown".into() };
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match std::io::Read::read(&mut file, &mut buffer) {
            Ok(0) => break,
            Ok(len) => hasher.update(&buffer[..len]),
            Err(_) => return "unknown".into(),
        }
    }
    hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

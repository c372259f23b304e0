//! `[metrics]`, `[admin]` and `[log]`: how the gateway is operated.

use core::net::SocketAddr;
use std::path::PathBuf;

use super::reader::Section;
use crate::config::{AdminConfig, AdminSocket, LogConfig, LogFormat, LogLevel, MetricsConfig};

/// Bytes of a Unix socket's path without the final NUL (`sun_path` of unix(7)).
const SOCKET_PATH_MAX: usize = 107;

pub(super) fn metrics(section: &Section) -> MetricsConfig {
    let default = MetricsConfig::default();
    let Some(text) = section.text("address") else { return default };
    if *text.get_ref() == "off" {
        return MetricsConfig { address: None };
    }
    match text.get_ref().parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => MetricsConfig { address: Some(address) },
        _ => {
            let what = format!("`address` is not an IP address with a port: {:?}", text.get_ref());
            section.report.add(text.span(), what, "examples: \"127.0.0.1:9902\", \"[::]:9902\", \"off\"");
            default
        }
    }
}

pub(super) fn admin(section: &Section) -> AdminConfig {
    let Some(text) = section.text("socket") else { return AdminConfig::default() };
    let socket = match *text.get_ref() {
        "auto" => AdminSocket::Auto,
        "off" => AdminSocket::Off,
        path if path.starts_with('/') && path.len() <= SOCKET_PATH_MAX && !path.contains('\0') => {
            AdminSocket::Path(PathBuf::from(path))
        }
        path => {
            let what = format!("`socket` is not an absolute path of at most {SOCKET_PATH_MAX} bytes: {path:?}");
            section.report.add(text.span(), what, "examples: \"/run/penstock/edge.sock\", \"auto\", \"off\"");
            AdminSocket::Auto
        }
    };
    AdminConfig { socket }
}

pub(super) fn log(section: &Section) -> LogConfig {
    LogConfig {
        format: section.choice("format").and_then(LogFormat::named).unwrap_or_default(),
        level: section.choice("level").and_then(LogLevel::named).unwrap_or_default(),
    }
}

//! The command line, and the values on it, in the configuration and in the admin socket's targets.
//!
//! Owns round trips: what is shown reads back as the same value. Refuses to run commands.

use penstock::cli;
use penstock::control::capture::{self, Request};
use penstock::control::load::units::{parse_duration, parse_size, show_duration, show_size};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Any text as each kind of value.
pub fn values(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(size) = parse_size(text) {
        assert_eq!(parse_size(&show_size(size)), Ok(size));
    }
    if let Ok(duration) = parse_duration(text) {
        assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
    }
    if let Ok(port) = capture::parse_port(text) {
        assert!(port > 0);
    }
    if let Ok((_, port)) = capture::parse_listener(text) {
        assert!(port > 0, "no listener has port 0");
    }
    if let Ok(snaplen) = capture::parse_snaplen(text) {
        assert!(capture::SNAPLENS.contains(&snaplen));
    }
    let _ = (capture::parse_drops(text), capture::parse_count(text));
}

/// Any text as the query that asks for a capture.
pub fn capture_query(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match Request::parse(text) {
        Ok(request) => {
            assert_eq!(Request::parse(&request.query()), Ok(request), "what is asked for changes on the way")
        }
        Err(error) => assert!(!error.is_empty()),
    }
}

/// Any lines as arguments of the program.
pub fn command_line(input: &[u8]) {
    let lines = input.split(|byte| *byte == b'\n').filter(|line| !line.contains(&0)).take(64);
    let arguments: Vec<OsString> = lines.map(|line| OsString::from_vec(line.to_vec())).collect();
    let program = OsString::from("penstock");
    match cli::check(std::iter::once(program).chain(arguments.iter().cloned())) {
        Ok(Some(eal)) => {
            let before = arguments.iter().take_while(|argument| *argument != "--");
            assert!(before.eq(eal.iter().map(|own| std::ffi::OsStr::new(own))), "EAL gets other arguments");
        }
        Ok(None) => {}
        Err(failure) => {
            assert_eq!(failure.exit as u8, 2, "{failure}");
            assert!(failure.fix.is_some() && !failure.what.is_empty(), "{failure}");
        }
    }
}

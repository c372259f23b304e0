//! The penstock program.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match penstock::cli::run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // A closed stderr leaves only the exit code to tell.
            let _ = writeln!(std::io::stderr(), "{failure}");
            ExitCode::from(failure.exit as u8)
        }
    }
}

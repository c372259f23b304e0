//! The penstock program.

use std::process::ExitCode;

fn main() -> ExitCode {
    match penstock::cli::run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            penstock::cli::complain(&failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}

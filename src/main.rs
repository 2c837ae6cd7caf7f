//! The command line of `sslc`.

use clap::Parser;
use sslc::cli::Cli;
use sslc::commands;
use std::process::ExitCode;
use std::thread;

/// Specs may nest and recurse deeply; the compiler bounds both well within this.
const STACK: usize = 256 << 20;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let worker = thread::Builder::new()
        .name("sslc".to_owned())
        .stack_size(STACK)
        .spawn(move || commands::execute(&cli));
    match worker.map(thread::JoinHandle::join) {
        Ok(Ok(status)) => ExitCode::from(status),
        Ok(Err(_)) => ExitCode::from(101),
        Err(error) => {
            eprintln!("sslc cannot start a thread: {error}");
            ExitCode::from(4)
        }
    }
}

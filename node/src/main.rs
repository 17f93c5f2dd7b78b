//! The program `handbell`.

use std::process::ExitCode;

use clap::Parser;
use handbell::cli::Cli;
use tikv_jemallocator::Jemalloc;

// Chosen by measurement: docs/decisions/0006-allocator.md.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("handbell: {error:#}");
            ExitCode::FAILURE
        }
    }
}

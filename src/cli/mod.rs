//! The command line: one subcommand a file.

mod access;
mod bench;
mod client;
mod completions;
mod config;
mod connection;
mod error;
mod healthcheck;
mod import;
mod rebuild;
mod reload;
mod replicate;
mod search;
mod security;
mod serve;
mod status;
mod table;
mod top;
mod values;
mod vector;
mod verify;

use std::{
    io::{ErrorKind, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

pub use bench::load;
pub use error::CliError;
pub use security::Security;

/// A gRPC read-replica router and server for LanceDB.
#[derive(Debug, Parser)]
#[command(name = "lancegate", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Replicate(replicate::Replicate),
    Verify(verify::Verify),
    CheckConfig(config::CheckConfig),
    Config(config::ConfigCommand),
    Healthcheck(healthcheck::Healthcheck),
    Status(status::Status),
    Top(top::Top),
    Drain(connection::Drain),
    Undrain(connection::Undrain),
    Eject(connection::Eject),
    Weight(connection::Weight),
    Probe(connection::Probe),
    Reload(reload::Reload),
    Rebuild(rebuild::Rebuild),
    Search(search::Search),
    Import(import::Import),
    Bench(bench::Bench),
    Access(access::Access),
    Completions(completions::Completions),
}

impl Cli {
    /// Reads the arguments of the process.
    ///
    /// # Errors
    /// The exit code, after help, a version or a fault was printed: 0, or 2 for
    /// a fault, or 1 for one of `healthcheck`, whose codes are those of
    /// grpc_health_probe.
    pub fn from_process() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            // Nothing is left to be done when the terminal is gone.
            let _ = error.print();
            let is_fault = error.use_stderr();
            let is_probe = std::env::args_os()
                .nth(1)
                .is_some_and(|arg| arg == "healthcheck");
            match (is_fault, is_probe) {
                (false, _) => ExitCode::SUCCESS,
                (true, true) => ExitCode::from(healthcheck::BAD_ARGUMENTS),
                (true, false) => ExitCode::from(error::USAGE),
            }
        })
    }

    /// Does what was asked. Faults go to stderr, each in a line that begins
    /// with "error: ".
    pub async fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Serve(command) => command.run().await,
            Command::Replicate(command) => command.run().await,
            Command::Verify(command) => return command.run().await,
            Command::CheckConfig(command) => command.run().await,
            Command::Config(command) => command.run(),
            Command::Healthcheck(command) => return command.run().await,
            Command::Status(command) => command.run().await,
            Command::Top(command) => command.run().await,
            Command::Drain(command) => command.run().await,
            Command::Undrain(command) => command.run().await,
            Command::Eject(command) => command.run().await,
            Command::Weight(command) => command.run().await,
            Command::Probe(command) => command.run().await,
            Command::Reload(command) => command.run().await,
            Command::Rebuild(command) => command.run().await,
            Command::Search(command) => command.run().await,
            Command::Import(command) => command.run().await,
            Command::Bench(command) => command.run().await,
            Command::Access(command) => command.run(),
            Command::Completions(command) => command.run(),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {}", error.to_string().trim_end());
                error.exit_code()
            }
        }
    }
}

/// Writes to stdout. A reader that has seen enough (`| head`) is no fault.
fn print(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(CliError::Output(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}

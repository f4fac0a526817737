//! The command line. Options and environment variables that the Python SDK has are called as there, and mean the same.

mod call;
mod config;
mod lint;
mod list;
mod logging;
mod serve;

use clap::{Parser, Subcommand};

use serve::Serve;

/// Ready external processors for Envoy
#[derive(Debug, Parser)]
#[command(name = "extproc", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve processors: what is done where no command is given
    Serve(Box<Serve>),
    /// Send one request through a processor in any language, as Envoy would, and show what came of it
    Call(call::Call),
    /// Print the configuration that Envoy, or a gateway on it, needs for processors
    Config(config::Config),
    /// Look for known traps in configurations of Envoy; fails if there is one
    Lint(lint::Lint),
    /// Name all processors and their settings
    List,
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    /// When an option cannot be taken, or an address cannot be listened on; each is one line.
    pub async fn run(self) -> anyhow::Result<()> {
        match self.command {
            None => self.serve.run().await,
            Some(Command::Serve(serve)) => serve.run().await,
            Some(Command::Call(call)) => call.run().await,
            Some(Command::Config(config)) => config.run(),
            Some(Command::Lint(lint)) => lint.run(),
            Some(Command::List) => list::run(),
        }
    }
}

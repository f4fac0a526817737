//! Does what the command line asks for: each command is one function, and its errors are one line on stderr.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::args::{Args, BackendKind, Command, SuperviseArgs, ValidateArgs};
use crate::{open_files, serve, supervise, targets_file};
use fleet::config::TargetsFile;

/// Does what was asked, and says how it went.
pub fn run(args: Args) -> ExitCode {
    match args.command {
        Command::Serve(args) => serve::run(*args),
        Command::Validate(ValidateArgs { file, backend }) => validate(file, backend),
        Command::Supervise(SuperviseArgs {
            open_files,
            output,
            command,
        }) => {
            open_files.into_iter().for_each(open_files::lower);
            supervise::run(&command, output)
        }
    }
}

fn validate(path: PathBuf, backend: BackendKind) -> ExitCode {
    let Some(needs) = backend.needs() else {
        serve::complain(
            "validate: with --backend kubernetes the API server says it: kubectl apply --dry-run=server",
        );
        return ExitCode::from(2);
    };
    let file = TargetsFile { path, needs };
    let (line, code) = match targets_file::read(&file) {
        Ok(targets) => (
            format!("{}: {} targets, all good", file.path.display(), targets.len()),
            ExitCode::SUCCESS,
        ),
        Err(refusal) => (refusal.to_string(), ExitCode::FAILURE),
    };
    if code == ExitCode::SUCCESS {
        serve::print(&line);
    } else {
        serve::complain(&line);
    }
    code
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Becoming a command that inherits a file descriptor.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};
use nix::fcntl::{fcntl, FcntlArg, FdFlag};

/// Turns this process into a command, which inherits the file descriptor and
/// finds its number in an environment variable. Returns only if it cannot be
/// run.
pub fn exec(arguments: &[OsString], fd: OwnedFd, variable: &str) -> Result<ExitCode> {
    let mut command = command(arguments, &fd, variable)?;
    let error = command.exec();
    let program = Path::new(command.get_program()).display();
    eprintln!("shmbuf: {program}: {error}: give a program that can be run");
    // As the shell and env(1) have it.
    Ok(ExitCode::from(match error.kind() {
        io::ErrorKind::NotFound => 127,
        _ => 126,
    }))
}

fn command(arguments: &[OsString], fd: &OwnedFd, variable: &str) -> Result<Command> {
    let (program, arguments) = arguments
        .split_first()
        .context("there is no command: give one")?;
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).context("fcntl")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env(variable, fd.as_raw_fd().to_string());
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn the_command_finds_the_file() {
        let fd = File::open("/dev/null").unwrap().into();
        let script = "readlink /proc/self/fd/$NUMBER";
        let arguments = ["sh", "-c", script].map(OsString::from);
        let output = command(&arguments, &fd, "NUMBER").unwrap().output();
        assert_eq!(output.unwrap().stdout, b"/dev/null\n");
    }

    #[test]
    fn a_program_that_is_not_there_is_127() {
        let fd = File::open("/dev/null").unwrap().into();
        let code = exec(&["/nonexistent".into()], fd, "NUMBER").unwrap();
        assert_eq!(code, ExitCode::from(127));
    }
}

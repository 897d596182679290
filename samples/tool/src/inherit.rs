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
pub fn exec(command: &[OsString], fd: OwnedFd, variable: &str) -> Result<ExitCode> {
    let (program, arguments) = command
        .split_first()
        .context("there is no command: give one")?;
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::empty())).context("fcntl")?;
    let error = Command::new(program)
        .args(arguments)
        .env(variable, fd.as_raw_fd().to_string())
        .exec();
    let name = Path::new(program).display();
    eprintln!("shmbuf: {name}: {error}: give a program that can be run");
    // As the shell and env(1) have it.
    Ok(ExitCode::from(match error.kind() {
        io::ErrorKind::NotFound => 127,
        _ => 126,
    }))
}

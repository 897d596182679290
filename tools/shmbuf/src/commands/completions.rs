// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf completions`: prints what makes a shell complete the arguments.

use std::{
    io::{stdout, Write},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Print what makes a shell complete the arguments of this program
///
/// For bash, for example:
///
/// shmbuf completions bash >/usr/share/bash-completion/completions/shmbuf
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Options {
    pub fn run(self) -> Result<ExitCode> {
        stdout()
            .write_all(&script(self.shell))
            .context("the output took no more: make room there")?;
        Ok(ExitCode::SUCCESS)
    }
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    let mut command = crate::Options::command();
    clap_complete::generate(shell, &mut command, "shmbuf", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_learns_every_subcommand() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            let script = String::from_utf8(script).unwrap();
            for subcommand in crate::Options::command().get_subcommands() {
                assert!(script.contains(subcommand.get_name()), "{shell}");
            }
        }
    }
}

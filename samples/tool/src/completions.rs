// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf completions`

use std::{io::stdout, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Print what makes a shell complete the arguments of this program
///
/// For bash, for example: shmbuf completions bash
/// >/usr/share/bash-completion/completions/shmbuf
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Options {
    pub fn run(self) -> Result<ExitCode> {
        let mut script = Vec::new();
        let mut command = crate::Options::command();
        clap_complete::generate(self.shell, &mut command, "shmbuf", &mut script);
        std::io::Write::write_all(&mut stdout(), &script)
            .context("the output took no more: make room there")?;
        Ok(ExitCode::SUCCESS)
    }
}

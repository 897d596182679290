// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tests of shmbuf that run on a board, as root: one static program that
//! loads and unloads the module itself and prints KTAP.

mod bench;
mod cgroup;
mod demo;
mod drivers;
mod engine;
mod expect;
mod fault_injection;
mod fuzz;
mod heap;
mod hold;
mod kmsg;
mod ktap;
mod machine;
mod module;
mod process;
mod procfs;
mod runner;
mod stress;
mod sys;
mod tests;
mod userfault;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::{
    machine::Machine,
    module::{Config, Module},
};

/// The tests of shmbuf that run on a board, as root.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct ModuleFile {
    /// The module
    #[arg(long, value_name = "FILE", default_value = "/lib/modules/shmbuf.ko")]
    module: PathBuf,
    /// Parameters that it gets besides those that matter to a test
    #[arg(long, value_name = "PARAMETERS", default_value = "")]
    parameters: String,
}

impl From<ModuleFile> for Module {
    fn from(file: ModuleFile) -> Self {
        Self::new(file.module, file.parameters)
    }
}

#[derive(Subcommand)]
enum Command {
    /// Print the names of the tests
    List,
    /// Run tests, and print KTAP
    Run {
        /// Only tests whose name contains one of these
        filters: Vec<String>,
        /// But none whose name contains this
        #[arg(long, value_name = "FILTER")]
        skip: Vec<String>,
        /// Run this with each test's name before the test, for a checker that watches
        #[arg(long, value_name = "PROGRAM")]
        label: Option<PathBuf>,
        /// Bytes of the buffer, a multiple of the page size
        #[arg(long, value_name = "BYTES", default_value_t = Config::DEFAULT.size)]
        size: u64,
        /// Let each race go on for that many rounds at least, and each test take ten times as long
        #[arg(long, value_name = "COUNT")]
        rounds: Option<usize>,
        #[command(flatten)]
        module: ModuleFile,
    },
    /// Show the pattern sample in every combination of kind and policy
    Demo {
        #[command(flatten)]
        module: ModuleFile,
        #[command(flatten)]
        options: demo::Options,
    },
    /// Do opposite things to a loaded buffer at once
    Stress(stress::Options),
    /// Map a loaded buffer, say where, and stay, for a look from outside
    Hold(hold::Options),
    /// Make up programs of system calls, and find those at which something goes wrong
    Fuzz {
        #[command(flatten)]
        module: ModuleFile,
        #[command(flatten)]
        options: fuzz::Options,
    },
    /// Do each call between two marks, for a plugin of the emulator that counts
    Bench,
    /// Copy from and to a loaded buffer between two marks, for the same plugin
    Copies,
    /// Hand a buffer of each source to the tests' engine and back, for a checker that watches
    HandOver,
}

fn main() -> ExitCode {
    process::report_panics();
    match run(Options::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("shmbuf-test: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<bool> {
    match command {
        Command::List => {
            for test in tests::all(&Machine::detect()?) {
                println!("{}", test.name);
            }
            Ok(true)
        }
        Command::Run {
            filters,
            skip,
            label,
            size,
            rounds,
            module,
        } => {
            let machine = Machine::detect()?;
            let mut tests = tests::all(&machine);
            let any = |list: &[String], name: &str| list.iter().any(|f| name.contains(f.as_str()));
            tests.retain(|test| filters.is_empty() || any(&filters, &test.name));
            tests.retain(|test| !any(&skip, &test.name));
            for test in &mut tests {
                test.config.size = size;
            }
            if let Some(count) = rounds {
                tests::set_rounds(count);
                tests.iter_mut().for_each(|test| test.timeout *= 10);
            }
            anyhow::ensure!(!tests.is_empty(), "no test has such a name: see list");
            Ok(runner::run(
                &tests,
                &machine,
                &module.into(),
                label.as_deref(),
            ))
        }
        Command::Demo { module, options } => {
            demo::run(&options, &Machine::detect()?, &module.into())
        }
        Command::Stress(options) => stress::run(&options),
        Command::Hold(options) => hold::run(&options),
        Command::Fuzz { module, options } => fuzz::run(&options, &module.into()),
        Command::Bench => bench::run(),
        Command::Copies => bench::copies(),
        Command::HandOver => bench::hand_over(),
    }
}

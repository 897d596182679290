// SPDX-License-Identifier: MIT OR Apache-2.0
//! A fuzzer of the driver: programs of system calls are made up and changed, and kept where they
//! do something new, which is code of the module that no other has run (KCOV), or an end of a
//! call that no other has met. A program is at fault if the kernel complains, if a call takes what
//! it has to refuse, or if something is left behind.

mod calls;
mod kcov;
mod program;
mod run;

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Args;
use fastrand::Rng;

use self::{
    program::Program,
    run::{is_code, Runner, SIGHTS},
};
use crate::{
    engine,
    ktap::diagnose,
    module::{self, Module},
};

/// What to do.
#[derive(Args)]
pub struct Options {
    /// Begin with other random numbers
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// End after so many seconds
    #[arg(long, value_name = "COUNT", default_value_t = 60)]
    seconds: u64,
    /// End after so many programs
    #[arg(long, value_name = "COUNT", default_value_t = u64::MAX)]
    programs: u64,
    /// Only run the programs in a file, one a line
    #[arg(long, value_name = "FILE")]
    run: Option<PathBuf>,
    /// How often to run each
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    times: u32,
    /// Run smaller programs than the one in a file until one of them is at fault
    #[arg(long, value_name = "FILE", conflicts_with = "run")]
    shrink: Option<PathBuf>,
    /// Print each program before it runs
    #[arg(long)]
    print: bool,
}

/// Programs that do what no other of them does.
const CORPUS: &str = include_str!("../../corpus.txt");

/// The programs of a text, one a line; comments begin with "#".
fn parse(text: &str) -> Result<Vec<Program>> {
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.parse().map_err(anyhow::Error::msg))
        .collect()
}

/// A campaign.
struct Campaign {
    runner: Runner,
    rng: Rng,
    corpus: Vec<Program>,
    seen: Vec<bool>,
    print: bool,
    programs: u64,
    calls: u64,
    code: usize,
    /// The first program at fault.
    failed: Option<Program>,
}

impl Campaign {
    fn new(seed: u64, print: bool) -> Result<Self> {
        Ok(Self {
            runner: Runner::new()?,
            rng: Rng::with_seed(seed),
            corpus: Vec::new(),
            seen: vec![false; SIGHTS],
            print,
            programs: 0,
            calls: 0,
            code: 0,
            failed: None,
        })
    }

    /// Runs a program. Returns what it did, or nothing if it is at fault.
    fn run(&mut self, program: &Program) -> Option<Vec<usize>> {
        if self.print {
            println!("> {program}");
            let _ = std::io::stdout().flush();
        }
        let outcome = self.runner.run(program);
        self.programs += 1;
        self.calls += u64::from(outcome.calls);
        if outcome.faults.is_empty() {
            return Some(outcome.sights);
        }
        outcome.faults.iter().for_each(diagnose);
        println!("failed: {program}");
        self.failed.get_or_insert_with(|| program.clone());
        None
    }

    /// Runs a program, and keeps it if it does something new. Returns whether it is not at fault.
    fn try_out(&mut self, program: Program) -> bool {
        let Some(sights) = self.run(&program) else {
            return false;
        };
        let new: Vec<_> = sights
            .into_iter()
            .filter(|sight| !self.seen[*sight])
            .collect();
        if new.is_empty() {
            return true;
        }
        let Some(program) = self.minimize(program, &new) else {
            return false;
        };
        for sight in new {
            self.seen[sight] = true;
            self.code += usize::from(is_code(sight));
        }
        println!("+ {program}");
        self.corpus.push(program);
        true
    }

    /// Takes out what the new does not need. Where it does not come again, all is needed.
    fn minimize(&mut self, mut program: Program, new: &[usize]) -> Option<Program> {
        for at in (0..program.steps.len()).rev() {
            let mut smaller = program.clone();
            smaller.remove(at);
            let mut sights = self.run(&smaller)?;
            sights.sort_unstable();
            if new.iter().all(|sight| sights.binary_search(sight).is_ok()) {
                program = smaller;
            }
        }
        Some(program)
    }

    fn make_up(&mut self) -> Program {
        let rng = &mut self.rng;
        if self.corpus.is_empty() || rng.u32(..8) == 0 {
            return Program::generate(rng);
        }
        let [one, other] = [0; 2].map(|_| &self.corpus[rng.usize(..self.corpus.len())]);
        one.mutate(rng, other)
    }

    fn progress(&self, begin: Instant) {
        let Self {
            programs,
            calls,
            code,
            ..
        } = self;
        let corpus = self.corpus.len();
        let seconds = begin.elapsed().as_secs();
        diagnose(format_args!(
            "{seconds} s: {programs} programs, {calls} calls, {code} places of the code, corpus {corpus}"
        ));
    }

    /// Prints where the module's code begins, and what of it ran.
    fn print_code(&self) -> Result<()> {
        let path = format!("{}/sections/.text", module::SYSFS);
        let text = fs::read_to_string(&path).context(path)?;
        println!("text {}", text.trim());
        let code = |(sight, seen): (usize, &bool)| (is_code(sight) && *seen).then_some(sight);
        let code: Vec<_> = self.seen.iter().enumerate().filter_map(code).collect();
        for addresses in code.chunks(100) {
            let words: Vec<_> = addresses.iter().map(|it| format!("{it:x}")).collect();
            println!("code {}", words.join(" "));
        }
        Ok(())
    }

    /// Goes on until a program is at fault, or the time is over.
    fn go_on(&mut self, options: &Options) {
        let begin = Instant::now();
        let end = begin + Duration::from_secs(options.seconds);
        let mut next = begin;
        let is_over = |programs: u64| programs >= options.programs || Instant::now() >= end;
        let mut given = parse(CORPUS)
            .expect("the corpus consists of programs")
            .into_iter();
        while !is_over(self.programs) {
            let program = given.next().unwrap_or_else(|| self.make_up());
            if !self.try_out(program) {
                break;
            }
            if Instant::now() >= next {
                self.progress(begin);
                next = Instant::now() + Duration::from_secs(5);
            }
        }
        self.progress(begin);
    }
}

/// Does what the options say. Returns whether nothing is wrong.
pub fn run(options: &Options, module: &Module) -> Result<bool> {
    if module::is_loaded() {
        module.unload().context("rmmod")?;
    }
    if engine::is_here() {
        let _ = engine::unload();
        engine::load("delay_ms=1");
    }
    module.load("").context("insmod")?;
    let mut campaign = Campaign::new(options.seed, options.print)?;
    if let Some(path) = &options.run {
        for program in parse(&fs::read_to_string(path)?)? {
            for _ in 0..options.times {
                if campaign.run(&program).is_none() {
                    break;
                }
            }
        }
    } else if let Some(path) = &options.shrink {
        for program in parse(&fs::read_to_string(path)?)? {
            let tries = program
                .smaller()
                .flat_map(|it| vec![it; options.times as usize]);
            for smaller in tries {
                if campaign.run(&smaller).is_none() {
                    break;
                }
            }
        }
    } else {
        if !campaign.runner.has_coverage() {
            diagnose("no KCOV: only ends of calls are new");
        }
        campaign.go_on(options);
        if options.print && campaign.runner.has_coverage() {
            campaign.print_code()?;
        }
    }
    if campaign.failed.is_none() {
        // What is left behind keeps the module.
        module.unload().context("rmmod")?;
        if engine::is_here() {
            engine::unload().context("rmmod engine")?;
        }
    }
    let (programs, failed) = (campaign.programs, u64::from(campaign.failed.is_some()));
    println!("{} passed, {failed} failed", programs - failed);
    Ok(failed == 0)
}

/// Runs the corpus, and so many programs more that are always the same.
#[track_caller]
pub fn replay(programs: u64) {
    let mut campaign = Campaign::new(1, false).expect("a runner");
    let corpus = parse(CORPUS).expect("the corpus consists of programs");
    let made_up = {
        let mut rng = Rng::with_seed(1);
        let corpus = corpus.clone();
        (0..programs).map(move |_| match rng.bool() {
            true => Program::generate(&mut rng),
            false => {
                let [one, other] = [0; 2].map(|_| &corpus[rng.usize(..corpus.len())]);
                one.mutate(&mut rng, other)
            }
        })
    };
    for program in corpus.iter().cloned().chain(made_up) {
        assert!(campaign.run(&program).is_some(), "see above");
    }
    diagnose(format_args!(
        "{} programs, {} calls",
        campaign.programs, campaign.calls
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_consists_of_programs() {
        assert!(!parse(CORPUS).unwrap().is_empty());
        assert!(parse("# a comment\n\nopen 0 2\nno call\n").is_err());
    }
}

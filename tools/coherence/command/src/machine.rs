// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU with a machine under the checker, and what it has found.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use coherence_report::run::{Calls, Run};

use crate::plugin;

/// The exit status of a run in which something was found.
const FOUND: u8 = 2;

/// What runs, and how the checker sees it.
#[derive(clap::Args)]
pub struct Machine {
    /// QEMU's name of the machine
    #[arg(long, value_name = "NAME")]
    machine: String,
    /// The kernel's image
    #[arg(long, value_name = "FILE")]
    kernel: PathBuf,
    /// The machine's device tree
    #[arg(long, value_name = "FILE")]
    dtb: Option<PathBuf>,
    /// The initramfs
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// The kernel's command line. One CPU (maxcpus=1), and programs at their own addresses
    /// (norandmaps), are added
    #[arg(long, value_name = "TEXT", default_value = "")]
    append: String,
    /// QEMU itself
    #[arg(long, value_name = "PROGRAM", default_value = "qemu-system-arm")]
    qemu: PathBuf,
    #[command(flatten)]
    plugin: plugin::Checked,
    /// Write one self-contained page of what was found
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Where sources are that are not at the paths of the debug information
    #[arg(long, value_name = "FOLDER")]
    sources: Vec<PathBuf>,
    /// More arguments for QEMU
    #[arg(last = true)]
    more: Vec<String>,
}

impl Machine {
    fn command(&self) -> Result<Command, String> {
        let mut command = Command::new(&self.qemu);
        command.args(["-M", &self.machine, "-nographic", "-no-reboot"]);
        command.arg("-kernel").arg(there(&self.kernel)?);
        for (name, file) in [("-dtb", &self.dtb), ("-initrd", &self.initrd)] {
            if let Some(file) = file {
                command.arg(name).arg(there(file)?);
            }
        }
        let append = format!("{} maxcpus=1 norandmaps", self.append);
        command.args(["-append", append.trim()]);
        command.args(self.plugin.words()?).args(&self.more);
        Ok(command)
    }
}

fn there(file: &Path) -> Result<&Path, String> {
    match file.try_exists() {
        Ok(true) => Ok(file),
        Ok(false) => Err(format!("{}: there is no such file.", file.display())),
        Err(error) => Err(format!("{}: {error}.", file.display())),
    }
}

/// Runs it to its end. Errors: a sentence for the user.
pub fn run(arguments: &Machine) -> Result<ExitCode, String> {
    let mut command = arguments.command()?;
    for sentence in arguments.plugin.unseen() {
        eprintln!("coherence: {sentence}");
    }
    let report = &arguments.plugin.report;
    // Of another run.
    match std::fs::remove_file(report) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(format!("{}: {error}.", report.display()));
        }
        _ => {}
    }
    let status = command
        .status()
        .map_err(|error| format!("{}: {error}.", arguments.qemu.display()))?;
    if !report.exists() {
        return Err(format!("there is no report: QEMU ended with {status}."));
    }
    let run = coherence_report::read(report)?;
    if let Some(file) = &arguments.html {
        coherence_report::write_html(&run, arguments.sources.clone(), file)?;
        println!("coherence: all of it is in {}.", file.display());
    }
    for sentence in drivers(&run).chain([told(&run)]) {
        println!("coherence: {sentence}");
    }
    Ok(exit_code(&run, status.success()))
}

/// What was seen of each driver, in a sentence.
fn drivers(run: &Run) -> impl Iterator<Item = String> + '_ {
    let all = run.totals.iter().flat_map(|totals| &totals.drivers);
    all.map(|(name, calls)| {
        let name = if name.is_empty() { "the kernel itself" } else { name };
        let Calls { mappings, snooped, syncs, coherent } = calls;
        let snoops = match snooped {
            0 => "",
            _ => " Its device looks into the caches, so that only what another one does can be a fault.",
        };
        format!("{name}: {mappings} mappings, {syncs} syncs, {coherent} allocations of coherent memory.{snoops}")
    })
}

/// What was found, in a sentence.
fn told(run: &Run) -> String {
    let accesses = run.totals.as_ref().map_or(0, |totals| totals.accesses);
    let (counted, known) = (run.counted(), run.known());
    format!("{counted} findings, {known} known, in {accesses} loads and stores.")
}

fn exit_code(run: &Run, succeeded: bool) -> ExitCode {
    if run.counted() != 0 {
        return ExitCode::from(FOUND);
    }
    match run.totals.is_some() && succeeded {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        arguments: Machine,
    }

    fn parsed(more: &[&str]) -> Machine {
        let words = "run --machine vexpress-a9 --core cortex-a9 --plugin /dev/null --report /tmp/r";
        let words = words.split(' ').chain(more.iter().copied());
        Only::parse_from(words).arguments
    }

    #[test]
    fn the_command_line_of_qemu() {
        let arguments = parsed(&[
            "--kernel",
            "/dev/null",
            "--append",
            "console=ttyAMA0",
            "--",
            "-m",
            "512",
        ]);
        let command = arguments.command().unwrap();
        let words: Vec<_> = command.get_args().map(|it| it.to_str().unwrap()).collect();
        assert_eq!(
            words.join(" "),
            "-M vexpress-a9 -nographic -no-reboot -kernel /dev/null \
             -append console=ttyAMA0 maxcpus=1 norandmaps \
             -accel tcg,thread=single -plugin /dev/null,core=cortex-a9,report=/tmp/r -m 512"
        );
        assert_eq!(command.get_program(), "qemu-system-arm");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        for words in [
            &["--kernel", "/nowhere"][..],
            &["--kernel", "/dev/null", "--dtb", "/nowhere"],
        ] {
            let reason = parsed(words).command().unwrap_err();
            assert_eq!(reason, "/nowhere: there is no such file.");
        }
    }

    #[test]
    fn what_was_seen_of_drivers() {
        let run = Run::parse(
            r#"{"totals":{"accesses":5,"unlisted":0,"drivers":{
                "":{"mappings":0,"snooped":0,"syncs":0,"coherent":1},
                "nvme":{"mappings":3,"snooped":2,"syncs":4,"coherent":0}}}}"#
                .replace('\n', " ")
                .as_str(),
        );
        let sentences: Vec<_> = drivers(&run.unwrap()).collect();
        assert_eq!(
            sentences[0],
            "the kernel itself: 0 mappings, 0 syncs, 1 allocations of coherent memory."
        );
        assert!(sentences[1].starts_with("nvme: 3 mappings, 4 syncs, "));
        assert!(sentences[1].contains(" looks into the caches"));
    }

    #[test]
    fn statuses() {
        let code = |text, succeeded| {
            let code = exit_code(&Run::parse(text).unwrap(), succeeded);
            format!("{code:?}")
        };
        let expect = |code: u8| format!("{:?}", ExitCode::from(code));
        let totals = r#"{"totals":{"accesses":5,"unlisted":0}}"#;
        assert_eq!(code(totals, true), expect(0));
        assert_eq!(code(totals, false), expect(1));
        assert_eq!(code("", true), expect(1));
        let unlisted = r#"{"totals":{"accesses":5,"unlisted":3}}"#;
        assert_eq!(code(unlisted, true), expect(2));
        let run = Run::parse(unlisted).unwrap();
        assert_eq!(told(&run), "3 findings, 0 known, in 5 loads and stores.");
    }
}

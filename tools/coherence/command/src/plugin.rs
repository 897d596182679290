// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's arguments for the plugin.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::ValueEnum;
use coherence_model::cores::emulated;

/// From when on loads and stores are tracked.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Track {
    /// From power-on
    Boot,
    /// From the first label that the guest sets
    Label,
}

/// What the checker has to know.
#[derive(clap::Args)]
pub struct Checked {
    /// The core of the machine
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(emulated().map(|(_, it)| it.argument)))]
    core: String,
    /// Where the registers of the outer cache's controller are, a PL310
    #[arg(long, value_name = "ADDRESS")]
    pl310: Option<String>,
    /// A device to watch, as pl080@ADDRESS, pl330@ADDRESS or pl110@ADDRESS; may be repeated
    #[arg(long, value_name = "DEVICE@ADDRESS", value_parser = parse_watched)]
    watch: Vec<(String, String)>,
    /// The kernel's System.map, or what root has read from its /proc/kallsyms
    #[arg(long, value_name = "FILE")]
    symbols: Option<PathBuf>,
    /// The kernel with its debug information, for source lines
    #[arg(long, value_name = "FILE")]
    vmlinux: Option<PathBuf>,
    /// The kernel's modules: a folder such as /lib/modules/VERSION; may be repeated
    #[arg(long, value_name = "FOLDER")]
    modules: Vec<PathBuf>,
    /// A program's ELF file, for names; may be repeated
    #[arg(long, value_name = "FILE")]
    program: Vec<PathBuf>,
    /// From when on loads and stores are tracked
    #[arg(long, value_enum, default_value = "boot")]
    track: Track,
    /// Where the findings go, one JSON object a line
    #[arg(long, value_name = "FILE", default_value = "coherence.jsonl")]
    pub report: PathBuf,
    /// The plugin, if it is not beside this command
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,
}

fn parse_watched(text: &str) -> Result<(String, String), String> {
    match text.split_once('@') {
        Some((device, address)) if !device.is_empty() && !address.is_empty() => {
            Ok((device.to_owned(), address.to_owned()))
        }
        _ => Err("this is not a device and an address, such as pl330@0x10004000".into()),
    }
}

impl Checked {
    /// QEMU's arguments. Errors: a file that is not there, in a sentence.
    pub fn words(&self) -> Result<Vec<String>, String> {
        let plugin = match &self.plugin {
            Some(plugin) => plugin.clone(),
            None => beside_command()?,
        };
        let mut words = vec![
            path(&plugin)?,
            format!("core={}", self.core),
            format!("report={}", escaped(&absolute(&self.report)?)),
        ];
        if self.track == Track::Label {
            words.push("track=label".into());
        }
        words.extend(self.pl310.iter().map(|address| format!("pl310={address}")));
        let watched = self.watch.iter();
        words.extend(watched.map(|(device, address)| format!("{device}={address}")));
        for (name, files) in [
            ("symbols", self.symbols.as_slice()),
            ("vmlinux", self.vmlinux.as_slice()),
            ("modules", &self.modules),
            ("program", &self.program),
        ] {
            for file in files {
                words.push(format!("{name}={}", path(file)?));
            }
        }
        // One order of all events.
        let accel = ["-accel", "tcg,thread=single", "-plugin"];
        let mut all: Vec<_> = accel.map(str::to_owned).into();
        all.push(words.join(","));
        Ok(all)
    }

    /// What the checker does not see with these arguments, in sentences.
    pub fn unseen(&self) -> Vec<&'static str> {
        let mut unseen = Vec::new();
        if self.symbols.is_none() {
            unseen.push("Without --symbols the DMA API is not seen: what devices do is known from --watch and from hints alone.");
        }
        if self.modules.is_empty() {
            unseen.push("Without --modules no function of a module has a name.");
        }
        if self.vmlinux.is_none() {
            unseen.push("Without --vmlinux the kernel's functions have no source lines.");
        }
        unseen
    }
}

fn beside_command() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("where am I? {error}."))?;
    Ok(own.with_file_name("libcoherence.so"))
}

/// A path of something that is there, for QEMU.
fn path(path: &Path) -> Result<String, String> {
    let there = path
        .canonicalize()
        .map_err(|error| format!("{}: {error}.", path.display()))?;
    Ok(escaped(&there))
}

fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("{}: {error}.", path.display()))
}

/// QEMU's options end at a comma.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        arguments: Checked,
    }

    fn parsed(text: &str) -> Result<Checked, String> {
        let words = ["args"].into_iter().chain(text.split(' '));
        let only = Only::try_parse_from(words).map_err(|error| error.to_string())?;
        Ok(only.arguments)
    }

    #[test]
    fn all() {
        let folder = std::env::temp_dir().join(format!("coherence-a,b-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("plugin");
        std::fs::write(&file, "").unwrap();
        let text = format!(
            "--core cortex-a9 --pl310 0x1e00a000 --watch pl330@0x10004000 --track label --report /tmp/r \
             --symbols {0} --modules {1} --plugin {0}",
            file.display(),
            folder.display()
        );
        let words = parsed(&text).unwrap().words().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(words[..3], ["-accel", "tcg,thread=single", "-plugin"]);
        let folder = escaped(&folder);
        let expected = format!(
            "{folder}/plugin,core=cortex-a9,report=/tmp/r,track=label,pl310=0x1e00a000,pl330=0x10004000,\
             symbols={folder}/plugin,modules={folder}"
        );
        assert_eq!(words[3], expected);
        assert!(expected.contains("a,,b"));
    }

    #[test]
    fn refused() {
        for (text, sentence) in [
            ("--core z80", "cortex-a9"),
            ("--track boot", "--core"),
            ("--core arm926 --watch pl330", "such as pl330@0x10004000"),
            ("--core arm926 --watch @0", "such as pl330@0x10004000"),
        ] {
            let reason = parsed(text).err().unwrap();
            assert!(reason.contains(sentence), "{reason}");
        }
        let reason = parsed("--core arm926 --plugin /dev/null --symbols /nowhere");
        let reason = reason.unwrap().words().unwrap_err();
        assert!(reason.starts_with("/nowhere: "), "{reason}");
    }

    #[test]
    fn what_is_not_seen_is_said() {
        let count = |text| parsed(text).unwrap().unseen().len();
        assert_eq!(count("--core arm926"), 3);
        assert_eq!(
            count("--core arm926 --symbols s --vmlinux v --modules m"),
            0
        );
    }
}

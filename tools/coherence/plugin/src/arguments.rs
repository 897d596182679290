// SPDX-License-Identifier: MIT OR Apache-2.0
//! The plugin's arguments, as QEMU passes them:
//! `-plugin libcoherence.so,core=cortex-a9,report=out.jsonl,...`
//!
//! | argument | meaning |
//! |---|---|
//! | `core=NAME` | which core to model, of those in the model's list; `core=list` prints it |
//! | `report=FILE` | check; where the reports go, one JSON object a line |
//! | `count=FILE` | or count; where the counts go, one JSON object a line. Wants `core` and the outer cache's controller alone |
//! | `profile=on` | with each count, the instructions by address |
//! | `symbols=FILE` | the kernel's System.map: functions to hook, names in reports |
//! | `vmlinux=FILE` | the kernel with its debug information, for source lines |
//! | `module=FILE` | a module's .ko, for names; may repeat |
//! | `modules=FOLDER` | the modules in a folder, and in those below it; may repeat |
//! | `program=FILE` | a program's ELF file, for names; may repeat |
//! | `layout=A:B:C:D:E:F:G:H` | offsets in the kernel's structs, see [`Layout`] |
//! | `pl310=ADDRESS` | the outer cache's controller |
//! | `pl080=ADDRESS`, `pl330=`, `pl110=` | devices, see [`Addresses`]; may repeat |
//! | `track=boot`, `track=label` | from when on loads and stores are tracked: power-on (the default), or the first label |
//! | `stray=all` | report also a device that touches memory which was never mapped for any |
//! | `history=N` | how many mappings that ended are remembered, 1024 by default |
//! | `summary=off` | no findings on stderr at the end, only in the file |
//! | `check=on` | compare each translation with QEMU's, and count the differences |

use std::path::PathBuf;

use coherence_model::cores::{emulated, Core, Emulation, Outer};

use crate::linux_functions::Layout;
use crate::module_layout::ModuleLayout;
use crate::watched_devices::{Addresses, DeviceKind};

/// What the plugin is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To check what caches may do.
    Check,
    /// To count what the guest does.
    Count,
}

/// From when on loads and stores are tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Track {
    /// From power-on.
    Boot,
    /// From the first label that the guest sets.
    Label,
}

/// All arguments of the plugin.
#[derive(Debug)]
pub struct Arguments {
    /// `report` or `count`: what the plugin is for.
    pub purpose: Purpose,
    /// `core`: its outer cache is there if `pl310` is.
    pub core: Core,
    /// How QEMU emulates the core.
    pub emulation: Emulation,
    /// The file of `report` or `count`.
    pub report: PathBuf,
    /// `profile`: whether instructions are counted by address.
    pub profile: bool,
    /// `symbols`: the kernel's System.map.
    pub symbols: Option<PathBuf>,
    /// `vmlinux`: the kernel with its debug information.
    pub vmlinux: Option<PathBuf>,
    /// `module`: files of modules.
    pub modules: Vec<PathBuf>,
    /// `modules`: folders of modules.
    pub module_folders: Vec<PathBuf>,
    /// `program`: files of programs.
    pub programs: Vec<PathBuf>,
    /// `layout`: offsets in the kernel's structs.
    pub layout: Option<Layout>,
    /// `pl310` and so on: where devices are.
    pub devices: Addresses,
    /// `track`: from when on loads and stores are tracked.
    pub track: Track,
    /// `stray`: whether a device may only touch what was mapped for one.
    pub stray_all: bool,
    /// `history`: how many mappings that ended are remembered, if it is said.
    pub history: Option<usize>,
    /// `summary`: whether the findings are told at the end too.
    pub summary: bool,
    /// `check`: whether translations are compared with QEMU's.
    pub check: bool,
}

impl Arguments {
    /// Takes `name=value` strings. Errors: a sentence for the user.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut core, mut report, mut profile) = (None, None, false);
        let (mut symbols, mut vmlinux) = (None, None);
        let (mut modules, mut programs) = (Vec::new(), Vec::new());
        let mut module_folders = Vec::new();
        let (mut layout, mut devices, mut check) = (None, Addresses::default(), false);
        let (mut track, mut stray_all, mut summary) = (Track::Boot, false, true);
        let mut history = None;
        for argument in arguments {
            let (name, value) = argument.split_once('=').unwrap_or((&argument, ""));
            match name {
                "core" => core = Some(value.to_owned()),
                "report" => report = Some((Purpose::Check, PathBuf::from(value))),
                "count" => report = Some((Purpose::Count, PathBuf::from(value))),
                "profile" => profile = value == "on",
                "symbols" => symbols = Some(PathBuf::from(value)),
                "vmlinux" => vmlinux = Some(PathBuf::from(value)),
                "module" => modules.push(PathBuf::from(value)),
                "modules" => module_folders.push(PathBuf::from(value)),
                "program" => programs.push(PathBuf::from(value)),
                "layout" => layout = Some(parse_layout(value)?),
                "pl310" => devices.pl310 = Some(number(value)?),
                "track" => track = parse_track(value)?,
                "stray" => stray_all = value == "all",
                "history" => history = Some(parse_history(value)?),
                "summary" => summary = value != "off",
                "check" => check = value == "on",
                _ => match DeviceKind::named(name) {
                    Some(kind) => devices.devices.push((kind, number(value)?)),
                    None => return Err(format!("there is no argument {name:?}.")),
                },
            }
        }
        let (core, emulation) = emulated()
            .find(|(_, emulation)| Some(emulation.argument) == core.as_deref())
            .ok_or_else(say_which_core)?;
        let core = match core.outer {
            Outer::Pl310 if devices.pl310.is_none() => Core {
                outer: Outer::None,
                ..core
            },
            _ => core,
        };
        let (purpose, report) =
            report.ok_or("say where the reports go: report=FILE or count=FILE.")?;
        Ok(Self {
            purpose,
            core,
            emulation,
            report,
            profile,
            symbols,
            vmlinux,
            modules,
            module_folders,
            programs,
            layout,
            devices,
            track,
            stray_all,
            history,
            summary,
            check,
        })
    }
}

/// The cores that the plugin follows.
fn say_which_core() -> String {
    let mut text = String::from("say which core, with core=:");
    for (core, emulation) in emulated() {
        text.push_str(&format!("\n    {:12} {core}", emulation.argument));
    }
    text
}

/// A number as in C.
fn number(text: &str) -> Result<u32, String> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .map_err(|error| format!("{text:?} is not a number: {error}."))
}

fn parse_track(text: &str) -> Result<Track, String> {
    match text {
        "boot" => Ok(Track::Boot),
        "label" => Ok(Track::Label),
        _ => Err(format!("track={text}: this is neither boot nor label.")),
    }
}

/// Each page that gets a new owner is looked for among what is remembered.
const MOST_HISTORY: u32 = 1 << 16;

fn parse_history(text: &str) -> Result<usize, String> {
    match number(text)? {
        most @ 1..=MOST_HISTORY => Ok(most as usize),
        _ => Err(format!(
            "history={text}: this is not from 1 to {MOST_HISTORY}."
        )),
    }
}

fn parse_layout(text: &str) -> Result<Layout, String> {
    let numbers: Vec<u32> = text.split(':').map(number).collect::<Result<_, _>>()?;
    let [module_name, module_base, module_size, init_base, init_size, task_comm, page_bytes, device_coherent] =
        numbers[..]
    else {
        return Err(format!("layout={text}: these are not eight numbers."));
    };
    Ok(Layout {
        module: ModuleLayout {
            name: module_name,
            base: module_base,
            size: module_size,
            init_base,
            init_size,
        },
        task_comm,
        page_bytes,
        device_coherent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Arguments, String> {
        Arguments::parse(text.split(',').map(str::to_owned))
    }

    #[test]
    fn all() {
        let found = parse("core=cortex-a9,report=r,symbols=s,vmlinux=v,module=a,module=b,modules=m,program=p,layout=1:2:3:4:5:0x10:32:0xf0,pl310=0x1e00a000,pl110=1,pl110=2,track=label,check=on").unwrap();
        assert_eq!(found.core, Core::CORTEX_A9);
        assert_eq!(found.report, PathBuf::from("r"));
        assert_eq!(found.vmlinux, Some(PathBuf::from("v")));
        assert_eq!(found.modules, [PathBuf::from("a"), PathBuf::from("b")]);
        assert_eq!(found.module_folders, [PathBuf::from("m")]);
        assert_eq!(found.devices.pl310, Some(0x1e00_a000));
        assert_eq!(
            found.devices.devices,
            [(DeviceKind::Pl110, 1), (DeviceKind::Pl110, 2)]
        );
        assert_eq!(found.layout.unwrap().task_comm, 16);
        assert_eq!(found.track, Track::Label);
        assert!(found.check && found.summary);
    }

    #[test]
    fn without_a_summary() {
        let found = parse("core=arm926,report=r,summary=off").unwrap();
        assert!(!found.summary);
    }

    #[test]
    fn unmapped_memory() {
        let stray = |text| parse(text).unwrap().stray_all;
        assert!(stray("core=arm926,report=r,stray=all"));
        assert!(!stray("core=arm926,report=r"));
    }

    #[test]
    fn what_is_remembered() {
        let history = |text: &str| parse(text).map(|found| found.history);
        assert_eq!(history("core=arm926,report=r"), Ok(None));
        for (text, most) in [("1", 1), ("0x100", 256), ("65536", 65536)] {
            let text = format!("core=arm926,report=r,history={text}");
            assert_eq!(history(&text), Ok(Some(most)));
        }
        for (text, sentence) in [
            ("0", "history=0: this is not from 1 to 65536."),
            ("65537", "history=65537: this is not from 1 to 65536."),
            ("-1", "\"-1\" is not a number"),
            ("all", "\"all\" is not a number"),
            ("", "\"\" is not a number"),
        ] {
            let reason = history(&format!("core=arm926,report=r,history={text}")).unwrap_err();
            assert!(reason.contains(sentence), "{reason}");
        }
    }

    #[test]
    fn counting() {
        let found = parse("core=arm926,count=c,profile=on").unwrap();
        assert_eq!((found.purpose, found.profile), (Purpose::Count, true));
        assert_eq!(found.report, PathBuf::from("c"));
        let found = parse("core=arm926,report=r").unwrap();
        assert_eq!((found.purpose, found.profile), (Purpose::Check, false));
    }

    #[test]
    fn tracking_begins_at_boot_unless_asked() {
        let track = |text| parse(text).map(|found| found.track);
        assert_eq!(track("core=arm926,report=r"), Ok(Track::Boot));
        assert_eq!(track("core=arm926,report=r,track=boot"), Ok(Track::Boot));
        let reason = track("core=arm926,report=r,track=on").unwrap_err();
        assert!(reason.contains("track=on"), "{reason}");
    }

    #[test]
    fn without_its_controller_there_is_no_outer_cache() {
        let outer = |text| parse(text).unwrap().core.outer;
        assert_eq!(outer("core=cortex-a9,report=r"), Outer::None);
        assert_eq!(outer("core=cortex-a9,report=r,pl310=1"), Outer::Pl310);
        let own = outer("core=cortex-a15,report=r");
        assert!(matches!(own, Outer::Integrated(_)), "{own:?}");
    }

    #[test]
    fn cores_are_told_here_and_in_the_page() {
        let page = include_str!("../../README.md");
        let said = parse("core=list,report=r").unwrap_err();
        for (core, emulation) in emulated() {
            let argument = emulation.argument;
            assert!(said.contains(&format!(" {argument} ")), "{said}");
            assert!(said.contains(&core.to_string()), "{said}");
            let row = format!("| `{argument}` | {core} |");
            assert!(page.contains(&row), "{row}");
        }
    }

    #[test]
    fn wrong_ones() {
        for text in [
            "report=r",
            "core=arm926",
            "core=z80,report=r",
            "core=arm926,report=r,colour=red",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let reason = parse("core=z80,report=r").unwrap_err();
        assert!(reason.starts_with("say which core"), "{reason}");
        assert!(parse("core=arm926,report=r,pl080=here").is_err());
        let layout = |numbers| parse(&format!("core=arm926,report=r,layout={numbers}"));
        // As they were before the last one came.
        let reason = layout("1:2:3:4:5:6:7").unwrap_err();
        assert!(reason.contains("not eight numbers"), "{reason}");
        assert!(layout("1:2").is_err());
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf watch`: prints how the counters of all buffers change.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::Path,
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{anyhow, bail, Context, Result};
use clap::Args;
use nix::sys::statfs::{statfs, DEBUGFS_MAGIC};
use serde_json::{json, Value};

const DEBUGFS: &str = "/sys/kernel/debug";
const FOLDER: &str = "/sys/kernel/debug/shmbuf";

/// Print how the counters of buffers change, until interrupted
///
/// A line is printed for each buffer and interval in which something changed:
/// by how much, and what the counter is now. The counters are in debugfs, in
/// /sys/kernel/debug/shmbuf/*/counters, for the buffers that have a node;
/// private buffers have none.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// Seconds between two looks
    #[arg(short = 'n', long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,
    /// End after so many intervals
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// As JSON: an object in each line, without the counters that did not change
    #[arg(long)]
    json: bool,
}

/// Buffers by name, and what each has counted, in the driver's order.
type Counters = BTreeMap<String, Vec<(String, u64)>>;

impl Options {
    pub fn run(self) -> Result<ExitCode> {
        let begin = Instant::now();
        let mut before = read(Path::new(FOLDER)).map_err(|error| advice(&error))?;
        if !self.json {
            let names: Vec<_> = before.keys().map(String::as_str).collect();
            println!("watching: {}", names.join(", "));
        }

        let mut intervals = 0;
        while self.count.is_none_or(|count| intervals < count) {
            sleep(self.interval);
            intervals += 1;
            let now = read(Path::new(FOLDER)).map_err(|error| advice(&error))?;
            let seconds = begin.elapsed().as_secs_f64();
            for change in changes(&before, &now) {
                if self.json {
                    println!("{}", change.as_json(seconds));
                } else {
                    println!("{seconds:8.1} s  {change}");
                }
            }
            before = now;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|interval| !interval.is_zero())
        .ok_or("give a number of seconds, such as 1 or 0.2".into())
}

/// Reads the counters of all buffers.
fn read(folder: &Path) -> io::Result<Counters> {
    let mut all = Counters::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let text = match fs::read_to_string(entry.path().join("counters")) {
            // A buffer that is gone by now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text?,
        };
        let name = entry.file_name().to_string_lossy().into_owned();
        all.insert(name, parse(&text)?);
    }
    Ok(all)
}

/// The counters in lines "name: number".
fn parse(text: &str) -> io::Result<Vec<(String, u64)>> {
    let counter = |line: &str| {
        let (name, number) = line.rsplit_once(": ")?;
        Some((name.into(), number.parse().ok()?))
    };
    text.lines()
        .map(|line| {
            counter(line).ok_or_else(|| {
                let what = format!("\"{line}\" is no counter: is this tool older than the driver?");
                io::Error::new(io::ErrorKind::InvalidData, what)
            })
        })
        .collect()
}

/// A buffer that came, went or counted.
struct Change<'a> {
    buffer: &'a str,
    what: What<'a>,
}

enum What<'a> {
    New,
    Gone,
    /// By how much each counter changed, and what it is now.
    Counted(Vec<(&'a str, i64, u64)>),
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.buffer)?;
        match &self.what {
            What::New => f.write_str("new"),
            What::Gone => f.write_str("gone"),
            What::Counted(counters) => {
                let shown = counters
                    .iter()
                    .map(|(name, by, now)| format!("{name} {by:+} ({now})"));
                f.write_str(&shown.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl Change<'_> {
    fn as_json(&self, seconds: f64) -> Value {
        let counters = match &self.what {
            What::New | What::Gone => Value::Null,
            What::Counted(counters) => counters
                .iter()
                .map(|(name, by, now)| (name.replace(' ', "_"), json!({ "by": by, "now": now })))
                .collect(),
        };
        json!({
            "seconds": seconds,
            "buffer": self.buffer,
            "exists": !matches!(self.what, What::Gone),
            "counters": counters,
        })
    }
}

/// What changed of each buffer.
fn changes<'a>(before: &'a Counters, now: &'a Counters) -> Vec<Change<'a>> {
    let mut changes = Vec::new();
    for (buffer, counters) in now {
        let Some(old) = before.get(buffer) else {
            let what = What::New;
            changes.push(Change { buffer, what });
            continue;
        };
        let changed = counters.iter().zip(old).filter(|(new, old)| new != old);
        let changed: Vec<_> = changed
            .map(|((name, new), (_, old))| {
                // Fewer than before: another buffer has taken the name.
                (&**name, new.wrapping_sub(*old) as i64, *new)
            })
            .collect();
        if !changed.is_empty() {
            let what = What::Counted(changed);
            changes.push(Change { buffer, what });
        }
    }
    let gone = before.keys().filter(|name| !now.contains_key(*name));
    changes.extend(gone.map(|buffer| Change {
        buffer,
        what: What::Gone,
    }));
    changes
}

/// What to do when the counters cannot be read.
fn advice(error: &io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            anyhow!("{DEBUGFS}: {error}: debugfs is root's alone: run as root")
        }
        io::ErrorKind::NotFound => match missing(Path::new(DEBUGFS)) {
            Ok(()) => anyhow!("there is no {FOLDER}: load the module (insmod shmbuf.ko)"),
            Err(error) => error,
        },
        _ => anyhow!("{FOLDER}: {error}"),
    }
}

/// Why there is nothing of ours in debugfs, unless it is there itself.
fn missing(debugfs: &Path) -> Result<()> {
    if !debugfs.exists() {
        bail!("this kernel has no debugfs: it has to be built with CONFIG_DEBUG_FS=y");
    }
    let path = debugfs.display();
    let system = statfs(debugfs).with_context(|| path.to_string())?;
    if system.filesystem_type() != DEBUGFS_MAGIC {
        bail!("debugfs is not mounted: as root, mount -t debugfs debugfs {path}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(text: &str) -> Counters {
        [("default".into(), parse(text).unwrap())].into()
    }

    #[test]
    fn names_may_have_spaces() {
        let all = parse("maps: 3\nbytes read: 18446744073709551615\n").unwrap();
        assert_eq!(all, [("maps".into(), 3), ("bytes read".into(), u64::MAX)]);
        for text in ["maps", "maps: ", "maps: -1", "maps 3", "3"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("is no counter"), "{text}");
        }
    }

    fn told(before: &Counters, now: &Counters) -> Vec<String> {
        let changes = changes(before, now);
        changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_changes_is_told() {
        let before = counters("maps: 3\nsyncs: 7\nbytes read: 0\n");
        assert!(changes(&before, &before).is_empty());
        let now = counters("maps: 3\nsyncs: 9\nbytes read: 4096\n");
        assert_eq!(
            told(&before, &now),
            ["default: syncs +2 (9), bytes read +4096 (4096)"]
        );
        let expected = json!({
            "seconds": 1.5,
            "buffer": "default",
            "exists": true,
            "counters": {
                "syncs": { "by": 2, "now": 9 },
                "bytes_read": { "by": 4096, "now": 4096 },
            },
        });
        assert_eq!(changes(&before, &now)[0].as_json(1.5), expected);
        let anew = counters("maps: 1\nsyncs: 7\nbytes read: 0\n");
        assert_eq!(told(&before, &anew), ["default: maps -2 (1)"]);
    }

    #[test]
    fn buffers_come_and_go() {
        let (some, none) = (counters("maps: 3\n"), Counters::new());
        assert_eq!(told(&none, &some), ["default: new"]);
        assert_eq!(told(&some, &none), ["default: gone"]);
        assert_eq!(changes(&some, &none)[0].as_json(1.0)["exists"], false);
    }

    #[test]
    fn folders_are_buffers() {
        let folder = std::env::temp_dir().join(format!("shmbuf-watch-{}", std::process::id()));
        fs::create_dir_all(folder.join("default")).unwrap();
        fs::create_dir(folder.join("gone")).unwrap();
        fs::write(folder.join("default/counters"), "maps: 3\n").unwrap();
        let all = read(&folder);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(all.unwrap(), counters("maps: 3\n"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = missing(Path::new("/nonexistent")).unwrap_err();
        assert!(error.to_string().contains("CONFIG_DEBUG_FS"));
        let error = missing(Path::new("/proc")).unwrap_err();
        assert!(error
            .to_string()
            .ends_with("mount -t debugfs debugfs /proc"));
    }

    #[test]
    fn intervals_are_more_than_nothing() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "x", "inf", "NaN", "1e300"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}

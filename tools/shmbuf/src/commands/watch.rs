// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf watch`: prints how the counters of all buffers change.

use std::{fmt, process::ExitCode, thread::sleep, time::Instant};

use anyhow::Result;
use clap::Args;
use serde_json::{json, Value};

use crate::{
    arguments::LookArguments,
    counters::{self, Counters},
};

/// Print how the counters of buffers change, until interrupted
///
/// A line is printed for each buffer and interval in which something changed:
/// by how much, and what the counter is now. The counters are in debugfs, in
/// /sys/kernel/debug/shmbuf/*/counters, for the buffers that have a node;
/// private buffers have none.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    #[command(flatten)]
    looks: LookArguments,
    /// As JSON, an object in each line: first each buffer with all its counters,
    /// then those that change
    #[arg(long)]
    json: bool,
}

impl Options {
    pub fn run(self) -> Result<ExitCode> {
        let begin = Instant::now();
        let mut before = counters::read()?;
        if self.json {
            for change in all(&before) {
                println!("{}", change.as_json(0.0));
            }
        } else {
            let names: Vec<_> = before.keys().map(String::as_str).collect();
            println!("watching: {}", names.join(", "));
        }

        for _ in self.looks.intervals() {
            sleep(self.looks.interval);
            let now = counters::read()?;
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

/// A buffer that came, went or counted.
struct Change<'a> {
    buffer: &'a str,
    what: What<'a>,
}

enum What<'a> {
    /// It came, and has counted so much since.
    New(&'a [(String, u64)]),
    Gone,
    /// By how much each counter changed, and what it is now.
    Counted(Vec<(&'a str, i64, u64)>),
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.buffer)?;
        match &self.what {
            What::New(_) => f.write_str("new"),
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
        let counter = |name: &str, by: Value, now: u64| {
            (name.replace(' ', "_"), json!({ "by": by, "now": now }))
        };
        let counters = match &self.what {
            What::New(counters) => counters
                .iter()
                .map(|(name, now)| counter(name, json!(now), *now))
                .collect(),
            What::Gone => Value::Null,
            What::Counted(counters) => counters
                .iter()
                .map(|(name, by, now)| counter(name, json!(by), *now))
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

/// Each buffer with all counters, none of which has changed yet.
fn all(now: &Counters) -> Vec<Change<'_>> {
    now.iter()
        .map(|(buffer, counters)| {
            let counters = counters.iter().map(|(name, now)| (&**name, 0, *now));
            let what = What::Counted(counters.collect());
            Change { buffer, what }
        })
        .collect()
}

/// What changed of each buffer.
fn changes<'a>(before: &'a Counters, now: &'a Counters) -> Vec<Change<'a>> {
    let mut changes = Vec::new();
    for (buffer, counters) in now {
        let Some(old) = before.get(buffer) else {
            let what = What::New(counters);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::tests::counters;

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
        let come = changes(&none, &some)[0].as_json(1.0);
        assert_eq!(come["counters"], json!({ "maps": { "by": 3, "now": 3 } }));
    }

    #[test]
    fn a_script_begins_with_what_there_is() {
        let now = counters("maps: 3\nbytes read: 0\n");
        let expected = json!({
            "seconds": 0.0,
            "buffer": "default",
            "exists": true,
            "counters": {
                "maps": { "by": 0, "now": 3 },
                "bytes_read": { "by": 0, "now": 0 },
            },
        });
        let all = all(&now);
        let lines: Vec<_> = all.iter().map(|change| change.as_json(0.0)).collect();
        assert_eq!(lines, [expected]);
    }
}

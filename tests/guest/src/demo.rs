// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pattern sample in every combination of kind and policy, as a table.

use std::{
    collections::BTreeMap,
    io::Write,
    path::PathBuf,
    process::{Command, Output},
};

use anyhow::{bail, Context, Result};
use clap::Args;
use nix::errno::Errno;
use shmbuf::{Buffer, Kind, Policy};

use crate::{
    expect::Expect,
    kmsg::{is_trouble, Log},
    machine::Machine,
    module::{has_engine, is_loaded, Config, Module, DEVICE, KINDS},
};

/// The program of the pattern sample in Rust.
pub const RUST: &str = "shmbuf-pattern";
/// The program of the pattern sample in C.
pub const C: &str = "shmbuf-pattern-c";
/// The programs of the pattern sample.
pub const PROGRAMS: [&str; 2] = [RUST, C];

/// Where a program of the sample is: beside this one.
pub fn path(program: &str) -> PathBuf {
    std::env::current_exe()
        .unwrap_or_default()
        .with_file_name(program)
}

/// Options of `demo`.
#[derive(Args)]
pub struct Options {
    /// Bytes of the buffer, a multiple of the page size
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20)]
    size: u64,
}

/// One combination, of which the table has a row.
#[derive(Debug, Clone, Copy)]
struct Case {
    kind: Kind,
    policy: Policy,
    /// The program gets no option, and makes no ioctl.
    classic: bool,
    /// The program of the sample; none if it is insmod that is refused.
    program: Option<&'static str>,
    expect: Expect,
}

/// What came of a combination: the columns of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    memory_type: String,
    bytes: String,
    to_read: String,
    to_mapping: String,
    engine: String,
    passed: bool,
    /// What else there is to say.
    remark: String,
}

fn cases(machine: &Machine) -> Vec<Case> {
    let mut cases = Vec::new();
    let classic = Case {
        kind: Kind::Pages,
        policy: Policy::WriteBack,
        classic: true,
        program: Some(RUST),
        expect: machine.expect(Kind::Pages, Policy::WriteBack, false),
    };
    cases.extend(PROGRAMS.map(|program| Case {
        program: Some(program),
        ..classic
    }));
    for kind in &KINDS {
        for policy in Policy::ALL {
            let expect = machine.expect(*kind, *policy, false);
            // Pages get their policy by SET_CACHE, which is refused; the
            // others by insmod, which is.
            let case = Case {
                kind: *kind,
                policy: *policy,
                classic: false,
                program: None,
                expect,
            };
            if *kind != Kind::Pages && expect == Expect::Refused {
                cases.push(case);
            } else {
                cases.extend(PROGRAMS.map(|program| Case {
                    program: Some(program),
                    ..case
                }));
            }
        }
    }
    cases
}

/// Runs all combinations. Returns whether all went as expected.
pub fn run(options: &Options, machine: &Machine, module: &Module) -> Result<bool> {
    if is_loaded() {
        module.unload().context("rmmod of what is loaded already")?;
    }
    header();
    let (mut passed, mut failed) = (0, 0);
    for case in cases(machine) {
        let mut log = Log::from_now();
        let (mut row, output) = match one(&case, options.size, module) {
            Ok(done) => done,
            Err(error) => (Row::failed(format!("{error:#}")), String::new()),
        };
        if is_loaded() {
            if let Err(errno) = module.unload() {
                row = Row::failed(format!("rmmod: {errno}"));
            }
        }
        let lines = log.lines();
        if let Some(line) = lines.iter().find(|line| is_trouble(&line.text)) {
            row = Row::failed(format!("kernel log: {}", line.text));
        }
        print(&case, &row);
        if row.passed {
            passed += 1;
        } else {
            failed += 1;
            for line in output.lines() {
                println!("    {line}");
            }
            for line in lines.iter().filter(|line| line.text.starts_with("shmbuf")) {
                println!("    kernel: {}", line.text);
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

/// Loads the module and runs the program for one combination. Returns what the program
/// printed as well.
fn one(case: &Case, size: u64, module: &Module) -> Result<(Row, String)> {
    let config = Config {
        // Of pages it is the program that sets it.
        policy: match case.kind {
            Kind::Pages => Policy::WriteBack,
            _ => case.policy,
        },
        size,
        ..Config::new(case.kind, case.policy)
    };
    let loaded = match case.classic {
        // The defaults, but for the size.
        true => module.load(&format!("size={size}")),
        false => module.load(&config.parameters()),
    };
    let Some(program) = case.program else {
        let errno = loaded.err();
        return Ok((Row::refused(case, errno), String::new()));
    };
    loaded.with_context(|| format!("insmod shmbuf.ko {}", config.parameters()))?;

    let engine = has_engine()?;
    let arguments: &[&str] = match (case.classic, case.kind) {
        (true, _) => &[],
        (false, Kind::Pages) => &["--policy", case.policy.name()],
        (false, _) if engine && program == RUST => &["--sync", "--engine"],
        (false, _) => &["--sync"],
    };
    let Output { status, stdout, .. } = Command::new(path(program))
        .args(arguments)
        .output()
        .with_context(|| program.to_string())?;
    let text = String::from_utf8_lossy(&stdout).into_owned();
    let result = text.lines().last().and_then(result);
    let Some(result) = result else {
        bail!("{program} ended with {status} and without a result:\n{text}");
    };
    if let Some(name) = result.get("refused") {
        let errno = if name == "EOPNOTSUPP" {
            Some(Errno::EOPNOTSUPP)
        } else {
            None
        };
        let mut row = Row::refused(case, errno);
        row.memory_type = format!("refused: {name}");
        row.passed &= status.code() == Some(2);
        return Ok((row, text));
    }
    // The classic program asks nothing, so we do.
    let memory_type = Buffer::open(DEVICE)?.info()?.memory_type;
    let row = Row::ran(case, size, &memory_type, &result, status.code());
    Ok((row, text))
}

/// The words of a line "result: key=value key="more words"".
fn result(line: &str) -> Option<BTreeMap<String, String>> {
    let mut rest = line.strip_prefix("result: ")?;
    let mut words = BTreeMap::new();
    while !rest.is_empty() {
        let (key, value) = rest.split_once('=')?;
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_once(' ').unwrap_or((value, "")),
        };
        words.insert(key.to_string(), value.to_string());
        rest = after.trim_start();
    }
    Some(words)
}

impl Row {
    fn failed(remark: String) -> Self {
        Self {
            memory_type: "-".into(),
            bytes: "-".into(),
            to_read: "-".into(),
            to_mapping: "-".into(),
            engine: "-".into(),
            passed: false,
            remark,
        }
    }

    /// The row of a refusal, which is right if the table says so, and it is the right errno.
    fn refused(case: &Case, errno: Option<Errno>) -> Self {
        let right = errno == Some(Errno::EOPNOTSUPP);
        let remark = match (case.expect, right) {
            (Expect::Refused, true) => "as it should be here",
            (Expect::Unknown, true) => "nobody knows of this processor",
            (_, true) => "it should work here",
            (_, false) => "it should be refused with EOPNOTSUPP",
        };
        Self {
            memory_type: errno.map_or("not refused".into(), |e| format!("refused: {e:?}")),
            passed: right && !matches!(case.expect, Expect::Works(_)),
            ..Self::failed(remark.into())
        }
    }

    /// The row of a run, which is right if all was verified, and what was in force is what the
    /// table says.
    fn ran(
        case: &Case,
        size: u64,
        memory_type: &str,
        result: &BTreeMap<String, String>,
        code: Option<i32>,
    ) -> Self {
        let value = |key: &str| result.get(key).map_or("-", String::as_str);
        let size = size.to_string();
        let (kind, policy, told) = match case.classic {
            true => ("-", "-", "-"),
            false => (case.kind.name(), case.policy.name(), memory_type),
        };
        let faults = [
            (value("kind") != kind, "another kind"),
            (value("policy") != policy, "another policy"),
            (value("type") != told, "another type than INFO tells"),
            (value("bytes") != size, "not the whole buffer"),
            (value("mapping-to-read") != "ok", "wrong data by read(2)"),
            (
                value("write-to-mapping") != "ok",
                "wrong data in the mapping",
            ),
            (value("engine") == "failed", "wrong data by the engine"),
            (code != Some(0), "the program failed"),
            (case.expect == Expect::Refused, "it should be refused here"),
            (
                matches!(case.expect, Expect::Works(expected) if expected != memory_type),
                "another type than the table has",
            ),
        ];
        let remarks: Vec<_> = faults
            .iter()
            .filter_map(|(is, what)| is.then_some(*what))
            .collect();
        Self {
            memory_type: memory_type.into(),
            bytes: value("bytes").into(),
            to_read: value("mapping-to-read").into(),
            to_mapping: value("write-to-mapping").into(),
            engine: value("engine").into(),
            passed: remarks.is_empty(),
            remark: remarks.join(", "),
        }
    }
}

fn columns(words: [&str; 10]) {
    let [kind, policy, memory_type, bytes, to_read, to_mapping, engine, program, result, remark] =
        words;
    let line = format!(
        "{kind:<10} {policy:<13} {memory_type:<33} {bytes:>8}  {to_read:<16}  {to_mapping:<17}  \
         {engine:<10}  {program:<7} {result:<6} {remark}"
    );
    println!("{}", line.trim_end());
    let _ = std::io::stdout().flush();
}

fn header() {
    columns([
        "kind",
        "policy asked",
        "type in force",
        "bytes",
        "mapping->read(2)",
        "write(2)->mapping",
        "DMA engine",
        "program",
        "result",
        "",
    ]);
}

fn print(case: &Case, row: &Row) {
    let policy = match case.classic {
        true => "(no ioctl)",
        false => case.policy.name(),
    };
    columns([
        case.kind.name(),
        policy,
        &row.memory_type,
        &row.bytes,
        &row.to_read,
        &row.to_mapping,
        &row.engine,
        match case.program {
            Some(C) => "C",
            Some(_) => "Rust",
            None => "insmod",
        },
        if row.passed { "ok" } else { "FAILED" },
        &row.remark,
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Arch;

    const LINE: &str = "result: kind=pages policy=noncached type=\"Strongly-ordered, really\" \
                        bytes=4096 mapping-to-read=ok write-to-mapping=ok";

    fn case(expect: Expect) -> Case {
        Case {
            kind: Kind::Pages,
            policy: Policy::NonCached,
            classic: false,
            program: Some(C),
            expect,
        }
    }

    #[test]
    fn results_are_taken_apart() {
        let words = result(LINE).unwrap();
        assert_eq!(words["type"], "Strongly-ordered, really");
        assert_eq!(words["write-to-mapping"], "ok");
        let words = result("result: policy=writeback refused=EBUSY").unwrap();
        assert_eq!(words["refused"], "EBUSY");
        assert_eq!(result("no result"), None);
    }

    #[test]
    fn a_run_passes_only_as_the_table_says() {
        let words = result(LINE).unwrap();
        let words = &words;
        let name = "Strongly-ordered, really";
        let ran = |expect, bytes, memory_type, code| {
            Row::ran(&case(expect), bytes, memory_type, words, Some(code)).passed
        };
        assert!(ran(Expect::Works(name), 4096, name, 0));
        assert!(ran(Expect::Unknown, 4096, name, 0));
        assert!(!ran(Expect::Refused, 4096, name, 0));
        assert!(!ran(Expect::Works("Normal"), 4096, name, 0));
        assert!(!ran(Expect::Works(name), 8192, name, 0));
        assert!(!ran(Expect::Works(name), 4096, "Normal", 0));
        assert!(!ran(Expect::Works(name), 4096, name, 1));
    }

    #[test]
    fn a_refusal_passes_only_as_the_table_says() {
        let refused = |expect, errno| Row::refused(&case(expect), errno).passed;
        assert!(refused(Expect::Refused, Some(Errno::EOPNOTSUPP)));
        assert!(!refused(Expect::Refused, Some(Errno::EINVAL)));
        assert!(!refused(Expect::Refused, None));
        assert!(!refused(Expect::Works("Normal"), Some(Errno::EOPNOTSUPP)));
    }

    #[test]
    fn every_combination_has_its_row() {
        let cases = cases(&Machine { arch: Arch::Armv5 });
        assert!(cases[0].classic && cases[1].classic);
        for kind in &KINDS {
            for policy in Policy::ALL {
                let rows = cases
                    .iter()
                    .filter(|c| !c.classic && (c.kind, c.policy) == (*kind, *policy));
                let works = rows.clone().any(|c| matches!(c.expect, Expect::Works(_)));
                assert_eq!(rows.count(), if works { 2 } else { 1 });
            }
        }
    }
}

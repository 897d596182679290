// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs link besides the calls: copies that are made for any memory type, and SYNC of
//! ranges that do not consist of whole lines, of the crate and of lib/c.

use nix::errno::Errno;
use shmbuf::{Access, Kind, Phase, SyncedLines};

use super::{claim, pattern_sample, Claim, Scope};
use crate::{
    demo::path,
    machine::Machine,
    module::Config,
    runner::Env,
    sys::{page, refused},
};

/// The program of tests/guest/copies.c.
const C: &str = "shmbuf-copies";

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Each, "copies_at_any_alignment", copies),
    claim(Scope::Each, "sync_of_the_lines_of_a_range", lines),
    claim(Scope::Each, "helpers_in_c", in_c).unless(without_program),
];

fn without_program(_: &Machine, _: &Config) -> Option<&'static str> {
    (!path(C).exists()).then_some("the program in C is not beside this one")
}

/// The copies of a mapping, with every offset in more than a burst, against a model.
fn copies(env: &Env) {
    const WINDOW: usize = 160;
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let start = page() - WINDOW / 2;
    let mut all = [0; WINDOW];
    for offset in 0..=32 {
        for length in 0..96 {
            let mut model = [0xa5; WINDOW];
            mapping.fill(start, WINDOW, 0xa5);
            let data: Vec<u8> = (1..=length as u8).collect();
            mapping.write(start + offset, &data);
            model[offset..offset + length].copy_from_slice(&data);
            assert_eq!(buffer.read_at(&mut all, start as u64), Ok(WINDOW));
            assert_eq!(all, model, "write of {length} at {offset}");

            let mut space = [0; 96 + 7];
            let back = &mut space[length % 8..][..length];
            mapping.read(start + offset, back);
            assert_eq!(back, data, "read of {length} at {offset}");
        }
    }
}

fn lines(env: &Env) {
    let buffer = env.open();
    let info = buffer.info().expect("INFO");
    let line = u64::from(info.cache_line);
    let lends = matches!(info.kind, Kind::Streaming | Kind::Scatter);
    for (range, lines) in [
        (0..1, 0..line),
        (line - 1..line + 1, 0..2 * line),
        (line..2 * line, line..2 * line),
        (line + 3..3 * line, line..3 * line),
        (
            buffer.size() - 1..buffer.size(),
            buffer.size() - line..buffer.size(),
        ),
    ] {
        let others = lines.end - lines.start - (range.end - range.start);
        let expected = SyncedLines {
            lines: lines.clone(),
            others,
        };
        for phase in [Phase::End, Phase::Begin] {
            let done = buffer.sync_lines(range.clone(), Access::ReadWrite, phase);
            assert_eq!(done.as_ref(), Ok(&expected), "{range:?}");
            let lent = buffer.lent().expect("LENT");
            let some = lends && phase == Phase::End;
            assert_eq!(lent, if some { vec![lines.clone()] } else { vec![] });
        }
    }
    for (range, errno) in [
        (1..1, Errno::EINVAL),
        (buffer.size()..buffer.size() + 1, Errno::ERANGE),
        (1..u64::MAX, Errno::ERANGE),
    ] {
        let done = buffer.sync_lines(range, Access::Read, Phase::Begin);
        refused(done, errno);
    }
}

fn in_c(_: &Env) {
    let (code, text) = pattern_sample::run(C, &["/dev/shmbuf"]);
    assert_eq!(code, Some(0), "{text}");
}

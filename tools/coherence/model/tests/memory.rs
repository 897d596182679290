// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the model's own memory costs.

mod common;

use coherence_model::cores::{Core, CORES};
use coherence_model::events::{Access, Lines, Maintenance, Mapping, MemoryType, Operation, Site};
use coherence_model::Model;
use common::LINEAR;

const MIB: u32 = 1 << 20;

/// Tables that do not grow with memory: the index by section, states and
/// transitions, translations.
const CONSTANT: u64 = 256 << 10;

fn access(va: u32, pa: u32, memory: MemoryType) -> Access {
    Access {
        va,
        pa,
        len: 4,
        memory,
        site: Site(pa >> 5),
    }
}

/// A guest that uses all of its memory, with its stores all over the lines.
#[test]
fn a_bit_for_a_byte_and_a_little() {
    for core in CORES {
        let mut model = Model::new(core);
        let mut silent = |finding| panic!("{finding:?}");
        for section in 0..4 {
            let live = Mapping::Live {
                va: LINEAR + section * MIB,
                pa: section * MIB,
                len: MIB,
                memory: MemoryType::WriteBack,
                asid: None,
            };
            model.mapping(live, &mut silent);
        }
        for round in 0..3 {
            for pa in (0..4 * MIB).step_by(4) {
                let access = access(LINEAR + pa, pa, MemoryType::WriteBack);
                // An order of loads and stores that differs from line to line.
                if (pa >> 2).wrapping_mul(0x9e37_79b9) >> 30 == round {
                    model.store(&access, &mut silent);
                } else {
                    model.load(&access, &mut silent);
                }
            }
            let all = Maintenance::Data(Operation::CleanInvalidate, Lines::All);
            model.maintain(all);
        }
        let (lines, bytes) = model.cost();
        assert_eq!(
            lines,
            u64::from(4 * MIB / core.data_cache.line),
            "{}",
            core.name
        );
        let most = u64::from(10 + core.data_cache.line / 8) * lines + CONSTANT;
        assert!(bytes <= most, "{}: {bytes} for {lines} lines", core.name);
        assert_eq!(model.forgotten(), 0, "{}", core.name);
    }
}

/// All lines with two copies: more than there is room for. It is said, and the
/// room is given back.
#[test]
fn complex_lines_are_bounded() {
    let mut model = Model::new(Core::ARM926);
    let mut silent = |finding| panic!("{finding:?}");
    let users = [0x4000_0000, 0x5000_0000];
    for pa in (0..2 * MIB).step_by(32) {
        for va in users {
            let access = access(va + pa, pa, MemoryType::WriteBack);
            model.load(&access, &mut silent);
        }
        let access = access(users[0] + pa, pa, MemoryType::WriteBack);
        model.store(&access, &mut silent);
    }
    let (lines, full) = model.cost();
    assert_eq!(lines, 65536);
    assert!(model.forgotten() >= 32768, "{}", model.forgotten());
    assert!(full <= 16 * lines + (8 << 20), "{full}");
    let all = Maintenance::Data(Operation::CleanInvalidate, Lines::All);
    model.maintain(all);
    for pa in (0..2 * MIB).step_by(32) {
        let access = access(users[0] + pa, pa, MemoryType::WriteBack);
        model.load(&access, &mut silent);
    }
    let (_, emptied) = model.cost();
    assert!(emptied <= 14 * lines + CONSTANT, "{emptied}, before {full}");
}

/// Operations on the whole cache reach a line that nobody looks at meanwhile, in
/// their order, however many there are.
#[test]
fn whole_cache_operations_wait_for_their_lines() {
    let all = |operation| Maintenance::Data(operation, Lines::All);
    let orders = [
        ([Operation::Clean, Operation::Invalidate], false),
        ([Operation::Invalidate, Operation::Clean], true),
    ];
    for (order, lost) in orders {
        for rounds in [1, 100] {
            let mut model = Model::new(Core::ARM926);
            let mut found = Vec::new();
            let mut sink = |finding| found.push(finding);
            let line = access(LINEAR, 0, MemoryType::WriteBack);
            model.load(&line, &mut sink);
            model.store(&line, &mut sink);
            for _ in 0..rounds {
                for operation in order {
                    model.maintain(all(operation));
                }
            }
            model.load(&line, &mut sink);
            assert_eq!(
                !found.is_empty(),
                lost,
                "{order:?} {rounds} times: {found:?}"
            );
        }
    }
}

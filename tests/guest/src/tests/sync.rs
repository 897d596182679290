// SPDX-License-Identifier: MIT OR Apache-2.0
//! SYNC: ranges, directions, and who owns a streaming buffer.

use nix::errno::Errno;
use shmbuf::{Access, Buffer, Owner, Phase, Policy};

use super::{
    claim,
    data::{assert_both, assert_pattern, fresh, load_all, read_all, store_all, write_all},
    Claim, Scope,
};
use crate::{
    process::{Child, Turn},
    runner::Env,
    sys::{page, refused},
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Each, "sync_keeps_data", keeps_data),
    claim(Scope::Each, "sync_of_any_aligned_range", ranges),
    claim(Scope::Kind, "read_only_handle_syncs_reading", read_only),
    claim(Scope::Owned, "end_hands_over_begin_takes_back", ownership),
    claim(Scope::Owned, "device_owned_is_busy", busy),
    claim(
        Scope::Owned,
        "refused_for_what_is_lent_alone",
        refused_alone,
    ),
    claim(Scope::Owned, "lent_tells_what_devices_have", lent),
    claim(Scope::Owned, "reader_cannot_take_it_back", reader),
    claim(Scope::Owned, "taken_back_after_death_of_the_giver", death),
    claim(Scope::Owned, "mapped_while_the_device_owns_it", mapped),
];

const ALL: [Access; 3] = [Access::Read, Access::Write, Access::ReadWrite];

#[track_caller]
fn owner(buffer: &Buffer) -> Owner {
    buffer.info().expect("INFO").owner
}

fn keeps_data(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    for _ in 0..4 {
        let pattern = fresh();
        buffer
            .with_cpu_access(.., Access::Write, || store_all(&mapping, 0, pattern))
            .expect("SYNC");
        let got = buffer
            .with_cpu_access(.., Access::Read, || (load_all(&mapping), read_all(&buffer)))
            .expect("SYNC");
        assert_pattern(pattern, 0, &got.0, "mapping");
        assert_pattern(pattern, 0, &got.1, "read(2)");

        let pattern = fresh();
        buffer
            .with_cpu_access(.., Access::Write, || write_all(&buffer, pattern))
            .expect("SYNC");
        let got = buffer
            .with_cpu_access(.., Access::ReadWrite, || {
                (load_all(&mapping), read_all(&buffer))
            })
            .expect("SYNC");
        assert_pattern(pattern, 0, &got.0, "mapping");
        assert_pattern(pattern, 0, &got.1, "read(2)");
    }
}

fn ranges(env: &Env) {
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let line = u64::from(buffer.info().expect("INFO").cache_line);
    let (page, size) = (page() as u64, buffer.size());
    let ranges = [
        0..line,
        line..2 * line,
        page - line..page + line,
        size - line..size,
        0..size,
        size / 2 - line..size,
    ];
    let pattern = fresh();
    buffer
        .with_cpu_access(.., Access::Write, || store_all(&mapping, 0, pattern))
        .expect("SYNC");
    for range in ranges {
        for access in ALL {
            let offset = range.start as usize;
            let length = (range.end - range.start) as usize;
            buffer
                .with_cpu_access(range.clone(), access, || {
                    if access != Access::Read {
                        mapping.write(offset, &pattern.bytes(offset, length));
                    }
                })
                .unwrap_or_else(|e| panic!("{range:?} {access:?}: {e}"));
            buffer
                .sync(range.clone(), access, Phase::Begin)
                .unwrap_or_else(|e| panic!("{range:?} {access:?}: {e}"));
        }
    }
    assert_both(&buffer, &mapping, pattern);
}

fn read_only(env: &Env) {
    let writer = env.open();
    let buffer = env.open_read_only();
    let pattern = fresh();
    // What was not handed over, a begin may undo.
    writer
        .with_cpu_access(.., Access::Write, || write_all(&writer, pattern))
        .expect("SYNC");
    writer.sync(.., Access::Read, Phase::Begin).expect("SYNC");
    for access in [Access::Write, Access::ReadWrite] {
        for phase in [Phase::Begin, Phase::End] {
            refused(buffer.sync(.., access, phase), Errno::EBADF);
        }
    }
    for phase in [Phase::Begin, Phase::End, Phase::Begin] {
        assert_eq!(buffer.sync(.., Access::Read, phase), Ok(()));
        assert_eq!(owner(&buffer), Owner::Cpu, "a reader changed the owner");
    }
    assert_pattern(pattern, 0, &read_all(&buffer), "read(2)");
}

fn ownership(env: &Env) {
    let buffer = env.open();
    for access in ALL {
        for _ in 0..2 {
            assert_eq!(buffer.sync(.., access, Phase::End), Ok(()));
            assert_eq!(owner(&buffer), Owner::Device, "{access:?}");
        }
        for _ in 0..2 {
            assert_eq!(buffer.sync(.., access, Phase::Begin), Ok(()));
            assert_eq!(owner(&buffer), Owner::Cpu, "{access:?}");
        }
    }
    // Any writer can.
    assert_eq!(buffer.sync(.., Access::Write, Phase::End), Ok(()));
    assert_eq!(env.open().sync(.., Access::Read, Phase::Begin), Ok(()));
    assert_eq!(owner(&buffer), Owner::Cpu);
}

fn busy(env: &Env) {
    let buffer = env.open();
    let pattern = fresh();
    write_all(&buffer, pattern);
    buffer
        .sync(.., Access::ReadWrite, Phase::End)
        .expect("SYNC");
    let mut bytes = [0; 16];
    for handle in [&buffer, &env.open()] {
        refused(handle.read_at(&mut bytes, 0), Errno::EBUSY);
        refused(handle.write_at(&bytes, 0), Errno::EBUSY);
        refused(handle.set_cache(Policy::WriteBack), Errno::EBUSY);
    }
    refused(env.open_read_only().read_at(&mut bytes, 0), Errno::EBUSY);
    assert_eq!(owner(&buffer), Owner::Device);
    assert_eq!(bytes, [0; 16]);

    buffer
        .sync(.., Access::ReadWrite, Phase::Begin)
        .expect("SYNC");
    assert_pattern(pattern, 0, &read_all(&buffer), "read(2)");
    assert_eq!(buffer.write_at(&bytes, 0), Ok(16));
}

fn refused_alone(env: &Env) {
    let buffer = env.open();
    let line = u64::from(buffer.info().expect("INFO").cache_line);
    let sync = |range: std::ops::Range<u64>, phase| {
        buffer.sync(range, Access::ReadWrite, phase).expect("SYNC");
    };
    sync(line..2 * line, Phase::End);
    assert_eq!(owner(&buffer), Owner::Device);
    // All bytes around it are the CPU's.
    let last = buffer.size() - 1;
    for at in [0, line - 1, 2 * line, last] {
        assert_eq!(buffer.read_at(&mut [0], at), Ok(1), "at {at}");
        assert_eq!(buffer.write_at(&[0], at), Ok(1), "at {at}");
    }
    // What begins with a byte of it is refused, and what meets it later is short.
    for (at, length) in [(line, 1), (2 * line - 1, 1), (2 * line - 1, 2)] {
        let mut bytes = vec![0; length];
        refused(buffer.read_at(&mut bytes, at), Errno::EBUSY);
        refused(buffer.write_at(&bytes, at), Errno::EBUSY);
    }
    let mut bytes = vec![0; 3 * line as usize];
    assert_eq!(buffer.read_at(&mut bytes, 1), Ok(line as usize - 1));
    assert_eq!(buffer.write_at(&bytes, 1), Ok(line as usize - 1));
    refused(buffer.set_cache(Policy::WriteBack), Errno::EBUSY);
    // START takes back what it names, and no more.
    sync(2 * line..last + 1, Phase::Begin);
    sync(0..line, Phase::Begin);
    assert_eq!(owner(&buffer), Owner::Device);
    refused(buffer.read_at(&mut [0], line), Errno::EBUSY);
    sync(line..2 * line, Phase::Begin);
    assert_eq!(owner(&buffer), Owner::Cpu);
    assert_eq!(buffer.read_at(&mut [0], line), Ok(1));
}

fn lent(env: &Env) {
    let buffer = env.open();
    let line = u64::from(buffer.info().expect("INFO").cache_line);
    let sync = |range: std::ops::Range<u64>, phase| {
        buffer.sync(range, Access::ReadWrite, phase).expect("SYNC");
    };
    let expect = |expected: &[std::ops::Range<u64>]| {
        // Any handle can ask.
        for handle in [&buffer, &env.open_read_only()] {
            assert_eq!(handle.lent().expect("LENT"), expected);
        }
    };
    expect(&[]);
    let end = buffer.size();
    sync(0..2 * line, Phase::End);
    sync(2 * line..3 * line, Phase::End);
    sync(end - line..end, Phase::End);
    expect(&[0..3 * line, end - line..end]);
    sync(line..2 * line, Phase::Begin);
    expect(&[0..line, 2 * line..3 * line, end - line..end]);
    sync(0..end, Phase::Begin);
    expect(&[]);
}

fn reader(env: &Env) {
    let writer = env.open();
    let reader = env.open_read_only();
    writer.sync(.., Access::Write, Phase::End).expect("SYNC");
    refused(reader.sync(.., Access::Read, Phase::Begin), Errno::EBUSY);
    assert_eq!(owner(&reader), Owner::Device);
    writer.sync(.., Access::Read, Phase::Begin).expect("SYNC");
    assert_eq!(reader.sync(.., Access::Read, Phase::Begin), Ok(()));
}

fn death(env: &Env) {
    let buffer = env.open();
    let pattern = fresh();
    write_all(&buffer, pattern);
    let (given, never) = (Turn::new(), Turn::new());
    let child = Child::run(|| {
        let own = env.open();
        own.sync(.., Access::ReadWrite, Phase::End).expect("SYNC");
        given.give();
        never.take();
    });
    given.take();
    child.kill();
    assert_eq!(owner(&buffer), Owner::Device, "as it was left");
    refused(buffer.read_at(&mut [0], 0), Errno::EBUSY);
    // A handle that was opened only now.
    let later = env.open();
    later
        .sync(.., Access::ReadWrite, Phase::Begin)
        .expect("SYNC");
    assert_eq!(owner(&buffer), Owner::Cpu);
    assert_pattern(pattern, 0, &read_all(&buffer), "read(2)");
}

/// While the device owns the buffer, mappings stay, and can be made: they are for the next
/// access of the CPU.
fn mapped(env: &Env) {
    assert!(env.config.kind.has_owner());
    let buffer = env.open();
    let mapping = env.map(&buffer);
    let pattern = fresh();
    buffer
        .with_cpu_access(.., Access::Write, || store_all(&mapping, 0, pattern))
        .expect("SYNC");
    assert_eq!(owner(&buffer), Owner::Device);
    drop(mapping);
    let mapping = env.map(&buffer);
    buffer
        .sync(.., Access::ReadWrite, Phase::Begin)
        .expect("SYNC");
    assert_both(&buffer, &mapping, pattern);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Arguments that are wrong: each has its errno, and none changes anything.

use std::{thread, time::Duration};

use nix::errno::Errno;
use shmbuf::{abi, Access, Buffer, Direction, Kind, Phase};

use super::{
    claim,
    data::{fresh, nowhere, read_all, write_all},
    Claim, Scope,
};
use crate::{
    kmsg::Log,
    runner::Env,
    sys::{self, page, refused, resized, Region},
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Kind, "sync_refuses_bad_ranges", sync_ranges),
    claim(Scope::Kind, "sync_refuses_bad_flags", sync_flags),
    claim(Scope::Kind, "lent_refuses_bad_ranges", lent),
    claim(Scope::Kind, "segment_refuses_bad_arguments", segment),
    claim(Scope::Kind, "set_cache_refuses_bad_arguments", set_cache),
    claim(Scope::Once, "refused_arguments_have_a_reason", reasons),
    claim(Scope::Kind, "sync_and_set_cache_grow", growth),
    claim(Scope::Kind, "ioctl_bad_pointers", pointers),
    claim(Scope::Kind, "unknown_ioctls", unknown),
];

/// Runs calls that are all refused, and asserts that nothing has changed.
#[track_caller]
fn unchanged(env: &Env, f: impl FnOnce(&Buffer)) {
    let buffer = env.open();
    write_all(&buffer, fresh());
    let before = (buffer.info(), read_all(&buffer));
    f(&buffer);
    let after = (buffer.info(), read_all(&buffer));
    assert_eq!(before.0, after.0, "INFO");
    assert!(before.1 == after.1, "the contents have changed");
}

/// Calls an ioctl with any structure and number.
pub(super) fn call<T>(buffer: &Buffer, number: u32, mut argument: T) -> Result<(), Errno> {
    let argument = std::ptr::from_mut(&mut argument).cast();
    // SAFETY: the callers give the structure that the number is for.
    unsafe { sys::ioctl(buffer, number, argument) }
}

fn sync(buffer: &Buffer, offset: u64, length: u64, flags: u32) -> Result<(), Errno> {
    let argument = abi::shmbuf_sync {
        offset,
        length,
        flags,
        reserved: 0,
    };
    call(buffer, abi::SHMBUF_IOC_SYNC, argument)
}

const BEGIN: u32 = abi::SHMBUF_SYNC_RW | abi::SHMBUF_SYNC_START;
const END: u32 = abi::SHMBUF_SYNC_RW | abi::SHMBUF_SYNC_END;

fn sync_ranges(env: &Env) {
    unchanged(env, |buffer| {
        let size = buffer.size();
        let line = u64::from(buffer.info().expect("INFO").cache_line);
        // The end of what 64 bits hold, in whole lines.
        let last = u64::MAX - (line - 1);
        for flags in [BEGIN, END] {
            let sync = |offset, length| sync(buffer, offset, length, flags);
            refused(sync(0, 0), Errno::EINVAL);
            refused(sync(line, 0), Errno::EINVAL);
            refused(sync(1, line), Errno::EINVAL);
            refused(sync(line / 2, line), Errno::EINVAL);
            refused(sync(0, 1), Errno::EINVAL);
            refused(sync(0, line - 1), Errno::EINVAL);
            refused(sync(0, line + 1), Errno::EINVAL);

            refused(sync(size, line), Errno::ERANGE);
            refused(sync(0, size + line), Errno::ERANGE);
            refused(sync(size - line, 2 * line), Errno::ERANGE);
            refused(sync(line, size), Errno::ERANGE);
            refused(sync(1 << 32, line), Errno::ERANGE);
            refused(sync(0, 1 << 32), Errno::ERANGE);
            refused(sync((1 << 32) + line, line), Errno::ERANGE);
            refused(sync(last, line), Errno::ERANGE);
            refused(sync(last, 2 * line), Errno::ERANGE);
            refused(sync(line, last), Errno::ERANGE);
            refused(sync(last, last), Errno::ERANGE);
        }
    });
}

fn sync_flags(env: &Env) {
    unchanged(env, |buffer| {
        let size = buffer.size();
        for flags in [abi::SHMBUF_SYNC_START, abi::SHMBUF_SYNC_END] {
            refused(sync(buffer, 0, size, flags), Errno::EINVAL);
        }
        let known = abi::SHMBUF_SYNC_RW | abi::SHMBUF_SYNC_END;
        for bit in (0..32).map(|n| 1 << n).filter(|bit| known & bit == 0) {
            refused(sync(buffer, 0, size, BEGIN | bit), Errno::EINVAL);
            refused(sync(buffer, 0, size, END | bit), Errno::EINVAL);
        }
        for bit in 0..32 {
            let argument = abi::shmbuf_sync {
                offset: 0,
                length: size,
                flags: END,
                reserved: 1 << bit,
            };
            let result = call(buffer, abi::SHMBUF_IOC_SYNC, argument);
            refused(result, Errno::EINVAL);
        }
    });
}

fn lent(env: &Env) {
    unchanged(env, |buffer| {
        let find = |offset, length| {
            let argument = abi::shmbuf_lent { offset, length };
            call(buffer, abi::SHMBUF_IOC_LENT, argument)
        };
        let size = buffer.size();
        // Unlike SYNC it takes any bytes.
        assert_eq!(find(3, 5), Ok(()));
        assert_eq!(find(0, size), Ok(()));
        refused(find(0, 0), Errno::EINVAL);
        for (offset, length) in [(0, size + 1), (size, 1), (u64::MAX, 2), (1, u64::MAX)] {
            refused(find(offset, length), Errno::ERANGE);
        }
    });
}

fn segment(env: &Env) {
    unchanged(env, |buffer| {
        let find = |offset, length, dma_addr| {
            let argument = abi::shmbuf_segment {
                offset,
                length,
                dma_addr,
            };
            call(buffer, abi::SHMBUF_IOC_SEGMENT, argument)
        };
        for bit in (0..64).map(|n| 1 << n) {
            refused(find(0, bit, 0), Errno::EINVAL);
            refused(find(0, 0, bit), Errno::EINVAL);
        }
        for offset in [buffer.size(), buffer.size() + 1, u64::MAX] {
            refused(find(offset, 0, 0), Errno::ERANGE);
        }
        let last = find(buffer.size() - 1, 0, 0);
        match env.config.kind {
            Kind::Pages => refused(last, Errno::EOPNOTSUPP),
            _ => assert_eq!(last, Ok(())),
        }
    });
}

fn set_cache(env: &Env) {
    unchanged(env, |buffer| {
        let set = |policy, flags| {
            let argument = abi::shmbuf_set_cache { policy, flags };
            call(buffer, abi::SHMBUF_IOC_SET_CACHE, argument)
        };
        for policy in [4, 5, 31, 32, 1 << 8, 1 << 31, u32::MAX] {
            refused(set(policy, 0), Errno::EINVAL);
        }
        for bit in 0..32 {
            refused(set(env.config.policy.raw(), 1 << bit), Errno::EINVAL);
        }
    });
}

/// What a program sees as EINVAL alone is a sentence in the log, with its own value.
fn reasons(env: &Env) {
    let good = abi::shmbuf_alloc {
        size: 4096,
        kind: Kind::Pages.raw(),
        policy: abi::SHMBUF_POLICY_DEFAULT,
        ..Default::default()
    };
    let of_pool = abi::shmbuf_alloc {
        size: 64,
        kind: Kind::Pool.raw(),
        ..good
    };
    unchanged(env, |buffer| {
        let alloc = |argument: abi::shmbuf_alloc, words| {
            let refused = || call(buffer, abi::SHMBUF_IOC_ALLOC, argument);
            assert_said(refused, "ALLOC", words);
        };
        alloc(abi::shmbuf_alloc { size: 3, ..good }, "size=3: must be");
        let two_pages = abi::shmbuf_alloc {
            size: 8192,
            ..of_pool
        };
        alloc(two_pages, "size=8K kind=pool: must be");
        alloc(abi::shmbuf_alloc { kind: 99, ..good }, "kind=99: ");
        alloc(abi::shmbuf_alloc { policy: 98, ..good }, "policy=98: ");
        let mapping = 97;
        alloc(abi::shmbuf_alloc { mapping, ..good }, "mapping=97: ");
        let direction = 96;
        alloc(abi::shmbuf_alloc { direction, ..good }, "direction=96: ");
        let direction = Direction::ToDevice.raw();
        let words = "direction=to-device kind=pages: only";
        alloc(abi::shmbuf_alloc { direction, ..good }, words);
        let words = "align=3 boundary=0: both must be";
        alloc(
            abi::shmbuf_alloc {
                align: 3,
                ..of_pool
            },
            words,
        );
        let words = "align=64 boundary=0 kind=pages: only";
        alloc(abi::shmbuf_alloc { align: 64, ..good }, words);
        alloc(abi::shmbuf_alloc { flags: 1, ..good }, "flags=1: ");
        let reserved = 1;
        alloc(abi::shmbuf_alloc { reserved, ..good }, "reserved=1: ");

        let policy = abi::shmbuf_set_cache {
            policy: 99,
            flags: 0,
        };
        let refused = || call(buffer, abi::SHMBUF_IOC_SET_CACHE, policy);
        assert_said(refused, "SET_CACHE", "policy=99: ");
    });
}

/// Asserts that a call is refused with EINVAL, and that the log has these words of it. It is made
/// again as long as the log takes no more lines of this user.
#[track_caller]
fn assert_said(call: impl Fn() -> Result<(), Errno>, name: &str, words: &str) {
    let wanted = format!("shmbuf: {name}: {words}");
    let mut log = Log::from_now();
    for _ in 0..40 {
        refused(call(), Errno::EINVAL);
        let lines = log.lines();
        if lines.iter().any(|line| line.text.starts_with(&wanted)) {
            return;
        }
        thread::sleep(Duration::from_millis(250));
    }
    panic!("the log does not have \"{wanted}\"");
}

/// A structure of a later header.
#[repr(C)]
pub(super) struct Longer<T> {
    /// The structure as this header has it.
    pub(super) known: T,
    /// What a later header has added.
    pub(super) more: [u64; 4],
}

/// Programs with a later or an earlier header: their structures are longer or shorter.
fn growth(env: &Env) {
    let known = abi::shmbuf_sync {
        offset: 0,
        length: env.config.size,
        flags: BEGIN,
        reserved: 0,
    };
    let size = size_of::<abi::shmbuf_sync>();
    let number = resized(abi::SHMBUF_IOC_SYNC, size + 32);

    unchanged(env, |buffer| {
        // What was not handed over, a begin may undo.
        for phase in [Phase::End, Phase::Begin] {
            buffer.sync(.., Access::ReadWrite, phase).expect("SYNC");
        }
        let more = [0; 4];
        assert_eq!(call(buffer, number, Longer { known, more }), Ok(()));
        for word in 0..4 {
            let mut more = [0; 4];
            more[word] = 1 << 63;
            let result = call(buffer, number, Longer { known, more });
            refused(result, Errno::E2BIG);
        }
        for less in [size - 8, size - 1, 8, 0] {
            let number = resized(abi::SHMBUF_IOC_SYNC, less);
            refused(call(buffer, number, known), Errno::EINVAL);
        }

        let known = abi::shmbuf_set_cache {
            policy: env.config.policy.raw(),
            flags: 0,
        };
        let size = size_of::<abi::shmbuf_set_cache>();
        let number = resized(abi::SHMBUF_IOC_SET_CACHE, size + 32);
        let more = [0, 0, 0, 1];
        let result = call(buffer, number, Longer { known, more });
        refused(result, Errno::E2BIG);
        for less in [size - 4, 1, 0] {
            let number = resized(abi::SHMBUF_IOC_SET_CACHE, less);
            refused(call(buffer, number, known), Errno::EINVAL);
        }
    });
}

fn pointers(env: &Env) {
    unchanged(env, |buffer| {
        let mut half = Region::anonymous(2 * page());
        half.unmap(page(), page()).expect("munmap");
        let addresses = nowhere().into_iter().chain([half.at(page() - 4)]);
        for address in addresses {
            for number in [abi::SHMBUF_IOC_SYNC, abi::SHMBUF_IOC_SET_CACHE] {
                // SAFETY: there is nothing, or memory of ours without
                // references.
                let result = unsafe { sys::ioctl(buffer, number, address.cast()) };
                refused(result, Errno::EFAULT);
            }
        }
    });
}

fn unknown(env: &Env) {
    const NUMBER: u32 = 0xff;
    const DIRECTION: u32 = 3 << 30;
    const MAGIC: u32 = 0xff << 8;
    unchanged(env, |buffer| {
        let ours = [
            abi::SHMBUF_IOC_INFO,
            abi::SHMBUF_IOC_SET_CACHE,
            abi::SHMBUF_IOC_SYNC,
            abi::SHMBUF_IOC_ALLOC,
            abi::SHMBUF_IOC_EXPORT,
            abi::SHMBUF_IOC_COPY,
            abi::SHMBUF_IOC_COPY_RESULT,
            abi::SHMBUF_IOC_LENT,
            abi::SHMBUF_IOC_SEGMENT,
            abi::SHMBUF_IOC_IMPORT,
        ];
        for ioctl in ours {
            for number in ours.len() as u32..=NUMBER {
                let other = (ioctl & !NUMBER) | number;
                refused(call(buffer, other, [0u64; 32]), Errno::ENOTTY);
            }
            // The number of ours, and another direction or magic.
            for direction in (0..4).map(|n| n << 30) {
                if direction != ioctl & DIRECTION {
                    let other = (ioctl & !DIRECTION) | direction;
                    refused(call(buffer, other, [0u64; 32]), Errno::ENOTTY);
                }
            }
            let other = (ioctl & !MAGIC) | (0xbb << 8);
            refused(call(buffer, other, [0u64; 32]), Errno::ENOTTY);
        }
    });
}

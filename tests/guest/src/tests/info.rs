// SPDX-License-Identifier: MIT OR Apache-2.0
//! What INFO tells, and to whom.

use std::{ffi::c_void, fs};

use caps::{CapSet, Capability};
use nix::errno::Errno;
use shmbuf::{abi, Buffer, Kind, Owner, Segment};

use super::{claim, data::nowhere, Claim, Scope};
use crate::{
    machine::mount_debugfs,
    process::Child,
    runner::Env,
    sys::{self, page, refused, resized},
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Each, "info_fields", fields),
    claim(Scope::Kind, "info_fills_the_whole_structure", whole),
    claim(Scope::Kind, "info_refuses_flags", flags),
    claim(Scope::Kind, "info_grows", growth),
    claim(Scope::Kind, "info_bad_pointers", pointers),
    claim(Scope::Kind, "addresses_need_cap_sys_rawio", privilege),
    claim(Scope::Kind, "segments_are_where_the_pages_lie", segments),
];

/// Calls INFO, and returns the structure as it comes.
///
/// The argument is what the structure holds before.
pub(super) fn raw(buffer: &Buffer, mut info: abi::shmbuf_info) -> Result<abi::shmbuf_info, Errno> {
    let argument = std::ptr::from_mut(&mut info).cast();
    // SAFETY: the argument is the structure that the number is for.
    unsafe { sys::ioctl(buffer, abi::SHMBUF_IOC_INFO, argument) }?;
    Ok(info)
}

fn fields(env: &Env) {
    let buffer = env.open();
    let info = buffer.info().expect("INFO");
    assert_eq!(info.size, env.config.size);
    assert_eq!(buffer.size(), info.size, "lseek(2) and INFO differ");
    assert_eq!(info.owner, Owner::Cpu);
    assert_eq!(info.mappings, 0);
    let line = info.cache_line as usize;
    assert!(
        line.is_power_of_two() && (16..=256).contains(&line),
        "{line}"
    );

    let physical = info.phys_addr.expect("we are privileged");
    assert!(
        physical != 0 && physical % page() as u64 == 0,
        "{physical:#x}"
    );
    match (env.config.kind, &info.dma_addr) {
        (Kind::Pages, None) => {}
        (Kind::Coherent | Kind::Streaming | Kind::Scatter, Some(dma)) => {
            assert!(dma.address % page() as u64 == 0 && !dma.device.is_empty());
        }
        (kind, dma) => panic!("{kind} has the DMA address {dma:?}"),
    }

    let mapping = env.map(&buffer);
    assert_eq!(buffer.info().expect("INFO").mappings, 1);
    drop(mapping);
    let again = env.open_read_only().info();
    assert_eq!(again, Ok(info), "through a read-only handle");
}

/// INFO writes all of the structure: nothing of what was in it comes back.
fn whole(env: &Env) {
    let buffer = env.open();
    let zeroed = raw(&buffer, abi::shmbuf_info::default()).expect("INFO");
    let filled = abi::shmbuf_info {
        kind: !0,
        policy: !0,
        policies: !0,
        size: !0,
        phys_addr: !0,
        dma_addr: !0,
        owner: !0,
        cache_line: !0,
        mappings: !0,
        memory_type: [0x55; 48],
        dma_device: [0x55; 32],
        ..Default::default()
    };
    let filled = raw(&buffer, filled).expect("INFO");
    assert_eq!(format!("{zeroed:?}"), format!("{filled:?}"));
    assert_eq!(zeroed.reserved, 0);
    for text in [&zeroed.memory_type[..], &zeroed.dma_device[..]] {
        let end = text.iter().position(|c| *c == 0).expect("a NUL");
        assert!(text[end..].iter().all(|c| *c == 0));
    }
}

fn flags(env: &Env) {
    let buffer = env.open();
    for bit in 0..32 {
        let info = abi::shmbuf_info {
            flags: 1 << bit,
            ..Default::default()
        };
        refused(raw(&buffer, info), Errno::EINVAL);
    }
}

/// Calls INFO with another size of the structure, within zeroed memory where one
/// byte at an offset is not zero.
fn sized(buffer: &Buffer, size: usize, dirt: Option<usize>) -> Result<Vec<u8>, Errno> {
    // As aligned as the structure.
    let mut memory = vec![0u64; 1024];
    let argument: *mut c_void = memory.as_mut_ptr().cast();
    if let Some(offset) = dirt {
        // SAFETY: inside the memory.
        unsafe { argument.cast::<u8>().add(offset).write(1) };
    }
    // SAFETY: the memory is longer than any size that the tests use.
    unsafe { sys::ioctl(buffer, resized(abi::SHMBUF_IOC_INFO, size), argument) }?;
    Ok(memory.iter().flat_map(|word| word.to_ne_bytes()).collect())
}

/// Bytes that the structure has in the first header.
const FIRST: usize = 136;

fn growth(env: &Env) {
    let buffer = env.open();
    let size = size_of::<abi::shmbuf_info>();
    let own = sized(&buffer, size, None).expect("INFO");

    // A program with a later header, which asks for nothing new.
    for more in [8, 256, page()] {
        let longer = sized(&buffer, size + more, None).expect("INFO, longer");
        assert!(
            longer == own,
            "the known part differs, or the rest is not zero"
        );
    }
    // One that asks for what this driver does not know.
    for offset in [size, size + 7, size + 255] {
        let result = sized(&buffer, size + 256, Some(offset));
        refused(result.map(drop), Errno::E2BIG);
    }
    // A program with an earlier header gets what that has, and no byte more.
    for less in [FIRST, size - 4, size - 1] {
        let shorter = sized(&buffer, less, None).expect("INFO, shorter");
        assert!(shorter[..less] == own[..less], "the known part differs");
        let written = shorter[less..].iter().any(|&byte| byte != 0);
        assert!(!written, "what follows the structure was written");
    }
    for less in [FIRST - 1, 8, 1, 0] {
        refused(sized(&buffer, less, None).map(drop), Errno::EINVAL);
    }
}

fn pointers(env: &Env) {
    let buffer = env.open();
    for address in nowhere() {
        // SAFETY: no memory of ours is there.
        let result = unsafe { sys::ioctl(&buffer, abi::SHMBUF_IOC_INFO, address.cast()) };
        refused(result, Errno::EFAULT);
    }
    // Half of the structure is there.
    let mut memory = sys::Region::anonymous(2 * page());
    memory.unmap(page(), page()).expect("munmap");
    let address = memory.at(page() - 64).cast();
    // SAFETY: what is there, is memory of ours without references.
    let result = unsafe { sys::ioctl(&buffer, abi::SHMBUF_IOC_INFO, address) };
    refused(result, Errno::EFAULT);
    // It can be read, and not be written.
    let memory = sys::Region::anonymous(page());
    memory.read(0);
    memory.protect(nix::libc::PROT_READ).expect("mprotect");
    // SAFETY: as above.
    let result = unsafe { sys::ioctl(&buffer, abi::SHMBUF_IOC_INFO, memory.start().cast()) };
    refused(result, Errno::EFAULT);
}

fn privilege(env: &Env) {
    let buffer = env.open();
    let info = buffer.info().expect("INFO");
    Child::run(|| {
        caps::drop(None, CapSet::Effective, Capability::CAP_SYS_RAWIO).expect("capset");
        // The handle is the same; who asks is not.
        let plain = buffer.info().expect("INFO");
        assert_eq!((plain.phys_addr, &plain.dma_addr), (None, &None));
        let raw = raw(&buffer, abi::shmbuf_info::default()).expect("INFO");
        assert_eq!((raw.phys_addr, raw.dma_addr), (0, 0));

        let expected = shmbuf::Info {
            phys_addr: None,
            dma_addr: None,
            ..info.clone()
        };
        assert_eq!(plain, expected, "and nothing else differs");
        let refused = buffer.segments().expect_err("we are not privileged");
        assert_eq!(refused.errno(), Some(Errno::EPERM));
        caps::raise(None, CapSet::Effective, Capability::CAP_SYS_RAWIO).expect("capset");
        assert_eq!(buffer.info(), Ok(info.clone()));
    })
    .join();
}

/// The addresses of the driver's own device are those of the CPU.
fn segments(env: &Env) {
    let buffer = env.open();
    let info = buffer.info().expect("INFO");
    let Some(first) = info.dma_addr else {
        let refused = buffer.segments().expect_err("no device has a view");
        assert_eq!(refused.errno(), Some(Errno::EOPNOTSUPP));
        return;
    };
    let segments = buffer.segments().expect("SEGMENT");
    assert_eq!(segments[0].dma_addr, first.address);
    let ends: Vec<_> = segments.iter().map(|it| it.range.end).collect();
    let starts: Vec<_> = segments.iter().map(|it| it.range.start).collect();
    assert_eq!((starts[0], ends.last()), (0, Some(&buffer.size())));
    assert_eq!(starts[1..], ends[..ends.len() - 1]);
    if env.config.kind != Kind::Scatter {
        assert_eq!(segments.len(), 1, "{segments:x?}");
    }
    if mount_debugfs() {
        let lines = fs::read_to_string("/sys/kernel/debug/shmbuf/default/pages").expect("pages");
        let shown = |it: &Segment| {
            let Segment { range, dma_addr } = it;
            let length = range.end - range.start;
            format!(
                "offset {:#x} physical {dma_addr:#x} length {length:#x}",
                range.start
            )
        };
        let segments: Vec<_> = segments.iter().map(shown).collect();
        assert_eq!(segments, lines.lines().collect::<Vec<_>>());
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Private buffers: what ALLOC gives, and how long it lives.

use std::{
    fs,
    io::{IoSlice, IoSliceMut},
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::Command,
};

use nix::{
    errno::Errno,
    fcntl::{fcntl, FcntlArg, FdFlag},
    libc,
    sys::{
        resource::{getrlimit, setrlimit, Resource},
        socket::{recvmsg, sendmsg, ControlMessage, ControlMessageOwned, MsgFlags},
    },
    unistd::dup,
};
use shmbuf::{
    abi, Access, Alloc, Buffer, Direction, DmaBuf, Info, Kind, Mapping, MappingKind, Owner, Phase,
    Policy, Protection,
};
use shmbuf_verify::Pattern;

use super::{
    bad_input::{call, Longer},
    claim,
    data::{assert_both, assert_pattern, fresh, load_all, nowhere, read_all, store_all, write_all},
    without_debugfs, Claim, Scope,
};
use crate::{
    cgroup::Cgroup,
    expect::Expect,
    machine::{number, Arch, Machine},
    module::{parameter, users, Config, SYSFS},
    process::{Child, Turn},
    procfs::private_used,
    runner::Env,
    sys::{self, page, refused, resized, Region},
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Once, "alloc_gives_what_was_asked_for", asked_for),
    claim(Scope::Once, "alloc_is_zeroed", zeroed),
    claim(Scope::Once, "alloc_zeroes_memory_used_before", reused),
    claim(Scope::Once, "alloc_closes_on_exec", on_exec),
    claim(Scope::Once, "alloc_reads_writes_maps_and_syncs", works),
    claim(Scope::Once, "alloc_pages_change_their_policy", set_cache),
    claim(Scope::Once, "alloc_twice_is_two_buffers", distinct),
    claim(Scope::Once, "alloc_lives_until_its_last_user", lifetime).unless(without_debugfs),
    claim(Scope::Own, "rmmod_waits_for_private_buffers", rmmod),
    claim(Scope::Once, "alloc_is_passed_over_a_socket", passed).unless(without_debugfs),
    claim(Scope::Once, "alloc_sizes", sizes).unless(without_debugfs),
    claim(Scope::Once, "alloc_64_mib", large).unless(|_, _| {
        let text = "less than 384 MiB of memory";
        (memory() < 384 << 20).then_some(text)
    }),
    claim(Scope::Own, "eight_private_buffers_of_64_mib", eight)
        .seconds(300)
        .unless(|_, _| {
            let text = "less than 900 MiB of memory";
            (memory() < 900 << 20).then_some(text)
        }),
    claim(Scope::Own, "limit_is_roots_to_change", limit_changes),
    claim(Scope::Own, "limit_counts_and_uncounts", limit_counts).unless(without_debugfs),
    claim(
        Scope::Own,
        "over_limit_is_not_out_of_memory",
        limit_and_memory,
    )
    .unless(without_debugfs),
    claim(Scope::Once, "alloc_needs_a_handle_for_writing", read_only),
    claim(
        Scope::Once,
        "alloc_without_free_descriptors",
        no_descriptors,
    )
    .unless(without_debugfs),
    claim(Scope::Once, "alloc_refuses_bad_fields", bad_fields).unless(without_debugfs),
    claim(Scope::Once, "alloc_refuses_policies", bad_policies),
    claim(Scope::Once, "alloc_refuses_mappings", bad_mappings),
    claim(Scope::Once, "alloc_grows", growth).unless(without_debugfs),
    claim(Scope::Once, "alloc_bad_pointers", pointers).unless(without_debugfs),
    claim(Scope::Once, "pool_blocks_share_pages", pool_pages),
    claim(Scope::Once, "pool_blocks_are_aligned", pool_align),
    claim(Scope::Once, "pool_blocks_cross_no_boundary", pool_boundary),
    claim(Scope::Once, "pool_is_not_mapped", pool_mmap),
    claim(Scope::Once, "pool_blocks_have_neighbours", pool_neighbours),
    claim(Scope::Own, "highmem_in_pieces_is_enough", highmem_in_pieces)
        .seconds(300)
        .unless(|machine, _| {
            let there = matches!(machine.arch, Arch::Armv7 { highmem: true, .. });
            (!there).then_some("no highmem")
        }),
    claim(Scope::Once, "alloc_is_charged_to_the_cgroup", charged).unless(without_memcg),
    claim(Scope::Once, "alloc_stays_within_the_cgroup", within).unless(without_memcg),
];

/// The kinds that ALLOC takes.
pub(super) fn kinds() -> impl Iterator<Item = Kind> {
    let kinds = Kind::ALL.iter().copied();
    kinds.filter(|kind| kind.is_allocated())
}

/// Bytes of the buffers that tests make.
pub(super) const SIZE: u64 = 64 << 10;

/// Bytes of the buffers of kind pool that tests make.
const BLOCK: u64 = 192;

/// What a buffer of one of the tests' sizes counts as: the one block of a pool takes a page.
fn counted(alloc: &Alloc) -> u64 {
    match alloc.kind {
        Kind::Pool => page() as u64,
        _ => alloc.size,
    }
}

/// Bytes that private buffers may have if nobody says otherwise.
const LIMIT: u64 = 64 << 20;

/// The policies that a kind has here; none where only the driver knows.
fn policies(machine: &Machine, kind: Kind) -> Vec<Option<Policy>> {
    match machine.knows(kind) {
        true => machine.policies(kind, false).iter().map(Some).collect(),
        false => vec![None],
    }
}

/// The ways of mapping that a kind and policy have here.
fn mappings(machine: &Machine, kind: Kind, policy: Option<Policy>) -> Vec<MappingKind> {
    let mut ways = vec![MappingKind::Pfnmap];
    if kind.has_owner() {
        ways.push(MappingKind::Strict);
    }
    let ordinary = kind.has_owner() || kind == Kind::Pages;
    let cached = matches!(policy, None | Some(Policy::WriteBack));
    if ordinary && cached && !machine.is_vivt() {
        ways.push(MappingKind::Refcounted);
    }
    ways
}

/// Private buffers of each kind and policy and way of mapping that works here.
pub(super) fn every(machine: &Machine) -> Vec<Alloc> {
    let mut list = Vec::new();
    for kind in kinds() {
        for policy in policies(machine, kind) {
            for mapping in mappings(machine, kind, policy) {
                let size = if kind == Kind::Pool { BLOCK } else { SIZE };
                list.push(Alloc {
                    policy,
                    mapping,
                    ..Alloc::new(size, kind)
                });
            }
        }
    }
    list
}

/// One private buffer of each kind.
pub(super) fn each_kind(machine: &Machine) -> Vec<Alloc> {
    let mut list = every(machine);
    list.dedup_by_key(|alloc| alloc.kind);
    assert_eq!(list.len(), kinds().count());
    list
}

/// Makes a private buffer, which has to work.
#[track_caller]
pub(super) fn make(env: &Env, alloc: &Alloc) -> Buffer {
    try_make(env, alloc).unwrap_or_else(|error| panic!("{alloc:?}: {error}"))
}

fn try_make(env: &Env, alloc: &Alloc) -> shmbuf::Result<Buffer> {
    env.open().alloc(alloc)
}

#[track_caller]
fn info(buffer: &Buffer) -> Info {
    buffer.info().expect("INFO")
}

/// Maps a whole buffer.
#[track_caller]
pub(super) fn map(buffer: &Buffer) -> Mapping {
    buffer
        .map(0, buffer.size() as usize, Protection::ReadWrite)
        .expect("mmap")
}

#[track_caller]
fn assert_zero(bytes: &[u8], what: &str) {
    if let Some(at) = bytes.iter().position(|&byte| byte != 0) {
        panic!("{what}: byte {at} is {:#x}", bytes[at]);
    }
}

/// Bytes of memory that the machine has.
pub(super) fn memory() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    number(&meminfo, "MemTotal").unwrap_or(0) << 10
}

fn asked_for(env: &Env) {
    for alloc in every(&env.machine) {
        for direction in Direction::ALL {
            if !alloc.kind.has_owner() && *direction != Direction::Bidirectional {
                continue;
            }
            let alloc = Alloc {
                direction: *direction,
                ..alloc.clone()
            };
            let info = info(&make(env, &alloc));
            let got = Alloc {
                policy: alloc.policy.and(Some(info.policy)),
                mapping: info.mapping,
                direction: info.direction,
                ..Alloc::new(info.size, info.kind)
            };
            assert_eq!(got, alloc);
            assert_eq!(
                (info.owner, info.mappings, info.exports, info.name),
                (Owner::Cpu, 0, 0, None),
                "{alloc:?}"
            );
            if let Some(policy) = alloc.policy {
                let expected = env.machine.expect(alloc.kind, policy, false);
                let Expect::Works(memory_type) = expected else {
                    panic!("{alloc:?} is {expected:?}");
                };
                assert_eq!(info.memory_type, memory_type, "{alloc:?}");
            }
        }
    }
}

fn zeroed(env: &Env) {
    for alloc in every(&env.machine) {
        let buffer = make(env, &alloc);
        assert_zero(&read_all(&buffer), &format!("{alloc:?} by read(2)"));
        if alloc.kind != Kind::Pool {
            let mapping = map(&buffer);
            assert_zero(&load_all(&mapping), &format!("{alloc:?} in the mapping"));
        }
    }
}

fn reused(env: &Env) {
    let mut again = 0;
    for alloc in every(&env.machine) {
        let mut used_before = Vec::new();
        for round in 0..32 {
            let buffer = make(env, &alloc);
            let what = format!("{alloc:?}, round {round}");
            assert_zero(&read_all(&buffer), &what);
            let address = info(&buffer).phys_addr.expect("root sees addresses");
            if used_before.contains(&address) {
                again += 1;
            }
            used_before.push(address);
            // By the program's own cache lines, which nobody flushes but the
            // driver.
            if alloc.kind == Kind::Pool {
                write_all(&buffer, fresh());
            } else {
                map(&buffer).fill(0, alloc.size as usize, 0x5a);
            }
        }
    }
    assert_ne!(again, 0, "no memory came a second time");
}

fn on_exec(env: &Env) {
    /// Whether a program that this one executes has the descriptor.
    fn is_inherited(fd: impl AsFd) -> bool {
        let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
        let status = Command::new("/bin/busybox")
            .args(["test", "-e", &path])
            .status();
        status.expect("busybox").success()
    }
    for alloc in each_kind(&env.machine) {
        let buffer = make(env, &alloc);
        let flags = fcntl(&buffer, FcntlArg::F_GETFD).expect("F_GETFD");
        assert_eq!(flags, FdFlag::FD_CLOEXEC.bits(), "{alloc:?}");
        assert!(!is_inherited(&buffer), "{alloc:?}");
        let copy = dup(&buffer).expect("dup");
        assert!(is_inherited(&copy), "a copy without the flag is not there");
    }
}

fn works(env: &Env) {
    for alloc in every(&env.machine) {
        let buffer = make(env, &alloc);
        let name = format!("{alloc:?}");
        let pattern = fresh();
        write_all(&buffer, pattern);
        assert_pattern(pattern, 0, &read_all(&buffer), &name);

        buffer
            .sync(.., Access::ReadWrite, Phase::End)
            .expect("SYNC END");
        let owner = match alloc.kind.has_owner() {
            true => Owner::Device,
            false => Owner::Cpu,
        };
        assert_eq!(info(&buffer).owner, owner, "{name}");
        if owner == Owner::Device {
            refused(buffer.read_at(&mut [0], 0), Errno::EBUSY);
        }
        buffer
            .sync(.., Access::ReadWrite, Phase::Begin)
            .expect("SYNC START");
        assert_eq!(info(&buffer).owner, Owner::Cpu, "{name}");
        assert_pattern(pattern, 0, &read_all(&buffer), &name);

        if alloc.kind != Kind::Pool {
            let mapping = map(&buffer);
            assert_eq!(info(&buffer).mappings, 1, "{name}");
            let pattern = fresh();
            store_all(&mapping, 0, pattern);
            assert_both(&buffer, &mapping, pattern);
        }
    }
}

fn set_cache(env: &Env) {
    for alloc in every(&env.machine) {
        let buffer = make(env, &alloc);
        let pattern = fresh();
        write_all(&buffer, pattern);
        let before = info(&buffer);
        let moves = alloc.kind == Kind::Pages && alloc.mapping == MappingKind::Pfnmap;
        if let (true, Some(_)) = (moves, alloc.policy) {
            let all = env.machine.policies(alloc.kind, false);
            assert_eq!(before.policies, all, "{alloc:?}");
        } else if !moves {
            let own = [before.policy].into_iter().collect();
            assert_eq!(before.policies, own, "{alloc:?}");
        }
        for policy in Policy::ALL {
            let result = buffer.set_cache(*policy);
            if before.policies.contains(*policy) {
                result.expect("SET_CACHE");
                assert_eq!(info(&buffer).policy, *policy, "{alloc:?}");
            } else {
                refused(result, Errno::EOPNOTSUPP);
            }
            assert_pattern(pattern, 0, &read_all(&buffer), &format!("{alloc:?}"));
        }
    }
}

fn distinct(env: &Env) {
    for alloc in every(&env.machine) {
        let buffers = [(); 3].map(|()| (make(env, &alloc), fresh()));
        for (buffer, pattern) in &buffers {
            write_all(buffer, *pattern);
        }
        for (buffer, pattern) in &buffers {
            assert_pattern(*pattern, 0, &read_all(buffer), &format!("{alloc:?}"));
        }
        assert_eq!(env.open().size(), env.config.size, "the default buffer");
    }
}

/// What keeps a private buffer.
enum User {
    Handle(Buffer),
    Mapping(Mapping),
    Exported(DmaBuf),
}

impl User {
    /// All users that a buffer can have: a handle, a mapping and a dma-buf.
    fn all(buffer: Buffer) -> Vec<User> {
        let kind = info(&buffer).kind;
        let mapping = (kind != Kind::Pool).then(|| map(&buffer));
        let dma_buf = match buffer.export(.., Protection::ReadWrite) {
            Ok(fd) => Some(DmaBuf::from_fd(fd).expect("a dma-buf")),
            // Memory without pages of its own.
            Err(error) => {
                assert_eq!(error.errno(), Some(Errno::EOPNOTSUPP));
                assert!(matches!(kind, Kind::Pool | Kind::Coherent), "{kind}");
                None
            }
        };
        let mut users = vec![User::Handle(buffer)];
        users.extend(mapping.map(User::Mapping));
        users.extend(dma_buf.map(User::Exported));
        users
    }

    fn contents(&self) -> Vec<u8> {
        match self {
            Self::Handle(buffer) => read_all(buffer),
            Self::Mapping(mapping) => load_all(mapping),
            Self::Exported(dma_buf) => {
                let length = dma_buf.size() as usize;
                load_all(&dma_buf.map(0, length, Protection::Read).expect("mmap"))
            }
        }
    }
}

/// All orders in which so many things can go.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![vec![]];
    for _ in 0..count {
        let longer = |order: Vec<usize>| {
            (0..count)
                .filter(|next| !order.contains(next))
                .map(|next| [order.clone(), vec![next]].concat())
                .collect::<Vec<_>>()
        };
        orders = orders.into_iter().flat_map(longer).collect();
    }
    orders
}

fn lifetime(env: &Env) {
    for alloc in every(&env.machine) {
        let count = User::all(make(env, &alloc)).len();
        for order in orders(count) {
            let before = private_used();
            let buffer = make(env, &alloc);
            let pattern = fresh();
            write_all(&buffer, pattern);
            let mut users: Vec<_> = User::all(buffer).into_iter().map(Some).collect();
            for (gone, next) in order.iter().enumerate() {
                assert_eq!(
                    private_used(),
                    before + counted(&alloc),
                    "{alloc:?}, {order:?}"
                );
                let user = users[*next].take().expect("each goes once");
                if gone + 1 == count {
                    let name = format!("{alloc:?}, the last of {order:?}");
                    assert_pattern(pattern, 0, &user.contents(), &name);
                }
                drop(user);
            }
            assert_eq!(private_used(), before, "{alloc:?}, {order:?}");
        }
    }
}

fn rmmod(env: &Env) {
    env.module.must_load(&Config::DEFAULT.parameters());
    for alloc in every(&env.machine) {
        let count = User::all(make(env, &alloc)).len();
        for last in 0..count {
            let mut users = User::all(make(env, &alloc));
            let user = users.swap_remove(last);
            drop(users);
            refused(env.module.unload(), Errno::EWOULDBLOCK);
            drop(user);
            assert_eq!(users_of_module(), 0, "{alloc:?}, user {last}");
        }
    }
    env.module.must_unload();
}

fn users_of_module() -> u32 {
    users().expect("it is loaded")
}

fn send(socket: &UnixStream, fd: impl AsFd) {
    let fds = [fd.as_fd().as_raw_fd()];
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(&[1])],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::empty(),
        None,
    )
    .expect("sendmsg");
}

fn receive(socket: &UnixStream) -> OwnedFd {
    let mut space = nix::cmsg_space!([libc::c_int; 1]);
    let mut byte = [0];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut bytes,
        Some(&mut space),
        MsgFlags::empty(),
    )
    .expect("recvmsg");
    for control in message.cmsgs().expect("control messages") {
        if let ControlMessageOwned::ScmRights(fds) = control {
            // SAFETY: recvmsg(2) has made it, for us alone.
            return unsafe { OwnedFd::from_raw_fd(fds[0]) };
        }
    }
    panic!("no descriptor came");
}

fn passed(env: &Env) {
    for alloc in every(&env.machine) {
        let before = private_used();
        let (here, there) = UnixStream::pair().expect("socketpair");
        let pattern = fresh();
        let sent = Turn::new();
        let receiver = Child::run(|| {
            sent.take();
            let buffer = Buffer::from_fd(receive(&there)).expect("a buffer");
            assert_eq!(buffer.size(), alloc.size);
            let name = format!("{alloc:?}");
            assert_pattern(pattern, 0, &read_all(&buffer), &name);
            if alloc.kind != Kind::Pool {
                assert_pattern(pattern, 0, &load_all(&map(&buffer)), &name);
            }
            assert_eq!(private_used(), before + counted(&alloc), "{alloc:?}");
        });
        Child::run(|| {
            let buffer = make(env, &alloc);
            write_all(&buffer, pattern);
            send(&here, &buffer);
        })
        .join();
        // Nobody has it but the socket.
        assert_eq!(private_used(), before + counted(&alloc), "{alloc:?}");
        sent.give();
        receiver.join();
        assert_eq!(private_used(), before, "{alloc:?}");
    }
}

fn sizes(env: &Env) {
    let page = page() as u64;
    let before = private_used();
    for alloc in each_kind(&env.machine) {
        let try_size = |size| {
            let alloc = Alloc {
                size,
                ..alloc.clone()
            };
            try_make(env, &alloc).map(|buffer| info(&buffer).size)
        };
        if alloc.kind == Kind::Pool {
            for size in [1, 2, 63, 64, 100, page / 2, page - 1] {
                assert_eq!(try_size(size), Ok(size));
            }
            for size in [0, page, page + 1, 2 * page, 1 << 32, u64::MAX] {
                refused(try_size(size), Errno::EINVAL);
            }
            continue;
        }
        for size in [page, 3 * page, 1 << 20] {
            assert_eq!(try_size(size), Ok(size), "{}", alloc.kind);
        }
        for size in [0, 1, page - 1, page + 1, (1 << 32) + 1, u64::MAX] {
            refused(try_size(size), Errno::EINVAL);
        }
        refused(try_size(LIMIT + page), Errno::EDQUOT);
        // One bit more than what is allowed, and all that an address can be.
        refused(try_size(0u64.wrapping_sub(page)), Errno::EFBIG);
        refused(try_size(1 << 63), Errno::EFBIG);
        for size in [1 << 31, 1 << 32, (1 << 32) + page] {
            let errno = match env.machine.has_64bit_kernel() {
                false => Errno::EFBIG,
                true => Errno::EDQUOT,
            };
            refused(try_size(size), errno);
        }
    }
    assert_eq!(private_used(), before);
}

/// Writes and reads words at both ends of a buffer, by mapping and read(2).
fn assert_ends(buffer: &Buffer, mapping: &Mapping, seed: u32) {
    let last = mapping.len() - 4;
    let word = |offset: usize| {
        let mut bytes = [0; 4];
        assert_eq!(buffer.read_at(&mut bytes, offset as u64), Ok(4));
        u32::from_ne_bytes(bytes)
    };
    for (offset, value) in [(0, seed), (last, !seed)] {
        assert_eq!(mapping.read_u32(offset), value, "mapping, at {offset}");
        assert_eq!(word(offset), value, "read(2), at {offset}");
    }
}

fn store_ends(buffer: &Buffer, mapping: &Mapping, seed: u32) {
    mapping.write_u32(0, seed);
    let last = mapping.len() - 4;
    let bytes = (!seed).to_ne_bytes();
    assert_eq!(buffer.write_at(&bytes, last as u64), Ok(4));
}

fn large(env: &Env) {
    for kind in [Kind::Pages, Kind::Streaming, Kind::Scatter] {
        let buffer = make(env, &Alloc::new(LIMIT, kind));
        let mapping = map(&buffer);
        for offset in [0, LIMIT as usize / 2, LIMIT as usize - 4] {
            assert_eq!(mapping.read_u32(offset), 0, "{kind}");
        }
        store_ends(&buffer, &mapping, 1);
        assert_ends(&buffer, &mapping, 1);
    }
}

fn eight(env: &Env) {
    env.module.must_load("limit=512M");
    for kind in [Kind::Pages, Kind::Scatter] {
        let buffers: Vec<_> = (0..8)
            .map(|n| {
                let alloc = Alloc::new(LIMIT, kind);
                let made = try_make(env, &alloc);
                let buffer = made.unwrap_or_else(|error| panic!("{kind}, number {n}: {error}"));
                let mapping = map(&buffer);
                (buffer, mapping)
            })
            .collect();
        for (n, (buffer, mapping)) in (1..).zip(&buffers) {
            store_ends(buffer, mapping, n);
        }
        for (n, (buffer, mapping)) in (1..).zip(&buffers) {
            assert_ends(buffer, mapping, n);
        }
    }
}

/// The file of the parameter `limit`.
pub(super) fn limit_file() -> String {
    format!("{SYSFS}/parameters/limit")
}

fn limit_changes(env: &Env) {
    env.module.must_load("limit=1M");
    assert_eq!(parameter("limit"), "1048576");
    env.module.must_unload();
    env.module.must_load("");
    assert_eq!(parameter("limit"), LIMIT.to_string());

    for (text, bytes) in [
        ("0", 0),
        ("65536", 65536),
        ("64K", 64 << 10),
        ("64k\n", 64 << 10),
        ("010", 10),
        ("3M", 3 << 20),
        ("1G", 1 << 30),
    ] {
        fs::write(limit_file(), text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(parameter("limit"), bytes.to_string(), "{text:?}");
    }
    let large = format!("{}0", u64::MAX);
    for text in [
        "\n", "M", "lots", "-1", "+1", "1M1", "1MM", "1 M", "1.5M", "0x1000", "1T", &large,
    ] {
        let result = fs::write(limit_file(), text);
        let errno = result.err().and_then(|error| error.raw_os_error());
        assert_eq!(errno, Some(Errno::EINVAL as i32), "{text:?}");
    }
    assert_eq!(parameter("limit"), (1u64 << 30).to_string());
}

fn limit_counts(env: &Env) {
    env.module.must_load("limit=0");
    let page = page() as u64;
    for alloc in each_kind(&env.machine) {
        // Blocks of a page are alone in it.
        let unit = if alloc.kind == Kind::Pool { page } else { SIZE };
        let small = |size| Alloc {
            size: if alloc.kind == Kind::Pool {
                size - 1
            } else {
                size
            },
            ..alloc.clone()
        };
        refused(try_make(env, &small(unit)), Errno::EDQUOT);
        fs::write(limit_file(), (3 * unit).to_string()).expect("limit");
        let one = make(env, &small(unit));
        let other = make(env, &small(unit));
        assert_eq!(private_used(), 2 * unit);
        let third = make(env, &small(unit));
        refused(try_make(env, &small(page)), Errno::EDQUOT);
        drop(other);
        // A pool keeps its pages until its last block goes.
        let left = if alloc.kind == Kind::Pool { 3 } else { 2 };
        assert_eq!(private_used(), left * unit);
        if alloc.kind != Kind::Pool {
            refused(try_make(env, &small(unit + page)), Errno::EDQUOT);
        }
        let other = make(env, &small(unit));
        // Whoever is there stays, also where a new limit is below.
        fs::write(limit_file(), "0").expect("limit");
        assert_eq!(private_used(), 3 * unit);
        drop((one, other, third));
        assert_eq!(private_used(), 0);
    }
}

fn limit_and_memory(env: &Env) {
    let most = (usize::MAX / 2 / page() * page()) as u64;
    env.module.must_load(&format!("limit={most}"));
    for alloc in each_kind(&env.machine) {
        if alloc.kind == Kind::Pool {
            continue;
        }
        // Of single pages there is as much as there is memory.
        let size = match usize::BITS {
            32 => 1 << 30,
            _ => 1 << 45,
        };
        let alloc = Alloc { size, ..alloc };
        refused(try_make(env, &alloc), Errno::ENOMEM);
        assert_eq!(private_used(), 0, "{}", alloc.kind);
    }
}

fn read_only(env: &Env) {
    let buffer = env.open_read_only();
    for alloc in each_kind(&env.machine) {
        refused(buffer.alloc(&alloc), Errno::EBADF);
    }
}

/// How many descriptors this process has.
pub(super) fn descriptors() -> usize {
    let entries = fs::read_dir("/proc/self/fd").expect("/proc/self/fd");
    entries.count()
}

fn no_descriptors(env: &Env) {
    let buffer = env.open();
    let before = (private_used(), descriptors());
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("getrlimit");
    for alloc in each_kind(&env.machine) {
        setrlimit(Resource::RLIMIT_NOFILE, 64, hard).expect("setrlimit");
        let mut fill = Vec::new();
        let full = loop {
            match dup(&buffer) {
                Ok(fd) => fill.push(fd),
                Err(errno) => break errno,
            }
        };
        assert_eq!(full, Errno::EMFILE);
        for _ in 0..10 {
            refused(buffer.alloc(&alloc), Errno::EMFILE);
        }
        fill.pop();
        let one = buffer.alloc(&alloc).expect("one descriptor is free");
        assert_eq!(read_all(&one).len() as u64, alloc.size);
        drop((one, fill));
        assert_eq!((private_used(), descriptors()), before, "{}", alloc.kind);
    }
}

/// Asserts that ALLOC of a structure is refused.
#[track_caller]
fn bad(buffer: &Buffer, argument: abi::shmbuf_alloc, errno: Errno) {
    refused(call(buffer, abi::SHMBUF_IOC_ALLOC, argument), errno);
}

/// The structure of ALLOC for a buffer of a kind.
fn raw(kind: Kind) -> abi::shmbuf_alloc {
    let size = if kind == Kind::Pool { BLOCK } else { SIZE };
    abi::shmbuf_alloc {
        size,
        kind: kind.raw(),
        policy: abi::SHMBUF_POLICY_DEFAULT,
        ..Default::default()
    }
}

fn bad_fields(env: &Env) {
    let buffer = env.open();
    let before = (private_used(), descriptors());
    let bits = || (0..32).map(|n| 1u32 << n);
    let page = page() as u32;
    for kind in kinds() {
        let good = raw(kind);
        for flags in bits() {
            bad(&buffer, abi::shmbuf_alloc { flags, ..good }, Errno::EINVAL);
        }
        for reserved in bits() {
            bad(
                &buffer,
                abi::shmbuf_alloc { reserved, ..good },
                Errno::EINVAL,
            );
        }
        let numbers = || bits().chain([Kind::Region.raw(), 6, u32::MAX]);
        for kind in numbers().filter(|kind| kinds().all(|known| known.raw() != *kind)) {
            let errno = match kind == Kind::Region.raw() {
                true => Errno::EOPNOTSUPP,
                false => Errno::EINVAL,
            };
            bad(&buffer, abi::shmbuf_alloc { kind, ..good }, errno);
        }
        for policy in bits().filter(|&bit| bit >= 4).chain([5, u32::MAX - 1]) {
            bad(&buffer, abi::shmbuf_alloc { policy, ..good }, Errno::EINVAL);
        }
        for mapping in bits().filter(|&bit| bit >= 4).chain([3, u32::MAX]) {
            bad(
                &buffer,
                abi::shmbuf_alloc { mapping, ..good },
                Errno::EINVAL,
            );
        }
        for direction in bits().filter(|&bit| bit >= 4).chain([3, u32::MAX]) {
            bad(
                &buffer,
                abi::shmbuf_alloc { direction, ..good },
                Errno::EINVAL,
            );
        }
        if !kind.has_owner() {
            for direction in [1, 2] {
                bad(
                    &buffer,
                    abi::shmbuf_alloc { direction, ..good },
                    Errno::EINVAL,
                );
            }
        }
        if kind == Kind::Pool {
            for align in [3, 24, page + 1, 2 * page, 1 << 31, u32::MAX] {
                bad(&buffer, abi::shmbuf_alloc { align, ..good }, Errno::EINVAL);
            }
            for boundary in [1, 3, 128, 191, 192, 300, u32::MAX] {
                bad(
                    &buffer,
                    abi::shmbuf_alloc { boundary, ..good },
                    Errno::EINVAL,
                );
            }
        } else {
            for block in [1, 64, page] {
                let align = abi::shmbuf_alloc {
                    align: block,
                    ..good
                };
                bad(&buffer, align, Errno::EINVAL);
                let boundary = abi::shmbuf_alloc {
                    boundary: block,
                    ..good
                };
                bad(&buffer, boundary, Errno::EINVAL);
            }
        }
    }
    assert_eq!((private_used(), descriptors()), before);
}

fn bad_policies(env: &Env) {
    for kind in kinds() {
        for policy in Policy::ALL {
            if env.machine.expect(kind, *policy, false) == Expect::Refused {
                let policy = Some(*policy);
                let size = raw(kind).size;
                let alloc = Alloc {
                    policy,
                    ..Alloc::new(size, kind)
                };
                refused(try_make(env, &alloc), Errno::EOPNOTSUPP);
            }
        }
    }
}

fn bad_mappings(env: &Env) {
    for kind in kinds() {
        for policy in policies(&env.machine, kind) {
            let good = mappings(&env.machine, kind, policy);
            for mapping in MappingKind::ALL.iter().filter(|way| !good.contains(way)) {
                let alloc = Alloc {
                    policy,
                    mapping: *mapping,
                    ..Alloc::new(raw(kind).size, kind)
                };
                refused(try_make(env, &alloc), Errno::EOPNOTSUPP);
            }
        }
    }
}

fn growth(env: &Env) {
    let known = raw(Kind::Scatter);
    let size = size_of::<abi::shmbuf_alloc>();
    let buffer = env.open();
    let before = (private_used(), descriptors());
    let longer = resized(abi::SHMBUF_IOC_ALLOC, size + 32);
    for word in 0..4 {
        let mut more = [0; 4];
        more[word] = 1 << 63;
        refused(call(&buffer, longer, Longer { known, more }), Errno::E2BIG);
    }
    for less in [size - 8, size - 1, 8, 0] {
        let number = resized(abi::SHMBUF_IOC_ALLOC, less);
        refused(call(&buffer, number, known), Errno::EINVAL);
    }
    assert_eq!((private_used(), descriptors()), before);

    let more = [0; 4];
    let mut argument = Longer { known, more };
    let pointer = std::ptr::from_mut(&mut argument).cast();
    // SAFETY: the structure is as long as the number says.
    let fd = unsafe { sys::ioctl_value(&buffer, longer, pointer) }.expect("ALLOC");
    // SAFETY: the call has made it, for us alone.
    let private = Buffer::from_fd(unsafe { OwnedFd::from_raw_fd(fd) }).expect("a buffer");
    assert_eq!(info(&private).kind, Kind::Scatter);
}

fn pointers(env: &Env) {
    let buffer = env.open();
    let before = (private_used(), descriptors());
    let mut half = Region::anonymous(2 * page());
    half.unmap(page(), page()).expect("munmap");
    for address in nowhere().into_iter().chain([half.at(page() - 4)]) {
        // SAFETY: there is nothing, or memory of ours without references.
        let result = unsafe { sys::ioctl(&buffer, abi::SHMBUF_IOC_ALLOC, address.cast()) };
        refused(result, Errno::EFAULT);
    }
    assert_eq!((private_used(), descriptors()), before);
}

/// Blocks of a pool, with their addresses for the device.
fn blocks(env: &Env, count: usize, alloc: &Alloc) -> Vec<(Buffer, u64)> {
    let block = |_| {
        let buffer = make(env, alloc);
        let address = info(&buffer).dma_addr.expect("root sees addresses").address;
        (buffer, address)
    };
    (0..count).map(block).collect()
}

fn pool_pages(env: &Env) {
    let count = 100;
    let blocks = blocks(env, count, &Alloc::new(64, Kind::Pool));
    let mut addresses: Vec<_> = blocks.iter().map(|(_, address)| *address).collect();
    addresses.sort_unstable();
    let apart = addresses.windows(2).all(|pair| pair[1] - pair[0] >= 64);
    assert!(apart, "blocks overlap: {addresses:x?}");
    let mut pages: Vec<_> = addresses
        .iter()
        .map(|address| address / page() as u64)
        .collect();
    pages.dedup();
    let least = (count * 64).div_ceil(page());
    assert!(
        pages.len() <= least + 1,
        "{count} blocks of 64 bytes are in {} pages",
        pages.len()
    );
}

fn pool_align(env: &Env) {
    for align in [1, 2, 8, 64, 256, 1024, page() as u32] {
        for size in [1, 40, 300] {
            let alloc = Alloc {
                align,
                ..Alloc::new(size, Kind::Pool)
            };
            for (_, address) in blocks(env, 5, &alloc) {
                assert_eq!(address % u64::from(align), 0, "{address:#x}, {alloc:?}");
            }
        }
    }
}

fn pool_boundary(env: &Env) {
    for (size, boundary) in [(24, 32), (100, 128), (100, 256), (600, 1024), (3000, 4096)] {
        let alloc = Alloc {
            boundary,
            ..Alloc::new(size, Kind::Pool)
        };
        for (_, address) in blocks(env, 60, &alloc) {
            let side = |address| address / u64::from(boundary);
            let last = address + size - 1;
            assert_eq!(side(address), side(last), "{address:#x}, {alloc:?}");
        }
    }
}

fn pool_mmap(env: &Env) {
    let buffer = make(env, &Alloc::new(BLOCK, Kind::Pool));
    for protection in [libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE] {
        for length in [1, BLOCK as usize] {
            let result = Region::map(&buffer, length, protection, libc::MAP_SHARED, 0);
            refused(result, Errno::EOPNOTSUPP);
        }
    }
    assert_eq!(info(&buffer).mappings, 0);
}

fn pool_neighbours(env: &Env) {
    let alloc = Alloc::new(64, Kind::Pool);
    let blocks = blocks(env, 20, &alloc);
    let patterns: Vec<Pattern> = blocks.iter().map(|_| fresh()).collect();
    for ((buffer, _), pattern) in blocks.iter().zip(&patterns) {
        write_all(buffer, *pattern);
        refused(buffer.write_at(&[1], 64), Errno::ENOSPC);
    }
    for ((buffer, address), pattern) in blocks.iter().zip(&patterns) {
        assert_pattern(*pattern, 0, &read_all(buffer), &format!("at {address:#x}"));
        assert_eq!(buffer.read_at(&mut [0; 65], 0), Ok(64));
    }
}

/// How many blocks of free highmem there are that have so many pages, or more.
fn highmem_blocks(pages: usize) -> usize {
    let text = fs::read_to_string("/proc/buddyinfo").expect("/proc/buddyinfo");
    let line = text.lines().find(|line| line.contains("HighMem"));
    let counts = line.expect("highmem").split_whitespace().skip(4);
    let counts = counts.map(|count| count.parse::<usize>().expect("a number"));
    counts.skip(pages.ilog2() as usize).sum()
}

/// A program has every other page of highmem, and there is lowmem: the page allocator would give
/// that.
fn highmem_in_pieces(env: &Env) {
    const PIECE: usize = 1 << 20;
    env.module.must_load("");
    let meminfo = fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let high = number(&meminfo, "HighFree").expect("HighFree") as usize >> 10;
    let region = Region::anonymous((high + 32) * PIECE);
    for at in (0..region.len()).step_by(page()) {
        // SAFETY: it is inside of the region, to which there are no references.
        unsafe { region.at(at).write_volatile(1) };
    }
    for at in (0..region.len()).step_by(2 * page()) {
        // SAFETY: the same.
        let freed = unsafe { libc::madvise(region.at(at).cast(), page(), libc::MADV_DONTNEED) };
        assert_eq!(freed, 0);
    }
    // The page allocator may have kept some in one piece, which serve first.
    let large = highmem_blocks(PIECE / page());
    assert!(large < 8, "highmem has {large} blocks of 1 MiB");
    let alloc = Alloc {
        policy: Some(Policy::WriteCombine),
        ..Alloc::new(PIECE as u64, Kind::Pages)
    };
    let buffers: Vec<_> = (0..16).map(|_| make(env, &alloc)).collect();
    for buffer in &buffers {
        assert_zero(&read_all(buffer), &format!("{alloc:?}"));
    }
}

fn without_memcg(_: &Machine, _: &Config) -> Option<&'static str> {
    (!Cgroup::is_possible()).then_some("no cgroup2 with the memory controller")
}

/// What the allocator charges to a control group.
const CHARGED: [(Kind, u64); 3] = [
    (Kind::Pages, 2 << 20),
    (Kind::Streaming, 2 << 20),
    (Kind::Scatter, 8 << 20),
];

fn charged(env: &Env) {
    // CPUs keep some of what is charged for the next one.
    const SLACK: i64 = 1 << 20;
    let group = Cgroup::new("shmbuf-charged");
    let expect = |before: u64, size: u64, what: &str| {
        let difference = group.memory() as i64 - before as i64;
        let wrong = (difference - size as i64).abs();
        assert!(wrong < SLACK, "{what}: {size} bytes, charged {difference}");
    };
    for (kind, size) in CHARGED {
        let (made, go) = (Turn::new(), Turn::new());
        let child = Child::run(|| {
            group.enter();
            let buffer = env.open();
            made.give();
            go.take();
            let private = buffer.alloc(&Alloc::new(size, kind)).expect("ALLOC");
            made.give();
            go.take();
            drop(private);
            made.give();
            go.take();
        });
        made.take();
        let before = group.memory();
        go.give();
        made.take();
        expect(before, size, &format!("{kind} made"));
        go.give();
        made.take();
        expect(before, 0, &format!("{kind} gone"));
        go.give();
        child.join();
    }
}

fn within(env: &Env) {
    for (kind, size) in CHARGED {
        let group = Cgroup::new("shmbuf-within");
        Child::run(|| {
            group.enter();
            let buffer = env.open();
            group.limit_memory(group.memory() + (1 << 20));
            refused(buffer.alloc(&Alloc::new(size, kind)), Errno::ENOMEM);
            group.limit_memory(group.memory() + 2 * size);
            buffer.alloc(&Alloc::new(size, kind)).expect("ALLOC");
        })
        .join();
    }
}

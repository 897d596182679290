// SPDX-License-Identifier: MIT OR Apache-2.0
//! Strict mappings: filled by faults, withdrawn while the device owns the
//! buffer.

use std::{
    ffi::{c_int, c_void},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    ptr,
    sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal},
        stat::{mknod, stat, Mode, SFlag},
        wait::WaitStatus,
    },
};
use shmbuf::{abi, Access, Alloc, Buffer, Kind, MappingKind, Owner, Phase};
use shmbuf_verify::Pattern;

use super::{
    alloc::{make, SIZE},
    claim,
    data::{assert_pattern, fresh, write_all},
    rounds, Claim, Scope,
};
use crate::{
    ktap::diagnose,
    module::DEVICE,
    process::{Child, Turn},
    runner::{unique, Env},
    sys::{self, faults, page, refused, settle, Probe, Region},
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(
        Scope::Once,
        "strict_one_fault_fills_what_is_around",
        one_fault,
    ),
    claim(Scope::Once, "strict_touch_after_end_is_sigbus", sigbus),
    claim(
        Scope::Once,
        "strict_sigbus_handler_takes_the_page_back",
        handler,
    ),
    claim(Scope::Once, "strict_access_returns_after_start", returns),
    claim(Scope::Once, "strict_mapped_while_the_device_owns_it", late),
    claim(
        Scope::Once,
        "strict_withdraws_from_all_processes",
        processes,
    ),
    claim(Scope::Once, "strict_holds_across_fork", across_fork),
    claim(Scope::Once, "strict_holds_for_pieces", pieces),
    claim(Scope::Once, "strict_holds_after_mremap", moved),
    claim(Scope::Once, "strict_holds_after_mprotect", protected),
    claim(Scope::Once, "strict_holds_for_private_mappings", private),
    claim(Scope::Once, "pfnmap_is_not_withdrawn", pfnmap),
    claim(
        Scope::Own,
        "strict_withdraws_from_a_second_node",
        second_node,
    ),
    claim(Scope::Own, "strict_reader_moves_nothing", reader),
    claim(Scope::Once, "strict_nothing_is_left_in_a_race", race),
];

const READ: i32 = libc::PROT_READ;
const WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
const SHARED: i32 = libc::MAP_SHARED;

/// Calls a function with a strict private buffer of each kind that can be, all of it mapped,
/// not yet touched, and what is in it.
fn each(env: &Env, f: impl Fn(&Buffer, Region, Pattern)) {
    for kind in [Kind::Streaming, Kind::Scatter] {
        let buffer = make(
            env,
            &Alloc {
                mapping: MappingKind::Strict,
                ..Alloc::new(SIZE, kind)
            },
        );
        let pattern = fresh();
        write_all(&buffer, pattern);
        let region = map(&buffer);
        f(&buffer, region, pattern);
    }
}

#[track_caller]
fn map(buffer: &Buffer) -> Region {
    Region::map(buffer, SIZE as usize, WRITE, SHARED, 0).expect("mmap")
}

#[track_caller]
fn end(buffer: &Buffer) {
    buffer
        .sync(.., Access::ReadWrite, Phase::End)
        .expect("SYNC END");
}

#[track_caller]
fn start(buffer: &Buffer) {
    buffer
        .sync(.., Access::ReadWrite, Phase::Begin)
        .expect("SYNC START");
}

/// The offsets of the pages of a region.
fn pages(region: &Region) -> impl Iterator<Item = usize> {
    (0..region.len()).step_by(page())
}

/// Asserts that a touch of a page ends a program.
#[track_caller]
fn assert_sigbus<T>(touch: impl FnOnce() -> T) {
    let status = Child::run(|| _ = touch()).wait();
    assert!(
        matches!(status, WaitStatus::Signaled(_, Signal::SIGBUS, _)),
        "a touch: {status:?}"
    );
}

/// Asserts that no page of a region is there: in this process as the kernel sees it, in a
/// forked child as the program does.
#[track_caller]
fn assert_withdrawn(region: &Region) {
    let probe = Probe::new();
    for offset in pages(region) {
        assert!(!probe.can_read(region.at(offset)), "page at {offset}");
    }
    let last = region.len() - page();
    assert_sigbus(|| region.read(0));
    assert_sigbus(|| region.read(last));
}

/// Asserts that all pages of a region are there, with the pattern from an offset on.
#[track_caller]
fn assert_there(region: &Region, pattern: Pattern, offset: usize) {
    let bytes: Vec<u8> = (0..region.len())
        .step_by(4)
        .flat_map(|at| region.read(at).to_ne_bytes())
        .collect();
    assert_pattern(pattern, offset, &bytes, "the mapping");
}

fn one_fault(env: &Env) {
    settle();
    let touch = |region: &Region, write: bool| {
        let before = faults();
        for offset in pages(region) {
            if write {
                region.write(offset, 1);
            } else {
                region.read(offset);
            }
        }
        faults() - before
    };
    let ordinary = Region::anonymous(16 * page());
    assert!(touch(&ordinary, true) >= 16, "faults are not counted");
    assert_eq!(touch(&ordinary, false), 0);

    each(env, |buffer, region, _| {
        assert_eq!(touch(&region, false), 1, "reading");
        assert_eq!(touch(&region, true), 0, "writing what was read");
        end(buffer);
        start(buffer);
        assert_eq!(touch(&region, true), 1, "writing");
        assert_eq!(touch(&region, false), 0, "reading what was written");
        drop(region);
        let region = map(buffer);
        assert_eq!(touch(&region, true), 1, "another mapping");
    });
}

fn sigbus(env: &Env) {
    each(env, |buffer, region, pattern| {
        assert_there(&region, pattern, 0);
        end(buffer);
        assert_withdrawn(&region);
        assert_sigbus(|| region.write(page(), 1));
        // Once more, and by a range that was not touched.
        end(buffer);
        assert_withdrawn(&region);
    });
    // The pages of which some is handed over, and no others.
    each(env, |buffer, region, pattern| {
        assert_there(&region, pattern, 0);
        let line = u64::from(buffer.info().expect("INFO").cache_line);
        // From the last line of a page to the first of the one after the next.
        let part = SIZE / 2 - line..SIZE / 2 + page() as u64 + line;
        buffer
            .sync(part.clone(), Access::Write, Phase::End)
            .expect("SYNC END");
        let lent = part.start as usize / page() * page()..part.end as usize;
        let probe = Probe::new();
        for offset in pages(&region) {
            let is_there = !lent.contains(&offset);
            assert_eq!(
                probe.can_read(region.at(offset)),
                is_there,
                "page at {offset}"
            );
            if !is_there {
                assert_sigbus(|| region.read(offset));
            }
        }
        // A mapping that is made now, too. On VIVT a process has one.
        drop(region);
        let other = map(buffer);
        for offset in pages(&other) {
            let is_there = !lent.contains(&offset);
            assert_eq!(
                probe.can_read(other.at(offset)),
                is_there,
                "page at {offset}"
            );
        }
    });
}

/// The buffer that [`on_sigbus`] takes back, and what the signal said.
static BUFFER: AtomicI32 = AtomicI32::new(-1);
static CODE: AtomicI32 = AtomicI32::new(0);
static ADDRESS: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

extern "C" fn on_sigbus(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: it is the information of a SIGBUS, which has an address.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr()) };
    CODE.store(code, SeqCst);
    ADDRESS.store(address, SeqCst);
    let mut all = abi::shmbuf_sync {
        offset: 0,
        length: SIZE,
        flags: abi::SHMBUF_SYNC_RW | abi::SHMBUF_SYNC_START,
        reserved: 0,
    };
    // SAFETY: the buffer is open while the signal is handled, and the call reads the structure.
    let result = unsafe {
        let buffer = BorrowedFd::borrow_raw(BUFFER.load(SeqCst));
        sys::ioctl(buffer, abi::SHMBUF_IOC_SYNC, (&raw mut all).cast())
    };
    if result.is_err() {
        // SAFETY: it ends the process, which would otherwise come here again and again.
        unsafe { libc::_exit(2) };
    }
}

fn handler(env: &Env) {
    each(env, |buffer, region, pattern| {
        end(buffer);
        Child::run(|| {
            BUFFER.store(buffer.as_fd().as_raw_fd(), SeqCst);
            let action = SigAction::new(
                SigHandler::SigAction(on_sigbus),
                SaFlags::SA_SIGINFO,
                SigSet::empty(),
            );
            // SAFETY: the handler stores atomics and makes system calls, which is allowed in one.
            unsafe { sigaction(Signal::SIGBUS, &action) }.expect("sigaction");
            let offset = page() + 8;
            let got = region.read(offset).to_ne_bytes();
            assert_pattern(pattern, offset, &got, "the load after the handler");
            assert_eq!(CODE.load(SeqCst), libc::BUS_ADRERR);
            assert_eq!(ADDRESS.load(SeqCst).cast(), region.at(offset));
        })
        .join();
        assert_there(&region, pattern, 0);
    });
}

fn returns(env: &Env) {
    each(env, |buffer, region, pattern| {
        assert_there(&region, pattern, 0);
        for round in 0..4 {
            let value = fastrand::u32(..);
            region.write(8, value);
            end(buffer);
            assert_withdrawn(&region);
            start(buffer);
            assert_eq!(region.read(8), value, "round {round}");
            region.write(8, u32::from_ne_bytes(word(pattern, 8)));
            assert_there(&region, pattern, 0);
        }
        let changed = fresh();
        write_all(buffer, changed);
        assert_there(&region, changed, 0);
    });
}

/// Four bytes of a pattern.
fn word(pattern: Pattern, offset: usize) -> [u8; 4] {
    let bytes = pattern.bytes(offset, 4);
    bytes.try_into().expect("as many as asked for")
}

fn late(env: &Env) {
    each(env, |buffer, region, pattern| {
        drop(region);
        end(buffer);
        let region = map(buffer);
        assert_withdrawn(&region);
        start(buffer);
        assert_there(&region, pattern, 0);
    });
}

fn processes(env: &Env) {
    each(env, |buffer, region, pattern| {
        drop(region);
        let (touched, ended, seen, started) = (Turn::new(), Turn::new(), Turn::new(), Turn::new());
        let children = [(); 2].map(|()| {
            Child::run(|| {
                let region = map(buffer);
                assert_there(&region, pattern, 0);
                touched.give();
                ended.take();
                assert_withdrawn(&region);
                seen.give();
                started.take();
                assert_there(&region, pattern, 0);
            })
        });
        children.iter().for_each(|_| touched.take());
        end(buffer);
        children.iter().for_each(|_| ended.give());
        children.iter().for_each(|_| seen.take());
        start(buffer);
        children.iter().for_each(|_| started.give());
        children.into_iter().for_each(Child::join);
    });
}

fn across_fork(env: &Env) {
    each(env, |buffer, region, pattern| {
        assert_there(&region, pattern, 0);
        let (touched, ended, seen, started) = (Turn::new(), Turn::new(), Turn::new(), Turn::new());
        let child = Child::run(|| {
            assert_there(&region, pattern, 0);
            touched.give();
            ended.take();
            assert_withdrawn(&region);
            seen.give();
            started.take();
            assert_there(&region, pattern, 0);
        });
        touched.take();
        end(buffer);
        ended.give();
        assert_withdrawn(&region);
        // One that is forked now.
        Child::run(|| assert_withdrawn(&region)).join();
        seen.take();
        start(buffer);
        started.give();
        child.join();
        assert_there(&region, pattern, 0);
    });
}

fn pieces(env: &Env) {
    each(env, |buffer, mut region, pattern| {
        assert_there(&region, pattern, 0);
        let third = SIZE as usize / 4;
        region.unmap(third, third).expect("munmap of the middle");
        let pieces = [(0, third), (2 * third, 2 * third)];
        let probe = Probe::new();
        for _ in 0..2 {
            end(buffer);
            for (first, length) in pieces {
                for offset in (first..first + length).step_by(page()) {
                    assert!(!probe.can_read(region.at(offset)), "page at {offset}");
                }
                assert_sigbus(|| region.read(first));
            }
            start(buffer);
            for (first, length) in pieces {
                for offset in (first..first + length).step_by(page()) {
                    let got = region.read(offset).to_ne_bytes();
                    assert_eq!(got, word(pattern, offset), "at {offset}");
                }
            }
        }
    });
}

fn moved(env: &Env) {
    each(env, |buffer, mut region, pattern| {
        assert_there(&region, pattern, 0);
        region
            .move_over(Region::anonymous(SIZE as usize))
            .expect("mremap");
        assert_there(&region, pattern, 0);
        end(buffer);
        assert_withdrawn(&region);
        // While it is empty, and smaller.
        let half = SIZE as usize / 2;
        region.remap(SIZE as usize, half, 0).expect("mremap");
        region.move_over(Region::anonymous(half)).expect("mremap");
        assert_withdrawn(&region);
        start(buffer);
        assert_there(&region, pattern, 0);
    });
}

fn protected(env: &Env) {
    each(env, |buffer, region, pattern| {
        assert_there(&region, pattern, 0);
        region.protect(READ).expect("mprotect to read-only");
        assert_there(&region, pattern, 0);
        end(buffer);
        assert_withdrawn(&region);
        region.protect(WRITE).expect("mprotect back");
        assert_withdrawn(&region);
        start(buffer);
        assert_there(&region, pattern, 0);
        region.protect(libc::PROT_NONE).expect("mprotect to none");
        end(buffer);
        region.protect(WRITE).expect("mprotect back");
        assert_withdrawn(&region);
        start(buffer);
        assert_there(&region, pattern, 0);
        region.write(0, 1);
    });
}

fn private(env: &Env) {
    each(env, |buffer, region, pattern| {
        drop(region);
        let size = SIZE as usize;
        let result = Region::map(buffer, size, WRITE, libc::MAP_PRIVATE, 0);
        refused(result, Errno::EOPNOTSUPP);
        let region = Region::map(buffer, size, READ, libc::MAP_PRIVATE, 0).expect("mmap");
        assert_there(&region, pattern, 0);
        refused(region.protect(WRITE), Errno::EACCES);
        end(buffer);
        assert_withdrawn(&region);
        start(buffer);
        assert_there(&region, pattern, 0);
    });
}

fn pfnmap(env: &Env) {
    for kind in [Kind::Streaming, Kind::Scatter] {
        let buffer = make(env, &Alloc::new(SIZE, kind));
        let pattern = fresh();
        write_all(&buffer, pattern);
        let region = map(&buffer);
        end(&buffer);
        assert_eq!(buffer.info().expect("INFO").owner, Owner::Device);
        assert_there(&region, pattern, 0);
    }
}

fn second_node(env: &Env) {
    for kind in [Kind::Streaming, Kind::Scatter] {
        env.module
            .must_load(&format!("kind={kind} mapping=strict size={SIZE}"));
        let path = unique("second");
        let device = stat(DEVICE).expect("stat").st_rdev;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        mknod(path.as_str(), SFlag::S_IFCHR, mode, device).expect("mknod");
        let second = Buffer::open(&path);
        std::fs::remove_file(&path).expect("unlink");
        let second = second.expect("open of the second node");
        let first = env.open();
        for (mapped, synced) in [(&second, &first), (&first, &second)] {
            let pattern = fresh();
            write_all(synced, pattern);
            let region = map(mapped);
            assert_there(&region, pattern, 0);
            end(synced);
            assert_withdrawn(&region);
            start(synced);
            assert_there(&region, pattern, 0);
        }
        drop((first, second));
        env.module.must_unload();
    }
}

fn reader(env: &Env) {
    env.module
        .must_load(&format!("kind=streaming mapping=strict size={SIZE}"));
    let (writer, reader) = (env.open(), env.open_read_only());
    let pattern = fresh();
    write_all(&writer, pattern);
    let region = Region::map(&reader, SIZE as usize, READ, SHARED, 0).expect("mmap");
    assert_there(&region, pattern, 0);
    for phase in [Phase::End, Phase::Begin] {
        reader.sync(.., Access::Read, phase).expect("SYNC");
        assert_there(&region, pattern, 0);
    }
    end(&writer);
    for phase in [Phase::Begin, Phase::End] {
        refused(reader.sync(.., Access::Read, phase), Errno::EBUSY);
        assert_withdrawn(&region);
    }
    start(&writer);
    assert_there(&region, pattern, 0);
}

/// [`Race::turn`] modulo 4 while the CPU owns the buffer. Odd are the turns in which a call
/// changes that.
const CPU: u32 = 0;
/// [`Race::turn`] modulo 4 while the device owns the buffer.
const DEVICE_OWNS: u32 = 2;

/// A race between touches of a buffer and a process that hands it to and fro.
struct Race<'a> {
    buffer: &'a Buffer,
    turn: &'a AtomicU32,
    end: Instant,
}

impl Race<'_> {
    fn is_over(&self) -> bool {
        Instant::now() >= self.end && self.turn.load(SeqCst) as usize / 4 >= rounds(10)
    }

    /// Touches a page, and compares with who owned the buffer all the time.
    fn touch(&self, probe: &Probe, region: &Region, counts: &mut [u32; 2]) {
        let offset = fastrand::usize(..region.len());
        let before = self.turn.load(SeqCst);
        let there = probe.can_read(region.at(offset));
        if self.turn.load(SeqCst) != before {
            return;
        }
        match before % 4 {
            CPU => {
                assert!(there, "SIGBUS while the CPU owns it");
                counts[0] += 1;
            }
            DEVICE_OWNS => {
                assert!(!there, "byte {offset} is there while the device owns it");
                counts[1] += 1;
            }
            _ => {}
        }
    }

    /// Touches one mapping again and again.
    fn stay(&self) -> [u32; 2] {
        let (probe, region, mut counts) = (Probe::new(), map(self.buffer), [0; 2]);
        while !self.is_over() {
            self.touch(&probe, &region, &mut counts);
        }
        counts
    }

    /// Makes, touches and drops mappings again and again.
    fn come_and_go(&self) -> [u32; 2] {
        let (probe, mut counts) = (Probe::new(), [0; 2]);
        while !self.is_over() {
            let region = map(self.buffer);
            for _ in 0..4 {
                self.touch(&probe, &region, &mut counts);
            }
        }
        counts
    }

    /// Touches a mapping in children that come and go.
    fn fork(&self) {
        let region = map(self.buffer);
        while !self.is_over() {
            Child::run(|| {
                let (probe, mut counts) = (Probe::new(), [0; 2]);
                for _ in 0..8 {
                    self.touch(&probe, &region, &mut counts);
                }
            })
            .join();
        }
    }

    /// Hands the buffer to the device and back, again and again.
    fn sync(&self) {
        let pause = || thread::sleep(Duration::from_micros(fastrand::u64(..3000)));
        while !self.is_over() {
            pause();
            self.turn.fetch_add(1, SeqCst);
            end(self.buffer);
            self.turn.fetch_add(1, SeqCst);
            pause();
            self.turn.fetch_add(1, SeqCst);
            start(self.buffer);
            self.turn.fetch_add(1, SeqCst);
        }
    }
}

fn race(env: &Env) {
    let memory = Region::shared(page());
    // SAFETY: aligned to a page, zeroed, and used as nothing else while the
    // region is there.
    let turn = unsafe { &*memory.start().cast::<AtomicU32>() };
    for kind in [Kind::Streaming, Kind::Scatter] {
        let buffer = &make(
            env,
            &Alloc {
                mapping: MappingKind::Strict,
                ..Alloc::new(SIZE, kind)
            },
        );
        turn.store(CPU, SeqCst);
        let race = &Race {
            buffer,
            turn,
            end: Instant::now() + Duration::from_secs(4),
        };
        // Where two mappings in one process would be two aliases, there is one.
        let vivt = env.machine.is_vivt();
        let workers = [
            Child::run(|| {
                let counts = thread::scope(|scope| {
                    let other = (!vivt).then(|| scope.spawn(|| race.stay()));
                    let counts = race.come_and_go();
                    if let Some(other) = other {
                        other.join().expect("a thread failed");
                    }
                    counts
                });
                diagnose(format_args!("{kind}, come and go: {counts:?}"));
                assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
            }),
            Child::run(|| {
                let counts = race.stay();
                diagnose(format_args!("{kind}, stay: {counts:?}"));
                assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
            }),
            Child::run(|| race.fork()),
            Child::run(|| race.sync()),
        ];
        workers.into_iter().for_each(Child::join);

        let region = map(buffer);
        end(buffer);
        assert_withdrawn(&region);
    }
}

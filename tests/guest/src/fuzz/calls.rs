// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calls that programs consist of, and the process that makes them.
//!
//! Nothing that a program does may harm what runs it: descriptors are those that the program
//! has made, and addresses are in an arena of its own.

use std::{
    ffi::{c_int, c_void, CString},
    fs::{self, File, OpenOptions},
    io, mem,
    os::{fd::IntoRawFd, unix::fs::FileExt},
    ptr,
    sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed},
    thread,
    time::Duration,
};

use io_uring::{opcode, squeue, types, IoUring};
use nix::{errno::Errno, libc};
use shmbuf::abi;

use super::{
    program::{Program, Step, LANES, MOST_STEPS},
    run::Shared,
};
use crate::{
    engine,
    heap::Heap,
    sys::{page, resized, Region},
    userfault::MissingPlace,
};

/// What a descriptor is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A buffer.
    Buffer,
    /// A dma-buf.
    DmaBuf,
    /// A DRM device.
    Card,
    /// An eventfd.
    Event,
    /// A sync_file.
    Fence,
    /// Any of these.
    Any,
}

/// What an argument says.
#[derive(Debug, Clone, Copy)]
pub enum Arg {
    /// A descriptor, best of this sort.
    Fd(What),
    /// A part of the arena, where a mapping can be.
    Slot,
    /// Where in memory: a place and, above its eight bits, bytes from there.
    Memory,
    /// An offset or a size.
    Bytes,
    /// One of these, as a rule.
    Of(&'static [u64]),
}

/// A call.
#[derive(Debug)]
pub struct Call {
    /// Its name in the text of programs.
    pub name: &'static str,
    /// What its arguments say.
    pub arguments: &'static [Arg],
    /// What the descriptor is of that it makes, if it makes one.
    pub makes: Option<What>,
    /// How often programs have it.
    pub weight: u32,
    /// What it returns: a negative errno, or not.
    run: fn(&Thread<'_>, &[u64]) -> isize,
}

use Arg::{Bytes, Fd, Memory, Of, Slot};
use What::{Any, Buffer, Card, DmaBuf, Event, Fence};

const BUFFER: Arg = Fd(Buffer);
const DMA_BUF: Arg = Fd(DmaBuf);
/// Mostly as large as the structure is.
const RESIZED: Arg = Of(&[
    0, 0, 0, 0, 0, 0, 0, 0, 8, 16, 24, 40, 64, 136, 200, 4096, 16383,
]);
const RESERVED: Arg = Of(&[0]);
const LENGTH: Arg = Bytes;
const PROTECTION: Arg = Of(&[1, 3, 3, 3, 2, 0, 5, 7]);

const fn call(
    name: &'static str,
    weight: u32,
    arguments: &'static [Arg],
    run: fn(&Thread<'_>, &[u64]) -> isize,
) -> Call {
    Call {
        name,
        arguments,
        makes: None,
        weight,
        run,
    }
}

const fn makes(what: What, call: Call) -> Call {
    Call {
        makes: Some(what),
        ..call
    }
}

/// All calls. Programs begin with the first.
pub const CALLS: &[Call] = &[
    makes(
        Buffer,
        call("open", 8, &[Of(&[0, 0, 0, 0, 1, 2]), Of(OPEN_MODES)], open),
    ),
    makes(Any, call("dup", 3, &[Fd(Any)], dup)),
    makes(Any, call("reopen", 3, &[Fd(Any), Of(OPEN_MODES)], reopen)),
    makes(Any, call("send", 2, &[Fd(Any)], send)),
    makes(Event, call("eventfd", 2, &[], eventfd)),
    makes(
        Buffer,
        call(
            "alloc",
            10,
            &[
                BUFFER,
                LENGTH,
                Of(&[0, 0, 1, 2, 2, 3, 3, 4, 5]),
                Of(&[0, 1, 2, 3, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff]),
                Of(&[0, 1, 2]),
                Of(&[0, 1, 2]),
                Of(&[0, 0, 0, 0, 64, 4096, 3]),
                Of(&[0, 0, 0, 0, 256, 4096]),
                RESERVED,
                Memory,
                RESIZED,
            ],
            alloc,
        ),
    ),
    makes(
        DmaBuf,
        call(
            "export",
            8,
            &[
                BUFFER,
                Bytes,
                LENGTH,
                Of(&[0, 0, 1]),
                RESERVED,
                Memory,
                RESIZED,
            ],
            export,
        ),
    ),
    makes(DmaBuf, call("heap", 4, &[LENGTH], heap)),
    makes(
        Buffer,
        call(
            "import",
            8,
            &[BUFFER, Fd(DmaBuf), RESERVED, Memory, RESIZED],
            import,
        ),
    ),
    makes(Card, call("card", 3, &[Of(&[0, 1, 2])], card)),
    makes(
        DmaBuf,
        call(
            "prime_export",
            1,
            &[Fd(Card), Of(&[1, 2]), Of(OPEN_MODES)],
            prime_export,
        ),
    ),
    makes(
        Fence,
        call(
            "export_sync_file",
            2,
            &[DMA_BUF, Of(&[1, 2, 3])],
            export_sync_file,
        ),
    ),
    makes(Fence, call("copy", 8, COPY, copy)),
    call("close", 5, &[Fd(Any)], close),
    call(
        "flags",
        3,
        &[Fd(Any), Of(&[0, 0o4000, 0o4000, 0o2000, 0o40000])],
        set_flags,
    ),
    call("lseek", 2, &[Fd(Any), Bytes, Of(&[0, 1, 2, 3, 4])], lseek),
    call("read", 3, &[Fd(Any), Memory, LENGTH], read),
    call("write", 3, &[Fd(Any), Memory, LENGTH], write),
    call("pread", 5, &[BUFFER, Memory, LENGTH, Bytes], pread),
    call("pwrite", 5, &[BUFFER, Memory, LENGTH, Bytes], pwrite),
    call(
        "readv",
        2,
        &[BUFFER, Memory, LENGTH, Memory, LENGTH, Bytes],
        readv,
    ),
    call(
        "writev",
        2,
        &[BUFFER, Memory, LENGTH, Memory, LENGTH, Bytes],
        writev,
    ),
    call("sendfile", 1, &[Fd(Any), BUFFER, LENGTH], sendfile),
    call("splice", 3, &[BUFFER, Bytes, LENGTH, Of(&[0, 1])], splice),
    call("fsync", 2, &[Fd(Any), Of(&[0, 1])], fsync),
    call(
        "uring",
        4,
        &[
            BUFFER,
            Of(&[0, 1, 2, 3]),
            Memory,
            LENGTH,
            Bytes,
            Of(&[0, 0, 0x10]),
        ],
        uring,
    ),
    call("poll", 1, &[Fd(Any), Of(&[1, 4, 5]), Of(&[0, 1, 20])], poll),
    call("fdinfo", 1, &[Fd(Any)], fdinfo),
    call("info", 3, &[BUFFER, RESERVED, Memory, RESIZED], info),
    call(
        "set_cache",
        5,
        &[BUFFER, Of(&[0, 1, 2, 3]), RESERVED, Memory, RESIZED],
        set_cache,
    ),
    call(
        "sync",
        12,
        &[
            BUFFER,
            Bytes,
            LENGTH,
            Of(&[7, 3, 5, 6, 1, 2, 0, 4]),
            RESERVED,
            Memory,
            RESIZED,
        ],
        sync,
    ),
    call("lent", 4, &[BUFFER, Bytes, LENGTH, Memory, RESIZED], lent),
    call(
        "segment",
        4,
        &[BUFFER, Bytes, RESERVED, RESERVED, Memory, RESIZED],
        segment,
    ),
    call("copy_result", 2, &[BUFFER], copy_result),
    call("ioctl", 1, &[Fd(Any), Of(NUMBERS), Memory], ioctl),
    call(
        "dma_buf_sync",
        5,
        &[DMA_BUF, Of(&[7, 3, 5, 6, 1, 2, 0, 4])],
        dma_buf_sync,
    ),
    call(
        "import_sync_file",
        2,
        &[DMA_BUF, Fd(Fence), Of(&[1, 2, 3])],
        import_sync_file,
    ),
    call("prime_import", 5, &[Fd(Card), DMA_BUF], prime_import),
    call("gem_close", 2, &[Fd(Card), Of(&[1, 2])], gem_close),
    call(
        "fence_attach",
        2,
        &[Fd(Card), Of(&[1, 2]), Of(&[0, 1])],
        fence_attach,
    ),
    call("fence_signal", 2, &[Fd(Card), Of(&[1, 2])], fence_signal),
    call(
        "mmap",
        12,
        &[
            Fd(Any),
            Slot,
            LENGTH,
            PROTECTION,
            Of(&[1, 1, 1, 2, 3, 0x8001, 0x2001]),
            Bytes,
        ],
        mmap,
    ),
    call("munmap", 4, &[Slot, Bytes, LENGTH], munmap),
    call(
        "mremap",
        4,
        &[Slot, LENGTH, LENGTH, Slot, Of(&[0, 3, 3, 5, 7])],
        mremap,
    ),
    call("mprotect", 4, &[Slot, Bytes, LENGTH, PROTECTION], mprotect),
    call("madvise", 6, &[Slot, Bytes, LENGTH, Of(ADVICES)], madvise),
    call("mlock", 2, &[Slot, Bytes, LENGTH, Of(&[0, 1, 2])], mlock),
    call("msync", 1, &[Slot, Bytes, LENGTH, Of(&[1, 2, 4])], msync),
    call("touch", 6, &[Slot, Bytes, Of(&[0, 1])], touch),
    call("load", 4, &[Slot, Bytes, Of(&[0, 1])], load),
    call("debugger", 2, &[Slot, Bytes, LENGTH, Of(&[0, 1])], debugger),
    call("vmsplice", 2, &[Slot, Bytes, LENGTH], vmsplice),
    call("proc", 1, &[Of(&[0, 1, 2, 3, 4, 5])], proc),
    call(
        "parameter",
        1,
        &[Of(&[0, 1]), Of(&[0, 1, 2, 3, 4, 5, 6])],
        parameter,
    ),
    call("mkdir", 1, &[Of(&[0, 1])], mkdir),
    call("rmdir", 1, &[Of(&[0, 1])], rmdir),
    call(
        "set",
        4,
        &[
            Of(&[0, 1]),
            Of(&[0, 1, 2, 3, 4, 5, 6, 6, 6]),
            Of(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
        ],
        set,
    ),
    call("fork", 2, &[Of(&[1, 2, 4, 8])], |_, _| 0),
    call("again", 3, &[Of(&[2, 5, 20, 50])], |_, _| 0),
    call("sleep", 2, &[Of(&[1, 100, 1000, 5000])], sleep),
    call("alarm", 2, &[Of(&[50, 500, 2000, 10_000])], alarm),
    call("signal", 2, &[Of(&[0, 1, 2]), Of(&[10, 12])], signal),
    call("nobody", 1, &[], nobody),
    call("late", 2, &[Slot, Bytes, Of(&[0, 1, 5, 20])], late),
    call("fail", 6, &[Of(&[1, 1, 2, 2, 3, 4, 5, 7, 10])], |_, _| 0),
    call("reclaim", 1, &[Of(&[0, 1])], reclaim),
    call("engine", 2, &[Of(&[0, 1])], rebind),
    call("suspend", 1, &[], suspend),
];

const COPY: &[Arg] = &[
    BUFFER,
    Bytes,
    Bytes,
    LENGTH,
    BUFFER,
    Of(&[0, 1, 100, 60_000]),
    Of(&[0, 1, 3, 5, 7]),
    Fd(Event),
    Memory,
    RESIZED,
];

/// O_RDONLY, O_WRONLY, O_RDWR, all three, with O_NONBLOCK, O_APPEND, O_TRUNC.
const OPEN_MODES: &[u64] = &[2, 2, 2, 2, 0, 0, 1, 3, 0o4002, 0o4000, 0o2002, 0o1002];

const NUMBERS: &[u64] = &[
    abi::SHMBUF_IOC_INFO as u64,
    abi::SHMBUF_IOC_SET_CACHE as u64,
    abi::SHMBUF_IOC_SYNC as u64,
    abi::SHMBUF_IOC_ALLOC as u64,
    abi::SHMBUF_IOC_EXPORT as u64,
    abi::SHMBUF_IOC_COPY as u64,
    abi::SHMBUF_IOC_COPY_RESULT as u64,
    abi::SHMBUF_IOC_LENT as u64,
    abi::SHMBUF_IOC_SEGMENT as u64,
    abi::SHMBUF_IOC_IMPORT as u64,
    0xbc00,
    0xbc0a,
    0x5401,
    0x541b,
    0x5421,
];

/// All but those that take memory away from the whole system.
const ADVICES: &[u64] = &[
    0, 1, 2, 3, 4, 4, 4, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25,
];

/// Nodes of buffers; the second and third are those that [`mkdir`] and [`set`] can make.
const NODES: [&str; 3] = ["/dev/shmbuf", "/dev/shmbuf-fuzz0", "/dev/shmbuf-fuzz1"];

/// Parameters of the module that can be set, with values to be set again afterwards.
pub const PARAMETERS: [(&str, &str); 2] = [("limit", "64M"), ("user_share", "50")];

/// A folder of configfs.
pub fn folder(number: u64) -> String {
    format!("/sys/kernel/config/shmbuf/fuzz{}", number % 2)
}

const ATTRIBUTES: [&str; 7] = [
    "size",
    "kind",
    "policy",
    "mapping",
    "direction",
    "dma_mask_bits",
    "enable",
];

const VALUES: [&str; 17] = [
    "1",
    "0",
    "4096",
    "64K",
    "4097",
    "-1",
    "32",
    "pages",
    "coherent",
    "streaming",
    "scatter",
    "writeback",
    "writecombine",
    "noncached",
    "strict",
    "refcounted",
    "from-device",
];

/// Bytes of a slot of the arena, and how many there are.
const SLOT: usize = 4 << 20;
const SLOTS: usize = 4;

/// Bytes of a thread's own memory, before a page that is not there.
const SCRATCH: usize = 64 << 10;

/// The process that runs a program.
pub struct World<'a> {
    program: &'a Program,
    shared: &'a Shared,
    /// The descriptors that the program has made, or -1.
    fds: [AtomicI32; MOST_STEPS],
    /// The numbers of the threads, or 0.
    threads: [AtomicI32; LANES],
    is_alone: bool,
}

/// A thread of it.
pub struct Thread<'a> {
    world: &'a World<'a>,
    scratch: Region,
    pipe: [c_int; 2],
    /// How many steps make a descriptor before the one that is made.
    made: usize,
}

/// Makes the addresses that programs use.
pub fn arena() -> Region {
    Region::anonymous(SLOT * SLOTS)
}

/// Where the arena is.
static ARENA: AtomicUsize = AtomicUsize::new(0);

/// A load or store where nothing is or may be: memory of ours comes there, and it goes on.
extern "C" fn mend(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    let start = ARENA.load(Relaxed);
    // SAFETY: The kernel has filled it.
    let address = unsafe { (*info).si_addr() } as usize;
    let (protection, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
    );
    if (start..start + SLOT * SLOTS).contains(&address) {
        let at = (address & !4095) as *mut c_void;
        // SAFETY: Nothing has references to the arena.
        unsafe { libc::mmap(at, 4096, protection, flags, -1, 0) };
    } else {
        // SAFETY: The process ends.
        unsafe { libc::_exit(3) };
    }
}

extern "C" fn nothing(_: c_int) {}

fn handle(signal: c_int, handler: usize, flags: c_int) {
    // SAFETY: The handlers are functions of the right type, and only make system calls.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        libc::sigaction(signal, &action, ptr::null_mut());
    }
}

impl<'a> World<'a> {
    /// A process that has just been forked to run a program.
    pub fn new(program: &'a Program, shared: &'a Shared, arena: &Region) -> Self {
        ARENA.store(arena.start().expose_provenance(), Relaxed);
        let mender = mend as *const () as usize;
        handle(libc::SIGSEGV, mender, libc::SA_SIGINFO);
        handle(libc::SIGBUS, mender, libc::SA_SIGINFO);
        let ignorer = nothing as *const () as usize;
        handle(libc::SIGUSR1, ignorer, 0);
        handle(libc::SIGALRM, ignorer, 0);
        handle(libc::SIGUSR2, ignorer, libc::SA_RESTART);
        handle(libc::SIGPIPE, ignorer, libc::SA_RESTART);
        let world = Self {
            program,
            shared,
            fds: [const { AtomicI32::new(-1) }; MOST_STEPS],
            threads: [const { AtomicI32::new(0) }; LANES],
            is_alone: program.is_alone(),
        };
        // What is mapped first is where nothing is.
        arena.protect(libc::PROT_NONE).expect("mprotect");
        world
    }

    /// Becomes one of the threads.
    pub fn thread(&'a self, lane: usize) -> Thread<'a> {
        // SAFETY: The call has no arguments.
        let number = unsafe { libc::syscall(libc::SYS_gettid) };
        self.threads[lane].store(number as i32, Relaxed);
        let scratch = Region::anonymous(SCRATCH + page());
        // SAFETY: It is ours, and nothing has a reference to it.
        let done = unsafe { libc::mprotect(scratch.at(SCRATCH).cast(), page(), libc::PROT_NONE) };
        assert_eq!(done, 0, "mprotect: {}", Errno::last());
        let mut pipe = [0; 2];
        // SAFETY: The call writes two numbers.
        let made = unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) };
        assert_eq!(made, 0, "pipe2: {}", Errno::last());
        Thread {
            world: self,
            scratch,
            pipe,
            made: 0,
        }
    }
}

/// What a system call has returned: a number, or a negative errno.
fn result(value: impl TryInto<isize>) -> isize {
    match value.try_into() {
        Ok(-1) => -(Errno::last_raw() as isize),
        Ok(value) => value,
        Err(_) => isize::MAX,
    }
}

fn result_of<T>(value: io::Result<T>) -> isize {
    match value {
        Ok(_) => 0,
        Err(error) => -(error.raw_os_error().unwrap_or(libc::EINVAL) as isize),
    }
}

impl Thread<'_> {
    /// Makes the steps with these numbers, of those of the program.
    pub fn steps(&mut self, numbers: impl Iterator<Item = usize>) {
        let world = self.world;
        let (mut last, mut failure) = (None, None);
        for number in numbers {
            let step = &world.program.steps[number];
            match (step.call().name, last) {
                ("fail", _) => {
                    failure = Some(step.arguments[0]);
                    world.shared.note(step.number, 0, 0);
                    continue;
                }
                ("again", Some(last)) => {
                    for _ in 0..step.arguments[0] % 64 {
                        self.step(last, failure);
                    }
                }
                _ => self.step(number, failure),
            }
            (last, failure) = (Some(number), None);
        }
    }

    /// Makes a step, of whose allocations one may have to fail.
    fn step(&mut self, number: usize, failure: Option<u64>) {
        let world = self.world;
        let step = &world.program.steps[number];
        self.made = world.program.made_before(number);
        let mode = self.mode_of(step);
        // A page fault of the program itself has no errno to fail with, only a signal.
        let can_fail = step.call().name != "load";
        let failing = failure.filter(|_| can_fail);
        let failing = failing.map(|nth| Failing::new(nth % 64));
        let result = (step.call().run)(self, &step.arguments);
        drop(failing);
        if step.call().makes.is_some() && result > 0 {
            world.fds[self.made].store(result as c_int, Relaxed);
        }
        world.shared.note(step.number, mode, result);
    }

    /// The access mode of the first file that a step names, or 0.
    fn mode_of(&self, step: &Step) -> usize {
        let arguments = step.call().arguments.iter().zip(&step.arguments);
        let mut files = arguments.filter(|(kind, _)| matches!(kind, Fd(_)));
        let Some((_, file)) = files.next() else {
            return 0;
        };
        // SAFETY: The call has no pointers.
        let flags = unsafe { libc::fcntl(self.fd(*file), libc::F_GETFL) };
        usize::try_from(flags).map_or(0, |flags| flags & libc::O_ACCMODE as usize)
    }

    /// Something happened that must not.
    fn violation(&self, what: std::fmt::Arguments<'_>) {
        self.world.shared.violation(&what.to_string());
    }

    fn fd(&self, number: u64) -> c_int {
        let made = self.world.fds.get(number as usize);
        made.map_or(-1, |fd| fd.load(Relaxed))
    }

    fn slot(&self, number: u64, offset: u64) -> *mut c_void {
        let at = number as usize % SLOTS * SLOT + (offset as usize).min(SLOT);
        ptr::with_exposed_provenance_mut::<c_void>(ARENA.load(Relaxed)).wrapping_byte_add(at)
    }

    /// What fits into a slot behind an offset.
    fn within(&self, offset: u64, length: u64) -> usize {
        (length.min(SLOT as u64) as usize).min(SLOT - (offset as usize).min(SLOT))
    }

    /// An address, and how many bytes behind it no call may write past.
    fn memory(&self, place: u64) -> (*mut c_void, usize) {
        let offset = (place >> 8) as usize;
        match place & 0xff {
            1 => (ptr::null_mut(), usize::MAX),
            // Half of it is there.
            2 => (self.scratch.at(SCRATCH - 12).cast(), usize::MAX),
            3 => (self.scratch.at(SCRATCH).cast(), usize::MAX),
            slot @ 8..12 => {
                let offset = offset.min(SLOT - page());
                (self.slot(slot - 8, offset as u64), SLOT - offset)
            }
            _ => {
                let offset = offset.min(SCRATCH - page());
                (self.scratch.at(offset).cast(), SCRATCH - offset)
            }
        }
    }

    /// Puts something where nothing of the arena is, before something else comes there.
    fn fill(&self, at: *mut c_void, length: usize) {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: Nothing that is there is replaced.
        unsafe { libc::mmap(at, length, libc::PROT_NONE, flags, -1, 0) };
    }

    /// A place with a length that harms nothing.
    fn piece(&self, place: u64, length: u64) -> libc::iovec {
        let (iov_base, most) = self.memory(place);
        let length = length.min(usize::MAX as u64) as usize;
        // What goes past the end of our own memory does so from its last page on.
        let iov_len = if most == usize::MAX {
            length
        } else {
            length.min(most)
        };
        libc::iovec { iov_base, iov_len }
    }

    /// Writes to memory as the kernel does: where it cannot, nothing happens.
    fn put(&self, to: *mut c_void, bytes: &[u8]) {
        // SAFETY: The kernel checks the address, to which nothing has references.
        unsafe {
            libc::write(self.pipe[1], bytes.as_ptr().cast(), bytes.len());
            libc::read(self.pipe[0], to, bytes.len());
            self.drain();
        }
    }

    fn drain(&self) {
        let mut rest = [0_u8; 4096];
        // SAFETY: There is room for so many bytes.
        while unsafe { libc::read(self.pipe[0], rest.as_mut_ptr().cast(), rest.len()) } > 0 {}
    }

    /// An ioctl with a structure that is first put somewhere, and as large as said, if it is said.
    /// After a good call the structure is what the kernel made of it.
    fn request<T: Copy>(
        &self,
        fd: c_int,
        number: u32,
        value: &mut T,
        place: u64,
        size: u64,
    ) -> isize {
        let number = match size {
            0 => number,
            _ => resized(number, size as usize),
        };
        let bytes: *mut T = value;
        if place & 0xff == 0 && size <= size_of::<T>() as u64 {
            // SAFETY: The structure is as large as the call reads and writes.
            return result(unsafe { libc::ioctl(fd, number as _, bytes) });
        }
        let (at, _) = self.memory(place);
        // SAFETY: So long is the structure, and it has no padding.
        self.put(at, unsafe {
            std::slice::from_raw_parts(bytes.cast(), size_of::<T>())
        });
        // SAFETY: A size has 14 bits, and so much is there, or what is behind is nobody's.
        result(unsafe { libc::ioctl(fd, number as _, at) })
    }

    /// What INFO says, if it is a buffer's descriptor.
    fn info_of(&self, fd: c_int) -> Option<abi::shmbuf_info> {
        let mut info = abi::shmbuf_info::default();
        let number = abi::SHMBUF_IOC_INFO;
        (self.request(fd, number, &mut info, 0, 0) == 0).then_some(info)
    }

    /// How long a buffer or dma-buf is; `None` where it is neither, or where that may be another
    /// one meanwhile.
    fn size_of(&self, fd: c_int) -> Option<u64> {
        if !self.world.is_alone {
            return None;
        }
        if let Some(info) = self.info_of(fd) {
            return Some(info.size);
        }
        // SAFETY: The call has no pointers. A dma-buf knows no other place.
        let (place, end) = unsafe {
            (
                libc::lseek(fd, 0, libc::SEEK_CUR),
                libc::lseek64(fd, 0, libc::SEEK_END),
            )
        };
        (place == -1).then(|| u64::try_from(end).ok()).flatten()
    }

    /// Checks that a range that a call took is one.
    fn check_range(&self, call: &str, fd: c_int, offset: u64, length: u64) {
        let Some(size) = self.size_of(fd) else { return };
        if offset.checked_add(length).is_none_or(|end| end > size) {
            self.violation(format_args!(
                "{call} took {length:#x} bytes at {offset:#x}, of {size:#x}"
            ));
        }
    }

    /// Checks that a call that needs these rights was made by who has them.
    fn check_mode(&self, call: &str, fd: c_int, allowed: [c_int; 2]) {
        if !self.world.is_alone {
            return;
        }
        // SAFETY: The call has no pointers.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
        if flags != -1 && !allowed.contains(&(flags & libc::O_ACCMODE)) {
            self.violation(format_args!(
                "{call} works on a handle with flags {flags:#o}"
            ));
        }
    }
}

/// Until it is dropped an allocation of this thread fails.
struct Failing(Option<File>);

impl Failing {
    fn new(nth: u64) -> Self {
        // The kernel's debugging of DMA switches itself off for good when there is no node for
        // its radix tree. Who makes a thread leaves some on the CPU.
        let _ = thread::spawn(|| {}).join();
        let file = OpenOptions::new()
            .write(true)
            .open("/proc/thread-self/fail-nth");
        let failing = Self(file.ok());
        failing.set(nth);
        failing
    }

    fn set(&self, nth: u64) {
        if let Some(file) = &self.0 {
            let _ = file.write_at(nth.to_string().as_bytes(), 0);
        }
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        self.set(0);
    }
}

const WRITERS: [c_int; 2] = [libc::O_WRONLY, libc::O_RDWR];
const READERS: [c_int; 2] = [libc::O_RDONLY, libc::O_RDWR];

fn open(_: &Thread<'_>, a: &[u64]) -> isize {
    open_path(NODES[a[0] as usize % NODES.len()], a[1])
}

fn open_path(path: &str, flags: u64) -> isize {
    let path = CString::new(path).expect("no NUL");
    // O_CREAT would make files.
    let flags = (flags as c_int & !(libc::O_CREAT | libc::O_TMPFILE)) | libc::O_CLOEXEC;
    // SAFETY: The call reads a text.
    result(unsafe { libc::open(path.as_ptr(), flags) })
}

fn dup(t: &Thread<'_>, a: &[u64]) -> isize {
    // SAFETY: The call has no pointers.
    result(unsafe { libc::dup(t.fd(a[0])) })
}

fn reopen(t: &Thread<'_>, a: &[u64]) -> isize {
    open_path(&format!("/proc/self/fd/{}", t.fd(a[0])), a[1])
}

/// By a socket, as between processes.
fn send(t: &Thread<'_>, a: &[u64]) -> isize {
    use nix::sys::socket::{
        recvmsg, sendmsg, socketpair, AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags,
        SockFlag, SockType,
    };
    use std::{io::IoSlice, io::IoSliceMut, os::fd::AsRawFd};
    let exchange = || {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (from, to) = socketpair(AddressFamily::Unix, SockType::Datagram, None, flags)?;
        let fds = [t.fd(a[0])];
        let rights = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(
            from.as_raw_fd(),
            &[IoSlice::new(b"x")],
            &rights,
            MsgFlags::empty(),
            None,
        )?;
        let mut space = nix::cmsg_space!(c_int);
        let mut byte = [0];
        let mut pieces = [IoSliceMut::new(&mut byte)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let got = recvmsg::<()>(to.as_raw_fd(), &mut pieces, Some(&mut space), flags)?;
        let mut fd = Err(Errno::EMFILE);
        for message in got.cmsgs()? {
            if let ControlMessageOwned::ScmRights(list) = message {
                fd = list.first().copied().ok_or(Errno::EMFILE);
            }
        }
        fd
    };
    match exchange() {
        Ok(fd) => fd as isize,
        Err(errno) => -(errno as i32 as isize),
    }
}

fn eventfd(_: &Thread<'_>, _: &[u64]) -> isize {
    // SAFETY: The call has no pointers.
    result(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
}

fn alloc(t: &Thread<'_>, a: &[u64]) -> isize {
    let fd = t.fd(a[0]);
    let mut request = abi::shmbuf_alloc {
        size: a[1],
        kind: a[2] as u32,
        policy: a[3] as u32,
        mapping: a[4] as u32,
        direction: a[5] as u32,
        align: a[6] as u32,
        boundary: a[7] as u32,
        flags: a[8] as u32,
        reserved: 0,
    };
    let made = t.request(fd, abi::SHMBUF_IOC_ALLOC, &mut request, a[9], a[10]);
    if made >= 0 {
        t.check_mode("ALLOC", fd, WRITERS);
        let info = t
            .info_of(made as c_int)
            .filter(|_| t.world.is_alone && a[9] & 0xff == 0);
        if let Some(info) = info.filter(|info| (info.size, info.kind) != (a[1], a[2] as u32)) {
            t.violation(format_args!("ALLOC of {request:?} made {info:?}"));
        }
    }
    made
}

fn export(t: &Thread<'_>, a: &[u64]) -> isize {
    let fd = t.fd(a[0]);
    let mut request = abi::shmbuf_export {
        offset: a[1],
        length: a[2],
        flags: a[3] as u32,
        reserved: a[4] as u32,
    };
    let made = t.request(fd, abi::SHMBUF_IOC_EXPORT, &mut request, a[5], a[6]);
    if made >= 0 && a[5] & 0xff == 0 {
        t.check_range("EXPORT", fd, a[1], a[2].max(1));
        t.check_mode("EXPORT", fd, READERS);
    }
    made
}

/// A dma-buf of another driver. It can be written: one that can only be read is mapped in one direction, and
/// the heap syncs it in that of DMA_BUF_IOCTL_SYNC (drivers/dma-buf/heaps/system_heap.c), of which the
/// kernel's debugging of DMA complains.
fn heap(t: &Thread<'_>, a: &[u64]) -> isize {
    let made = Heap::open("system").and_then(|heap| {
        let made = heap.alloc(t.within(0, a[0]) as u64);
        made.map_err(io::Error::from)
    });
    match made {
        Ok(fd) => fd.into_raw_fd() as isize,
        error => result_of(error),
    }
}

fn import(t: &Thread<'_>, a: &[u64]) -> isize {
    let (fd, dma_buf) = (t.fd(a[0]), t.fd(a[1]));
    let mut request = abi::shmbuf_import {
        fd: dma_buf,
        flags: a[2] as u32,
    };
    // The kernel's debugging of DMA does not find the mapping that a sync is for, if a device has two of
    // one page, and complains: so a program imports a dma-buf once.
    // SAFETY: Zeroes are a structure, which the call fills; a bad descriptor it refuses.
    let inode = unsafe {
        let mut stat: libc::stat64 = mem::zeroed();
        libc::fstat64(dma_buf, &mut stat);
        stat.st_ino as u32
    };
    if inode != 0 && !t.world.shared.imports(inode) {
        return -(libc::EALREADY as isize);
    }
    let made = t.request(fd, abi::SHMBUF_IOC_IMPORT, &mut request, a[3], a[4]);
    if made < 0 {
        t.world.shared.imports_not(inode);
    }
    if made >= 0 && a[3] & 0xff == 0 {
        t.check_mode("IMPORT", fd, WRITERS);
        if a[2] != 0 {
            t.violation(format_args!("IMPORT took the flags {:#x}", a[2]));
        }
        let imported = t.info_of(made as c_int);
        if let (Some(info), Some(size)) = (imported, t.size_of(dma_buf)) {
            if (info.kind, info.size) != (abi::SHMBUF_KIND_IMPORTED, size) {
                t.violation(format_args!("IMPORT of {size:#x} bytes made {info:?}"));
            }
            let lines = fs::read_to_string(format!("/proc/self/fdinfo/{dma_buf}"));
            if lines.is_ok_and(|lines| lines.contains("exp_name:\tshmbuf-")) {
                t.violation(format_args!("IMPORT took a dma-buf of a buffer"));
            }
        }
    }
    made
}

fn card(_: &Thread<'_>, a: &[u64]) -> isize {
    open_path(&format!("/dev/dri/card{}", a[0] % 3), 2)
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Prime {
    handle: u32,
    flags: u32,
    fd: i32,
}

fn prime_export(t: &Thread<'_>, a: &[u64]) -> isize {
    let mut request = Prime {
        handle: a[1] as u32,
        flags: (a[2] as c_int & libc::O_ACCMODE | libc::O_CLOEXEC) as u32,
        fd: -1,
    };
    match t.request(t.fd(a[0]), 0xc00c_642d, &mut request, 0, 0) {
        0 => request.fd as isize,
        errno => errno,
    }
}

fn prime_import(t: &Thread<'_>, a: &[u64]) -> isize {
    let mut request = Prime {
        handle: 0,
        flags: 0,
        fd: t.fd(a[1]),
    };
    t.request(t.fd(a[0]), 0xc00c_642e, &mut request, 0, 0)
}

fn gem_close(t: &Thread<'_>, a: &[u64]) -> isize {
    t.request(t.fd(a[0]), 0x4008_6409, &mut [a[1] as u32, 0], 0, 0)
}

fn fence_attach(t: &Thread<'_>, a: &[u64]) -> isize {
    let mut request = [a[1] as u32, a[2] as u32, 0, 0];
    t.request(t.fd(a[0]), 0xc010_6441, &mut request, 0, 0)
}

fn fence_signal(t: &Thread<'_>, a: &[u64]) -> isize {
    t.request(t.fd(a[0]), 0x4008_6442, &mut [a[1] as u32, 0], 0, 0)
}

fn export_sync_file(t: &Thread<'_>, a: &[u64]) -> isize {
    let mut request = [a[1] as i32, -1];
    match t.request(t.fd(a[0]), 0xc008_6202, &mut request, 0, 0) {
        0 => request[1] as isize,
        errno => errno,
    }
}

fn import_sync_file(t: &Thread<'_>, a: &[u64]) -> isize {
    let mut request = [a[2] as i32, t.fd(a[1])];
    t.request(t.fd(a[0]), 0x4008_6203, &mut request, 0, 0)
}

fn dma_buf_sync(t: &Thread<'_>, a: &[u64]) -> isize {
    let mut request = abi::dma_buf_sync { flags: a[1] };
    t.request(t.fd(a[0]), abi::DMA_BUF_IOCTL_SYNC, &mut request, 0, 0)
}

fn copy(t: &Thread<'_>, a: &[u64]) -> isize {
    let (fd, source) = (t.fd(a[0]), t.fd(a[4]));
    let mut request = abi::shmbuf_copy {
        src_offset: a[1],
        dst_offset: a[2],
        length: a[3],
        src_fd: source,
        timeout_ms: a[5] as u32,
        flags: a[6] as u32,
        eventfd: if a[6] & 2 != 0 { t.fd(a[7]) } else { 0 },
    };
    let made = t.request(fd, abi::SHMBUF_IOC_COPY, &mut request, a[8], a[9]);
    if made >= 0 && a[8] & 0xff == 0 {
        t.check_range("COPY, the target,", fd, a[2], a[3]);
        t.check_range("COPY, the source,", source, a[1], a[3]);
        t.check_mode("COPY", fd, WRITERS);
    }
    // Without a sync_file it is 0, which is no descriptor.
    made
}

fn close(t: &Thread<'_>, a: &[u64]) -> isize {
    // SAFETY: The call has no pointers, and the descriptor is the program's own.
    result(unsafe { libc::close(t.fd(a[0])) })
}

fn set_flags(t: &Thread<'_>, a: &[u64]) -> isize {
    let flags = a[1] as c_int & (libc::O_NONBLOCK | libc::O_APPEND | libc::O_DIRECT);
    // SAFETY: The call has no pointers.
    result(unsafe { libc::fcntl(t.fd(a[0]), libc::F_SETFL, flags) })
}

fn lseek(t: &Thread<'_>, a: &[u64]) -> isize {
    // SAFETY: The call has no pointers.
    result(unsafe { libc::lseek64(t.fd(a[0]), a[1] as i64, a[2] as c_int) })
}

fn read(t: &Thread<'_>, a: &[u64]) -> isize {
    let to = t.piece(a[1], a[2]);
    // SAFETY: Nothing has references to the memory, or none is there.
    result(unsafe { libc::read(t.fd(a[0]), to.iov_base, to.iov_len) })
}

fn write(t: &Thread<'_>, a: &[u64]) -> isize {
    let from = t.piece(a[1], a[2]);
    // SAFETY: The kernel only reads, and checks the address.
    result(unsafe { libc::write(t.fd(a[0]), from.iov_base, from.iov_len) })
}

fn pread(t: &Thread<'_>, a: &[u64]) -> isize {
    let (fd, to) = (t.fd(a[0]), t.piece(a[1], a[2]));
    // SAFETY: Nothing has references to the memory, or none is there.
    let got = result(unsafe { libc::pread64(fd, to.iov_base, to.iov_len, a[3] as i64) });
    if got > 0 {
        t.check_range("pread", fd, a[3], got as u64);
    }
    got
}

fn pwrite(t: &Thread<'_>, a: &[u64]) -> isize {
    let (fd, from) = (t.fd(a[0]), t.piece(a[1], a[2]));
    // SAFETY: The kernel only reads, and checks the address.
    let got = result(unsafe { libc::pwrite64(fd, from.iov_base, from.iov_len, a[3] as i64) });
    if got > 0 {
        t.check_range("pwrite", fd, a[3], got as u64);
        t.check_mode("pwrite", fd, WRITERS);
    }
    got
}

fn readv(t: &Thread<'_>, a: &[u64]) -> isize {
    let pieces = [t.piece(a[1], a[2]), t.piece(a[3], a[4])];
    // SAFETY: Nothing has references to the memory, or none is there.
    result(unsafe { libc::preadv64(t.fd(a[0]), pieces.as_ptr(), 2, a[5] as i64) })
}

fn writev(t: &Thread<'_>, a: &[u64]) -> isize {
    let pieces = [t.piece(a[1], a[2]), t.piece(a[3], a[4])];
    // SAFETY: The kernel only reads, and checks the addresses.
    result(unsafe { libc::pwritev64(t.fd(a[0]), pieces.as_ptr(), 2, a[5] as i64) })
}

fn sendfile(t: &Thread<'_>, a: &[u64]) -> isize {
    let length = a[2].min(1 << 20) as usize;
    // SAFETY: The call has no pointers.
    result(unsafe { libc::sendfile(t.fd(a[0]), t.fd(a[1]), ptr::null_mut(), length) })
}

/// Between a buffer and a pipe, either way.
fn splice(t: &Thread<'_>, a: &[u64]) -> isize {
    let (fd, length) = (t.fd(a[0]), a[2].min(8 * page() as u64) as usize);
    let mut at = a[1] as libc::loff_t;
    let flags = libc::SPLICE_F_NONBLOCK;
    let (place, none) = (&raw mut at, ptr::null_mut());
    // SAFETY: The calls read and write one number, and the address of what the scratch memory has.
    let done = result(unsafe {
        match a[3] & 1 {
            0 => libc::splice(fd, place, t.pipe[1], none, length, flags),
            _ => {
                libc::write(t.pipe[1], t.scratch.at(0).cast(), length);
                libc::splice(t.pipe[0], none, fd, place, length, flags)
            }
        }
    });
    t.drain();
    if done > 0 {
        t.check_range("splice", fd, a[1], done as u64);
        t.check_mode("splice", fd, if a[3] & 1 == 0 { READERS } else { WRITERS });
    }
    done
}

fn fsync(t: &Thread<'_>, a: &[u64]) -> isize {
    let fd = t.fd(a[0]);
    // SAFETY: The calls have no pointers.
    result(unsafe {
        match a[1] & 1 {
            0 => libc::fsync(fd),
            _ => libc::fdatasync(fd),
        }
    })
}

/// A read, write, fsync or poll by a ring, at once or by a worker, which may be still at it when
/// the ring goes.
fn uring(t: &Thread<'_>, a: &[u64]) -> isize {
    let (fd, piece) = (types::Fd(t.fd(a[0])), t.piece(a[2], a[3]));
    let (memory, length) = (piece.iov_base.cast::<u8>(), piece.iov_len as u32);
    let entry = match a[1] & 3 {
        0 => opcode::Read::new(fd, memory, length).offset(a[4]).build(),
        1 => opcode::Write::new(fd, memory, length).offset(a[4]).build(),
        2 => opcode::Fsync::new(fd).build(),
        _ => opcode::PollAdd::new(fd, libc::POLLIN as u32).build(),
    };
    let flags = squeue::Flags::from_bits_truncate(a[5] as u8 & squeue::Flags::ASYNC.bits());
    let transfer = || {
        let mut ring = IoUring::new(1)?;
        // SAFETY: The kernel checks the address, and nothing has references to the memory.
        unsafe { ring.submission().push(&entry.flags(flags)) }.map_err(|_| Errno::EBUSY)?;
        let patience = types::Timespec::new().nsec(20_000_000);
        let arguments = types::SubmitArgs::new().timespec(&patience);
        ring.submitter().submit_with_args(1, &arguments)?;
        let done = ring.completion().next();
        Ok::<_, io::Error>(done.map_or(0, |done| done.result() as isize))
    };
    transfer().unwrap_or_else(|error| result_of::<()>(Err(error)))
}

fn poll(t: &Thread<'_>, a: &[u64]) -> isize {
    let mut list = libc::pollfd {
        fd: t.fd(a[0]),
        events: a[1] as i16,
        revents: 0,
    };
    // SAFETY: The call reads and writes one such structure.
    result(unsafe { libc::poll(&mut list, 1, a[2] as c_int % 50) })
}

fn fdinfo(t: &Thread<'_>, a: &[u64]) -> isize {
    result_of(fs::read(format!("/proc/self/fdinfo/{}", t.fd(a[0]))))
}

fn info(t: &Thread<'_>, a: &[u64]) -> isize {
    let mut request = abi::shmbuf_info {
        flags: a[1] as u32,
        ..Default::default()
    };
    t.request(t.fd(a[0]), abi::SHMBUF_IOC_INFO, &mut request, a[2], a[3])
}

fn set_cache(t: &Thread<'_>, a: &[u64]) -> isize {
    let fd = t.fd(a[0]);
    let mut request = abi::shmbuf_set_cache {
        policy: a[1] as u32,
        flags: a[2] as u32,
    };
    let done = t.request(fd, abi::SHMBUF_IOC_SET_CACHE, &mut request, a[3], a[4]);
    if done == 0 && a[3] & 0xff == 0 {
        t.check_mode("SET_CACHE", fd, WRITERS);
    }
    done
}

fn sync(t: &Thread<'_>, a: &[u64]) -> isize {
    let fd = t.fd(a[0]);
    let mut request = abi::shmbuf_sync {
        offset: a[1],
        length: a[2],
        flags: a[3] as u32,
        reserved: a[4] as u32,
    };
    let done = t.request(fd, abi::SHMBUF_IOC_SYNC, &mut request, a[5], a[6]);
    if done == 0 && a[5] & 0xff == 0 {
        t.check_range("SYNC", fd, a[1], a[2].max(1));
        if a[3] & 2 != 0 {
            t.check_mode("SYNC to write", fd, WRITERS);
        }
    }
    done
}

fn lent(t: &Thread<'_>, a: &[u64]) -> isize {
    let fd = t.fd(a[0]);
    let mut request = abi::shmbuf_lent {
        offset: a[1],
        length: a[2],
    };
    let done = t.request(fd, abi::SHMBUF_IOC_LENT, &mut request, a[3], a[4]);
    if done == 0 && a[3] & 0xff == 0 {
        t.check_range("LENT", fd, a[1], a[2].max(1));
        t.check_range("LENT, the answer,", fd, request.offset, request.length);
    }
    done
}

fn segment(t: &Thread<'_>, a: &[u64]) -> isize {
    let fd = t.fd(a[0]);
    let mut request = abi::shmbuf_segment {
        offset: a[1],
        length: a[2],
        dma_addr: a[3],
    };
    let done = t.request(fd, abi::SHMBUF_IOC_SEGMENT, &mut request, a[4], a[5]);
    if done == 0 && a[4] & 0xff == 0 {
        t.check_range("SEGMENT", fd, a[1], 1);
        t.check_range("SEGMENT, the answer,", fd, request.offset, request.length);
        if (request.offset, request.length == 0) != (a[1], false) {
            t.violation(format_args!("SEGMENT at {:#x} says {request:?}", a[1]));
        }
        // A smaller structure has no room for what is to be zero.
        if a[5] == 0 && (a[2], a[3]) != (0, 0) {
            t.violation(format_args!("SEGMENT took {:#x} and {:#x}", a[2], a[3]));
        }
    }
    done
}

fn copy_result(t: &Thread<'_>, a: &[u64]) -> isize {
    t.request(t.fd(a[0]), abi::SHMBUF_IOC_COPY_RESULT, &mut 0_u32, 0, 0)
}

fn ioctl(t: &Thread<'_>, a: &[u64]) -> isize {
    let (at, _) = t.memory(a[2]);
    // SAFETY: A size has 14 bits, and so much is there, or what is behind is nobody's.
    result(unsafe { libc::ioctl(t.fd(a[0]), a[1] as u32 as _, at) })
}

fn mmap(t: &Thread<'_>, a: &[u64]) -> isize {
    let fd = t.fd(a[0]);
    let length = t.within(0, a[2]);
    let (protection, flags) = (a[3] as c_int & 7, a[4] as c_int & 0xe003);
    let flags = flags | libc::MAP_FIXED;
    // SAFETY: Nothing has references to the arena.
    let at = unsafe { libc::mmap64(t.slot(a[1], 0), length, protection, flags, fd, a[5] as i64) };
    if at == libc::MAP_FAILED {
        let failed = result(-1);
        // What was there before may be gone.
        t.fill(t.slot(a[1], 0), length);
        return failed;
    }
    let pages = length.next_multiple_of(page()) as u64;
    t.check_range("mmap", fd, a[5], pages);
    if protection & libc::PROT_WRITE != 0 && flags & 3 != libc::MAP_PRIVATE {
        t.check_mode("mmap to write", fd, [libc::O_RDWR; 2]);
    }
    0
}

fn munmap(t: &Thread<'_>, a: &[u64]) -> isize {
    // What is taken away another mapping of this process must not come to.
    let (at, length) = (t.slot(a[0], a[1]), t.within(a[1], a[2]));
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: Nothing has references to the arena.
    let at = unsafe { libc::mmap(at, length, libc::PROT_NONE, flags, -1, 0) };
    result(if at == libc::MAP_FAILED { -1 } else { 0 })
}

/// To another slot or at the same place.
fn mremap(t: &Thread<'_>, a: &[u64]) -> isize {
    let flags = a[4] as c_int & 7;
    let (old, new) = (t.within(0, a[1]), t.within(0, a[2]));
    // Wherever it likes could be where another thread's memory comes.
    let flags = match flags & libc::MREMAP_FIXED {
        0 => 0,
        _ => flags | libc::MREMAP_MAYMOVE,
    };
    let (from, to) = (t.slot(a[0], 0), t.slot(a[3], 0));
    // SAFETY: Nothing has references to the arena.
    let at = unsafe { libc::mremap(from, old, new, flags, to) };
    let done = result(if at == libc::MAP_FAILED { -1 } else { 0 });
    t.fill(from, old);
    t.fill(to, new);
    if new < old {
        t.fill(from.wrapping_byte_add(new), old - new);
    }
    done
}

fn mprotect(t: &Thread<'_>, a: &[u64]) -> isize {
    let (at, length) = (t.slot(a[0], a[1]), t.within(a[1], a[2]));
    // SAFETY: Nothing has references to the arena.
    result(unsafe { libc::mprotect(at, length, a[3] as c_int & 7) })
}

fn madvise(t: &Thread<'_>, a: &[u64]) -> isize {
    let (at, length) = (t.slot(a[0], a[1]), t.within(a[1], a[2]));
    // Those from 100 on are for the whole system.
    // SAFETY: Nothing has references to the arena.
    result(unsafe { libc::madvise(at, length, (a[3] % 100) as c_int) })
}

fn mlock(t: &Thread<'_>, a: &[u64]) -> isize {
    let (at, length) = (t.slot(a[0], a[1]), t.within(a[1], a[2]));
    // SAFETY: Nothing has references to the arena.
    result(unsafe {
        match a[3] {
            0 => libc::munlock(at, length),
            1 => libc::mlock(at, length),
            _ => libc::mlock2(at, length, libc::MLOCK_ONFAULT),
        }
    })
}

fn msync(t: &Thread<'_>, a: &[u64]) -> isize {
    let (at, length) = (t.slot(a[0], a[1]), t.within(a[1], a[2]));
    // SAFETY: Nothing has references to the arena.
    result(unsafe { libc::msync(at, length, a[3] as c_int) })
}

/// An access by the kernel, for which a fault is an errno.
fn touch(t: &Thread<'_>, a: &[u64]) -> isize {
    let at = t.slot(a[0], a[1].min(SLOT as u64 - 1));
    let zero = 0_u8;
    // SAFETY: The kernel checks the address, to which nothing has references.
    let done = result(unsafe {
        match a[2] & 1 {
            0 => libc::write(t.pipe[1], at, 1),
            _ => {
                libc::write(t.pipe[1], (&raw const zero).cast(), 1);
                libc::read(t.pipe[0], at, 1)
            }
        }
    });
    t.drain();
    done
}

/// An access by the program, for which a fault is a signal.
fn load(t: &Thread<'_>, a: &[u64]) -> isize {
    let at = t.slot(a[0], a[1].min(SLOT as u64 - 4) & !3).cast::<u32>();
    // SAFETY: It is inside of the arena, where all faults are mended, and aligned; nothing has
    // references to it.
    unsafe {
        match a[2] & 1 {
            0 => drop(at.read_volatile()),
            _ => at.write_volatile(0x5a5a_5a5a),
        }
    }
    0
}

/// An access as a debugger makes it.
fn debugger(t: &Thread<'_>, a: &[u64]) -> isize {
    let fd = open_path("/proc/self/mem", 2);
    if fd < 0 {
        return fd;
    }
    let length = t.within(a[1], a[2]).min(2 * page());
    let (memory, at) = (t.scratch.at(0).cast(), t.slot(a[0], a[1]) as i64);
    // SAFETY: There is so much memory, to which nothing has references.
    unsafe {
        let done = result(match a[3] & 1 {
            0 => libc::pread64(fd as c_int, memory, length, at),
            _ => libc::pwrite64(fd as c_int, memory, length, at),
        });
        libc::close(fd as c_int);
        done
    }
}

fn vmsplice(t: &Thread<'_>, a: &[u64]) -> isize {
    let piece = libc::iovec {
        iov_base: t.slot(a[0], a[1]),
        iov_len: t.within(a[1], a[2]).min(8 * page()),
    };
    // SAFETY: The kernel only reads, and checks the addresses.
    let done = result(unsafe { libc::vmsplice(t.pipe[1], &piece, 1, libc::SPLICE_F_NONBLOCK) });
    t.drain();
    done
}

fn proc(_: &Thread<'_>, a: &[u64]) -> isize {
    const FILES: [&str; 6] = [
        "/proc/self/smaps",
        "/proc/self/numa_maps",
        "/proc/self/maps",
        "/sys/kernel/debug/shmbuf/shmbuf/buffer",
        "/sys/kernel/debug/shmbuf/shmbuf/pages",
        "/sys/kernel/debug/dma_buf/bufinfo",
    ];
    result_of(fs::read(FILES[a[0] as usize % FILES.len()]))
}

fn parameter(_: &Thread<'_>, a: &[u64]) -> isize {
    const VALUES: [&str; 7] = ["0", "1", "50", "101", "4096", "64K", "16M"];
    let (name, _) = PARAMETERS[a[0] as usize % PARAMETERS.len()];
    let path = format!("{}/parameters/{name}", crate::module::SYSFS);
    result_of(fs::write(path, VALUES[a[1] as usize % VALUES.len()]))
}

fn mkdir(_: &Thread<'_>, a: &[u64]) -> isize {
    result_of(fs::create_dir(folder(a[0])))
}

fn rmdir(_: &Thread<'_>, a: &[u64]) -> isize {
    result_of(fs::remove_dir(folder(a[0])))
}

fn set(_: &Thread<'_>, a: &[u64]) -> isize {
    let name = ATTRIBUTES[a[1] as usize % ATTRIBUTES.len()];
    let value = VALUES[a[2] as usize % VALUES.len()];
    result_of(fs::write(format!("{}/{name}", folder(a[0])), value))
}

fn sleep(_: &Thread<'_>, a: &[u64]) -> isize {
    thread::sleep(Duration::from_micros(a[0] % 10_000));
    0
}

/// A signal after some microseconds.
fn alarm(_: &Thread<'_>, a: &[u64]) -> isize {
    let timer = libc::itimerval {
        it_interval: libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        },
        it_value: libc::timeval {
            tv_sec: 0,
            tv_usec: (a[0] % 100_000) as libc::suseconds_t,
        },
    };
    // SAFETY: The call reads one such structure.
    result(unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, ptr::null_mut()) })
}

/// A signal to one of the threads.
fn signal(t: &Thread<'_>, a: &[u64]) -> isize {
    let to = t.world.threads[a[0] as usize % LANES].load(Relaxed);
    let number = match a[1] & 2 {
        0 => libc::SIGUSR2,
        _ => libc::SIGUSR1,
    };
    if to == 0 {
        return -(libc::ESRCH as isize);
    }
    // SAFETY: The call has no pointers.
    result(unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), to, number) })
}

/// This thread is no root any more.
fn nobody(_: &Thread<'_>, _: &[u64]) -> isize {
    // SAFETY: The call has no pointers.
    result(unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) })
}

/// A page of a slot that comes a while after somebody has first touched it.
fn late(t: &Thread<'_>, a: &[u64]) -> isize {
    let offset = a[1].min((SLOT - page()) as u64) / page() as u64 * page() as u64;
    let at = t.slot(a[0], offset);
    let (protection, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
    );
    // SAFETY: Nothing has references to the arena.
    unsafe { libc::mmap(at, page(), protection, flags, -1, 0) };
    match MissingPlace::new(at.expose_provenance()) {
        Ok(missing) => {
            let patience = Duration::from_millis(a[2] % 50);
            thread::spawn(move || {
                missing.wait_for_touch();
                thread::sleep(patience);
                missing.give();
            });
            0
        }
        Err(errno) => -(errno as isize),
    }
}

/// The kernel takes back what it can, and moves what can be moved.
fn reclaim(_: &Thread<'_>, a: &[u64]) -> isize {
    result_of(match a[0] & 1 {
        0 => fs::write("/proc/sys/vm/drop_caches", "3"),
        _ => fs::write("/proc/sys/vm/compact_memory", "1"),
    })
}

/// The engine's driver leaves its device, or comes back.
fn rebind(_: &Thread<'_>, a: &[u64]) -> isize {
    result_of(engine::driver(match a[0] & 1 {
        0 => "unbind",
        _ => "bind",
    }))
}

/// The system begins to sleep, as far as its devices, and wakes up.
fn suspend(_: &Thread<'_>, _: &[u64]) -> isize {
    result_of(fs::write("/sys/power/state", "freeze"))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs programs, each in a process of its own, and finds out what is wrong afterwards.

use std::{
    fs,
    os::fd::{AsFd, FromRawFd, OwnedFd},
    path::Path,
    sync::{
        atomic::{AtomicU32, AtomicU8, AtomicUsize, Ordering::Relaxed},
        mpsc::{channel, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    libc,
    poll::{poll, PollFd, PollFlags, PollTimeout},
    sys::{
        prctl,
        signal::{killpg, Signal},
        wait::{waitpid, WaitPidFlag, WaitStatus},
    },
    unistd::{setpgid, Pid},
};
use shmbuf::{Access, Buffer, Phase, Policy};

use super::{
    calls::{arena, folder, World, CALLS, PARAMETERS},
    kcov::Kcov,
    program::{Program, LANES, MOST_STEPS},
};
use crate::{
    engine,
    fault_injection::{self, Failures},
    kmsg::{is_trouble, Log},
    module::{self, DEVICE},
    process::Child,
    sys::Region,
};

/// How long a program may take; it is killed then, which is no fault.
const MOST: Duration = Duration::from_secs(3);
/// How long the other threads may take after the first.
const OTHERS: Duration = Duration::from_millis(200);
/// How long its end may take when it was killed.
const END: Duration = Duration::from_secs(30);

/// What the process of a program tells the one that has forked it.
#[derive(Debug)]
pub struct Shared(Region);

/// The results of a call that are told apart, each once more for each access mode of its file.
const RESULTS: usize = 256;
const MODES: usize = libc::O_ACCMODE as usize + 1;
const NOTES: usize = CALLS.len() * MODES * RESULTS;
/// Where the number of calls is, the length of the text, the inodes of dma-bufs that are imported, and
/// the text.
const MADE: usize = NOTES.next_multiple_of(4);
const LENGTH: usize = MADE + 4;
const INODES: usize = LENGTH + 4;
const TEXT: usize = INODES + 4 * MOST_STEPS;
const MOST_TEXT: usize = 1000;

// SAFETY: It is only accessed by atomic operations.
unsafe impl Sync for Shared {}

impl Shared {
    fn new() -> Self {
        Self(Region::shared(TEXT + MOST_TEXT))
    }

    fn byte(&self, at: usize) -> &AtomicU8 {
        assert!(at < TEXT + MOST_TEXT);
        // SAFETY: Inside of the region, which lives as long.
        unsafe { AtomicU8::from_ptr(self.0.at(at)) }
    }

    fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at % 4 == 0 && at < TEXT);
        // SAFETY: Inside of the region, which lives as long, and aligned.
        unsafe { AtomicU32::from_ptr(self.0.at(at).cast()) }
    }

    fn clear(&self) {
        (0..NOTES).for_each(|at| self.byte(at).store(0, Relaxed));
        self.word(MADE).store(0, Relaxed);
        self.word(LENGTH).store(0, Relaxed);
        self.inodes().for_each(|word| word.store(0, Relaxed));
    }

    fn inodes(&self) -> impl Iterator<Item = &AtomicU32> {
        (0..MOST_STEPS).map(|nth| self.word(INODES + 4 * nth))
    }

    /// Notes that the program, or a child of it, imports a dma-buf. Returns whether it is the first
    /// time, and there is room for it.
    pub fn imports(&self, inode: u32) -> bool {
        if self.inodes().any(|word| word.load(Relaxed) == inode) {
            return false;
        }
        for word in self.inodes() {
            match word.compare_exchange(0, inode, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(there) if there == inode => return false,
                Err(_) => {}
            }
        }
        false
    }

    /// It has not been imported.
    pub fn imports_not(&self, inode: u32) {
        for word in self.inodes() {
            let _ = word.compare_exchange(inode, 0, Relaxed, Relaxed);
        }
    }

    /// A call was made, of a file with this access mode.
    pub fn note(&self, number: usize, mode: usize, result: isize) {
        let sort = match result {
            0.. => 0,
            errno => errno.unsigned_abs().min(RESULTS - 1),
        };
        self.byte((number * MODES + mode) * RESULTS + sort)
            .store(1, Relaxed);
        self.word(MADE).fetch_add(1, Relaxed);
    }

    /// Something happened that must not; the first counts.
    pub fn violation(&self, text: &str) {
        let bytes = &text.as_bytes()[..text.len().min(MOST_TEXT)];
        let length = self.word(LENGTH);
        if length.compare_exchange(0, 1, Relaxed, Relaxed).is_ok() {
            for (at, byte) in bytes.iter().enumerate() {
                self.byte(TEXT + at).store(*byte, Relaxed);
            }
            length.store(bytes.len() as u32, Relaxed);
        }
    }

    fn text(&self) -> Option<String> {
        let length = self.word(LENGTH).load(Relaxed) as usize;
        let bytes: Vec<_> = (0..length)
            .map(|at| self.byte(TEXT + at).load(Relaxed))
            .collect();
        (length > 0).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The addresses of code that are told apart: the module is smaller.
pub const CODE: usize = 1 << 22;
/// How many things there are that can be new about what a program did: code of the module that
/// ran, and how a call ended.
pub const SIGHTS: usize = CODE + NOTES;

/// Whether it is code, of what can be new.
pub fn is_code(sight: usize) -> bool {
    sight < CODE
}

/// What a program did.
#[derive(Debug)]
pub struct Outcome {
    /// How many calls it has made.
    pub calls: u32,
    /// What is wrong.
    pub faults: Vec<String>,
    /// Everything that can be new, each once.
    pub sights: Vec<usize>,
}

/// What runs programs.
pub struct Runner {
    shared: Shared,
    arena: Region,
    kcov: Vec<Kcov>,
    log: Log,
    /// What the program that runs has done.
    marks: Vec<bool>,
    /// The default buffer as it was.
    policy: Policy,
    /// Programs may say which allocations fail.
    _failures: Option<Failures>,
}

impl Runner {
    /// Makes ready, with the module loaded.
    pub fn new() -> anyhow::Result<Self> {
        // Orphans of a program come to us, to be waited for.
        prctl::set_child_subreaper(true)?;
        crate::machine::mount_debugfs();
        crate::machine::mount_configfs();
        // The system sleeps as far as its devices, and wakes up at once.
        let _ = fs::write("/sys/power/pm_test", "devices");
        let _ = fs::write("/sys/module/suspend/parameters/pm_test_delay", "0");
        Ok(Self {
            shared: Shared::new(),
            arena: arena(),
            kcov: (0..LANES).map_while(|_| Kcov::new()).collect(),
            log: Log::from_now(),
            marks: vec![false; SIGHTS],
            policy: Buffer::open(DEVICE)?.info()?.policy,
            _failures: fault_injection::is_possible().then(Failures::of_each),
        })
    }

    /// Whether the kernel tells which code runs.
    pub fn has_coverage(&self) -> bool {
        self.kcov.len() == LANES
    }

    /// Runs a program.
    pub fn run(&mut self, program: &Program) -> Outcome {
        self.log.lines();
        self.shared.clear();
        self.kcov.iter().for_each(Kcov::clear);
        let mut faults = Vec::new();
        faults.extend(self.isolated(program).err());
        faults.extend(self.shared.text());
        faults.extend(self.tidy(program).err());
        let said = self.log.lines().into_iter().map(|line| line.text);
        let trouble = said.filter(|text| is_trouble(text));
        faults.extend(trouble.map(|text| format!("kernel log: {text}")));
        Outcome {
            calls: self.shared.word(MADE).load(Relaxed),
            faults,
            sights: self.sights(),
        }
    }

    fn sights(&mut self) -> Vec<usize> {
        let code = self.kcov.iter().flat_map(Kcov::addresses);
        let code = code.map(|address| address % CODE);
        let noted = (0..NOTES).filter(|at| self.shared.byte(*at).load(Relaxed) != 0);
        let mut sights = Vec::new();
        for sight in code.chain(noted.map(|at| CODE + at)) {
            if !std::mem::replace(&mut self.marks[sight], true) {
                sights.push(sight);
            }
        }
        sights.iter().for_each(|sight| self.marks[*sight] = false);
        sights
    }

    /// Runs it in a process group of its own, which is gone afterwards.
    fn isolated(&self, program: &Program) -> Result<(), String> {
        let zero = Pid::from_raw(0);
        let child = Child::run(|| {
            let _ = setpgid(zero, zero);
            let _ = prctl::set_pdeathsig(Signal::SIGKILL);
            self.become_it(program);
        });
        let pid = child.pid();
        // Whoever comes first; the child may be gone already.
        let _ = setpgid(pid, pid);
        let ended = wait(pid, MOST);
        let _ = killpg(pid, Signal::SIGKILL);
        if !ended && !wait(pid, END) {
            std::mem::forget(child);
            return Err(format!(
                "the process was not gone {} s after SIGKILL",
                END.as_secs()
            ));
        }
        // What a BUG() has ended cannot be waited for.
        std::mem::forget(child);
        match waitpid(pid, None) {
            Ok(WaitStatus::Exited(_, 0) | WaitStatus::Signaled(_, Signal::SIGKILL, _)) => {}
            // It does nothing that ends it otherwise.
            other => return Err(format!("the process ended by {other:?}")),
        }
        let deadline = Instant::now() + END;
        // Its own children come to us.
        while let Ok(status) = waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                if Instant::now() > deadline {
                    return Err("a child was not gone after SIGKILL".into());
                }
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    fn become_it(&self, program: &Program) {
        let world = World::new(program, &self.shared, &self.arena);
        let kcov = &self.kcov;
        let begin = |lane: usize| {
            if let Some(kcov) = kcov.get(lane) {
                kcov.begin();
            }
            world.thread(lane)
        };
        let busy = AtomicUsize::new(0);
        thread::scope(|scope| {
            let mut others: Vec<Option<Sender<usize>>> = vec![None; LANES];
            for step in &program.steps {
                let sender = &mut others[step.lane];
                if step.lane != 0 && sender.is_none() {
                    let (to, from) = channel();
                    *sender = Some(to);
                    busy.fetch_add(1, Relaxed);
                    scope.spawn(|| {
                        begin(step.lane).steps(from.into_iter());
                        busy.fetch_sub(1, Relaxed);
                    });
                }
            }
            let mut first = begin(0);
            let mut forked = None;
            let count = program.steps.len();
            let numbers = (0..count).filter(|number| {
                let step = &program.steps[*number];
                if let Some(to) = &others[step.lane] {
                    let _ = to.send(*number);
                    return false;
                }
                if step.call().name == "fork" && forked.is_none() {
                    // SAFETY: The child makes system calls, and ends.
                    let pid = unsafe { libc::fork() };
                    if pid == 0 {
                        let until = number + 1 + step.arguments[0] as usize % 16;
                        forked = Some(until);
                    }
                }
                forked.is_none_or(|until| *number < until)
            });
            first.steps(numbers);
            drop(others);
            let deadline = Instant::now() + OTHERS;
            while forked.is_none() && busy.load(Relaxed) > 0 && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
            // SAFETY: It ends, without destructors, and so do its threads.
            unsafe { libc::_exit(0) };
        });
    }

    /// Checks that the program left nothing, and gives everything back as it was.
    fn tidy(&mut self, program: &Program) -> Result<(), String> {
        if program.has("parameter") {
            for (name, value) in PARAMETERS {
                let path = format!("{}/parameters/{name}", module::SYSFS);
                fs::write(&path, value).map_err(|error| format!("{path}: {error}"))?;
            }
        }
        if program.has("engine") {
            // It is there already, unless the program has taken it away.
            let _ = engine::driver("bind");
        }
        // What ends a file runs a little later, sometimes.
        let mut patience = (0..40).map(|n| thread::sleep(Duration::from_millis(5 * n)));
        if program.has("mkdir") {
            for folder in (0..2).map(folder).filter(|path| Path::new(path).exists()) {
                let remove = || {
                    fs::write(format!("{folder}/enable"), "0")?;
                    fs::remove_dir(&folder)
                };
                let mut removed = remove();
                while removed.is_err() && patience.next().is_some() {
                    removed = remove();
                }
                removed.map_err(|error| format!("left behind: {folder}: {error}"))?;
            }
        }
        while module::users() != Some(0) {
            if patience.next().is_none() {
                let users = module::users();
                return Err(format!("left behind: {users:?} users of the module"));
            }
        }
        let restore = || {
            let buffer = Buffer::open(DEVICE)?;
            buffer.sync(.., Access::ReadWrite, Phase::Begin)?;
            let info = buffer.info()?;
            if info.policy != self.policy {
                buffer.set_cache(self.policy)?;
            }
            Ok::<_, shmbuf::Error>((info.mappings, info.exports))
        };
        match restore() {
            Ok((0, 0)) => Ok(()),
            Ok((mappings, exports)) => Err(format!(
                "left behind: {mappings} mappings, {exports} dma-bufs"
            )),
            Err(error) => Err(format!("the buffer could not be restored: {error}")),
        }
    }
}

/// Waits for the end of a process. Returns whether it came in time.
fn wait(pid: Pid, patience: Duration) -> bool {
    // SAFETY: The call has no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    assert!(fd >= 0, "pidfd_open: {}", Errno::last());
    // SAFETY: The call has made it, for us alone.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let timeout = PollTimeout::try_from(patience).expect("a timeout");
    let mut list = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut list, timeout) {
            Err(Errno::EINTR) => {}
            ready => return ready.expect("poll") == 1,
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tests of named buffers share: their nodes, their users, and a crowd
//! that comes and goes while names do.

use std::{
    any::Any,
    fs, mem,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use nix::errno::Errno;
use shmbuf::{Buffer, DmaBuf, Info, Kind, Mapping, Protection};

use super::data::{assert_pattern, fresh, load_all, read_all, store_all, write_all};
use crate::{
    kmsg::Log,
    ktap::diagnose,
    machine::mount_debugfs,
    process::Child,
    procfs::{fdinfo, field},
    sys::{page, refused, Region},
};

/// Where a PrimeCell says what it is, from there to the end of its page.
pub(super) const ID_REGISTERS: usize = 0xfe0;

/// The node of a name.
pub(super) fn node(name: &str) -> PathBuf {
    format!("/dev/shmbuf-{name}").into()
}

/// Opens a buffer by its name.
#[track_caller]
pub(super) fn open(name: &str) -> Buffer {
    Buffer::open(node(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What INFO tells of a buffer; the call has to work.
#[track_caller]
pub(super) fn info(buffer: &Buffer) -> Info {
    buffer.info().expect("INFO")
}

/// Asserts that a name has a node and a folder in debugfs, or neither.
#[track_caller]
pub(super) fn assert_there(name: &str, there: bool) {
    assert_eq!(node(name).exists(), there, "{}", node(name).display());
    if mount_debugfs() {
        let folder = Path::new("/sys/kernel/debug/shmbuf").join(name);
        assert_eq!(folder.exists(), there, "{}", folder.display());
    }
}

/// Asserts that the log has a line of the driver's with both texts.
#[track_caller]
pub(super) fn assert_logged(log: &mut Log, whom: &str, words: &str) {
    const WARNING: u8 = 4;
    let lines = log.lines();
    let is_it = |text: &str| text.contains(whom) && text.contains(words);
    assert!(
        lines.iter().any(|l| l.level <= WARNING && is_it(&l.text)),
        "no \"{words}\" of {whom} among {lines:?}"
    );
}

/// Maps the whole buffer.
#[track_caller]
pub(super) fn map(buffer: &Buffer) -> Mapping {
    buffer
        .map(0, buffer.size() as usize, Protection::ReadWrite)
        .expect("mmap")
}

/// A dma-buf of the whole buffer, if its memory has pages of its own.
#[track_caller]
pub(super) fn export(buffer: &Buffer) -> Option<DmaBuf> {
    match buffer.export(.., Protection::ReadWrite) {
        Ok(fd) => {
            let name = info(buffer).name.expect("a name");
            assert_eq!(field(&fdinfo(&fd), "exp_name"), format!("shmbuf-{name}"));
            Some(DmaBuf::from_fd(fd).expect("a dma-buf"))
        }
        Err(error) => {
            assert_eq!(error.errno(), Some(Errno::EOPNOTSUPP));
            let kind = info(buffer).kind;
            assert!(
                matches!(kind, Kind::Pool | Kind::Coherent | Kind::Region),
                "{kind} is not exported"
            );
            None
        }
    }
}

/// Asserts that two handles and, where there are any, mappings show the same
/// bytes, whoever has written them.
#[track_caller]
pub(super) fn assert_data(name: &str) {
    let (buffer, other) = (open(name), open(name));
    let pattern = fresh();
    write_all(&buffer, pattern);
    assert_pattern(pattern, 0, &read_all(&other), "another handle");
    if info(&buffer).kind != Kind::Pool {
        let mapping = map(&buffer);
        assert_pattern(pattern, 0, &load_all(&mapping), "mapping");
        let pattern = fresh();
        store_all(&mapping, 0, pattern);
        assert_pattern(pattern, 0, &read_all(&other), "read(2)");
    }
}

/// Everything that keeps a buffer, each under its name.
pub(super) fn keepers(buffer: Buffer) -> Vec<(&'static str, Box<dyn Any>)> {
    let mut list: Vec<(_, Box<dyn Any>)> = Vec::new();
    if info(&buffer).kind != Kind::Pool {
        list.push(("mapping", Box::new(map(&buffer))));
    }
    if let Some(dma_buf) = export(&buffer) {
        list.push(("dma-buf", Box::new(dma_buf)));
    }
    list.push(("handle", Box::new(buffer)));
    list
}

/// A buffer that is open, mapped and exported. The mapping is of the first
/// half, that of the dma-buf of the second: on a VIVT cache a process has each
/// byte once.
pub(super) struct Users {
    handle: Buffer,
    mapping: Option<Mapping>,
    dma_buf: Option<DmaBuf>,
}

impl Users {
    /// Opens, maps and exports the buffer that has the name now.
    #[track_caller]
    pub(super) fn of(name: &str) -> Self {
        let handle = open(name);
        let half = handle.size() as usize / 2;
        let mapping = (info(&handle).kind != Kind::Pool).then(|| {
            handle
                .map(0, half, Protection::ReadWrite)
                .expect("mmap of a half")
        });
        let dma_buf = export(&handle);
        Self {
            handle,
            mapping,
            dma_buf,
        }
    }

    /// The handle on the buffer.
    pub(super) fn handle(&self) -> &Buffer {
        &self.handle
    }

    /// Asserts that the whole buffer holds a pattern, as all of the users see it.
    #[track_caller]
    pub(super) fn assert_pattern(&self, pattern: shmbuf_verify::Pattern) {
        assert_pattern(pattern, 0, &read_all(&self.handle), "read(2)");
        if let Some(mapping) = &self.mapping {
            assert_pattern(pattern, 0, &load_all(mapping), "mapping");
        }
        if let Some((half, mapping)) = self.map_dma_buf() {
            assert_pattern(pattern, half, &load_all(&mapping), "dma-buf");
        }
    }

    /// Asserts that what one of the users writes, the others see.
    #[track_caller]
    pub(super) fn assert_data(&self) {
        let pattern = fresh();
        write_all(&self.handle, pattern);
        self.assert_pattern(pattern);

        let half = self.handle.size() as usize / 2;
        let pattern = fresh();
        if let Some(mapping) = &self.mapping {
            store_all(mapping, 0, pattern);
            assert_pattern(pattern, 0, &read_all(&self.handle)[..half], "read(2)");
        }
        if let Some((half, mapping)) = self.map_dma_buf() {
            store_all(&mapping, half, pattern);
            assert_pattern(pattern, half, &read_all(&self.handle)[half..], "read(2)");
        }
    }

    /// A mapping of the second half, and where that begins.
    #[track_caller]
    fn map_dma_buf(&self) -> Option<(usize, Mapping)> {
        let dma_buf = self.dma_buf.as_ref()?;
        let half = dma_buf.size() as usize / 2;
        let mapping = dma_buf.map(half as u64, half, Protection::ReadWrite);
        Some((half, mapping.expect("mmap of a dma-buf")))
    }
}

/// How often the crowd did something, in all processes.
#[derive(Debug, Default)]
struct VisitTally {
    opened: AtomicU32,
    mapped: AtomicU32,
    exported: AtomicU32,
    refused: AtomicU32,
    is_over: AtomicBool,
}

/// Processes that open, read, write, map, export and close buffers by name as
/// fast as they can, and check what they see.
pub(super) struct Crowd {
    tally: &'static VisitTally,
    workers: Vec<Child>,
}

impl Crowd {
    /// How many processes the crowd is; each has a share of every buffer for itself.
    const SIZE: usize = 3;

    /// Sends a crowd to buffers of these names, while there are such.
    pub(super) fn new(names: &[&str]) -> Self {
        let memory = Region::shared(page());
        assert!(size_of::<VisitTally>() <= page());
        // SAFETY: the memory is zeroed, which is a tally, aligned to a page,
        // and forgotten below, so that it stays for good.
        let tally: &'static VisitTally = unsafe { &*memory.start().cast::<VisitTally>() };
        mem::forget(memory);
        let work = |number| {
            fastrand::seed(number as u64);
            while !tally.is_over.load(Relaxed) {
                visit(names[fastrand::usize(..names.len())], number, tally);
            }
        };
        let workers = (0..Self::SIZE)
            .map(|number| Child::run(|| work(number)))
            .collect();
        Self { tally, workers }
    }

    /// How many buffers the crowd has opened so far.
    pub(super) fn opened(&self) -> u32 {
        self.tally.opened.load(Relaxed)
    }

    /// Waits until the crowd opens one more buffer.
    #[track_caller]
    pub(super) fn wait_for_a_visit(&self) {
        let (before, begin) = (self.opened(), Instant::now());
        while self.opened() == before {
            assert!(begin.elapsed() < Duration::from_secs(30), "nobody comes");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends the crowd home. Fails if one of it has seen something wrong, or if it
    /// did not do all that there is to do.
    #[track_caller]
    pub(super) fn disperse(self) {
        self.tally.is_over.store(true, Relaxed);
        self.workers.into_iter().for_each(Child::join);
        diagnose(format_args!("{:?}", self.tally));
        let VisitTally {
            opened,
            mapped,
            exported,
            refused,
            ..
        } = self.tally;
        for (what, count) in [
            ("opened a buffer", opened),
            ("mapped one", mapped),
            ("exported one", exported),
            ("came when there was none", refused),
        ] {
            assert_ne!(count.load(Relaxed), 0, "nobody {what}");
        }
    }
}

/// One visit of a worker to a buffer, whose name may go at any moment.
fn visit(name: &str, number: usize, tally: &VisitTally) {
    // It is read while it goes, too.
    let _ = fs::read(format!("/sys/kernel/debug/shmbuf/{name}/buffer"));
    let buffer = match Buffer::open(node(name)) {
        Ok(buffer) => buffer,
        Err(error) => {
            let errno = error.errno().expect("an errno");
            let gone = [Errno::ENOENT, Errno::ENODEV, Errno::ENXIO];
            assert!(gone.contains(&errno), "{name}: {error}");
            tally.refused.fetch_add(1, Relaxed);
            return;
        }
    };
    tally.opened.fetch_add(1, Relaxed);
    let info = info(&buffer);
    assert_eq!(info.name.as_deref(), Some(name));
    let size = buffer.size() as usize;
    if info.access_width > 1 && size == page() {
        // Registers: those that say what they are do not change.
        let mut bytes = [0; 4];
        assert_eq!(buffer.read_at(&mut bytes, ID_REGISTERS as u64), Ok(4));
        let word = map(&buffer).read_u32(ID_REGISTERS);
        assert_eq!(word, u32::from_le_bytes(bytes), "{name}");
        tally.mapped.fetch_add(1, Relaxed);
        return;
    }

    let length = (size / Crowd::SIZE) & !31;
    let at = number * length;
    let pattern = fresh();
    let check = |got: &[u8], by: &str| assert_pattern(pattern, at, got, by);
    assert_eq!(
        buffer.write_at(&pattern.bytes(at, length), at as u64),
        Ok(length)
    );
    let mut bytes = vec![0; length];
    assert_eq!(buffer.read_at(&mut bytes, at as u64), Ok(length));
    check(&bytes, name);
    if info.kind == Kind::Pool {
        refused(
            buffer.map(0, size, Protection::ReadWrite),
            Errno::EOPNOTSUPP,
        );
        return;
    }
    let look = |mapping: Mapping, by: &str| {
        let mut bytes = vec![0; length];
        mapping.read(at, &mut bytes);
        check(&bytes, by);
        tally.mapped.fetch_add(1, Relaxed);
    };
    look(map(&buffer), name);
    let dma_buf = export(&buffer);
    // The handle goes first.
    drop(buffer);
    if let Some(dma_buf) = dma_buf {
        let mapping = dma_buf.map(0, size, Protection::ReadWrite);
        look(mapping.expect("mmap of a dma-buf"), "dma-buf");
        tally.exported.fetch_add(1, Relaxed);
    }
}

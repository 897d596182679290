// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where buffers come from: this driver, and what programs use instead.

use std::{
    ffi::c_int,
    fs::File,
    ops::Range,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    fcntl::{fcntl, open, FcntlArg, OFlag, SealFlag},
    libc,
    sys::{
        memfd::{memfd_create, MFdFlags},
        stat::Mode,
    },
    unistd::ftruncate,
};
use shmbuf::{Access, Alloc, Buffer, DmaBuf, Kind, MappingKind, Phase, Policy, Protection};

use super::{KIB, MIB};
use crate::{
    drivers::{udmabuf_create, UDMABUF_CREATE},
    heap::Heap,
    module::DEVICE,
    sys::{page, Region},
};

/// The plain driver's node.
const PLAIN: &str = "/dev/plain";

// PLAIN_IOC_IMPORT, PLAIN_IOC_FRAME and PLAIN_IOC_PREEMPTION of tests/bench/plain.c.
nix::ioctl_write_int_bad!(plain_import, nix::request_code_none!(b'P', 0));
nix::ioctl_none_bad!(plain_frame, nix::request_code_none!(b'P', 1));
nix::ioctl_none_bad!(plain_preemption, nix::request_code_none!(b'P', 2));

nix::ioctl_write_ptr_bad!(make_udmabuf, UDMABUF_CREATE, udmabuf_create);

// U_DMA_BUF_IOCTL_SET_SYNC_FOR_CPU, ..._FOR_DEVICE and U_DMA_BUF_IOCTL_EXPORT of u-dma-buf.
nix::ioctl_write_ptr!(u_dma_buf_for_cpu, b'U', 5, u64);
nix::ioctl_write_ptr!(u_dma_buf_for_device, b'U', 6, u64);
nix::ioctl_readwrite!(u_dma_buf_export, b'U', 10, UDmaBufExport);

/// u_dma_buf_ioctl_export_args.
#[repr(C)]
#[derive(Debug, Default)]
pub struct UDmaBufExport {
    flags: u64,
    size: u64,
    offset: u64,
    addr: u64,
    fd: c_int,
}

/// The sizes of the buffers that u-dma-buf is loaded with (tests/bench/init), in their order.
const U_DMA_BUF_SIZES: [usize; 6] = [4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB];

/// The heaps, and what they are called here: of single pages, and of contiguous ones.
const HEAPS: [(&str, &str); 2] = [
    ("system", "heap.system"),
    ("default_cma_region", "heap.cma"),
];

/// Where buffers come from.
#[derive(Debug)]
pub enum Source {
    Shmbuf(Buffer, Alloc),
    Heap {
        heap: Heap,
        path: PathBuf,
        name: &'static str,
    },
    /// Memory of a memfd, which the kernel's udmabuf makes a dma-buf of.
    Memfd(File),
    /// A node that is some memory, from an offset on.
    Node {
        name: &'static str,
        path: &'static str,
        flags: OFlag,
        offset: i64,
    },
    /// The driver u-dma-buf, whose buffers are made when it is loaded.
    UDmaBuf,
}

/// A buffer of any source.
#[derive(Debug)]
pub enum Memory {
    Shmbuf(Buffer),
    DmaBuf(DmaBuf),
    Node(File, i64),
    UDmaBuf(File),
}

/// Whose the bytes are after a SYNC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    ToDevice,
    FromDevice,
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Shmbuf(buffer) => buffer.as_fd(),
            Self::DmaBuf(dma_buf) => dma_buf.as_fd(),
            Self::Node(file, _) | Self::UDmaBuf(file) => file.as_fd(),
        }
    }
}

fn errno(error: shmbuf::Error) -> Errno {
    error.errno().unwrap_or(Errno::EIO)
}

impl Memory {
    /// Where its bytes begin in the file.
    pub fn offset(&self) -> i64 {
        match self {
            Self::Node(_, offset) => *offset,
            _ => 0,
        }
    }

    pub fn map(&self, range: Range<usize>) -> Result<Region, Errno> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let offset = self.offset() + range.start as i64;
        Region::map(self, range.len(), protection, libc::MAP_SHARED, offset)
    }

    /// Whether it has read(2) and write(2).
    pub fn is_read(&self) -> bool {
        !matches!(self, Self::DmaBuf(_))
    }

    /// Whether it has a SYNC.
    pub fn is_synced(&self) -> bool {
        !matches!(self, Self::Node(..))
    }

    /// Gives bytes to the device, or takes them back; those of a dma-buf can only be given whole.
    pub fn sync(&self, way: Sync, range: Range<usize>) -> Result<(), Errno> {
        let (access, phase) = match way {
            Sync::ToDevice => (Access::Write, Phase::End),
            Sync::FromDevice => (Access::Read, Phase::Begin),
        };
        match self {
            Self::Shmbuf(buffer) => {
                let range = range.start as u64..range.end as u64;
                buffer.sync(range, access, phase).map_err(errno)
            }
            Self::DmaBuf(dma_buf) => dma_buf.sync(access, phase).map_err(errno),
            Self::Node(..) => Err(Errno::ENOTTY),
            Self::UDmaBuf(file) => {
                let argument = ((range.start as u64) << 32) | (range.len() & !0xf) as u64;
                let fd = file.as_raw_fd();
                // SAFETY: the calls read the number.
                unsafe {
                    match way {
                        Sync::ToDevice => u_dma_buf_for_device(fd, &(argument | (1 << 2) | 1)),
                        Sync::FromDevice => u_dma_buf_for_cpu(fd, &(argument | (2 << 2) | 1)),
                    }
                }
                .map(drop)
            }
        }
    }

    /// Whether a dma-buf can be made of it.
    pub fn is_exported(&self) -> bool {
        matches!(self, Self::Shmbuf(_) | Self::UDmaBuf(_))
    }

    /// Makes a dma-buf of it.
    pub fn export(&self, bytes: usize) -> Result<OwnedFd, Errno> {
        match self {
            Self::Shmbuf(buffer) => buffer.export(.., Protection::ReadWrite).map_err(errno),
            Self::UDmaBuf(file) => {
                let mut request = UDmaBufExport {
                    flags: (libc::O_RDWR | libc::O_CLOEXEC) as u64,
                    size: bytes as u64,
                    ..Default::default()
                };
                // SAFETY: the call reads and writes one such structure.
                unsafe { u_dma_buf_export(file.as_raw_fd(), &mut request) }?;
                // SAFETY: the call has made it, for us alone.
                Ok(unsafe { OwnedFd::from_raw_fd(request.fd) })
            }
            Self::DmaBuf(_) | Self::Node(..) => Err(Errno::ENOTTY),
        }
    }

    /// The buffer as a dma-buf, for a device to import; `None` if there is no way.
    pub fn dma_buf(&self, bytes: usize) -> Option<DmaBuf> {
        let fd = match self {
            Self::DmaBuf(dma_buf) => dma_buf.as_fd().try_clone_to_owned().expect("dup"),
            Self::Node(..) => return None,
            _ => self.export(bytes).expect("EXPORT"),
        };
        Some(DmaBuf::from_fd(fd).expect("a dma-buf"))
    }

    /// A device that has imported the buffer, if it is a dma-buf: the SYNC of a heap's does
    /// nothing without.
    pub fn importer(&self) -> Option<File> {
        let Self::DmaBuf(dma_buf) = self else {
            return None;
        };
        let importer = plain();
        import_to(&importer, dma_buf).expect("import");
        Some(importer)
    }
}

impl Source {
    /// The source's name, as in the tables of the benchmarks.
    pub fn name(&self) -> String {
        match self {
            Self::Shmbuf(_, alloc) => {
                let policy = alloc.policy.expect("each has one");
                match alloc.mapping {
                    MappingKind::Pfnmap => format!("{}.{policy}", alloc.kind),
                    other => format!("{}.{policy}.{other}", alloc.kind),
                }
            }
            Self::Heap { name, .. } | Self::Node { name, .. } => name.to_string(),
            Self::Memfd(_) => "memfd".into(),
            Self::UDmaBuf => "u-dma-buf".into(),
        }
    }

    /// Opens the node that its buffers are made by, or that is the buffer of so many bytes.
    pub fn open(&self, bytes: usize) -> Result<OwnedFd, Errno> {
        let (path, flags) = match self {
            Self::Shmbuf(..) => (PathBuf::from(DEVICE), OFlag::empty()),
            Self::Heap { path, .. } => (path.clone(), OFlag::empty()),
            Self::Memfd(_) => ("/dev/udmabuf".into(), OFlag::empty()),
            Self::Node { path, flags, .. } => (path.into(), *flags),
            Self::UDmaBuf => (u_dma_buf(bytes).ok_or(Errno::ENOENT)?, OFlag::empty()),
        };
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | flags;
        open(&path, flags, Mode::empty())
    }

    /// Whether a program can make buffers, and not only use those that are there.
    pub fn allocates(&self) -> bool {
        !matches!(self, Self::Node { .. } | Self::UDmaBuf)
    }

    /// Makes a buffer, or opens one that is there.
    pub fn make(&self, length: usize) -> Result<Memory, Errno> {
        Ok(match self {
            Self::Shmbuf(control, alloc) => {
                let size = length as u64;
                let alloc = Alloc {
                    size,
                    ..alloc.clone()
                };
                Memory::Shmbuf(control.alloc(&alloc).map_err(errno)?)
            }
            Self::Heap { heap, .. } => {
                let fd = heap.alloc(length as u64)?;
                Memory::DmaBuf(DmaBuf::from_fd(fd).expect("a dma-buf"))
            }
            Self::Memfd(udmabuf) => {
                Memory::DmaBuf(DmaBuf::from_fd(from_memfd(udmabuf, length)?).expect("a dma-buf"))
            }
            Self::Node { offset, .. } => Memory::Node(self.open(length)?.into(), *offset),
            Self::UDmaBuf => Memory::UDmaBuf(self.open(length)?.into()),
        })
    }
}

/// The node of u-dma-buf's buffer of that size.
pub fn u_dma_buf(bytes: usize) -> Option<PathBuf> {
    let i = U_DMA_BUF_SIZES.iter().position(|size| *size == bytes)?;
    Some(format!("/dev/udmabuf{i}").into())
}

fn from_memfd(udmabuf: &File, length: usize) -> Result<OwnedFd, Errno> {
    let flags = MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC;
    let memory = memfd_create(c"bench", flags)?;
    ftruncate(&memory, length as libc::off_t)?;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK))?;
    let request = udmabuf_create {
        memfd: memory.as_raw_fd() as u32,
        flags: 1, // UDMABUF_FLAGS_CLOEXEC
        offset: 0,
        size: length as u64,
    };
    // SAFETY: the call reads one such structure.
    let fd = unsafe { make_udmabuf(udmabuf.as_raw_fd(), &request) }?;
    // SAFETY: the call has made it, for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The number of the first page frame of the plain driver's memory.
pub fn frame() -> Result<u64> {
    // SAFETY: no memory is involved.
    let frame = unsafe { plain_frame(plain().as_raw_fd()) }.context("PLAIN_IOC_FRAME")?;
    Ok(frame as u64)
}

/// Opens the plain driver's node: each file is a buffer, and a device that imports.
pub fn plain() -> File {
    let file = File::options().read(true).write(true).open(PLAIN);
    file.expect(PLAIN)
}

/// Tells the plugin where this process counts what keeps it from being preempted.
pub fn watch_preemption() -> Result<(), Errno> {
    // SAFETY: no memory is involved.
    unsafe { plain_preemption(plain().as_raw_fd()) }.map(drop)
}

/// Gives a dma-buf to the device of a plain driver's file, until that is closed.
pub fn import_to(file: &File, dma_buf: &DmaBuf) -> Result<(), Errno> {
    let fd = dma_buf.as_fd().as_raw_fd();
    // SAFETY: the call takes a number, and no memory is involved.
    unsafe { plain_import(file.as_raw_fd(), fd) }.map(drop)
}

/// The buffers of this driver that this machine has.
fn ours() -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for (kind, mapping) in [
        (Kind::Pages, MappingKind::Pfnmap),
        (Kind::Coherent, MappingKind::Pfnmap),
        (Kind::Streaming, MappingKind::Pfnmap),
        (Kind::Streaming, MappingKind::Strict),
        (Kind::Scatter, MappingKind::Pfnmap),
    ] {
        for policy in Policy::ALL {
            let control = Buffer::open(DEVICE)?;
            let alloc = Alloc {
                policy: Some(*policy),
                mapping,
                ..Alloc::new(page() as u64, kind)
            };
            match control.alloc(&alloc) {
                Ok(_) => sources.push(Source::Shmbuf(control, alloc)),
                Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => {}
                Err(error) => return Err(error).context(format!("{alloc:?}")),
            }
        }
    }
    Ok(sources)
}

/// All that this machine has, or u-dma-buf alone once that is loaded: its buffers would leave
/// less memory to the others.
pub fn all() -> Result<Vec<Source>> {
    if Path::new("/dev/udmabuf0").exists() {
        return Ok(vec![Source::UDmaBuf]);
    }
    let mut sources = ours()?;
    for (node, name) in HEAPS {
        let heap = Heap::open(node).with_context(|| format!("the heap {node}"))?;
        let path = Heap::path(node);
        sources.push(Source::Heap { heap, path, name });
    }
    let udmabuf = File::options().read(true).write(true).open("/dev/udmabuf");
    sources.push(Source::Memfd(udmabuf.context("/dev/udmabuf")?));
    sources.push(Source::Node {
        name: "plain",
        path: PLAIN,
        flags: OFlag::empty(),
        offset: 0,
    });
    sources.push(Source::Node {
        name: "/dev/mem",
        path: "/dev/mem",
        flags: OFlag::O_SYNC,
        offset: frame()? as i64 * page() as i64,
    });
    Ok(sources)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Safe access to the buffers of the shmbuf driver: physically contiguous
//! memory that a program, the kernel and DMA devices share, with the cache
//! attributes that the program chose.
//!
//! The whole of it, for a program that is content with the buffer as it is:
//!
//! ```no_run
//! use shmbuf::{Buffer, Protection};
//!
//! # fn main() -> shmbuf::Result<()> {
//! let buffer = Buffer::open("/dev/shmbuf")?;
//! let mapping = buffer.map(0, buffer.size() as usize, Protection::ReadWrite)?;
//! mapping.write(3, b"hello");
//!
//! let mut back = [0; 5];
//! buffer.read_at(&mut back, 3)?; // through the kernel
//! assert_eq!(&back, b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! And for one that wants another memory type and tells a device:
//!
//! ```no_run
//! use shmbuf::{Access, Buffer, Policy, Protection};
//!
//! # fn main() -> shmbuf::Result<()> {
//! let buffer = Buffer::open("/dev/shmbuf")?;
//! buffer.set_cache(Policy::WriteCombine)?;
//! println!("{}", buffer.info()?.memory_type);
//!
//! let mapping = buffer.map(0, 4096, Protection::ReadWrite)?;
//! buffer.with_cpu_access(0..4096, Access::Write, || mapping.fill(0, 4096, 0x55))?;
//! // A device may read the buffer now.
//! # Ok(())
//! # }
//! ```
//!
//! And for one that wants memory of its own, which other processes get by a
//! Unix socket ([`Buffer::from_fd`]) and devices as a dma-buf:
//!
//! ```no_run
//! use shmbuf::{Alloc, Buffer, Direction, Kind, Protection};
//!
//! # fn main() -> shmbuf::Result<()> {
//! let frame = Buffer::open("/dev/shmbuf")?.alloc(&Alloc {
//!     direction: Direction::FromDevice,
//!     ..Alloc::new(1 << 20, Kind::Scatter)
//! })?;
//! let fd = frame.export(.., Protection::ReadWrite)?;
//! // An importer, such as a display or a camera, takes the fd.
//! # Ok(())
//! # }
//! ```

/// The example of the README compiles too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod alloc;
mod buffer;
mod burst;
mod cpu_access;
mod dma_buf;
mod enums;
mod error;
mod info;
mod ioctl;
mod mapping;

/// The raw ABI, generated from the driver's header, and what this crate
/// uses of `linux/dma-buf.h`.
///
/// The functions of [`Buffer`] cover all of it; this is for those who need to
/// make a call that they do not make.
#[allow(missing_docs, non_camel_case_types)]
#[allow(clippy::all, clippy::undocumented_unsafe_blocks)]
pub mod abi {
    include!(concat!(env!("OUT_DIR"), "/abi.rs"));
}

pub use alloc::Alloc;
pub use buffer::{Buffer, Segment, SyncedLines};
pub use cpu_access::CpuAccess;
pub use dma_buf::DmaBuf;
pub use enums::{
    Access, Direction, Kind, MappingKind, Owner, ParseNameError, Phase, Policies, Policy,
    Protection,
};
pub use error::{Error, Operation, Result};
pub use info::{DmaAddress, Info};
pub use mapping::Mapping;
pub use nix::errno::Errno;

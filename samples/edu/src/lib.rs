// SPDX-License-Identifier: MIT OR Apache-2.0
//! The node of the sample driver for QEMU's educational PCI device.

use std::{
    fs::{File, OpenOptions},
    os::fd::{AsFd, AsRawFd},
    path::Path,
};

use anyhow::{Context, Result};
use nix::errno::Errno;

/// The driver's interface, generated from edu.h.
#[allow(
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals
)]
#[allow(clippy::all, clippy::undocumented_unsafe_blocks)]
pub mod abi {
    include!(concat!(env!("OUT_DIR"), "/abi.rs"));
}

mod ioctl {
    use super::abi;

    nix::ioctl_write_ptr_bad!(attach, abi::EDU_IOC_ATTACH, abi::edu_attach);
    nix::ioctl_readwrite_bad!(transfer, abi::EDU_IOC_TRANSFER, abi::edu_transfer);
}

/// Bytes of the device's own memory.
pub const MEMORY: u32 = abi::EDU_MEMORY;

/// What the device does with the memory of a dma-buf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The device reads and writes the memory.
    Bidirectional,
    /// The device reads the memory.
    ToDevice,
    /// The device writes the memory.
    FromDevice,
}

impl Direction {
    fn raw(self) -> u32 {
        match self {
            Self::Bidirectional => abi::EDU_DIRECTION_BIDIRECTIONAL,
            Self::ToDevice => abi::EDU_DIRECTION_TO_DEVICE,
            Self::FromDevice => abi::EDU_DIRECTION_FROM_DEVICE,
        }
    }
}

/// The device, opened; nobody else can open it meanwhile.
#[derive(Debug)]
pub struct Edu(File);

impl Edu {
    /// Opens the device's node.
    ///
    /// # Errors
    ///
    /// ENOENT without a device that the driver is bound to, EBUSY if another
    /// program has it, ENODEV if it failed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = OpenOptions::new().read(true).write(true).open(path);
        Ok(Self(file.with_context(|| path.display().to_string())?))
    }

    /// Maps a dma-buf for the device, in place of the one before. It stays
    /// mapped: what the CPU does in between wants SYNC.
    ///
    /// # Errors
    ///
    /// Those of EDU_IOC_ATTACH in edu.h.
    pub fn attach(&self, dma_buf: impl AsFd, direction: Direction) -> nix::Result<()> {
        let raw = abi::edu_attach {
            fd: dma_buf.as_fd().as_raw_fd(),
            direction: direction.raw(),
        };
        self.attach_raw(&raw)
    }

    /// EDU_IOC_ATTACH with any structure.
    ///
    /// # Errors
    ///
    /// Those of EDU_IOC_ATTACH in edu.h.
    pub fn attach_raw(&self, raw: &abi::edu_attach) -> nix::Result<()> {
        // SAFETY: the call reads one such structure and keeps no pointer.
        unsafe { ioctl::attach(self.0.as_raw_fd(), raw) }.map(drop)
    }

    /// Copies up to [`MEMORY`] bytes between an offset of the dma-buf and the
    /// beginning of the device's memory, and waits for the interrupt. Returns
    /// the address at which the device found the first byte.
    ///
    /// # Errors
    ///
    /// Those of EDU_IOC_TRANSFER in edu.h.
    pub fn transfer(&self, direction: Direction, offset: u64, length: u32) -> nix::Result<u64> {
        let mut raw = abi::edu_transfer {
            offset,
            length,
            direction: direction.raw(),
            ..Default::default()
        };
        self.transfer_raw(&mut raw)?;
        Ok(raw.dma_addr)
    }

    /// EDU_IOC_TRANSFER with any structure.
    ///
    /// # Errors
    ///
    /// Those of EDU_IOC_TRANSFER in edu.h.
    pub fn transfer_raw(&self, raw: &mut abi::edu_transfer) -> nix::Result<()> {
        // SAFETY: the call reads and writes one such structure and keeps no pointer.
        unsafe { ioctl::transfer(self.0.as_raw_fd(), raw) }.map(drop)
    }

    /// Copies a range of the dma-buf to another by way of the device, in pieces
    /// of its memory. Returns the addresses at which the device found the first byte
    /// of either.
    ///
    /// # Errors
    ///
    /// Those of [`Self::transfer`]; EINVAL if the range is empty.
    pub fn copy(&self, from: u64, to: u64, length: u64) -> nix::Result<(u64, u64)> {
        let mut first = None;
        for at in (0..length).step_by(MEMORY as usize) {
            let piece = (length - at).min(MEMORY.into()) as u32;
            let read = self.transfer(Direction::ToDevice, from + at, piece)?;
            let written = self.transfer(Direction::FromDevice, to + at, piece)?;
            first.get_or_insert((read, written));
        }
        first.ok_or(Errno::EINVAL)
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A camera: what it can, and the frames that it fills dma-bufs with.

use std::{
    ffi::CStr,
    fs::{self, File},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{bail, ensure, Context, Result};
use nix::{
    errno::Errno,
    poll::{poll, PollFd, PollFlags, PollTimeout},
};

/// The kernel's interface, generated from its header.
#[allow(
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals
)]
#[allow(clippy::all, clippy::undocumented_unsafe_blocks)]
mod v4l2 {
    include!(concat!(env!("OUT_DIR"), "/v4l2.rs"));
}

mod ioctl {
    use super::v4l2::*;
    use std::ffi::c_int;

    nix::ioctl_read_bad!(querycap, VIDIOC_QUERYCAP, v4l2_capability);
    nix::ioctl_readwrite_bad!(queryctrl, VIDIOC_QUERYCTRL, v4l2_queryctrl);
    nix::ioctl_readwrite_bad!(s_ctrl, VIDIOC_S_CTRL, v4l2_control);
    nix::ioctl_readwrite_bad!(s_fmt, VIDIOC_S_FMT, v4l2_format);
    nix::ioctl_readwrite_bad!(reqbufs, VIDIOC_REQBUFS, v4l2_requestbuffers);
    nix::ioctl_readwrite_bad!(querybuf, VIDIOC_QUERYBUF, v4l2_buffer);
    nix::ioctl_readwrite_bad!(qbuf, VIDIOC_QBUF, v4l2_buffer);
    nix::ioctl_readwrite_bad!(dqbuf, VIDIOC_DQBUF, v4l2_buffer);
    nix::ioctl_write_ptr_bad!(streamon, VIDIOC_STREAMON, c_int);
}

const CAPTURE: u32 = v4l2::V4L2_BUF_TYPE_VIDEO_CAPTURE;

/// How long a frame may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open camera.
#[derive(Debug)]
pub struct Camera(File);

/// What the pixels of a frame are, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    pub size: (u32, u32),
    /// The code of four letters, which V4L2 and DRM share for the formats that are shown here.
    pub pixels: u32,
    /// From one line to the next, in bytes.
    pub pitch: u32,
}

/// A frame that the camera has taken.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// The slot that it is in.
    pub slot: u32,
    /// How many frames came before it, also those that were lost.
    pub number: u32,
    /// Whether it is whole.
    pub good: bool,
}

impl Camera {
    /// Opens a camera by its path.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::options().read(true).write(true).open(path);
        let file = file.with_context(|| format!("{}: cannot be opened", path.display()))?;
        let mut capability = v4l2::v4l2_capability::default();
        // SAFETY: the call writes one such structure.
        let asked = unsafe { ioctl::querycap(file.as_raw_fd(), &mut capability) };
        ensure!(
            asked.is_ok() && capability.device_caps & v4l2::V4L2_CAP_VIDEO_CAPTURE != 0,
            "{}: not a camera (of the single-planar API)",
            path.display()
        );
        Ok(Self(file))
    }

    /// Opens the first camera.
    pub fn first() -> Result<Self> {
        let mut paths: Vec<PathBuf> = fs::read_dir("/dev")?
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("video"))
            .map(|entry| entry.path())
            .collect();
        paths.sort();
        let found = paths.iter().find_map(|path| Self::open(path).ok());
        found.context("there is no camera: load its V4L2 driver (/dev/video*)")
    }

    fn fd(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// Sets a control, such as the brightness, by its name.
    pub fn set_control(&self, name: &str, value: i32) -> Result<()> {
        let mut query = v4l2::v4l2_queryctrl::default();
        loop {
            query.id |= v4l2::V4L2_CTRL_FLAG_NEXT_CTRL;
            // SAFETY: the call reads and writes one such structure.
            match unsafe { ioctl::queryctrl(self.fd(), &mut query) } {
                Err(Errno::EINVAL) => bail!("the camera has no control {name:?}"),
                asked => asked.context("VIDIOC_QUERYCTRL")?,
            };
            let found = CStr::from_bytes_until_nul(&query.name);
            if found.is_ok_and(|found| found.to_bytes() == name.as_bytes()) {
                break;
            }
        }
        let mut control = v4l2::v4l2_control {
            id: query.id,
            value,
        };
        // SAFETY: the call reads and writes one such structure.
        unsafe { ioctl::s_ctrl(self.fd(), &mut control) }
            .with_context(|| format!("the camera's {name:?} cannot be {value}"))?;
        Ok(())
    }

    /// Sets a format, or what of it the camera can, which is returned.
    pub fn set_format(&self, wanted: Format) -> Result<Format> {
        let mut format = v4l2::v4l2_format {
            type_: CAPTURE,
            ..Default::default()
        };
        format.fmt.pix = v4l2::v4l2_pix_format {
            width: wanted.size.0,
            height: wanted.size.1,
            pixelformat: wanted.pixels,
            field: v4l2::V4L2_FIELD_NONE,
            bytesperline: wanted.pitch,
            ..Default::default()
        };
        // SAFETY: the call reads and writes one such structure.
        unsafe { ioctl::s_fmt(self.fd(), &mut format) }
            .context("the camera is in use, or has no such format")?;
        // SAFETY: the driver has filled in this variant.
        let pix = unsafe { format.fmt.pix };
        Ok(Format {
            size: (pix.width, pix.height),
            pixels: pix.pixelformat,
            pitch: pix.bytesperline,
        })
    }

    /// Prepares slots for dma-bufs, not less than so many. Returns the bytes that the camera wants
    /// in each, which may be more than a frame has.
    pub fn prepare(&self, slots: u32) -> Result<Vec<u64>> {
        let mut request = v4l2::v4l2_requestbuffers {
            count: slots,
            type_: CAPTURE,
            memory: v4l2::V4L2_MEMORY_DMABUF,
            ..Default::default()
        };
        // SAFETY: the call reads and writes one such structure.
        unsafe { ioctl::reqbufs(self.fd(), &mut request) }
            .context("the camera is in use, or takes no dma-bufs")?;
        ensure!(request.count >= slots, "the camera has too few buffers");
        let length = |slot| {
            let mut buffer = buffer(slot);
            // SAFETY: the call reads and writes one such structure.
            unsafe { ioctl::querybuf(self.fd(), &mut buffer) }.context("VIDIOC_QUERYBUF")?;
            Ok(buffer.length.into())
        };
        (0..request.count).map(length).collect()
    }

    /// Lets the camera fill a dma-buf, the same each time for a slot.
    pub fn queue(&self, slot: u32, dma_buf: BorrowedFd<'_>) -> Result<()> {
        let mut buffer = buffer(slot);
        buffer.m.fd = dma_buf.as_raw_fd();
        // SAFETY: the call reads and writes one such structure.
        unsafe { ioctl::qbuf(self.fd(), &mut buffer) }.context(
            "the camera refuses the buffer: it may want contiguous memory, or more of it",
        )?;
        Ok(())
    }

    /// Starts to take frames.
    pub fn start(&self) -> Result<()> {
        // SAFETY: the call reads an int.
        unsafe { ioctl::streamon(self.fd(), &(CAPTURE as i32)) }
            .context("the camera does not start")?;
        Ok(())
    }

    /// Waits for a frame.
    pub fn take(&self) -> Result<Taken> {
        let mut list = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut list, PollTimeout::try_from(PATIENCE)?)?;
        ensure!(ready > 0, "no frame came");
        let mut buffer = buffer(0);
        // SAFETY: the call reads and writes one such structure.
        unsafe { ioctl::dqbuf(self.fd(), &mut buffer) }.context("the camera has failed")?;
        Ok(Taken {
            slot: buffer.index,
            number: buffer.sequence,
            good: buffer.flags & v4l2::V4L2_BUF_FLAG_ERROR == 0,
        })
    }
}

fn buffer(slot: u32) -> v4l2::v4l2_buffer {
    v4l2::v4l2_buffer {
        index: slot,
        type_: CAPTURE,
        memory: v4l2::V4L2_MEMORY_DMABUF,
        ..Default::default()
    }
}

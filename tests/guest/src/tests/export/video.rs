// SPDX-License-Identifier: MIT OR Apache-2.0
//! Video devices without hardware: vim2m, where the kernel copies frames from
//! one dma-buf to another, by kernel mappings that their exporters make; and
//! vivid, which maps them for its DMA.

use std::{
    fs::{self, File},
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

use nix::{errno::Errno, libc};
use shmbuf::DmaBuf;

use crate::drivers;

mod ioctl {
    use crate::drivers::*;
    use std::ffi::c_int;

    nix::ioctl_read_bad!(querycap, VIDIOC_QUERYCAP, v4l2_capability);
    nix::ioctl_readwrite_bad!(s_fmt, VIDIOC_S_FMT, v4l2_format);
    nix::ioctl_readwrite_bad!(s_ctrl, VIDIOC_S_CTRL, v4l2_control);
    nix::ioctl_readwrite_bad!(expbuf, VIDIOC_EXPBUF, v4l2_exportbuffer);
    nix::ioctl_readwrite_bad!(reqbufs, VIDIOC_REQBUFS, v4l2_requestbuffers);
    nix::ioctl_readwrite_bad!(qbuf, VIDIOC_QBUF, v4l2_buffer);
    nix::ioctl_readwrite_bad!(dqbuf, VIDIOC_DQBUF, v4l2_buffer);
    nix::ioctl_write_ptr_bad!(streamon, VIDIOC_STREAMON, c_int);
    nix::ioctl_write_ptr_bad!(streamoff, VIDIOC_STREAMOFF, c_int);
}

const IN: u32 = drivers::V4L2_BUF_TYPE_VIDEO_OUTPUT;
const OUT: u32 = drivers::V4L2_BUF_TYPE_VIDEO_CAPTURE;

/// Pixels in a line, of two bytes each.
pub(super) const WIDTH: usize = 128;
/// Lines in a frame.
pub(super) const HEIGHT: usize = 64;
/// Bytes of a line.
pub(super) const LINE: usize = WIDTH * 2;
/// Bytes of a frame.
pub(super) const FRAME: usize = LINE * HEIGHT;

/// vim2m, set up to turn frames upside down.
#[derive(Debug)]
pub(super) struct Video(File);

impl Video {
    /// Opens the device, if it is there.
    pub(super) fn open() -> Option<Self> {
        first(b"vim2m\0", drivers::V4L2_CAP_VIDEO_M2M).map(Self)
    }

    fn fd(&self) -> i32 {
        self.0.as_raw_fd()
    }

    fn set_up(&self) -> Result<(), Errno> {
        let mut control = drivers::v4l2_control {
            id: drivers::V4L2_CID_VFLIP,
            value: 1,
        };
        // SAFETY: the call reads and writes one such structure.
        unsafe { ioctl::s_ctrl(self.fd(), &mut control) }?;
        for type_ in [IN, OUT] {
            let size = expect(
                self.fd(),
                type_,
                (WIDTH, HEIGHT),
                drivers::V4L2_PIX_FMT_RGB565,
            )?;
            assert_eq!(size, FRAME);
        }
        Ok(())
    }

    /// Turns the frame in `from` upside down, into `to`. Both are its own from
    /// then on, until it is closed.
    ///
    /// # Errors
    ///
    /// EFAULT if the kernel cannot map one of them.
    pub(super) fn flip(&self, from: &DmaBuf, to: &DmaBuf) -> Result<(), Errno> {
        self.set_up()?;
        for (type_, dma_buf) in [(IN, from), (OUT, to)] {
            let mut buffer = buffer(type_);
            buffer.bytesused = FRAME as u32;
            buffer.m.fd = dma_buf.as_fd().as_raw_fd();
            buffer.field = drivers::V4L2_FIELD_NONE;
            // SAFETY: the call reads and writes one such structure; so for those below.
            unsafe { ioctl::qbuf(self.fd(), &mut buffer) }?;
        }
        for type_ in [IN, OUT] {
            // SAFETY: as above.
            unsafe { ioctl::streamon(self.fd(), &(type_ as i32)) }?;
        }
        for type_ in [OUT, IN] {
            // SAFETY: as above.
            unsafe { ioctl::dqbuf(self.fd(), &mut buffer(type_)) }?;
        }
        for type_ in [IN, OUT] {
            // SAFETY: as above.
            unsafe { ioctl::streamoff(self.fd(), &(type_ as i32)) }?;
        }
        Ok(())
    }
}

/// vivid as a camera, if the kernel was told `vivid.allocators=1`: else it does not map.
#[derive(Debug)]
pub(in crate::tests) struct Camera(File);

impl Camera {
    /// Bytes that a device without other limits takes in one piece.
    pub(in crate::tests) const BYTES: u64 = 64 << 10;

    /// Opens the device, if it is there.
    pub(in crate::tests) fn open() -> Option<Self> {
        let path = "/sys/module/vivid/parameters/allocators";
        let maps = fs::read_to_string(path).is_ok_and(|text| text.starts_with('1'));
        let camera = || first(b"vivid\0", drivers::V4L2_CAP_VIDEO_CAPTURE);
        maps.then(camera).flatten().map(Self)
    }

    /// Maps the dma-buf, of at least [`Self::BYTES`], for its device until it is closed.
    pub(in crate::tests) fn import(&self, dma_buf: impl AsFd) -> Result<(), Errno> {
        let fd = self.0.as_raw_fd();
        // Its smallest.
        let size = expect(fd, OUT, (320, 180), drivers::V4L2_PIX_FMT_GREY)?;
        assert!(size <= Self::BYTES as usize);
        let mut buffer = buffer(OUT);
        buffer.m.fd = dma_buf.as_fd().as_raw_fd();
        // SAFETY: the call reads and writes one such structure.
        unsafe { ioctl::qbuf(fd, &mut buffer) }.map(drop)
    }
}

/// vivid as a camera, with a frame of its own memory.
#[derive(Debug)]
pub(in crate::tests) struct Capture(File);

impl Capture {
    /// Opens the device, if it is there.
    pub(in crate::tests) fn open() -> Option<Self> {
        first(b"vivid\0", drivers::V4L2_CAP_VIDEO_CAPTURE).map(Self)
    }

    /// The frame as a dma-buf, which nobody has filled yet.
    #[track_caller]
    pub(in crate::tests) fn export(&self) -> OwnedFd {
        let fd = self.0.as_raw_fd();
        let size = (320, 180);
        expect_in(
            fd,
            OUT,
            size,
            drivers::V4L2_PIX_FMT_GREY,
            drivers::V4L2_MEMORY_MMAP,
        )
        .expect("S_FMT, REQBUFS");
        let mut request = drivers::v4l2_exportbuffer {
            type_: OUT,
            flags: (libc::O_RDWR | libc::O_CLOEXEC) as u32,
            ..Default::default()
        };
        // SAFETY: the call reads and writes one such structure.
        unsafe { ioctl::expbuf(fd, &mut request) }.expect("EXPBUF");
        // SAFETY: the call has made it, for us alone.
        unsafe { OwnedFd::from_raw_fd(request.fd) }
    }

    /// Fills the frame.
    #[track_caller]
    pub(in crate::tests) fn frame(&self) {
        let fd = self.0.as_raw_fd();
        let mut frame = drivers::v4l2_buffer {
            type_: OUT,
            memory: drivers::V4L2_MEMORY_MMAP,
            ..Default::default()
        };
        // SAFETY: the calls read and write such a structure, or a number.
        unsafe {
            ioctl::qbuf(fd, &mut frame).expect("QBUF");
            ioctl::streamon(fd, &(OUT as i32)).expect("STREAMON");
            ioctl::dqbuf(fd, &mut frame).expect("DQBUF");
            ioctl::streamoff(fd, &(OUT as i32)).expect("STREAMOFF");
        }
    }
}

/// The first device of this driver that can do this.
fn first(driver: &[u8], can: u32) -> Option<File> {
    fs::read_dir("/dev").ok()?.flatten().find_map(|entry| {
        if !entry.file_name().to_string_lossy().starts_with("video") {
            return None;
        }
        let options = File::options().read(true).write(true).clone();
        let file = options.open(entry.path()).ok()?;
        let mut capability = drivers::v4l2_capability::default();
        // SAFETY: the call writes one such structure.
        unsafe { ioctl::querycap(file.as_raw_fd(), &mut capability) }.ok()?;
        let found = capability.driver.starts_with(driver) && capability.device_caps & can != 0;
        found.then_some(file)
    })
}

/// Has a device expect a dma-buf with a frame. Returns its bytes.
fn expect(fd: i32, type_: u32, size: (usize, usize), pixelformat: u32) -> Result<usize, Errno> {
    expect_in(fd, type_, size, pixelformat, drivers::V4L2_MEMORY_DMABUF)
}

/// Has a device expect a frame in memory of a kind. Returns its bytes.
fn expect_in(
    fd: i32,
    type_: u32,
    (width, height): (usize, usize),
    pixelformat: u32,
    memory: u32,
) -> Result<usize, Errno> {
    let mut format = drivers::v4l2_format {
        type_,
        ..Default::default()
    };
    format.fmt.pix = drivers::v4l2_pix_format {
        width: width as u32,
        height: height as u32,
        pixelformat,
        ..Default::default()
    };
    // SAFETY: the call reads and writes one such structure.
    unsafe { ioctl::s_fmt(fd, &mut format) }?;
    let mut request = drivers::v4l2_requestbuffers {
        count: 1,
        type_,
        memory,
        ..Default::default()
    };
    // SAFETY: as above.
    unsafe { ioctl::reqbufs(fd, &mut request) }?;
    // SAFETY: the driver has filled in this variant.
    Ok(unsafe { format.fmt.pix.sizeimage } as usize)
}

fn buffer(type_: u32) -> drivers::v4l2_buffer {
    drivers::v4l2_buffer {
        type_,
        memory: drivers::V4L2_MEMORY_DMABUF,
        ..Default::default()
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! DRM devices, which import dma-bufs by PRIME, and show them if they have a
//! display.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
};

use drm::{
    buffer::{DrmFourcc, DrmModifier, Handle, PlanarBuffer},
    control::{connector, crtc, framebuffer, Device as ControlDevice, FbCmd2Flags, Mode},
    Device,
};
use nix::libc;
use shmbuf::DmaBuf;

/// An open DRM device. Each opening is another importer.
#[derive(Debug)]
pub(in crate::tests) struct Card(File);

impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Device for Card {}
impl ControlDevice for Card {}

impl Card {
    /// Opens the device of a driver, if there is one.
    pub(in crate::tests) fn of(driver: &str) -> Option<Self> {
        fs::read_dir("/dev/dri").ok()?.flatten().find_map(|entry| {
            if !entry.file_name().to_string_lossy().starts_with("card") {
                return None;
            }
            let file = File::options().read(true).write(true).open(entry.path());
            let card = Self(file.ok()?);
            let name = card.get_driver().ok()?.name().to_owned();
            (name == driver).then_some(card)
        })
    }

    /// Imports a dma-buf.
    ///
    /// # Errors
    ///
    /// What its exporter or this driver refuses.
    pub(in crate::tests) fn import(&self, dma_buf: &DmaBuf) -> io::Result<Imported<'_>> {
        let handle = self.prime_fd_to_buffer(dma_buf.as_fd())?;
        Ok(Imported { card: self, handle })
    }

    /// The screen, in the smallest mode of the display.
    #[track_caller]
    pub(in crate::tests) fn screen(&self) -> Screen {
        let resources = self.resource_handles().expect("resources");
        let connector = resources.connectors()[0];
        let info = self.get_connector(connector, true).expect("connector");
        let area = |mode: &Mode| u32::from(mode.size().0) * u32::from(mode.size().1);
        let mode = info.modes().iter().copied().min_by_key(area);
        Screen {
            connector,
            crtc: resources.crtcs()[0],
            mode: mode.expect("a display has a mode"),
        }
    }

    /// The address that the display controller reads from now, by its driver's
    /// file in debugfs.
    #[track_caller]
    pub(in crate::tests) fn scanout(&self) -> u64 {
        let minor = libc::minor(self.0.metadata().expect("fstat").rdev());
        let path = format!("/sys/kernel/debug/dri/{minor}/regs");
        let regs = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        regs.lines()
            .find(|line| line.starts_with("CLCD_UBAS"))
            .and_then(|line| line.rsplit_once(" 0x"))
            .and_then(|(_, address)| u64::from_str_radix(address, 16).ok())
            .unwrap_or_else(|| panic!("no address in {regs}"))
    }
}

/// A connector of the display with a mode, to show a frame on.
#[derive(Debug)]
pub(in crate::tests) struct Screen {
    connector: connector::Handle,
    crtc: crtc::Handle,
    mode: Mode,
}

/// A format of 16 bits that every display controller of this family has.
const FORMAT: DrmFourcc = DrmFourcc::Xrgb1555;

impl Screen {
    fn pitch(&self) -> u32 {
        u32::from(self.mode.size().0) * 2
    }

    /// Bytes of a frame.
    pub(in crate::tests) fn frame(&self) -> usize {
        self.pitch() as usize * usize::from(self.mode.size().1)
    }
}

/// A buffer that a device has imported, until this is dropped.
#[derive(Debug)]
pub(in crate::tests) struct Imported<'a> {
    card: &'a Card,
    handle: Handle,
}

impl Drop for Imported<'_> {
    fn drop(&mut self) {
        let _ = self.card.close_buffer(self.handle);
    }
}

impl Imported<'_> {
    /// The handle, for calls of one driver.
    pub(in crate::tests) fn raw_handle(&self) -> u32 {
        self.handle.into()
    }

    /// Exports the buffer again, as a dma-buf of this driver.
    #[track_caller]
    pub(in crate::tests) fn export(&self) -> DmaBuf {
        let flags = (libc::O_CLOEXEC | libc::O_RDWR) as u32;
        let fd = self.card.buffer_to_prime_fd(self.handle, flags);
        DmaBuf::from_fd(fd.expect("HANDLE_TO_FD")).expect("a dma-buf")
    }

    /// The offset at which mmap(2) of this driver's file would find the buffer.
    ///
    /// # Errors
    ///
    /// EINVAL: the core of DRM refuses it for all that is imported.
    pub(in crate::tests) fn map_offset(&self) -> io::Result<u64> {
        drm_ffi::mode::dumbbuffer::map(self.card.as_fd(), self.handle.into(), 0, 0)
            .map(|map| map.offset)
    }

    /// Puts the buffer on the screen.
    ///
    /// # Errors
    ///
    /// What the driver refuses.
    pub(in crate::tests) fn show(&self, screen: &Screen) -> io::Result<Shown<'_>> {
        let frame = Frame {
            handle: self.handle,
            screen,
        };
        let framebuffer = self
            .card
            .add_planar_framebuffer(&frame, FbCmd2Flags::empty())?;
        let shown = Shown {
            card: self.card,
            crtc: screen.crtc,
            framebuffer,
        };
        self.card.set_crtc(
            screen.crtc,
            Some(framebuffer),
            (0, 0),
            &[screen.connector],
            Some(screen.mode),
        )?;
        Ok(shown)
    }
}

struct Frame<'a> {
    handle: Handle,
    screen: &'a Screen,
}

impl PlanarBuffer for Frame<'_> {
    fn size(&self) -> (u32, u32) {
        let (width, height) = self.screen.mode.size();
        (width.into(), height.into())
    }

    fn format(&self) -> DrmFourcc {
        FORMAT
    }

    fn modifier(&self) -> Option<DrmModifier> {
        None
    }

    fn pitches(&self) -> [u32; 4] {
        [self.screen.pitch(), 0, 0, 0]
    }

    fn handles(&self) -> [Option<Handle>; 4] {
        [Some(self.handle), None, None, None]
    }

    fn offsets(&self) -> [u32; 4] {
        [0; 4]
    }
}

/// What is on the screen, until this is dropped.
#[derive(Debug)]
pub(in crate::tests) struct Shown<'a> {
    card: &'a Card,
    crtc: crtc::Handle,
    framebuffer: framebuffer::Handle,
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        let _ = self.card.set_crtc(self.crtc, None, (0, 0), &[], None);
        let _ = self.card.destroy_framebuffer(self.framebuffer);
    }
}

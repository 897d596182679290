// SPDX-License-Identifier: MIT OR Apache-2.0
//! A display: modes, frames made of dma-bufs, flips.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{bail, ensure, Context, Result};
use drm::{
    buffer::{DrmFourcc, DrmModifier, Handle, PlanarBuffer},
    control::{
        connector, crtc, framebuffer, Device as ControlDevice, Event, FbCmd2Flags, Mode,
        PageFlipFlags,
    },
    ClientCapability, Device,
};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

/// How long a flip may take: several hundred frames.
const PATIENCE: Duration = Duration::from_secs(10);

/// The formats that frames are drawn in, of 32 bits. First the order that a
/// PL110 has by itself: the others need its BGR bit, which the kernel leaves to a
/// circuit outside of it on Versatile (external_bgr), and QEMU has no such.
const FORMATS: [DrmFourcc; 4] = [
    DrmFourcc::Xbgr8888,
    DrmFourcc::Abgr8888,
    DrmFourcc::Xrgb8888,
    DrmFourcc::Argb8888,
];

/// An open DRM device.
#[derive(Debug)]
pub struct Card(File);

impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Device for Card {}
impl ControlDevice for Card {}

impl Card {
    /// Opens a DRM device by its path.
    ///
    /// # Errors
    ///
    /// That of open(2).
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::options().read(true).write(true).open(path);
        let file = file.with_context(|| format!("{}: cannot be opened", path.display()))?;
        Ok(Self(file))
    }

    /// Opens the first DRM device that has a screen, in the mode nearest to a size.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be opened.
    pub fn first(wanted: (u16, u16)) -> Result<(Self, Screen)> {
        const NONE: &str = "there is no display: load its DRM driver (/dev/dri/card*)";
        let mut paths: Vec<PathBuf> = fs::read_dir("/dev/dri")
            .context(NONE)?
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("card"))
            .map(|entry| entry.path())
            .collect();
        paths.sort();
        for path in paths {
            let card = Self::open(&path)?;
            if let Ok(screen) = card.screen(wanted) {
                return Ok((card, screen));
            }
        }
        bail!(NONE)
    }

    /// The device's screen, in the mode nearest to a size.
    ///
    /// # Errors
    ///
    /// It is not a display, has none, or has no format that is drawn.
    pub fn screen(&self, (width, height): (u16, u16)) -> Result<Screen> {
        let resources = self.resource_handles().context("not a display")?;
        let crtc = *resources.crtcs().first().context("no CRTC")?;
        let area = |width: u16, height: u16| i64::from(width) * i64::from(height);
        let modes = resources.connectors().iter().filter_map(|&connector| {
            let info = self.get_connector(connector, true).ok()?;
            let modes = info.modes().iter().copied();
            let nearest = modes.min_by_key(|mode| {
                let (mode_width, mode_height) = mode.size();
                let other = (mode_width, mode_height) != (width, height);
                let distance = area(mode_width, mode_height) - area(width, height);
                (other, distance.abs())
            });
            Some((connector, nearest?))
        });
        let (connector, mode) = { modes }.next().context("no mode")?;
        Ok(Screen {
            connector,
            crtc,
            mode,
            format: self.format()?,
        })
    }

    fn format(&self) -> Result<DrmFourcc> {
        self.set_client_capability(ClientCapability::UniversalPlanes, true)?;
        let mut there = Vec::new();
        for plane in self.plane_handles()? {
            there.extend_from_slice(self.get_plane(plane)?.formats());
        }
        let format = FORMATS
            .into_iter()
            .find(|format| there.contains(&(*format as u32)));
        format.context("the display has no format of 32 bits that this program draws")
    }

    /// Waits for the flip that was asked for.
    fn wait_for_flip(&self) -> Result<()> {
        loop {
            let mut list = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut list, PollTimeout::try_from(PATIENCE)?)?;
            ensure!(
                ready > 0,
                "no flip came: does the display have its interrupt?"
            );
            for event in self.receive_events()? {
                if let Event::PageFlip(_) = event {
                    return Ok(());
                }
            }
        }
    }
}

/// Where and how frames are shown.
#[derive(Debug)]
pub struct Screen {
    connector: connector::Handle,
    crtc: crtc::Handle,
    mode: Mode,
    format: DrmFourcc,
}

impl Screen {
    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        let (width, height) = self.mode.size();
        (width.into(), height.into())
    }

    /// How many frames are shown in a second.
    pub fn rate(&self) -> u32 {
        self.mode.vrefresh()
    }

    /// Bytes of a line, without a gap behind it.
    pub fn pitch(&self) -> u32 {
        self.size().0 * 4
    }

    /// Bytes of a frame, without gaps between its lines.
    pub fn frame_size(&self) -> u64 {
        u64::from(self.pitch()) * u64::from(self.size().1)
    }

    /// The format of the pixels.
    pub fn format(&self) -> DrmFourcc {
        self.format
    }

    /// A color as a pixel of the screen's format.
    pub fn pixel(&self, red: u8, green: u8, blue: u8) -> u32 {
        let opaque = 0xff00_0000;
        match self.format {
            DrmFourcc::Xbgr8888 | DrmFourcc::Abgr8888 => {
                opaque | u32::from_be_bytes([0, blue, green, red])
            }
            _ => opaque | u32::from_be_bytes([0, red, green, blue]),
        }
    }
}

/// A dma-buf that the display has imported as a frame.
#[derive(Debug)]
pub struct Framebuffer<'a> {
    card: &'a Card,
    screen: &'a Screen,
    handle: Handle,
    framebuffer: framebuffer::Handle,
}

struct Planes<'a> {
    screen: &'a Screen,
    handle: Handle,
    pitch: u32,
}

impl PlanarBuffer for Planes<'_> {
    fn size(&self) -> (u32, u32) {
        self.screen.size()
    }

    fn format(&self) -> DrmFourcc {
        self.screen.format
    }

    fn modifier(&self) -> Option<DrmModifier> {
        None
    }

    fn pitches(&self) -> [u32; 4] {
        [self.pitch, 0, 0, 0]
    }

    fn handles(&self) -> [Option<Handle>; 4] {
        [Some(self.handle), None, None, None]
    }

    fn offsets(&self) -> [u32; 4] {
        [0; 4]
    }
}

impl<'a> Framebuffer<'a> {
    /// Imports a dma-buf, which may be closed then. Its lines are so many bytes apart.
    ///
    /// # Errors
    ///
    /// The display cannot reach the memory, or the dma-buf is shorter than a frame.
    pub fn import(
        card: &'a Card,
        screen: &'a Screen,
        dma_buf: BorrowedFd<'_>,
        pitch: u32,
    ) -> Result<Self> {
        let handle = card
            .prime_fd_to_buffer(dma_buf)
            .context("the display cannot import the buffer: it may want contiguous memory")?;
        let planes = Planes {
            screen,
            handle,
            pitch,
        };
        let framebuffer = card.add_planar_framebuffer(&planes, FbCmd2Flags::empty());
        let framebuffer = framebuffer
            .inspect_err(|_| drop(card.close_buffer(handle)))
            .context("the display cannot show the buffer")?;
        Ok(Self {
            card,
            screen,
            handle,
            framebuffer,
        })
    }

    /// Sets the screen's mode and shows this frame.
    ///
    /// # Errors
    ///
    /// The display refuses mode or frame, or has another master.
    pub fn show(&self) -> Result<()> {
        let Screen {
            connector,
            crtc,
            mode,
            ..
        } = *self.screen;
        self.card
            .set_crtc(
                crtc,
                Some(self.framebuffer),
                (0, 0),
                &[connector],
                Some(mode),
            )
            .map_err(|error| {
                let why = if error.kind() == io::ErrorKind::PermissionDenied {
                    "the mode cannot be set: is another program the display's master?"
                } else {
                    "the display refuses the mode, or the frame: it may want lines without gaps"
                };
                anyhow::Error::new(error).context(why)
            })
    }

    /// Shows this frame instead of another, from the next vertical blank on, and
    /// waits for that.
    ///
    /// # Errors
    ///
    /// The display refuses the frame, or no vertical blank comes.
    pub fn flip(&self) -> Result<()> {
        self.card
            .page_flip(
                self.screen.crtc,
                self.framebuffer,
                PageFlipFlags::EVENT,
                None,
            )
            .context("the display does not flip")?;
        self.card.wait_for_flip()
    }
}

impl Drop for Framebuffer<'_> {
    fn drop(&mut self) {
        // The display may be gone, and there is nobody to tell.
        let _ = self.card.destroy_framebuffer(self.framebuffer);
        let _ = self.card.close_buffer(self.handle);
    }
}

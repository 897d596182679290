// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shows the frames of a camera on the machine's screen. The drivers of both import the same shmbuf
//! buffers, so nothing is copied: the camera fills one, the CPU stamps the frame's number into
//! another, and the display shows a third.

mod camera;
mod stamp;

use std::{
    io::Read,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{ensure, Result};
use clap::{Parser, ValueEnum};
use nix::unistd::{sysconf, SysconfVar};
use shmbuf::{Access, Alloc, Buffer, Kind, Mapping, MappingKind, Phase, Protection};
use shmbuf_display::{Card, Framebuffer, Screen};

use camera::{Camera, Format};

/// Shows the frames of a camera on the machine's screen, each with its number
#[derive(Parser)]
struct Options {
    /// The node that gives private buffers
    #[arg(long, value_name = "PATH", default_value = "/dev/shmbuf")]
    buffer: PathBuf,
    /// The V4L2 device [default: the first camera]
    #[arg(long, value_name = "PATH")]
    camera: Option<PathBuf>,
    /// The DRM device [default: the first that has a screen]
    #[arg(long, value_name = "PATH")]
    card: Option<PathBuf>,
    /// The size of frames and screen
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "640x480", value_parser = size)]
    size: (u16, u16),
    /// Bytes from one line to the next [default: no gap]
    #[arg(long, value_name = "BYTES")]
    pitch: Option<u32>,
    /// Bytes behind the frame, for a camera or display that wants more than it says
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    more: u64,
    /// Set a control of the camera by its name, such as Brightness=100
    #[arg(long, value_name = "NAME=VALUE", value_parser = control)]
    control: Vec<(String, i32)>,
    /// The kind of the buffers: coherent or streaming
    #[arg(long, value_name = "KIND", default_value = "streaming")]
    kind: Kind,
    /// How many frames to show
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    frames: u32,
    /// Show the last frame until standard input ends
    #[arg(long)]
    hold: bool,
    /// Leave out a step, to see what happens
    #[arg(long, value_name = "WHICH")]
    forget: Option<Forget>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Forget {
    /// START, before the CPU touches a frame
    Start,
    /// END, after it
    End,
    /// The display's turn: the camera gets the buffer that is on the screen
    Turn,
}

fn size(text: &str) -> Result<(u16, u16), String> {
    text.split_once('x')
        .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)))
        .ok_or_else(|| "give two numbers, such as 640x480".into())
}

fn control(text: &str) -> Result<(String, i32), String> {
    text.split_once('=')
        .and_then(|(name, value)| Some((name.into(), value.parse().ok()?)))
        .ok_or_else(|| "give a name and a number, such as Brightness=100".into())
}

/// One is shown, one waits or is stamped, one is filled.
const SLOTS: u32 = 3;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shmbuf-camera: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    ensure!(
        matches!(options.kind, Kind::Coherent | Kind::Streaming),
        "cameras and displays want contiguous memory that devices reach: kind coherent or streaming"
    );
    let camera = match &options.camera {
        None => Camera::first()?,
        Some(path) => Camera::open(path)?,
    };
    let (card, screen) = match &options.card {
        None => Card::first(options.size)?,
        Some(path) => {
            let card = Card::open(path)?;
            let screen = card.screen(options.size)?;
            (card, screen)
        }
    };
    for (name, value) in &options.control {
        camera.set_control(name, *value)?;
    }
    let format = agree(&camera, &screen, options.pitch.unwrap_or(0))?;
    let (width, height) = format.size;
    println!(
        "mode:    {width}x{height}, {}, {} bytes a line",
        screen.format(),
        format.pitch
    );

    // The camera says how much it wants before there is a buffer: behind the frame there may be
    // lines that it fills up to whole blocks, or what its bursts run over.
    let wanted = camera.prepare(SLOTS)?;
    let frame = u64::from(format.pitch) * u64::from(height);
    let most = wanted.iter().copied().fold(frame, u64::max) + options.more;
    let page = sysconf(SysconfVar::PAGE_SIZE)?.unwrap_or(4096) as u64;
    let node = Buffer::open(&options.buffer)?;
    let alloc = Alloc {
        // A stamp without SYNC is a SIGBUS then.
        mapping: match options.kind.has_owner() {
            true => MappingKind::Strict,
            false => MappingKind::Pfnmap,
        },
        ..Alloc::new(most.next_multiple_of(page), options.kind)
    };
    println!(
        "buffers: {} of {} bytes, {} of them behind the frame",
        wanted.len(),
        alloc.size,
        alloc.size - frame
    );
    let way = Way {
        camera,
        card,
        screen,
        format,
        forget: options.forget,
    };
    let slots: Vec<Slot> = (0..wanted.len() as u32)
        .map(|index| Slot::new(index, node.alloc(&alloc)?, &way))
        .collect::<Result<_>>()?;
    if options.kind.has_owner() {
        let how = if slots[0].dma { "DMA" } else { "the CPU" };
        println!("camera:  fills them by {how}");
    }

    way.camera.start()?;
    let mut shown: Option<&Slot> = None;
    let mut count = 0;
    let last = loop {
        let taken = way.camera.take()?;
        let slot = &slots[taken.slot as usize];
        if !taken.good {
            slot.queue()?;
            continue;
        }
        slot.stamp(taken.number)?;
        let before = shown.replace(slot);
        match before {
            None => slot.framebuffer.show()?,
            Some(_) => slot.framebuffer.flip()?,
        }
        // The display reads the frame that it shows until the next one is there.
        let free = match options.forget {
            Some(Forget::Turn) => Some(slot),
            _ => before,
        };
        if let Some(free) = free {
            free.queue()?;
        }
        count += 1;
        if count == options.frames {
            break taken.number;
        }
    };
    println!("shown:   {count} frames, the last of them number {last}");
    if options.hold {
        std::io::stdin().read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

/// Sets a format that the camera takes and the screen shows.
fn agree(camera: &Camera, screen: &Screen, pitch: u32) -> Result<Format> {
    let wanted = Format {
        size: screen.size(),
        pixels: screen.format() as u32,
        pitch,
    };
    let format = camera.set_format(wanted)?;
    ensure!(
        format.pixels == wanted.pixels,
        "the display shows {}, which the camera does not have",
        screen.format()
    );
    let ((width, height), (other_width, other_height)) = (format.size, wanted.size);
    ensure!(
        format.size == wanted.size,
        "the camera takes {width}x{height}, and the display shows {other_width}x{other_height}: \
         give a --size that both have"
    );
    ensure!(
        width >= stamp::LEAST.0 && height >= stamp::LEAST.1,
        "the stamp does not fit in {width}x{height}"
    );
    Ok(format)
}

/// What frames pass on their way.
struct Way {
    camera: Camera,
    card: Card,
    screen: Screen,
    format: Format,
    forget: Option<Forget>,
}

/// A buffer that goes from the camera to the CPU, to the display, and back to the camera.
struct Slot<'a> {
    index: u32,
    buffer: Buffer,
    mapping: Mapping,
    dma_buf: OwnedFd,
    framebuffer: Framebuffer<'a>,
    /// Whether the camera itself stores the frame, and not a driver that uses the CPU.
    dma: bool,
    way: &'a Way,
}

impl<'a> Slot<'a> {
    /// Makes a slot of a buffer, and gives it to the camera first.
    fn new(index: u32, buffer: Buffer, way: &'a Way) -> Result<Self> {
        let mapping = buffer.map(0, buffer.size() as usize, Protection::ReadWrite)?;
        let dma_buf = buffer.export(.., Protection::ReadWrite)?;
        way.camera.queue(index, dma_buf.as_fd())?;
        // V4L2 has mapped it for the camera, which lends it. A driver that fills it with the CPU
        // has nothing to lend it to.
        let dma = !buffer.lent()?.is_empty();
        let pitch = way.format.pitch;
        let framebuffer = Framebuffer::import(&way.card, &way.screen, dma_buf.as_fd(), pitch)?;
        let slot = Self {
            index,
            buffer,
            mapping,
            dma_buf,
            framebuffer,
            dma,
            way,
        };
        if !dma {
            // DRM has mapped it for the display, which lends it too.
            slot.begin()?;
        }
        Ok(slot)
    }

    /// Takes it back from the devices.
    fn begin(&self) -> Result<()> {
        if self.way.forget != Some(Forget::Start) {
            self.buffer.sync(.., Access::ReadWrite, Phase::Begin)?;
        }
        Ok(())
    }

    /// Leaves it to the devices.
    fn end(&self) -> Result<()> {
        if self.way.forget != Some(Forget::End) {
            self.buffer.sync(.., Access::ReadWrite, Phase::End)?;
        }
        Ok(())
    }

    /// Lets the camera fill it. A driver that uses the CPU does so as the owner.
    fn queue(&self) -> Result<()> {
        if !self.dma {
            self.begin()?;
        }
        self.way.camera.queue(self.index, self.dma_buf.as_fd())
    }

    /// Writes the number of the frame into it.
    fn stamp(&self, number: u32) -> Result<()> {
        let Way { screen, format, .. } = self.way;
        let colors = [screen.pixel(0, 0, 0), screen.pixel(255, 255, 255)];
        let line = stamp::line(number, colors);
        self.begin()?;
        for y in stamp::LINES {
            let start = y * format.pitch + stamp::START;
            self.mapping.write(start as usize, &line);
        }
        self.end()
    }
}

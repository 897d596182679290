// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shows a test card with a moving part from two shmbuf buffers, by turns, on the
//! machine's screen. The display's driver imports them (PRIME); nothing is copied
//! but from the drawing to the buffer that is not shown.

mod canvas;
mod test_card;

use std::{
    fs::File,
    io::{BufWriter, Read},
    os::fd::AsFd,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{ensure, Context, Result};
use clap::Parser;
use embedded_graphics::prelude::*;
use nix::unistd::{sysconf, SysconfVar};
use shmbuf::{Access, Alloc, Buffer, Info, Kind, Mapping, Phase, Policy, Protection};

use canvas::Canvas;
use shmbuf_display::{Card, Framebuffer, Screen};

/// Shows a moving test card on the machine's screen, from shmbuf buffers
#[derive(Parser)]
struct Options {
    /// The node that gives private buffers
    #[arg(
        long,
        alias = "device",
        value_name = "PATH",
        default_value = "/dev/shmbuf"
    )]
    buffer: PathBuf,
    /// The DRM device [default: the first that has a screen]
    #[arg(long, value_name = "PATH")]
    card: Option<PathBuf>,
    /// The size; the mode nearest to it is set
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "1024x600", value_parser = size)]
    size: (u16, u16),
    /// The kind of the buffers: coherent or streaming
    #[arg(long, value_name = "KIND", default_value = "coherent")]
    kind: Kind,
    /// Their cache policy [default: what suits the kind]
    #[arg(long, alias = "cache", value_name = "POLICY")]
    policy: Option<Policy>,
    /// How many frames to show
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    frames: u32,
    /// Write what was drawn last to a PPM file
    #[arg(long, value_name = "FILE")]
    ppm: Option<PathBuf>,
    /// Show the last frame until standard input ends
    #[arg(long)]
    hold: bool,
}

fn size(text: &str) -> Result<(u16, u16), String> {
    text.split_once('x')
        .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)))
        .ok_or_else(|| "give two numbers, such as 1024x600".into())
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shmbuf-display: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let (card, screen) = match &options.card {
        None => Card::first(options.size)?,
        Some(path) => {
            let card = Card::open(path)?;
            let screen = card.screen(options.size)?;
            (card, screen)
        }
    };
    let (width, height) = screen.size();
    println!(
        "mode:    {width}x{height}, {} Hz, {}",
        screen.rate(),
        screen.format()
    );

    let device = Buffer::open(&options.buffer)?;
    let frames = [
        Frame::new(&device, &card, &screen, options)?,
        Frame::new(&device, &card, &screen, options)?,
    ];
    let info = &frames[0].info;
    println!(
        "buffers: two, kind {}, {}, {}",
        info.kind, info.policy, info.memory_type
    );

    let lines = [
        format!(
            "shmbuf: {width} x {height}, kind {}, {}",
            info.kind, info.policy
        ),
        info.memory_type.clone(),
    ];
    let mut canvas = Canvas::new(width, height);
    for number in 0..options.frames {
        test_card::draw(&mut canvas, &lines, number);
        // The other one is on the screen.
        let frame = &frames[number as usize % 2];
        frame.put(&canvas, &screen)?;
        match number {
            0 => frame.framebuffer.show()?,
            _ => frame.framebuffer.flip()?,
        }
    }
    if let Some(path) = &options.ppm {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        canvas.write_ppm(&mut BufWriter::new(file))?;
    }
    println!(
        "shown:   {} frames, {} flips",
        options.frames,
        options.frames - 1
    );
    if options.hold {
        std::io::stdin().read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

/// One of the two frames: a buffer, where the program draws and what the display shows.
struct Frame<'a> {
    buffer: Buffer,
    mapping: Mapping,
    info: Info,
    framebuffer: Framebuffer<'a>,
}

impl<'a> Frame<'a> {
    /// Makes a private buffer of the frame's size, maps it, and gives it to the display.
    fn new(device: &Buffer, card: &'a Card, screen: &'a Screen, options: &Options) -> Result<Self> {
        ensure!(
            matches!(options.kind, Kind::Coherent | Kind::Streaming),
            "a display wants contiguous memory that devices reach: kind coherent or streaming"
        );
        let page = sysconf(SysconfVar::PAGE_SIZE)?.unwrap_or(4096) as u64;
        let size = screen.frame_size().next_multiple_of(page);
        let buffer = device.alloc(&Alloc {
            policy: options.policy,
            ..Alloc::new(size, options.kind)
        })?;
        let mapping = buffer.map(0, buffer.size() as usize, Protection::ReadWrite)?;
        let dma_buf = buffer.export(.., Protection::ReadWrite)?;
        Ok(Self {
            framebuffer: Framebuffer::import(card, screen, dma_buf.as_fd(), screen.pitch())?,
            info: buffer.info()?,
            mapping,
            buffer,
        })
    }

    /// Copies the picture to the frame, which the display does not show now.
    fn put(&self, canvas: &Canvas, screen: &Screen) -> Result<()> {
        let write = || {
            for (index, color) in canvas.pixels().enumerate() {
                let pixel = screen.pixel(color.r(), color.g(), color.b());
                self.mapping.write_u32(index * 4, pixel);
            }
        };
        if self.info.has_owner() {
            self.buffer.with_cpu_access(.., Access::Write, write)?;
        } else {
            write();
            // What the CPU still holds back goes to memory before the display reads it.
            self.buffer.sync(.., Access::Write, Phase::End)?;
        }
        Ok(())
    }
}

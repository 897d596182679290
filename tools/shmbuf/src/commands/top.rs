// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf top`: a screen of all buffers, until one leaves it.

mod rows;
mod screen;

use std::{
    env,
    ffi::OsStr,
    io::{self, IsTerminal},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use anyhow::{ensure, Context, Result};
use clap::Args;
use nix::{
    libc::c_int,
    sys::signal::{signal, SigHandler, Signal},
};
use ratatui::{
    backend::Backend,
    crossterm::{
        event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
        terminal,
    },
    layout::Rect,
    Terminal, TerminalOptions, Viewport,
};

use self::{rows::Sample, screen::Screen};
use crate::arguments::LookArguments;

/// Show all buffers on the terminal, with who uses them and what they do
///
/// The table has the kind, the memory type in force, the size and what is lent
/// of each buffer, and what happens in a second: bytes read and written, SYNCs,
/// and bytes that COPY wrote. Below are those who use the selected buffer: their
/// open handles, mappings and dma-bufs. A private buffer has the name of its
/// handle in /proc; the row "private" has the users of all private buffers.
///
/// Rates are in debugfs, and the processes of others can be seen by root alone;
/// the screen says what is missing.
///
/// Keys: up and down (or k and j) select a buffer, q and Ctrl-C end the program.
/// There are no colours with NO_COLOR, and on a TERM of the name vt...
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    #[command(flatten)]
    looks: LookArguments,
}

/// What a terminal has that does not know its size, such as a serial one.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// Whether a signal has asked for the end.
static ENDED: AtomicBool = AtomicBool::new(false);

extern "C" fn end(_: c_int) {
    ENDED.store(true, Ordering::Relaxed);
}

impl Options {
    pub fn run(self) -> Result<ExitCode> {
        let term = env::var_os("TERM").unwrap_or_default();
        ensure!(
            io::stdout().is_terminal(),
            "the output is no terminal: use shmbuf watch or shmbuf list"
        );
        ensure!(
            can_draw(&term),
            "this terminal cannot be drawn on, by its TERM \"{}\": set TERM, or use shmbuf watch \
             or shmbuf list",
            term.to_string_lossy()
        );
        for number in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
            // SAFETY: the function stores to an atomic and does nothing else.
            let _ = unsafe { signal(number, SigHandler::Handler(end)) };
        }
        let no_color = env::var_os("NO_COLOR").unwrap_or_default();
        let screen = Screen::new(has_colours(&term, &no_color), self.looks.interval);

        let viewport = Viewport::Fixed(whole(terminal::size().ok()));
        // Restored by a panic too.
        let terminal = ratatui::try_init_with_options(TerminalOptions { viewport });
        let shown = terminal
            .and_then(|mut terminal| {
                self.show(&mut terminal, screen)?;
                // Nor do they go back to where the cursor was.
                let last = terminal.get_frame().area().bottom().saturating_sub(1);
                terminal.set_cursor_position((0, last))
            })
            .context("the terminal");
        ratatui::restore();
        shown.map(|()| ExitCode::SUCCESS)
    }

    fn show(&self, terminal: &mut Terminal<impl Backend>, mut screen: Screen) -> io::Result<()> {
        // Some terminals have no second screen, so this one may not be empty.
        terminal.clear()?;
        let mut before = None;
        for _ in self.looks.intervals() {
            let now = Sample::take();
            screen.set(now.since(before.as_ref()));
            before = Some(now);
            let next = Instant::now() + self.looks.interval;
            loop {
                terminal.draw(|frame| screen.draw(frame))?;
                if !wait(terminal, &mut screen, next)? {
                    return Ok(());
                }
                if Instant::now() >= next {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Waits for a key, another size or `next`. Returns whether to go on.
fn wait(
    terminal: &mut Terminal<impl Backend>,
    screen: &mut Screen,
    next: Instant,
) -> io::Result<bool> {
    let rest = next.saturating_duration_since(Instant::now());
    if event::poll(rest)? {
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                if ends(key) {
                    return Ok(false);
                }
                match key.code {
                    KeyCode::Up | KeyCode::Char('k') => screen.select_previous(),
                    KeyCode::Down | KeyCode::Char('j') => screen.select_next(),
                    _ => {}
                }
            }
            Event::Resize(columns, lines) => terminal.resize(whole(Some((columns, lines))))?,
            _ => {}
        }
    }
    Ok(!ENDED.load(Ordering::Relaxed))
}

/// Whether a key ends the program. In raw mode the terminal makes no signal of Ctrl-C.
fn ends(key: KeyEvent) -> bool {
    match key.code {
        KeyCode::Char('q') => true,
        KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

/// All of a terminal that says it has so many columns and lines.
fn whole(size: Option<(u16, u16)>) -> Rect {
    let known = size.filter(|(columns, lines)| *columns > 0 && *lines > 0);
    let (columns, lines) = known.unwrap_or(USUAL_SIZE);
    Rect::new(0, 0, columns, lines)
}

/// Whether the cursor of a terminal can be moved.
fn can_draw(term: &OsStr) -> bool {
    !["", "dumb", "unknown"].iter().any(|it| term == *it)
}

fn has_colours(term: &OsStr, no_color: &OsStr) -> bool {
    no_color.is_empty() && !term.as_encoded_bytes().starts_with(b"vt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_end() {
        let key = |letter, modifiers| KeyEvent::new(KeyCode::Char(letter), modifiers);
        assert!(ends(key('q', KeyModifiers::NONE)));
        assert!(ends(key('c', KeyModifiers::CONTROL)));
        assert!(!ends(key('c', KeyModifiers::NONE)));
    }

    #[test]
    fn terminals() {
        for (term, draws, colours) in [
            ("xterm-256color", true, true),
            ("linux", true, true),
            ("vt102", true, false),
            ("dumb", false, true),
            ("", false, true),
        ] {
            assert_eq!(can_draw(OsStr::new(term)), draws, "{term}");
            let empty = OsStr::new("");
            assert_eq!(has_colours(OsStr::new(term), empty), colours, "{term}");
            assert!(!has_colours(OsStr::new(term), OsStr::new("1")), "{term}");
        }
    }

    #[test]
    fn a_size_that_is_not_known_is_the_usual_one() {
        for size in [None, Some((0, 0)), Some((80, 24))] {
            assert_eq!(whole(size), Rect::new(0, 0, 80, 24));
        }
        assert_eq!(whole(Some((132, 50))), Rect::new(0, 0, 132, 50));
    }
}

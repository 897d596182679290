// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf man`: prints the manual page.

use std::{
    io::{self, stdout, Write},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Args, Command, CommandFactory};
use clap_mangen::{
    roff::{bold, roman, Roff},
    Man,
};

/// Print the manual page of this program, for man(1)
///
/// To read it at once: shmbuf man | man -l -
#[derive(Args)]
pub struct Options {}

impl Options {
    pub fn run(self) -> Result<ExitCode> {
        let page = page(crate::Options::command()).context("the page cannot be made")?;
        stdout()
            .write_all(page.as_bytes())
            .context("the output took no more: make room there")?;
        Ok(ExitCode::SUCCESS)
    }
}

/// One page, with a section for each subcommand.
fn page(command: Command) -> io::Result<String> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut page = Vec::new();
    // The exit status has a section of its own.
    let man = Man::new(command.clone().after_help(crate::NOTES)).manual("User Commands");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    for subcommand in command.get_subcommands() {
        let mut heading = Roff::new();
        let name = subcommand.get_bin_name().unwrap_or(subcommand.get_name());
        heading.control("SH", [name]);
        heading.to_writer(&mut page)?;
        page.extend(section(subcommand)?.into_bytes());
    }
    let mut notes = Vec::new();
    man.render_extra_section(&mut notes)?;
    page.extend(text(notes)?.replacen("EXTRA", "NOTES", 1).into_bytes());
    by_hand().to_writer(&mut page)?;
    text(page)
}

/// What the definition of the arguments does not say.
fn by_hand() -> Roff {
    let mut roff = Roff::new();
    let mut section = |heading: &str, entries: &[(&str, &str)]| {
        roff.control("SH", [heading]);
        for (what, is) in entries {
            roff.control("TP", []);
            roff.text([bold(*what)]);
            roff.text([roman(*is)]);
        }
    };
    section(
        "EXIT STATUS",
        &[
            ("0", "All went well."),
            ("1", "Data is wrong."),
            (
                "2",
                "Something was refused; the message says why and what to do.",
            ),
            ("64", "The arguments are wrong."),
            (
                "126, 127",
                "COMMAND cannot be run. Else its exit status is that of this program.",
            ),
        ],
    );
    section(
        "ENVIRONMENT",
        &[
            (
                "SHMBUF_FD",
                "The number of the file descriptor of a private buffer: alloc sets it for its \
                 command, and it is the default BUFFER.",
            ),
            (
                "SHMBUF_DMABUF_FD",
                "The number of the file descriptor of a dma-buf: export sets it for its command.",
            ),
            ("TERM", "The kind of terminal that top draws on."),
            ("NO_COLOR", "If it is set, top uses no colours."),
        ],
    );
    section(
        "FILES",
        &[
            (
                "/dev/shmbuf",
                "The buffer that the module's parameters make.",
            ),
            (
                "/dev/shmbuf-NAME",
                "Named buffers, of configfs or the device tree.",
            ),
            ("/sys/module/shmbuf/parameters", "The module's parameters."),
            (
                "/sys/kernel/config/shmbuf",
                "Where root makes named buffers.",
            ),
        ],
    );
    section(
        "EXAMPLES",
        &[
            (
                "shmbuf info --json",
                "What the default buffer is, for a program to read.",
            ),
            (
                "shmbuf alloc 1M --kind streaming -- shmbuf info",
                "What a private buffer of that kind is.",
            ),
            (
                "shmbuf write camera --input frame.raw",
                "Fill /dev/shmbuf-camera from a file.",
            ),
            (
                "shmbuf sync end && shmbuf sync start",
                "Lend the buffer to the device, and take it back.",
            ),
            (
                "shmbuf top",
                "See who uses which buffer, and what happens to it.",
            ),
            (
                "shmbuf advise 0000:00:02.0",
                "Which memory is for that PCI device, and how to make a buffer of it.",
            ),
            (
                "shmbuf export -- my-importer",
                "Run a program that finds a dma-buf of the buffer.",
            ),
        ],
    );
    roff.control("SH", ["SEE ALSO"]);
    roff.text([
        bold("insmod"),
        roman("(8), "),
        bold("mmap"),
        roman("(2), "),
        bold("poll"),
        roman("(2)"),
    ]);
    roff
}

/// What a page of the subcommand alone would say, one level deeper.
fn section(subcommand: &Command) -> io::Result<String> {
    let mut section = Vec::new();
    let man = Man::new(subcommand.clone());
    man.render_synopsis_section(&mut section)?;
    man.render_description_section(&mut section)?;
    man.render_options_section(&mut section)?;
    Ok(text(section)?.replace(".SH ", ".SS "))
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subcommand_and_option_is_on_the_page() {
        let page = page(crate::Options::command()).unwrap();
        for subcommand in crate::Options::command().get_subcommands() {
            let name = subcommand.get_name();
            let heading = format!(".SH \"shmbuf {name}\"\n");
            let (_, section) = page.split_once(&heading).expect(name);
            let section = section.split("\n.SH ").next().unwrap();
            let about = subcommand.get_about().unwrap().to_string();
            assert!(
                section.contains(&about.replace('-', "\\-")),
                "{name}: {about}"
            );
            for option in subcommand.get_arguments() {
                if let Some(long) = option.get_long() {
                    let long = format!("\\-\\-{}", long.replace('-', "\\-"));
                    assert!(section.contains(&long), "{name}: {long}");
                }
            }
        }
        assert!(page.contains(".TH shmbuf 1 "));
        assert!(!page.contains("The exit status is 0"), "{page}");
        for heading in [
            "NOTES",
            "\"EXIT STATUS\"",
            "ENVIRONMENT",
            "FILES",
            "EXAMPLES",
            "\"SEE ALSO\"",
        ] {
            assert!(page.contains(&format!("\n.SH {heading}\n")), "{heading}");
        }
    }
}

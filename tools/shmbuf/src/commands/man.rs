// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf man`: prints the manual page.

use std::{
    io::{self, stdout, Write},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Args, Command, CommandFactory};
use clap_mangen::{roff::Roff, Man};

/// Print the manual page of this program, for man(1)
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
    let man = Man::new(command.clone());
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
    text(page)
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
        assert!(page.starts_with(".ie") || page.contains(".TH shmbuf 1"));
        assert!(page.contains("\n.SH NOTES\n"));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf set-policy`: changes the cache policy of a buffer.

use std::process::ExitCode;

use anyhow::{anyhow, Result};
use clap::Args;
use nix::errno::Errno;
use shmbuf::{Buffer, Info, Owner, Policy};

use super::info;
use crate::{arguments::named, buffer::BufferArgument, kernel_log::explained};

/// Change the cache policy of a buffer, and say which memory type that is
///
/// The contents survive. Nobody may have the buffer mapped or exported.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// The policy
    #[arg(value_name = "POLICY", value_parser = named(Policy::ALL, Policy::name))]
    policy: Policy,
    #[command(flatten)]
    buffer: BufferArgument,
    /// As JSON: what info says of the buffer then
    #[arg(long)]
    json: bool,
}

impl Options {
    pub fn run(self) -> Result<ExitCode> {
        let buffer = self.buffer.open()?;
        set(&buffer, self.policy)?;
        let info = buffer.info()?;
        if self.json {
            println!("{:#}", info::as_json(&info, &buffer.lent()?));
        } else {
            println!("{}: {}", self.policy, info.memory_type);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn set(buffer: &Buffer, policy: Policy) -> Result<()> {
    explained(|| buffer.set_cache(policy)).map_err(|error| {
        let errno = error.downcast_ref().and_then(shmbuf::Error::errno);
        match (errno, buffer.info()) {
            (Some(Errno::EBUSY), Ok(info)) => match user(&info) {
                Some(user) => anyhow!("SET_CACHE: EBUSY: {user}"),
                None => error,
            },
            _ => error,
        }
    })
}

/// Who uses a buffer, so that its policy cannot change, and what to do about it.
fn user(info: &Info) -> Option<String> {
    if info.owner == Owner::Device {
        Some("a device owns the buffer: take it back with shmbuf sync start".into())
    } else if info.mappings > 0 {
        let count = info.mappings;
        Some(format!(
            "the buffer is mapped (mappings: {count}): unmap it in all processes"
        ))
    } else if info.exports > 0 {
        let count = info.exports;
        Some(format!(
            "the buffer is exported (exports: {count}): close its dma-bufs in all processes"
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::info::tests::example;

    #[test]
    fn one_reason_is_given() {
        let says = |info: &Info, words: &str| {
            let text = user(info).unwrap();
            assert!(text.contains(words), "{text}");
        };
        let mut info = Info {
            owner: Owner::Device,
            mappings: 2,
            exports: 1,
            ..example()
        };
        says(&info, "a device owns");
        info.owner = Owner::Cpu;
        says(&info, "mappings: 2");
        info.mappings = 0;
        says(&info, "exports: 1");
        info.exports = 0;
        assert_eq!(user(&info), None);
    }
}

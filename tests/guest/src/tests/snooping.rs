// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device that snoops beside one that does not, by tests/importer: what the first writes may be in
//! the cache alone, and is not lost when the other returns the same bytes. That the cache which QEMU
//! does not have would have lost it is seen by the coherence checker.

use std::{
    ffi::CStr,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::fd::{AsFd, AsRawFd},
    path::Path,
};

use nix::kmod::{delete_module, finit_module, DeleteModuleFlags, ModuleInitFlags};
use shmbuf::{Access, Alloc, Buffer, Direction, DmaBuf, Kind, Phase, Policy};

use super::{
    alloc::{make, map},
    claim,
    data::load_all,
    export::export_all,
    Claim, Scope,
};
use crate::{
    machine::{Arch, Machine},
    module::Config,
    runner::Env,
    sys::page,
};

pub(super) const CLAIMS: &[Claim] = &[
    beside("snooping_importer_beside_the_own_device", own_device),
    beside("snooping_importer_goes_before_the_own_device", goes_first),
    beside("snooping_importer_comes_before_the_own_device", comes_first),
    beside("snooping_importer_beside_another", another),
    beside(
        "snooping_importer_comes_before_one_that_writes",
        writes_later,
    ),
    beside("snooping_importer_goes_before_another", another_stays),
    beside("snooping_importer_stays_as_another_goes", another_goes),
];

const fn beside(name: &'static str, body: fn(&Env)) -> Claim {
    claim(Scope::Once, name, body).unless(without_snooping)
}

const MODULE: &str = "/lib/modules/importer.ko";

/// A cache that is snooped goes by physical addresses.
fn without_snooping(machine: &Machine, config: &Config) -> Option<&'static str> {
    if machine.arch == Arch::Armv5 {
        return Some("no device snoops a VIVT cache");
    }
    without_importers(machine, config)
}

pub(super) fn without_importers(_: &Machine, _: &Config) -> Option<&'static str> {
    (!Path::new(MODULE).exists()).then_some("no importer.ko")
}

/// The devices of tests/importer are there.
#[track_caller]
pub(super) fn add_importers() {
    add_importers_with(c"");
}

/// The same, with a parameter of the module.
#[track_caller]
pub(super) fn add_importers_with(parameter: &CStr) {
    // Of a test that failed.
    let _ = delete_module(c"importer", DeleteModuleFlags::O_NONBLOCK);
    let file = File::open(MODULE).expect(MODULE);
    finit_module(file, parameter, ModuleInitFlags::empty()).expect("insmod importer.ko");
}

/// They go.
#[track_caller]
pub(super) fn remove_importers() {
    delete_module(c"importer", DeleteModuleFlags::O_NONBLOCK).expect("rmmod importer");
}

/// A device of tests/importer.
pub(super) struct Importer(File);

impl Importer {
    /// The device, for which a dma-buf is mapped.
    #[track_caller]
    fn new(node: &str, dma_buf: &DmaBuf) -> Self {
        Self::try_new(node, dma_buf).unwrap_or_else(|error| panic!("map: {error}"))
    }

    /// A device that only writes.
    #[track_caller]
    fn that_writes(node: &str, dma_buf: &DmaBuf) -> Self {
        Self::told("receive", node, dma_buf).unwrap_or_else(|error| panic!("receive: {error}"))
    }

    pub(super) fn try_new(node: &str, dma_buf: &DmaBuf) -> io::Result<Self> {
        Self::told("map", node, dma_buf)
    }

    fn told(command: &str, node: &str, dma_buf: &DmaBuf) -> io::Result<Self> {
        let path = format!("/dev/importer-{node}");
        let mut file = OpenOptions::new().write(true).open(path)?;
        // In one write.
        let command = format!("{command} {}", dma_buf.as_fd().as_raw_fd());
        file.write_all(command.as_bytes())?;
        Ok(Self(file))
    }

    #[track_caller]
    pub(super) fn tell(&mut self, command: &str) {
        self.0.write_all(command.as_bytes()).expect(command);
    }
}

/// What the device that snoops writes.
const BYTE: u8 = 0x5a;

/// Calls a function with some cached buffers, of each direction in which devices write, and an export
/// of all of each. Afterwards the CPU has all of it, and it is what the device that snoops has written.
fn each(env: &Env, kinds: &[Kind], body: impl Fn(&Buffer, &DmaBuf)) {
    add_importers();
    let directions = [Direction::Bidirectional, Direction::FromDevice];
    let all = kinds
        .iter()
        .flat_map(|kind| directions.map(|it| (*kind, it)));
    // Only a device of the buffer's own has a direction.
    let all = all.filter(|(kind, it)| *it == directions[0] || OWNED.contains(kind));
    for (kind, direction) in all {
        let alloc = Alloc {
            policy: Some(Policy::WriteBack),
            direction,
            ..Alloc::new(4 * page() as u64, kind)
        };
        let buffer = make(env, &alloc);
        let mapping = map(&buffer);
        mapping.write(0, &vec![0xa5; mapping.len()]);
        body(&buffer, &export_all(&buffer));
        sync(&buffer, Phase::Begin);
        let bytes = load_all(&mapping);
        assert!(bytes.iter().all(|&byte| byte == BYTE), "{kind} {direction}");
    }
    remove_importers();
}

#[track_caller]
fn sync(buffer: &Buffer, phase: Phase) {
    buffer.sync(.., Access::ReadWrite, phase).expect("SYNC");
}

/// Kinds that have a device of their own.
const OWNED: [Kind; 2] = [Kind::Streaming, Kind::Scatter];
const ALL: [Kind; 3] = [Kind::Pages, Kind::Streaming, Kind::Scatter];

fn own_device(env: &Env) {
    each(env, &OWNED, |buffer, dma_buf| {
        sync(buffer, Phase::End);
        let mut snooping = Importer::new("snooping", dma_buf);
        snooping.tell(&format!("fill {BYTE}"));
        sync(buffer, Phase::Begin);
    });
}

fn goes_first(env: &Env) {
    each(env, &OWNED, |buffer, dma_buf| {
        let mut snooping = Importer::new("snooping", dma_buf);
        sync(buffer, Phase::End);
        snooping.tell(&format!("fill {BYTE}"));
        snooping.tell("unmap");
        sync(buffer, Phase::Begin);
    });
}

/// A sync for a device that only writes discards lines.
fn comes_first(env: &Env) {
    each(env, &OWNED, |buffer, dma_buf| {
        let mut snooping = Importer::new("snooping", dma_buf);
        snooping.tell(&format!("fill {BYTE}"));
        sync(buffer, Phase::End);
        sync(buffer, Phase::Begin);
    });
}

fn writes_later(env: &Env) {
    each(env, &ALL, |buffer, dma_buf| {
        let mut snooping = Importer::new("snooping", dma_buf);
        snooping.tell(&format!("fill {BYTE}"));
        let _plain = Importer::that_writes("plain", dma_buf);
        sync(buffer, Phase::Begin);
    });
}

/// In both orders, in which START goes through them.
fn another(env: &Env) {
    for first in ["snooping", "plain"] {
        each(env, &ALL, |buffer, dma_buf| {
            let before = (first == "plain").then(|| Importer::new("plain", dma_buf));
            let mut snooping = Importer::new("snooping", dma_buf);
            let _plain = before.unwrap_or_else(|| Importer::new("plain", dma_buf));
            snooping.tell(&format!("fill {BYTE}"));
            sync(buffer, Phase::Begin);
        });
    }
}

fn another_stays(env: &Env) {
    each(env, &ALL, |_, dma_buf| {
        let _plain = Importer::new("plain", dma_buf);
        let mut snooping = Importer::new("snooping", dma_buf);
        snooping.tell(&format!("fill {BYTE}"));
        snooping.tell("unmap");
    });
}

fn another_goes(env: &Env) {
    each(env, &ALL, |_, dma_buf| {
        let mut snooping = Importer::new("snooping", dma_buf);
        let mut plain = Importer::new("plain", dma_buf);
        snooping.tell(&format!("fill {BYTE}"));
        plain.tell("unmap");
    });
}

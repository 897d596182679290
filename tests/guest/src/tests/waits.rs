// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who waits for whom: calls for the same bytes go in order of arrival, and nobody waits for a
//! program.

use std::{
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc::channel,
    },
    thread,
    time::Duration,
};

use shmbuf::{Access, Alloc, Buffer, Kind, Phase, Policy};

use super::{
    alloc::make,
    claim,
    data::{fresh, write_all},
    export::{export_all, open, without_display, DISPLAY},
    rounds, Claim, Scope,
};
use crate::{
    ktap::diagnose,
    machine::Machine,
    module::Config,
    runner::Env,
    sys::{self, page, run_first},
    userfault::MissingPage,
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Once, "readers_do_not_starve_a_sync", readers),
    claim(
        Scope::Once,
        "read_of_a_missing_page_holds_off_nobody",
        missing_read,
    )
    .unless(without_userfault),
    claim(
        Scope::Once,
        "write_of_a_missing_page_holds_off_nobody",
        missing_write,
    )
    .unless(without_userfault),
    claim(Scope::Once, "importer_waits_for_no_program", importer).unless(|machine, config| {
        without_userfault(machine, config).or_else(|| without_display(machine, config))
    }),
];

fn without_userfault(_: &Machine, _: &Config) -> Option<&'static str> {
    MissingPage::new().is_err().then_some("no userfaultfd")
}

fn sync(buffer: &Buffer, phase: Phase) {
    buffer.sync(.., Access::ReadWrite, phase).expect("SYNC");
}

/// Four threads read all of the buffer again and again, while another syncs. A read has many pieces,
/// so each thread can end one read at most before the SYNC has its turn.
fn readers(env: &Env) {
    const READERS: usize = 4;
    let syncs = rounds(50);
    let buffer = make(env, &Alloc::new(1 << 20, Kind::Pages));
    let (over, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut during = 0;
    thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                let mut bytes = vec![0; buffer.size() as usize];
                while !over.load(SeqCst) {
                    let got = buffer.read_at(&mut bytes, 0);
                    assert_eq!(got, Ok(bytes.len()));
                    reads.fetch_add(1, SeqCst);
                }
            });
        }
        while reads.load(SeqCst) < READERS {
            thread::yield_now();
        }
        // No reader runs between the count and the call.
        run_first();
        for _ in 0..syncs {
            let before = reads.load(SeqCst);
            sync(&buffer, Phase::Begin);
            during += reads.load(SeqCst) - before;
        }
        over.store(true, SeqCst);
    });
    diagnose(format_args!(
        "{} reads, {during} of them during {syncs} SYNCs",
        reads.load(SeqCst)
    ));
    // One that was at its last piece, and one that had come first.
    assert!(
        during <= 2 * READERS * syncs,
        "{during} reads during {syncs} SYNCs"
    );
}

/// How long something takes that is not waited for.
const SOON: Duration = Duration::from_secs(30);

/// Calls a function while another thread is in a call that waits for a page of its program.
fn while_missing(env: &Env, call: impl Fn(&Buffer, usize) + Sync, f: impl FnOnce(&Buffer)) {
    let alloc = Alloc {
        policy: Some(Policy::WriteBack),
        ..Alloc::new(4 * page() as u64, Kind::Streaming)
    };
    let buffer = make(env, &alloc);
    write_all(&buffer, fresh());
    let missing = MissingPage::new().expect("userfaultfd");
    let (done, is_done) = channel();
    thread::scope(|scope| {
        let (buffer, call, address) = (&buffer, &call, missing.address());
        scope.spawn(move || {
            call(buffer, address);
            done.send(()).expect("somebody waits for it");
        });
        missing.wait_for_touch();
        f(buffer);
        assert!(is_done.try_recv().is_err(), "it did not wait for the page");
        missing.give();
        is_done.recv_timeout(SOON).expect("it goes on");
    });
}

/// What others do to these bytes. Who is held off by it is killed by the test's time.
fn others(buffer: &Buffer) {
    sync(buffer, Phase::End);
    sync(buffer, Phase::Begin);
    let mut bytes = vec![0; buffer.size() as usize];
    assert_eq!(buffer.read_at(&mut bytes, 0), Ok(bytes.len()));
    assert_eq!(buffer.write_at(&bytes, 0), Ok(bytes.len()));
}

fn missing_read(env: &Env) {
    while_missing(env, read_into, others);
}

fn missing_write(env: &Env) {
    let call = |buffer: &Buffer, address: usize| {
        let from = std::ptr::with_exposed_provenance(address);
        assert_eq!(sys::pwrite(buffer, from, page(), 0), Ok(page()));
    };
    while_missing(env, call, others);
}

fn read_into(buffer: &Buffer, address: usize) {
    let to = std::ptr::with_exposed_provenance_mut(address);
    // SAFETY: nobody has a reference to the page.
    let got = unsafe { sys::pread(buffer, to, page(), 0) };
    assert_eq!(got, Ok(page()));
}

fn importer(env: &Env) {
    let display = open(DISPLAY);
    while_missing(env, read_into, |buffer| {
        let dma_buf = export_all(buffer);
        let import = display.import(&dma_buf).expect("FD_TO_HANDLE");
        drop(import);
    });
}

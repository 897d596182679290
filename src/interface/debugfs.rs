// SPDX-License-Identifier: GPL-2.0

//! What root can see of a buffer under /sys/kernel/debug/shmbuf/.

use super::private::Private;
use crate::{
    buffer::object::Buffer,
    memory::{
        limit,
        window::ViewPlace, //
    },
    rules::{
        decimal::Decimal,
        range::Range, //
    },
    sys::task,
};
use kernel::{
    bindings,
    debugfs::{
        Dir,
        Scope, //
    },
    fmt,
    page::PAGE_SIZE,
    prelude::*,
    str::BStr,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
};

/// The folder `name` in `parent`, with the files of `buffer`. It is gone when dropped.
pub(crate) fn folder<'a>(
    parent: &'a Dir,
    name: &'a CStr,
    buffer: Arc<Buffer>,
) -> impl PinInit<Scope<Arc<Buffer>>> + 'a {
    parent.scope(buffer, name, |buffer, dir| {
        dir.read_callback_file(c"buffer", buffer, &show_buffer);
        dir.read_callback_file(c"counters", buffer, &show_counters);
        dir.read_callback_file(c"pages", buffer, &show_pages);
    })
}

/// The folder `private` in `parent`: private buffers, all together. It is gone when dropped.
pub(crate) fn private_folder(
    parent: &Dir,
    private: Arc<Private>,
) -> impl PinInit<Scope<Arc<Private>>> + '_ {
    parent.scope(private, c"private", |private, dir| {
        dir.read_callback_file(c"memory", private, &show_private);
    })
}

fn show_private(private: &Arc<Private>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let limits = limit::limits();
    private.limit().with_counts(|counts| {
        f.write_fmt(fmt!("used: {}\n", counts.all()))?;
        f.write_fmt(fmt!("limit: {}\n", limits.all))?;
        f.write_fmt(fmt!("limit of a user: {}\n", limits.of_user()))?;
        for (user, used) in counts.users() {
            f.write_fmt(fmt!("user {user}: {used}\n"))?;
        }
        Ok(())
    })
}

fn show_buffer(buffer: &Arc<Buffer>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let snapshot = buffer.snapshot();
    let mut shown = Ok(());
    snapshot.each_line(|name, value| {
        shown = shown.and_then(|()| f.write_fmt(fmt!("{name}: {value}\n")));
        if name == "memory type" {
            let aliased = snapshot.is_aliased;
            shown = shown.and_then(|()| f.write_fmt(fmt!("aliased: {aliased}\n")));
        }
    });
    shown?;
    let storage = &snapshot.storage;
    f.write_fmt(fmt!("physical address: {:#x}\n", storage.phys(0)))?;
    if let Some((address, device)) = storage.dma() {
        let name = BStr::from_bytes(device.name());
        f.write_fmt(fmt!("dma address: {address:#x} for {name}\n"))?;
    }
    let size = snapshot.size;
    // As `%p` has it: hashed, unless the kernel was booted with no_hash_pointers.
    let shown = |address: usize| address as *const u8;
    match storage.view_place() {
        ViewPlace::Linear(address) => f.write_fmt(fmt!(
            "kernel view: linear {:p} length {size}\n",
            shown(address)
        )),
        ViewPlace::Dma(address) => f.write_fmt(fmt!(
            "kernel view: dma {:p} length {size}\n",
            shown(address)
        )),
        ViewPlace::Io(address) => {
            f.write_fmt(fmt!("kernel view: io {:p} length {size}\n", shown(address)))
        }
        ViewPlace::Vmap(address, range) => f.write_fmt(fmt!(
            "kernel view: vmap {:p} offset {} length {}\n",
            shown(address),
            range.start(),
            range.len()
        )),
        ViewPlace::None => f.write_fmt(fmt!("kernel view: none\n")),
    }
}

/// Where the memory lies: a line for each run of physically contiguous bytes, with its offset in
/// the buffer, its address and its length.
fn show_pages(buffer: &Arc<Buffer>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let storage = buffer.snapshot().storage;
    let mut run = None;
    for page in Range::whole(buffer.size()).pieces(PAGE_SIZE) {
        task::cond_resched();
        let phys = storage.phys(page.start());
        run = match run {
            Some((start, first, len)) if first + len as bindings::phys_addr_t == phys => {
                Some((start, first, len + page.len()))
            }
            before => {
                show_run(before, f)?;
                Some((page.start(), phys, page.len()))
            }
        };
    }
    show_run(run, f)
}

fn show_run(
    run: Option<(usize, bindings::phys_addr_t, usize)>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    match run {
        Some((start, first, len)) => f.write_fmt(fmt!(
            "offset {start:#x} physical {first:#x} length {len:#x}\n"
        )),
        None => Ok(()),
    }
}

fn show_counters(buffer: &Arc<Buffer>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let counters = buffer.counters();
    for (name, counter) in [
        ("maps", &counters.maps),
        ("syncs", &counters.syncs),
        ("policy changes", &counters.policy_changes),
        ("bytes read", &counters.bytes_read),
        ("bytes written", &counters.bytes_written),
        ("bytes copied", &counters.bytes_copied),
        ("refusals", &counters.refusals),
    ] {
        let count = Decimal(counter.load(Relaxed));
        f.write_fmt(fmt!("{name}: {count}\n"))?;
    }
    Ok(())
}

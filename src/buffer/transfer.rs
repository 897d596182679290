// SPDX-License-Identifier: GPL-2.0

//! read(2), write(2) and whatever else copies for the CPU.

use super::{
    locked::Locked,
    object::Buffer, //
};
use crate::{
    memory::storage::Storage,
    rules::{
        kind::Kind,
        range::Range,
        range_lock::Mode, //
    },
    sys::{
        cpu,
        task,
        transfer::{
            Settle,
            Transfer, //
        },
        user,
        wait_queue::Patience, //
    },
};
use kernel::{
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::Relaxed, //
};

/// How many bytes are copied at a time to or from a program. A window has a multiple of that.
const PIECE: usize = 64 << 10;

impl Buffer {
    /// Reads from `position` on into `iter`; short at the end, zero past it.
    ///
    /// # Errors
    ///
    /// - [`EAGAIN`] without patience, if somebody uses the first of it; of what comes later, the count
    ///   is short;
    /// - [`EBUSY`] if a device was lent the first of it; of what comes later, the count is short;
    /// - [`EFAULT`] if nothing could be copied to the program;
    /// - [`ERESTARTSYS`] if a signal came while waiting for who uses the first of it;
    /// - [`ENOMEM`], see [`Storage::with_view`].
    pub(crate) fn read(
        &self,
        position: u64,
        iter: &mut IovIterDest<'_>,
        patience: Patience,
    ) -> Result<usize> {
        let Some(range) = Range::clamped(position, iter.len(), self.size) else {
            return Ok(0);
        };
        let count = self.transfer(range, Mode::Shared, iter, Settle::Later, patience)?;
        self.counters.bytes_read.fetch_add(count as u64, Relaxed);
        Ok(count)
    }

    /// Writes `iter` from `position` on; short at the end. With [`Settle::Now`] what was written is in
    /// memory afterwards.
    ///
    /// # Errors
    ///
    /// [`ENOSPC`] at the end and past it, and those of [`Self::read`].
    pub(crate) fn write(
        &self,
        position: u64,
        iter: &mut IovIterSource<'_>,
        settle: Settle,
        patience: Patience,
    ) -> Result<usize> {
        if iter.is_empty() {
            return Ok(0);
        }
        let range = Range::clamped(position, iter.len(), self.size).ok_or(ENOSPC)?;
        let count = self.transfer(range, Mode::Exclusive, iter, settle, patience)?;
        self.counters.bytes_written.fetch_add(count as u64, Relaxed);
        Ok(count)
    }

    /// Copies between `range` and a program, and maintains both views: a piece at a time, so that
    /// nobody waits for more than that, and never for the program. Each piece waits for its turn.
    fn transfer(
        &self,
        range: Range,
        mode: Mode,
        iter: &mut impl Transfer,
        settle: Settle,
        patience: Patience,
    ) -> Result<usize> {
        if self.kind == Kind::Region {
            let storage = self.state.lock().storage.clone();
            if !storage.policy().is_cached() {
                return transfer_device(&storage, range, iter);
            }
        }
        let mut done = 0;
        let mut last: Option<Locked<&Self>> = None;
        let mut copy = |piece: Range| {
            let mut rest = Some(piece);
            let mut present = piece.len();
            while let Some(left) = rest {
                let part = left.first(present).ok_or(EFAULT)?;
                let again = last.as_ref().and_then(|it| Some((it, it.go_on(part)?)));
                let (locked, part) = match again {
                    Some(again) => again,
                    None => {
                        last = None;
                        let (locked, part) = Locked::first_of_cpus(self, part, mode, patience)?;
                        (&*last.insert(locked), part)
                    }
                };
                let count = self.copy_piece(locked.storage(), part, iter, settle)?;
                done += count;
                rest = left.after(count);
                present = piece.len();
                if count < part.len() {
                    last = None;
                    // The next is no more than is there: a copy that meets a missing page may stop
                    // before it.
                    present = iter.fault_in(rest.map_or(0, Range::len));
                    // And what is there may go away again and again before it is copied.
                    if count == 0 && task::is_signalled() {
                        return Err(ERESTARTSYS);
                    }
                }
            }
            Ok(())
        };
        let outcome = task::in_stretches(range, |stretch| {
            stretch.pieces(PIECE).try_for_each(&mut copy)
        });
        match outcome {
            Err(error) if done == 0 => Err(error),
            _ => Ok(done),
        }
    }

    /// Copies between `range`, which is locked, and `iter`, as far as that can be done without a page
    /// fault, and maintains both views.
    ///
    /// # Errors
    ///
    /// Those of [`Storage::with_view`].
    pub(crate) fn copy_locked(
        &self,
        storage: &Storage,
        range: Range,
        iter: &mut impl Transfer,
    ) -> Result<usize> {
        let mut done = 0;
        for piece in range.pieces(storage.window_size()) {
            let count = self.copy_piece(storage, piece, iter, Settle::Later)?;
            done += count;
            if count < piece.len() {
                break;
            }
        }
        Ok(done)
    }

    /// [`Self::copy_locked`] for a range inside one window, and what it leaves in the cache.
    fn copy_piece(
        &self,
        storage: &Storage,
        piece: Range,
        iter: &mut impl Transfer,
        settle: Settle,
    ) -> Result<usize> {
        let policy = storage.policy();
        if self.has_aliases(policy) {
            // It leaves nothing there.
            return self.copy_aliased(storage, piece, iter);
        }
        if policy.is_cached() && settle == Settle::Now {
            return copy_settled(storage, piece, iter);
        }
        if !policy.is_cached() {
            // What the program stored may be in the write buffer.
            cpu::drain_write_buffer();
        }
        let count = storage.with_view(piece, |view| user::without_faults(|| iter.copy(view)))?;
        if !policy.is_cached() {
            cpu::drain_write_buffer();
        }
        Ok(count)
    }

    /// [`Self::copy_locked`] where user mappings are other cache lines than the kernel's view.
    ///
    /// Each page is copied with no other program running, and when others run no line of the
    /// kernel's view is left. So two lines of one address never hold different bytes, and a store
    /// by another thread beside the copied bytes is not lost.
    // Most machines never come here, and what it keeps on the stack would be made ready for each copy.
    #[inline(never)]
    fn copy_aliased(
        &self,
        storage: &Storage,
        range: Range,
        iter: &mut impl Transfer,
    ) -> Result<usize> {
        each_page(range, |page| {
            storage.with_view(page, |view| {
                let mappings = self.address_space().lock();
                user::alone_without_faults(|| {
                    mappings.flush(page);
                    let count = iter.copy(view);
                    view.flush();
                    // The program's side of the copy may be a mapping of these bytes.
                    mappings.flush(page);
                    count
                })
            })
        })
    }
}

/// [`Buffer::copy_piece`] to memory. By pages, each of which is physically contiguous.
// As [`Buffer::copy_aliased`].
#[inline(never)]
fn copy_settled(storage: &Storage, range: Range, iter: &mut impl Transfer) -> Result<usize> {
    let done = each_page(range, |page| {
        storage.with_view(page, |view| {
            let count = user::without_faults(|| iter.copy(view));
            view.flush();
            count
        })
    });
    cpu::drain_write_buffer();
    done
}

/// Copies one page of `range` after the other, and returns how many bytes that were: of what was
/// copied, none is lost because of an error that comes later.
fn each_page(range: Range, mut copy: impl FnMut(Range) -> Result<usize>) -> Result<usize> {
    let mut done = 0;
    for page in range.pieces(PAGE_SIZE) {
        match copy(page) {
            Ok(count) if count == page.len() => done += count,
            Ok(count) => return Ok(done + count),
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// Copies between device memory that is not cached, which has no owner and no cache lines, and a program.
fn transfer_device(storage: &Storage, range: Range, iter: &mut impl Transfer) -> Result<usize> {
    cpu::drain_write_buffer();
    let count = storage.with_view(range, |view| iter.copy(view))?;
    cpu::drain_write_buffer();
    match count {
        0 => Err(EFAULT),
        count => Ok(count),
    }
}

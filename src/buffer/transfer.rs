// SPDX-License-Identifier: GPL-2.0

//! read(2), write(2) and whatever else copies for the CPU.

use super::object::Buffer;
use crate::{
    memory::storage::Storage,
    rules::range::Range,
    sys::{
        cpu,
        transfer::Transfer,
        user::{
            self,
            CurrentMappings, //
        },
    },
};
use core::ops::{
    ControlFlow,
    Deref, //
};
use kernel::{
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
};

impl Buffer {
    /// Reads from `position` on into `iter`; short at the end, zero past it.
    ///
    /// # Errors
    ///
    /// - [`EBUSY`] if the device owns the buffer;
    /// - [`EFAULT`] if nothing could be copied to the program;
    /// - [`ERESTARTSYS`] if a signal came while waiting for a SYNC;
    /// - [`ENOMEM`], see [`Storage::with_view`].
    pub(crate) fn read(&self, position: u64, iter: &mut IovIterDest<'_>) -> Result<usize> {
        let Some(range) = Range::clamped(position, iter.len(), self.size) else {
            return Ok(0);
        };
        let count = self.transfer(range, iter)?;
        self.counters.bytes_read.fetch_add(count as u64, Relaxed);
        Ok(count)
    }

    /// Writes `iter` from `position` on; short at the end.
    ///
    /// # Errors
    ///
    /// [`ENOSPC`] at the end and past it, and those of [`Self::read`].
    pub(crate) fn write(&self, position: u64, iter: &mut IovIterSource<'_>) -> Result<usize> {
        if iter.is_empty() {
            return Ok(0);
        }
        let range = Range::clamped(position, iter.len(), self.size).ok_or(ENOSPC)?;
        let count = self.transfer(range, iter)?;
        self.counters.bytes_written.fetch_add(count as u64, Relaxed);
        Ok(count)
    }

    /// Copies between `range` and a program, or the kernel, and maintains both views.
    pub(crate) fn transfer(&self, range: Range, iter: &mut impl Transfer) -> Result<usize> {
        let in_flight = InFlight::begin(self)?;
        let storage = in_flight.storage();
        let policy = storage.policy();

        if !policy.is_cached() {
            // What the program stored may be in the write buffer.
            cpu::drain_write_buffer();
        }
        let mut done = 0;
        let outcome = range.pieces(storage.window_size()).try_for_each(|piece| {
            let copied = if self.has_aliases(policy) {
                self.transfer_aliased(storage, piece, iter)
            } else {
                storage.with_view(piece, |view| iter.copy(view))
            };
            match copied {
                Ok(count) => {
                    done += count;
                    if count == piece.len() {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(EFAULT)
                    }
                }
                Err(error) => ControlFlow::Break(error),
            }
        });
        if !policy.is_cached() {
            cpu::drain_write_buffer();
        }
        match outcome {
            ControlFlow::Break(error) if done == 0 => Err(error),
            _ => Ok(done),
        }
    }

    /// [`Self::transfer`] where user mappings are other cache lines than the kernel's view.
    ///
    /// Each page is copied with no other program running, and when others run no line of the
    /// kernel's view is left. So two lines of one address never hold different bytes, and a store
    /// by another thread beside the copied bytes is not lost.
    fn transfer_aliased(
        &self,
        storage: &Storage,
        range: Range,
        iter: &mut impl Transfer,
    ) -> Result<usize> {
        let mut done = 0;
        for page in range.pieces(PAGE_SIZE) {
            let mut rest = Some(page);
            while let Some(piece) = rest {
                // No more than is there: a copy that meets a missing page may stop before it.
                let Some(piece) = piece.first(iter.fault_in(piece.len())) else {
                    return Ok(done);
                };
                let count = CurrentMappings::with(|mappings| {
                    let mappings = mappings.of(self, piece, self.size);
                    storage.with_view(piece, |view| {
                        user::without_faults(|| {
                            mappings.flush(piece);
                            let count = iter.copy(view);
                            view.flush();
                            // The program's side of the copy may be a mapping of these bytes.
                            mappings.flush(piece);
                            count
                        })
                    })
                })?;
                done += count;
                rest = page.after(piece.start() - page.start() + count);
                // The page may go away again and again before it is copied.
                if count == 0 && kernel::current!().signal_pending() {
                    return if done > 0 { Ok(done) } else { Err(ERESTARTSYS) };
                }
            }
        }
        Ok(done)
    }
}

/// A read, write or copy in flight, of a program or of who acts for it. The owner stays meanwhile.
pub(crate) struct InFlight<B: Deref<Target = Buffer>> {
    buffer: B,
    storage: Arc<Storage>,
}

impl<B: Deref<Target = Buffer>> InFlight<B> {
    /// Begins an access, after the SYNC that is running.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if a device owns the buffer, [`ERESTARTSYS`] if a signal came.
    pub(crate) fn begin(buffer: B) -> Result<Self> {
        let state = buffer.lock_when(|state| state.access.begin_transfer())?;
        let storage = state.storage.clone();
        drop(state);
        Ok(Self { buffer, storage })
    }

    /// The buffer that is accessed.
    pub(crate) fn buffer(&self) -> &B {
        &self.buffer
    }

    /// The memory of the buffer that is accessed.
    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Begins an access, for who must not wait.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if a device owns the buffer, or a SYNC is running.
    pub(super) fn begin_at_once(buffer: B) -> Result<Self> {
        let mut state = buffer.state.lock();
        state.access.begin_transfer().map_err(|_| EBUSY)?;
        let storage = state.storage.clone();
        drop(state);
        Ok(Self { buffer, storage })
    }
}

impl<B: Deref<Target = Buffer>> Drop for InFlight<B> {
    fn drop(&mut self) {
        self.buffer.state.lock().access.end_transfer();
        self.buffer.idle.notify_all();
    }
}

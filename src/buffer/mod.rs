// SPDX-License-Identifier: GPL-2.0

//! A buffer: one memory object, and the contract of its views. A file for each part
//! of the contract.
//!
//! # Locking
//!
//! In this order: the mmap lock of a process, the reservation lock of a dma-buf
//! (`dma_resv`), the buffer's `views`, its `state`, the lock of the kernel's
//! window (`crate::memory::pages`) and that of the address space (`i_mmap_rwsem`).
//! The lists of `fences` come last of all: nothing is taken or allocated under them.
//! Those of a copy (`crate::copy`) are the job's state, over all of these but the mmap and
//! reservation locks, and the engine's state, which is taken alone.
//!
//! `views` and `state` are never held while data is copied from or to a program: ranges
//! that are locked (`crate::rules::range_lock`) keep reads, writes, copies and SYNC apart
//! meanwhile. On VIVT caches `i_mmap_rwsem` is held while a page is copied, without page
//! faults. Cache maintenance does without the mmap lock. Whoever holds the mmap lock (mmap,
//! fork, munmap, a fault) never waits for a range. An importer does, with the reservation
//! lock held, to map: who has a range locked waits for no program, and only tries a
//! reservation lock, but for a DMA engine at most.

pub(crate) mod announce;
mod fences;
mod importers;
pub(crate) mod locked;
mod mapping;
pub(crate) mod object;
mod set_cache;
pub(crate) mod snapshot;
mod sync;
pub(crate) mod transfer;

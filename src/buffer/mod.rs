// SPDX-License-Identifier: GPL-2.0

//! A buffer: one memory object, and the contract of its views. A file for each part
//! of the contract.
//!
//! # Locking
//!
//! In this order: the mmap lock of a process, the reservation lock of a dma-buf
//! (`dma_resv`), the buffer's `devices`, its `state`, the lock of the kernel's
//! window (`crate::memory::pages`) and that of the address space (`i_mmap_rwsem`).
//!
//! `devices` and `state` are never held while data is copied from or to a
//! program, which may fault and so take the mmap lock, nor while the mmap lock is
//! taken for cache maintenance: a count of what is in flight
//! (`crate::rules::ownership::Access`) keeps reads, writes and SYNC apart meanwhile.
//! Whoever holds the mmap lock (mmap, fork, munmap, a fault) or a reservation lock
//! (an importer) never waits for that count.

mod importers;
pub(crate) mod limit;
pub(crate) mod locked;
mod mapping;
pub(crate) mod object;
mod set_cache;
pub(crate) mod snapshot;
mod sync;
pub(crate) mod transfer;

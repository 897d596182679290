// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the caches of an ARM core could hold, and each access whose result a
//! real core could not guarantee.
//!
//! The model sees one order of events, that in which the emulator ran them. In
//! it every load returns the newest value. Per byte it keeps where that newest
//! value certainly is: in memory, in the outer cache, in a copy of the inner
//! cache. Caches are adversaries: a dirty line may be written back at any
//! moment or never, and a clean line may go at any moment; where the core
//! speculates, a clean line may also come at any moment while a cacheable
//! mapping of it is live. An access is a hazard when some choice of theirs
//! gives it another value than the emulator did.
//!
//! How it is done, from one byte to all of memory:
//!
//! | file | part |
//! |---|---|
//! | `cores.rs` | the cores, and all in which they differ |
//! | `events.rs` | what the model is told |
//! | `hazards.rs` | what it finds: the list of hazards |
//! | `cache_contents.rs` | what the caches can make of one byte: a small nondeterministic automaton |
//! | `byte_states.rs` | the same made deterministic as needed: a state is the set of all that can be with a byte, for the emulated core and for all cores of its architecture together |
//! | `line.rs`, `line_bytes.rs`, `packed_line.rs` | the states of the bytes of a line |
//! | `line_storage.rs`, `line_records.rs`, `caches.rs` | those of all lines, and how one is brought up to date |
//! | `loads_stores.rs`, `instruction_cache.rs`, `maintenance.rs`, `device_accesses.rs` | what steps the bytes that it concerns, and who is judged by the worst that is possible |
//! | `judgement.rs`, `reasons.rs` | from there to a finding, and what it says |
//! | `live_translations.rs`, `speculative_fills.rs` | what may come by itself |
//! | `unknown_history.rs` | what was there before somebody looked |
//! | `store_buffers.rs` | which stores may not be in memory yet, and in which order they arrive there |
//! | `vivt_lines.rs` | lines by virtual address |
//! | `dma_ownership.rs` | who owns what |
//! | `whole_cache_log.rs` | operations on all lines, done late |
//! | `fast_path.rs` | what changes nothing |
//! | `model.rs` | all of this, for short lines and for long ones |
//!
//! tests/reference has real caches with real values, and all choices of the
//! adversary one by one. Random sequences of events show that the model finds
//! what that finds, no more and no less, with these exceptions:
//!
//! - A line that is dirty in the inner cache counts as one that may be dirty in
//!   the outer cache too, with the bytes of before. That makes a difference only
//!   where one level is maintained and the other is not.
//! - Where a store that misses does not allocate (ARM926EJ-S), a byte that was
//!   stored before its line came counts as dirty once another byte of the line
//!   is. The report may then say "this core" where only some core would show it.
//! - Whole-cache operations are one event: no line comes in the midst of them.
//! - Whatever was reported as the line of an earlier mapping of a virtual
//!   address counts as gone after that.
//! - Of one line, four inner copies are followed, and [`Model::forgotten`] says
//!   whether there was room for all that was rare.
//! - The last writer is that of the last store to any byte of the line in the
//!   same state.
//!
//! Not modelled: write buffers but for stores that are not cached or go through
//! (cache maintenance and stores that miss count as done at once); loads in another
//! order; instruction caches by virtual address; table walks; more than one CPU.
//!
//! There is no QEMU in here. All addresses are the guest's.

pub mod cores;
pub mod events;
pub mod hazards;

mod byte_states;
mod cache_contents;
mod caches;
mod device_accesses;
mod dma_ownership;
mod fast_path;
mod instruction_cache;
mod judgement;
mod line;
mod line_bytes;
mod line_records;
mod line_storage;
mod live_translations;
mod loads_stores;
mod maintenance;
mod model;
mod packed_line;
mod reasons;
mod small_key_hash;
mod speculative_fills;
mod store_buffers;
mod unknown_history;
mod vivt_lines;
mod whole_cache_log;

pub use model::Model;

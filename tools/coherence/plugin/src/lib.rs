// SPDX-License-Identifier: MIT OR Apache-2.0
//! A QEMU TCG plugin that tells a model of caches what an emulated ARM board
//! does, and reports each access whose result a real core could not guarantee.
//! Or, with `count=`, one that counts what the board does between two marks.
//!
//! | file | part |
//! |---|---|
//! | `qemu.rs` | QEMU's plugin API; the only `unsafe` |
//! | `arguments.rs` | the plugin's arguments |
//! | `checker.rs` | the state, and what happens at each of QEMU's callbacks: `loads_stores.rs`, `live_translations.rs` (the TLB), `translated_blocks.rs` (what QEMU translates, and fetches), `system_instructions.rs`, `linux_calls.rs` (the kernel's functions), `tracking.rs` (when all that begins) |
//! | `counter.rs` | the other purpose: what is counted |
//! | `cache_type.rs` | which caches the machine's core has |
//! | `vcpu.rs` | the vCPU's registers, and memory at its addresses |
//! | `mmu.rs` | addresses and memory types, by the guest's tables |
//! | `hints.rs` | hints, as hint.h defines them |
//! | `instruction_decoder.rs`, `cp15.rs` | maintenance and barriers |
//! | `linux_functions.rs`, `module_layout.rs` | Linux's DMA functions, modules and tasks |
//! | `watched_devices.rs` | devices and the outer cache, by their registers |
//! | `code_sites.rs`, `symbols.rs`, `source_lines.rs`, `report.rs` | what is told of whose code |

mod arguments;
mod cache_type;
mod checker;
mod code_sites;
mod counter;
mod cp15;
mod hints;
mod instruction_decoder;
mod linux_functions;
mod mmu;
mod module_layout;
mod qemu;
mod report;
mod source_lines;
mod symbols;
mod vcpu;
mod watched_devices;

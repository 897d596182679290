// SPDX-License-Identifier: MIT OR Apache-2.0
//! A QEMU TCG plugin that tells a model of caches what an emulated ARM board
//! does, and reports each access whose result a real core could not guarantee.
//! Or, with `count=`, one that counts what the board does between two marks.
//!
//! | file | part |
//! |---|---|
//! | `qemu.rs` | QEMU's plugin API; the only `unsafe` |
//! | `arguments.rs` | the plugin's arguments |
//! | `checker.rs` | the state, and what happens at each of QEMU's callbacks: `access.rs` (loads and stores), `translations.rs` (the TLB), `fetch.rs`, `system.rs` (system instructions and hints), `hooks.rs` (the kernel's functions) |
//! | `counter.rs` | the other purpose: what is counted |
//! | `view.rs` | the vCPU's registers, and memory at its addresses |
//! | `mmu.rs` | addresses and memory types, by the guest's tables |
//! | `instruction.rs`, `cp15.rs` | maintenance and barriers |
//! | `kernel.rs` | Linux's DMA functions, modules and tasks |
//! | `devices.rs` | devices and the outer cache, by their registers |
//! | `sites.rs`, `symbols.rs`, `report.rs` | what is told of whose code |

mod arguments;
mod checker;
mod counter;
mod cp15;
mod devices;
mod instruction;
mod kernel;
mod mmu;
mod qemu;
mod report;
mod sites;
mod symbols;
mod view;

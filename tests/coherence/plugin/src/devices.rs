// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices whose registers are watched, to know which memory they read and
//! write, and the outer cache's controller.
//!
//! QEMU calls the plugin after a store, so what the store set off has happened
//! by then: QEMU's DMA controllers run a whole transfer within it.

mod pl080;
mod pl110;
mod pl310;
mod pl330;

use coherence_model::api::{Device, Maintenance};

use pl080::Pl080;
use pl110::Pl110;
use pl310::Pl310;
use pl330::Pl330;

/// Bytes of registers that each of them has.
const REGISTERS: u32 = 0x1000;

/// What a store to a register led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A device read or wrote memory.
    Device(Device),
    /// The outer cache was maintained.
    Maintenance(Maintenance),
}

/// Where the board has them: physical addresses of the registers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The outer cache's controller.
    pub pl310: Option<u32>,
    /// A DMA controller.
    pub pl080: Option<u32>,
    /// A DMA controller that runs programs.
    pub pl330: Option<u32>,
    /// A display controller, PL111 or Versatile's PL110, which has the control
    /// register where the PL111 has it.
    pub pl110: Option<u32>,
}

/// All of a board's.
pub struct Devices {
    pl310: Option<(u32, Pl310)>,
    pl080: Option<(u32, Pl080)>,
    pl330: Option<(u32, Pl330)>,
    pl110: Option<(u32, Pl110)>,
}

impl Devices {
    /// As after reset.
    pub fn new(addresses: Addresses) -> Self {
        Self {
            pl310: addresses.pl310.map(|base| (base, Pl310::default())),
            pl080: addresses.pl080.map(|base| (base, Pl080::default())),
            pl330: addresses.pl330.map(|base| (base, Pl330::default())),
            pl110: addresses.pl110.map(|base| (base, Pl110::default())),
        }
    }

    /// A store of a word to a device's register. `read` gives words of physical
    /// memory.
    pub fn store(
        &mut self,
        pa: u32,
        value: u32,
        mut read: impl FnMut(u32) -> Option<u32>,
        emit: &mut impl FnMut(Event),
    ) {
        let within = |base: u32| pa.checked_sub(base).filter(|offset| *offset < REGISTERS);
        if let Some((base, pl310)) = &mut self.pl310 {
            if let Some(offset) = within(*base) {
                pl310.store(offset, value, emit);
            }
        }
        if let Some((base, pl080)) = &mut self.pl080 {
            if let Some(offset) = within(*base) {
                pl080.store(offset, value, &mut read, emit);
            }
        }
        if let Some((base, pl330)) = &mut self.pl330 {
            if let Some(offset) = within(*base) {
                pl330.store(offset, value, &mut read, emit);
            }
        }
        if let Some((base, pl110)) = &mut self.pl110 {
            if let Some(offset) = within(*base) {
                pl110.store(offset, value, emit);
            }
        }
    }

    /// Whether there is an outer cache, but it is off.
    pub fn outer_is_off(&self) -> bool {
        self.pl310
            .as_ref()
            .is_some_and(|(_, pl310)| !pl310.enabled())
    }

    /// What displays read, over and over, all the time.
    pub fn scan_out(&self) -> Option<Device> {
        self.pl110.as_ref().and_then(|(_, pl110)| pl110.scan_out())
    }
}

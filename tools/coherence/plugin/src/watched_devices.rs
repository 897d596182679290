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

use coherence_model::events::{Device, Maintenance};

use pl080::Pl080;
use pl110::Pl110;
use pl310::Pl310;
use pl330::Pl330;

/// Bytes of registers that each device has.
const REGISTERS: u32 = 0x1000;

/// What a store to a register led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceEvent {
    /// A device read or wrote memory.
    Device(Device),
    /// The outer cache was maintained.
    Maintenance(Maintenance),
}

/// Devices that are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// A DMA controller.
    Pl080,
    /// A DMA controller that runs programs.
    Pl330,
    /// A display controller, PL111 or Versatile's PL110, which has the control
    /// register where the PL111 has it.
    Pl110,
}

impl DeviceKind {
    /// The device that the plugin's argument of this name is for.
    pub fn named(argument: &str) -> Option<Self> {
        Some(match argument {
            "pl080" => Self::Pl080,
            "pl330" => Self::Pl330,
            "pl110" => Self::Pl110,
            _ => return None,
        })
    }
}

/// Where the board has devices: physical addresses of their registers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The outer cache's controller.
    pub pl310: Option<u32>,
    /// Devices other than the outer cache's controller.
    pub devices: Vec<(DeviceKind, u32)>,
}

/// A device that is watched, with its registers.
enum Watched {
    Pl080(Pl080),
    Pl330(Pl330),
    Pl110(Pl110),
}

/// All devices of a board, with their addresses.
pub struct Devices {
    pl310: Option<(u32, Pl310)>,
    devices: Vec<(u32, Watched)>,
}

impl Devices {
    /// All of a board's devices, as after reset.
    pub fn new(addresses: &Addresses) -> Self {
        let watch = |&(kind, base)| {
            let device = match kind {
                DeviceKind::Pl080 => Watched::Pl080(Pl080::default()),
                DeviceKind::Pl330 => Watched::Pl330(Pl330::default()),
                DeviceKind::Pl110 => Watched::Pl110(Pl110::default()),
            };
            (base, device)
        };
        Self {
            pl310: addresses.pl310.map(|base| (base, Pl310::default())),
            devices: addresses.devices.iter().map(watch).collect(),
        }
    }

    /// A store of a word to a device's register. `read` gives words of physical
    /// memory.
    pub fn store(
        &mut self,
        pa: u32,
        value: u32,
        mut read: impl FnMut(u32) -> Option<u32>,
        emit: &mut impl FnMut(DeviceEvent),
    ) {
        let within = |base: u32| pa.checked_sub(base).filter(|offset| *offset < REGISTERS);
        if let Some((base, pl310)) = &mut self.pl310 {
            if let Some(offset) = within(*base) {
                pl310.store(offset, value, emit);
            }
        }
        for (base, device) in &mut self.devices {
            let Some(offset) = within(*base) else {
                continue;
            };
            match device {
                Watched::Pl080(it) => it.store(offset, value, &mut read, emit),
                Watched::Pl330(it) => it.store(offset, value, &mut read, emit),
                Watched::Pl110(it) => it.store(offset, value, emit),
            }
        }
    }

    /// Takes the registers as they are, where nobody saw the stores. `read` gives
    /// words of physical memory, and of registers.
    pub fn read_registers(
        &mut self,
        mut read: impl FnMut(u32) -> Option<u32>,
        emit: &mut impl FnMut(DeviceEvent),
    ) {
        let pl310 = self.pl310.iter().map(|(base, _)| (*base, pl310::LASTING));
        let others = self.devices.iter().map(|(base, device)| {
            let registers = match device {
                Watched::Pl080(_) => pl080::LASTING,
                Watched::Pl110(_) => pl110::LASTING,
                Watched::Pl330(_) => &[],
            };
            (*base, registers)
        });
        let addresses: Vec<u32> = pl310
            .chain(others)
            .flat_map(|(base, registers)| registers.iter().map(move |offset| base + offset))
            .collect();
        for pa in addresses {
            if let Some(value) = read(pa) {
                self.store(pa, value, &mut read, emit);
            }
        }
    }

    /// What displays read, over and over, all the time.
    pub fn scan_out(&self) -> Vec<Device> {
        let display = |(_, device): &(u32, Watched)| match device {
            Watched::Pl110(it) => it.scan_out(),
            _ => None,
        };
        self.devices.iter().filter_map(display).collect()
    }
}

#[cfg(test)]
mod tests {
    use coherence_model::events::PhysicalRange;

    use super::*;

    #[test]
    fn registers_that_were_written_before() {
        const PL310: u32 = 0x1e00_a000;
        const DISPLAY: u32 = 0x1002_0000;
        let mut devices = Devices::new(&Addresses {
            pl310: Some(PL310),
            devices: vec![(DeviceKind::Pl330, 0x1000), (DeviceKind::Pl110, DISPLAY)],
        });
        let registers = [
            (PL310 + 0x100, 1),
            (DISPLAY, 49 << 2),
            (DISPLAY + 0x04, 599),
            (DISPLAY + 0x10, 0x6000_0000),
            (DISPLAY + 0x18, (6 << 1) | 1 | (1 << 11)),
        ];
        let read = |pa| {
            let found = registers.iter().find(|(at, _)| *at == pa);
            Some(found.map_or(0, |(_, value)| *value))
        };
        let mut events = Vec::new();
        devices.read_registers(read, &mut |event| events.push(event));
        let reads = Device::Reads(PhysicalRange {
            pa: 0x6000_0000,
            len: 800 * 600 * 2,
        });
        assert_eq!(
            events,
            [
                DeviceEvent::Maintenance(Maintenance::OuterSwitch(true)),
                DeviceEvent::Device(reads),
            ]
        );
        assert_eq!(devices.scan_out(), [reads]);
    }
}

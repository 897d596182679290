// SPDX-License-Identifier: MIT OR Apache-2.0
//! The PL080 DMA controller (DDI 0196G, chapter 3): transfers from memory to
//! memory, with linked lists.

use coherence_model::events::{Device, PhysicalRange};

use super::DeviceEvent;

/// Registers that are not written again for each transfer: the configuration.
pub const LASTING: &[u32] = &[0x30];

const CHANNELS: usize = 8;
/// An item of a linked list: source, destination, next item, control.
const ITEM_BYTES: u32 = 16;
/// A list that is longer ends nowhere.
const MOST_ITEMS: usize = 1 << 16;

/// A channel's registers, and an item of its list.
#[derive(Debug, Clone, Copy, Default)]
struct Channel {
    source: u32,
    destination: u32,
    next: u32,
    control: u32,
    configuration: u32,
}

impl Channel {
    /// Enabled, not halted, from memory to memory.
    fn runs(&self) -> bool {
        self.configuration & ((1 << 18) | (7 << 11) | 1) == 1
    }

    /// What it reads and writes before it goes on to the next item.
    fn ranges(&self) -> (PhysicalRange, PhysicalRange) {
        let count = self.control & 0xfff;
        let source_width = 1 << ((self.control >> 18) & 7);
        let destination_width = 1 << ((self.control >> 21) & 7);
        let bytes = count * source_width;
        let reads = if self.control & (1 << 26) != 0 {
            bytes
        } else {
            bytes.min(source_width)
        };
        let writes = if self.control & (1 << 27) != 0 {
            bytes
        } else {
            bytes.min(destination_width)
        };
        (
            PhysicalRange {
                pa: self.source,
                len: reads,
            },
            PhysicalRange {
                pa: self.destination,
                len: writes,
            },
        )
    }
}

/// A PL080's registers, as far as they matter.
#[derive(Default)]
pub struct Pl080 {
    enabled: bool,
    channels: [Channel; CHANNELS],
}

impl Pl080 {
    /// A store to a register.
    pub fn store(
        &mut self,
        offset: u32,
        value: u32,
        mut read: impl FnMut(u32) -> Option<u32>,
        emit: &mut impl FnMut(DeviceEvent),
    ) {
        match offset {
            0x30 => self.enabled = value & 1 != 0,
            0x100..0x200 => {
                let channel = &mut self.channels[((offset >> 5) & 7) as usize];
                match offset & 0x1f {
                    0x00 => channel.source = value,
                    0x04 => channel.destination = value,
                    0x08 => channel.next = value,
                    0x0c => channel.control = value,
                    0x10 => channel.configuration = value,
                    _ => return,
                }
                // A channel's other registers do not start it.
                if offset & 0x1f != 0x10 {
                    return;
                }
            }
            _ => return,
        }
        if self.enabled {
            for channel in self.channels.iter_mut().filter(|channel| channel.runs()) {
                run(channel, &mut read, emit);
            }
        }
    }
}

/// All of a transfer, after which the channel is no longer enabled.
fn run(
    channel: &mut Channel,
    read: &mut impl FnMut(u32) -> Option<u32>,
    emit: &mut impl FnMut(DeviceEvent),
) {
    for _ in 0..MOST_ITEMS {
        let (reads, writes) = channel.ranges();
        emit(DeviceEvent::Device(Device::Reads(reads)));
        emit(DeviceEvent::Device(Device::Writes(writes)));
        // The lowest bits choose the bus.
        let item = channel.next & !3;
        if item == 0 {
            break;
        }
        emit(DeviceEvent::Device(Device::Reads(PhysicalRange {
            pa: item,
            len: ITEM_BYTES,
        })));
        let words = [0, 4, 8, 12].map(|offset| read(item + offset));
        let [Some(source), Some(destination), Some(next), Some(control)] = words else {
            break;
        };
        *channel = Channel {
            source,
            destination,
            next,
            control,
            ..*channel
        };
    }
    channel.configuration &= !1;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words to words, both addresses count up.
    const CONTROL: u32 = (2 << 18) | (2 << 21) | (1 << 26) | (1 << 27);

    fn stores(pl080: &mut Pl080, memory: &[(u32, u32)], stores: &[(u32, u32)]) -> Vec<Device> {
        let mut found = Vec::new();
        for (offset, value) in stores {
            let read = |pa| {
                memory
                    .iter()
                    .find(|(at, _)| *at == pa)
                    .map(|(_, word)| *word)
            };
            pl080.store(*offset, *value, read, &mut |event| match event {
                DeviceEvent::Device(what) => found.push(what),
                DeviceEvent::Maintenance(_) => panic!("it is no cache"),
            });
        }
        found
    }

    fn reads(pa: u32, len: u32) -> Device {
        Device::Reads(PhysicalRange { pa, len })
    }

    fn writes(pa: u32, len: u32) -> Device {
        Device::Writes(PhysicalRange { pa, len })
    }

    #[test]
    fn one_transfer() {
        let mut pl080 = Pl080::default();
        let set_up = [
            (0x120, 0x1000),
            (0x124, 0x2000),
            (0x128, 0),
            (0x12c, CONTROL | 16),
        ];
        assert_eq!(stores(&mut pl080, &[], &set_up), []);
        assert_eq!(
            stores(&mut pl080, &[], &[(0x130, 1)]),
            [],
            "the controller is off"
        );
        let both = [reads(0x1000, 64), writes(0x2000, 64)];
        assert_eq!(stores(&mut pl080, &[], &[(0x30, 1)]), both);
        assert_eq!(stores(&mut pl080, &[], &[(0x30, 1)]), [], "it has ended");
        assert_eq!(
            stores(&mut pl080, &[], &[(0x130, (1 << 18) | 1)]),
            [],
            "halted"
        );
        assert_eq!(
            stores(&mut pl080, &[], &[(0x130, (1 << 11) | 1)]),
            [],
            "to a peripheral"
        );
    }

    #[test]
    fn a_linked_list() {
        let mut pl080 = Pl080::default();
        // Bytes to one word; the lowest bit of the list's address is no address.
        let second = (2 << 21) | (1 << 26);
        let memory = [
            (0x8000, 0x3000),
            (0x8004, 0x4000),
            (0x8008, 0),
            (0x800c, second | 8),
        ];
        let begin = [
            (0x30, 1),
            (0x100, 0x1000),
            (0x104, 0x2000),
            (0x108, 0x8001),
            (0x10c, CONTROL | 4),
            (0x110, 1),
        ];
        assert_eq!(
            stores(&mut pl080, &memory, &begin),
            [
                reads(0x1000, 16),
                writes(0x2000, 16),
                reads(0x8000, 16),
                reads(0x3000, 8),
                writes(0x4000, 4),
            ]
        );
    }

    #[test]
    fn a_list_that_ends_nowhere_ends() {
        let mut pl080 = Pl080::default();
        let circle = [
            (0x8000, 0x3000),
            (0x8004, 0x4000),
            (0x8008, 0x8000),
            (0x800c, CONTROL | 1),
        ];
        let begin = [(0x30, 1), (0x108, 0x8000), (0x10c, CONTROL | 1), (0x110, 1)];
        assert_eq!(stores(&mut pl080, &circle, &begin).len(), 3 * MOST_ITEMS);
        // One that leads out of memory.
        let begin = [(0x108, 0x9000), (0x10c, CONTROL | 1), (0x110, 1)];
        assert_eq!(
            stores(&mut pl080, &circle, &begin).last(),
            Some(&reads(0x9000, 16))
        );
    }
}

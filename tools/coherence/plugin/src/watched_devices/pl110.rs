// SPDX-License-Identifier: MIT OR Apache-2.0
//! The PL111 display controller (DDI 0293C, chapter 3), and Versatile's PL110,
//! which is the same as far as it matters here.
//!
//! It reads the frame buffer all the time. That is looked at when a store to a
//! register changes what it reads, and now and then when the CPU has drained
//! its stores: a store that is on its way to the screen is no fault, but a
//! line that stays in the cache is.

use coherence_model::events::{Device, PhysicalRange};

use super::DeviceEvent;

/// Registers that are not written again for each picture: all that matter.
pub const LASTING: &[u32] = &[0x00, 0x04, 0x10, 0x18];

/// Enabled and powered.
const ON: u32 = (1 << 0) | (1 << 11);

/// A PL110's or PL111's registers, as far as they matter.
#[derive(Default)]
pub struct Pl110 {
    timing0: u32,
    timing1: u32,
    base: u32,
    control: u32,
}

impl Pl110 {
    /// A store to a register.
    pub fn store(&mut self, offset: u32, value: u32, emit: &mut impl FnMut(DeviceEvent)) {
        let register = match offset {
            0x00 => &mut self.timing0,
            0x04 => &mut self.timing1,
            0x10 => &mut self.base,
            0x18 => &mut self.control,
            _ => return,
        };
        *register = value;
        if let Some(reads) = self.scan_out() {
            emit(DeviceEvent::Device(reads));
        }
    }

    /// What the display reads for each picture, when it is on.
    pub fn scan_out(&self) -> Option<Device> {
        let columns = 16 * (((self.timing0 >> 2) & 0x3f) + 1);
        let rows = (self.timing1 & 0x3ff) + 1;
        let bits = match (self.control >> 1) & 7 {
            bpp @ 0..=5 => 1 << bpp,
            _ => 16,
        };
        let len = columns * rows / 8 * bits;
        (self.control & ON == ON).then_some(Device::Reads(PhysicalRange {
            pa: self.base & !7,
            len,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scan_out() {
        let mut pl110 = Pl110::default();
        let mut events = Vec::new();
        // 800x600, 16 bits (5:6:5), then enabled, then powered.
        for (offset, value) in [
            (0x00, 49 << 2),
            (0x04, 599),
            (0x10, 0x6000_0000),
            (0x18, (6 << 1) | 1),
            (0x18, (6 << 1) | 1 | (1 << 11)),
        ] {
            assert_eq!(events, []);
            pl110.store(offset, value, &mut |event| events.push(event));
        }
        let reads = Device::Reads(PhysicalRange {
            pa: 0x6000_0000,
            len: 800 * 600 * 2,
        });
        assert_eq!(events, [DeviceEvent::Device(reads)]);
        assert_eq!(pl110.scan_out(), Some(reads));
        // A page flip.
        pl110.store(0x10, 0x6010_0000, &mut |event| events.push(event));
        assert_eq!(events.len(), 2);
        // 32 bits, 8 bits.
        pl110.store(0x18, ON | (5 << 1), &mut |_| ());
        assert_eq!(
            pl110.scan_out(),
            Some(Device::Reads(PhysicalRange {
                pa: 0x6010_0000,
                len: 1_920_000
            }))
        );
        pl110.store(0x18, ON | (3 << 1), &mut |_| ());
        assert_eq!(
            pl110.scan_out(),
            Some(Device::Reads(PhysicalRange {
                pa: 0x6010_0000,
                len: 480_000
            }))
        );
        pl110.store(0x18, 0, &mut |_| ());
        assert_eq!(pl110.scan_out(), None);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The PL310 outer cache's controller (DDI 0246H, chapter 3).

use coherence_model::events::{Maintenance, Operation};

use super::DeviceEvent;

/// Its lowest eight bits are the ways of an operation on ways; a PL310 has
/// eight or sixteen.
const AUXILIARY_SIXTEEN_WAYS: u32 = 1 << 16;

/// Registers that are not written again for each operation, in the order in
/// which to take them: the auxiliary control and the control register.
pub const LASTING: &[u32] = &[0x104, 0x100];

/// A PL310's registers, as far as they matter. It is off after reset.
#[derive(Default)]
pub struct Pl310 {
    enabled: bool,
    auxiliary: u32,
}

impl Pl310 {
    /// A store to a register.
    pub fn store(&mut self, offset: u32, value: u32, emit: &mut impl FnMut(DeviceEvent)) {
        let what = match offset {
            0x100 => {
                let before = std::mem::replace(&mut self.enabled, value & 1 != 0);
                if before == self.enabled {
                    return;
                }
                Maintenance::OuterSwitch(self.enabled)
            }
            0x104 => {
                self.auxiliary = value;
                return;
            }
            // What is done to a cache that is off finds nothing.
            _ if !self.enabled => return,
            0x730 => Maintenance::OuterSync,
            0x770 => Maintenance::Outer(Operation::Invalidate, value),
            0x7b0 => Maintenance::Outer(Operation::Clean, value),
            0x7f0 => Maintenance::Outer(Operation::CleanInvalidate, value),
            0x77c if self.all_ways(value) => Maintenance::OuterAll(Operation::Invalidate),
            0x7bc if self.all_ways(value) => Maintenance::OuterAll(Operation::Clean),
            0x7fc if self.all_ways(value) => Maintenance::OuterAll(Operation::CleanInvalidate),
            // By index and way: one line, nobody knows whose.
            _ => return,
        };
        emit(DeviceEvent::Maintenance(what));
    }

    fn all_ways(&self, ways: u32) -> bool {
        let all = if self.auxiliary & AUXILIARY_SIXTEEN_WAYS != 0 {
            0xffff
        } else {
            0xff
        };
        ways & all == all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stores(pl310: &mut Pl310, stores: &[(u32, u32)]) -> Vec<Maintenance> {
        let mut found = Vec::new();
        for (offset, value) in stores {
            pl310.store(*offset, *value, &mut |event| match event {
                DeviceEvent::Maintenance(what) => found.push(what),
                DeviceEvent::Device(_) => panic!("it is no device"),
            });
        }
        found
    }

    #[test]
    fn on_and_off() {
        let mut pl310 = Pl310::default();
        let switch = Maintenance::OuterSwitch;
        // Linux invalidates it before it turns it on.
        assert_eq!(
            stores(&mut pl310, &[(0x77c, 0xff), (0x730, 0), (0x100, 1)]),
            [switch(true)]
        );
        assert_eq!(stores(&mut pl310, &[(0x100, 1)]), []);
        assert_eq!(stores(&mut pl310, &[(0x100, 0)]), [switch(false)]);
    }

    #[test]
    fn maintenance() {
        let mut pl310 = Pl310::default();
        stores(&mut pl310, &[(0x100, 1)]);
        let lines = [
            (0x770, 0x6000_0020),
            (0x7b0, 0x40),
            (0x7f0, 0x60),
            (0x730, 0),
        ];
        assert_eq!(
            stores(&mut pl310, &lines),
            [
                Maintenance::Outer(Operation::Invalidate, 0x6000_0020),
                Maintenance::Outer(Operation::Clean, 0x40),
                Maintenance::Outer(Operation::CleanInvalidate, 0x60),
                Maintenance::OuterSync,
            ]
        );
        // All ways, some ways, a line by its index.
        assert_eq!(
            stores(&mut pl310, &[(0x7fc, 0xff), (0x7fc, 0x7f), (0x7f8, 0)]),
            [Maintenance::OuterAll(Operation::CleanInvalidate)]
        );
        assert_eq!(stores(&mut pl310, &[(0x104, 1 << 16), (0x7bc, 0xff)]), []);
    }
}

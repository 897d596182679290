// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cache type register: which data cache the machine's core says that it has
//! (ARM926EJ-S: DDI 0198E, 2.3.2; ARMv7-A: DDI 0406C, B4.1.42).

use coherence_model::cores::{Architecture, Emulation, LINE};

/// Makes sure that the machine has the core that was asked for, by the value of
/// the register. Errors: a sentence for the user.
pub fn check(emulation: &Emulation, value: u32) -> Result<(), String> {
    let argument = emulation.argument;
    if architecture(value) != Some(emulation.architecture) {
        return Err(format!(
            "core={argument} is not what the machine has, which is a core of another architecture."
        ));
    }
    let line = line_bytes(value);
    if line != LINE {
        return Err(format!(
            "core={argument} has lines of {LINE} bytes, and the machine's core has lines of {line}: the checker does not follow that core."
        ));
    }
    Ok(())
}

/// The architecture, by the register's format.
fn architecture(value: u32) -> Option<Architecture> {
    match value >> 29 {
        0b000 => Some(Architecture::V5),
        0b100 => Some(Architecture::V7),
        _ => None,
    }
}

/// Bytes of a line: of the data cache, or the shortest of all data caches.
fn line_bytes(value: u32) -> u32 {
    match architecture(value) {
        Some(Architecture::V7) => 4 << ((value >> 16) & 0xf),
        _ => 8 << ((value >> 12) & 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coherence_model::cores::{emulated, Core};

    /// As QEMU's cores have it.
    const ARM926: u32 = 0x01dd_20d2;
    const TI925T: u32 = 0x0510_9149;
    const CORTEX_A7: u32 = 0x8444_8003;
    const CORTEX_A8: u32 = 0x8204_8004;
    const CORTEX_A9: u32 = 0x8003_8003;
    const CORTEX_A15: u32 = 0x8444_c004;

    fn refused(core: Core, value: u32) -> String {
        check(&core.emulation.unwrap(), value).unwrap_err()
    }

    #[test]
    fn each_core_that_there_is_a_model_of() {
        for (core, emulation) in emulated() {
            let value = match emulation.architecture {
                Architecture::V5 => ARM926,
                Architecture::V7 => CORTEX_A9,
            };
            assert_eq!(check(&emulation, value), Ok(()), "{}", core.name);
        }
    }

    #[test]
    fn longer_lines() {
        for value in [CORTEX_A7, CORTEX_A8, CORTEX_A15] {
            let reason = refused(Core::CORTEX_A9, value);
            assert!(reason.contains("lines of 64"), "{reason}");
        }
    }

    #[test]
    fn another_core() {
        assert!(refused(Core::ARM926, CORTEX_A9).contains("another architecture"));
        assert!(refused(Core::CORTEX_A9, ARM926).contains("another architecture"));
        assert!(refused(Core::ARM926, TI925T).contains("lines of 16"));
    }
}

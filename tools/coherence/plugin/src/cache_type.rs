// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the machine's core says that it is: the main ID register, the cache type register, and
//! the cache size ID registers, which QEMU shows to the guest only (ARM926EJ-S: DDI 0198E, 2.3;
//! ARMv7-A: DDI 0406C, B4.1.19, B4.1.42 and B4.1.105).

use coherence_model::cores::{Architecture, Core, Emulation, Geometry, Outer};

/// Of the main ID register: who made it, and which core it is.
const MAIN_ID: u32 = 0xff00_fff0;

/// Makes sure that the machine has the core that was asked for, by the values of
/// the registers. Errors: a sentence for the user.
pub fn check(
    core: &Core,
    emulation: &Emulation,
    main_id: u32,
    cache_type: u32,
) -> Result<(), String> {
    let argument = emulation.argument;
    if architecture(cache_type) != Some(core.architecture) {
        return Err(format!(
            "core={argument} is not what the machine has, which is a core of another architecture."
        ));
    }
    let (line, real) = (core.data_cache.line, line_bytes(cache_type));
    if line != real {
        return Err(format!(
            "core={argument} has lines of {line} bytes, and the machine's core has lines of {real}."
        ));
    }
    if main_id & MAIN_ID != emulation.main_id {
        return Err(format!(
            "core={argument} is not what the machine has: its main ID register is {main_id:#010x}, and not as {:#010x}.",
            emulation.main_id
        ));
    }
    Ok(())
}

/// Of the cache size selection register: the level, and whether it is of the instruction cache.
const SELECTION: u32 = 0xf;

/// Whether a cache, by the value of the cache size selection register, has the size that the
/// guest read.
pub fn has_size(core: &Core, selection: u32, size: u32) -> bool {
    let expected = match (selection & SELECTION, core.outer) {
        (0, _) => core.data_cache,
        (2, Outer::Integrated(geometry)) => geometry,
        // The instruction cache, or one that there is not.
        _ => return true,
    };
    expected
        == Geometry {
            line: 16 << (size & 7),
            sets: ((size >> 13) & 0x7fff) + 1,
            ways: ((size >> 3) & 0x3ff) + 1,
        }
}

/// The architecture, by the format of the cache type register. That of ARMv6 is as that of
/// ARMv5.
fn architecture(cache_type: u32) -> Option<Architecture> {
    match cache_type >> 29 {
        0b000 => Some(Architecture::V5),
        0b100 => Some(Architecture::V7),
        _ => None,
    }
}

/// Bytes of a line: of the data cache, or the shortest of all data caches.
fn line_bytes(cache_type: u32) -> u32 {
    match architecture(cache_type) {
        Some(Architecture::V7) => 4 << ((cache_type >> 16) & 0xf),
        _ => 8 << ((cache_type >> 12) & 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coherence_model::cores::emulated;

    /// The registers of QEMU's cores.
    const ALL: [(&str, u32, u32); 6] = [
        ("arm926", 0x4106_9265, 0x01dd_20d2),
        ("cortex-a7", 0x410f_c075, 0x8444_8003),
        ("cortex-a8", 0x410f_c080, 0x8204_8004),
        ("cortex-a9", 0x410f_c090, 0x8003_8003),
        ("cortex-a15", 0x414f_c0f0, 0x8444_c004),
        ("ti925t", 0x5402_9252, 0x0510_9149),
    ];

    #[test]
    fn each_core_that_there_is_a_model_of_and_no_other() {
        for (core, emulation) in emulated() {
            let known = ALL.iter().any(|(name, ..)| *name == emulation.argument);
            assert!(known, "{}", core.name);
            for (name, main_id, cache_type) in ALL {
                let right = name == emulation.argument;
                let result = check(&core, &emulation, main_id, cache_type);
                assert_eq!(
                    result.is_ok(),
                    right,
                    "{} and {name}: {result:?}",
                    core.name
                );
            }
        }
    }

    /// As QEMU's cores have them: the selection, and the size.
    #[test]
    fn sizes() {
        for (core, selection, size) in [
            (Core::CORTEX_A9, 0, 0xe00f_e019),
            (Core::CORTEX_A8, 0, 0xe007_e01a),
            (Core::CORTEX_A7, 0, 0x701f_e00a),
            (Core::CORTEX_A15, 0, 0x701f_e00a),
            (Core::CORTEX_A15, 2, 0x711f_e07a),
            // The instruction cache's.
            (Core::CORTEX_A15, 1, 0x201f_e00a),
        ] {
            assert!(has_size(&core, selection, size), "{}", core.name);
        }
        // Twice as many sets.
        assert!(!has_size(&Core::CORTEX_A15, 0, 0x703f_e00a));
        assert!(!has_size(&Core::CORTEX_A15, 2, 0x701f_e00a));
    }

    #[test]
    fn why_another_is_refused() {
        let says = |argument: &str, name: &str| {
            let (core, emulation) = emulated()
                .find(|(_, emulation)| emulation.argument == argument)
                .unwrap();
            let (_, main_id, cache_type) = ALL.into_iter().find(|it| it.0 == name).unwrap();
            check(&core, &emulation, main_id, cache_type).unwrap_err()
        };
        for (argument, name, sentence) in [
            ("cortex-a9", "cortex-a7", "has lines of 64."),
            ("cortex-a9", "arm926", "another architecture"),
            ("cortex-a8", "cortex-a15", "register is 0x414fc0f0, and not"),
            ("arm926", "cortex-a9", "another architecture"),
            ("arm926", "ti925t", "has lines of 16."),
        ] {
            let said = says(argument, name);
            assert!(said.contains(sentence), "{said}");
        }
    }
}

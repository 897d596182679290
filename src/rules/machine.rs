// SPDX-License-Identifier: GPL-2.0

//! What each cache policy is on each machine and for each kind of memory, and
//! which are refused. This file is the table.

use super::{
    failure::Refusal,
    kind::Kind,
    policy::Policy, //
};
use kernel::prelude::*;

/// How the data caches of the machine find their lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caches {
    /// Virtually indexed, virtually tagged (ARMv4, ARMv5): two mappings of one page are two sets
    /// of lines, and there is one CPU.
    Vivt,
    /// Virtually indexed with more than one colour a page (some ARMv6).
    VipAliasing,
    /// One line for one physical address (ARMv7, most ARMv6).
    Nonaliasing,
    /// One line for one physical address, and a cacheable kernel mapping of all memory that stays
    /// (64-bit ARM).
    Arm64,
    /// One line for one physical address, and devices snoop them (x86-64).
    Snooping,
}

/// What the page tables say of a mapping, in the kernel's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryType {
    /// Neither cached nor buffered.
    Uncached,
    /// Not cached; writes are buffered.
    Bufferable,
    /// Cached; writes go to memory at once.
    Writethrough,
    /// Cached; lines are allocated by reads.
    Writeback,
    /// Cached; lines are allocated by reads and writes.
    Writealloc,
    /// What ioremap() gives.
    Device,
    /// A type that no policy means.
    Other,
}

/// What device memory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// Memory: a load has no effect, and may come twice, or before it is wanted.
    Memory,
    /// Registers, or nobody says what.
    Registers,
}

/// What the table needs to know of a machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// How caches find their lines.
    pub(crate) caches: Caches,
    /// What the kernel's page protections are for each policy, in the order of [`Policy::ALL`].
    pub(crate) types: [MemoryType; Policy::ALL.len()],
    /// Whether the core's caches implement write-through, and do not only accept it.
    pub(crate) writethrough: bool,
    /// Whether there is memory without a cacheable kernel mapping.
    pub(crate) highmem: bool,
    /// Whether the administrator accepts such a mapping beside a non-cached one.
    pub(crate) accept_alias: bool,
    /// Whether the device that memory is for snoops the caches.
    pub(crate) device_snoops: bool,
    /// What kind region holds.
    pub(crate) contents: Contents,
}

impl Machine {
    /// The memory type that `policy` is for memory of `kind`, or why it cannot be had.
    pub(crate) fn memory_type(&self, kind: Kind, policy: Policy) -> Result<MemoryType, Refusal> {
        use Caches::*;
        use Policy::*;

        match (self.caches, kind, policy) {
            // Registers are never RAM to the kernel, and have ioremap()'s type.
            (_, Kind::Region, Noncached) => return Ok(MemoryType::Device),
            (_, Kind::Region, Writecombine) => {}
            // A cache reads what nobody asked for, and writes back when it likes.
            (Vivt | Nonaliasing | Arm64, Kind::Region, Writeback)
                if self.contents == Contents::Registers =>
            {
                return Err(Refusal::Registers)
            }
            (Vivt | Nonaliasing | Arm64, Kind::Region, Writeback) => {}
            // The kernel has no such view of it on ARM, and what the firmware of a PC says of device
            // memory (MTRR) goes before what page tables say.
            (_, Kind::Region, _) => return Err(Refusal::Kind),

            // One policy, whatever the kind.
            (Snooping, _, Writeback) => {}
            (Snooping, _, _) => return Err(Refusal::Snooping),

            (Vivt | VipAliasing, Kind::Streaming | Kind::Scatter, _) if self.device_snoops => {
                return Err(Refusal::Unsnooped)
            }
            (Vivt | VipAliasing, Kind::Coherent | Kind::Pool, _) if self.device_snoops => {
                return Err(Refusal::Unsnooped)
            }

            // Only mappings that the cache never sees are safe.
            (VipAliasing, _, Writeback | Writethrough) => return Err(Refusal::Aliasing),

            (_, Kind::Streaming | Kind::Scatter, Writeback) => {}
            (_, Kind::Streaming | Kind::Scatter, _) => return Err(Refusal::Kind),

            // dma_pgprot() leaves the memory of a device that snoops as it is.
            (_, Kind::Coherent | Kind::Pool, Writeback) if self.device_snoops => {}
            (_, Kind::Coherent | Kind::Pool, _) if self.device_snoops => {
                return Err(Refusal::DeviceSnoops)
            }

            // What pgprot_dmacoherent() and pgprot_writecombine() are: arch/arm/include/asm/pgtable.h.
            (Vivt, Kind::Coherent, Writecombine | Noncached) => {}
            (_, Kind::Coherent, Writecombine) => {}
            (_, Kind::Coherent, _) => return Err(Refusal::Kind),

            // dma_pool takes no attributes.
            (_, Kind::Pool, policy) if policy == self.default_policy(Kind::Pool) => {}
            (_, Kind::Pool, _) => return Err(Refusal::Kind),

            // Before ARMv6 two types for one page are allowed, if no line of it remains.
            (Vivt, Kind::Pages, _) => {}
            (_, Kind::Pages, Writeback) => {}
            (Arm64, Kind::Pages, _) => return Err(Refusal::Linear),
            (_, Kind::Pages, Writethrough) if !self.writethrough => {
                return Err(Refusal::Writethrough)
            }
            (_, Kind::Pages, Writethrough | Writecombine | Noncached) => {
                if !self.highmem && !self.accept_alias {
                    return Err(Refusal::Alias);
                }
            }
        }

        let found = self.types[policy.to_uapi() as usize];
        let meant = match policy {
            Writeback => matches!(found, MemoryType::Writeback | MemoryType::Writealloc),
            Writethrough => found == MemoryType::Writethrough,
            Writecombine => found == MemoryType::Bufferable,
            Noncached => found == MemoryType::Uncached,
        };
        if meant {
            Ok(found)
        } else {
            Err(Refusal::Kernel)
        }
    }

    /// The policies that memory of `kind` can have, as a bit for each (1 << policy).
    pub(crate) fn policies(&self, kind: Kind) -> u32 {
        Policy::ALL
            .into_iter()
            .filter(|&policy| self.memory_type(kind, policy).is_ok())
            .fold(0, |set, policy| set | (1 << policy.to_uapi()))
    }

    /// The policy of a buffer for which none was asked.
    pub(crate) fn default_policy(&self, kind: Kind) -> Policy {
        match (self.caches, kind) {
            (_, Kind::Region) => Policy::Noncached,
            (Caches::Snooping, _) | (_, Kind::Pages | Kind::Streaming | Kind::Scatter) => {
                Policy::Writeback
            }
            (_, Kind::Coherent | Kind::Pool) if self.device_snoops => Policy::Writeback,
            // What dma_alloc_coherent() gives: pgprot_dmacoherent().
            (Caches::Vivt, Kind::Coherent | Kind::Pool) => Policy::Noncached,
            (_, Kind::Coherent | Kind::Pool) => Policy::Writecombine,
        }
    }

    /// Whether memory of this policy must have no mapping of the linear map's type.
    pub(crate) fn needs_highmem(&self, policy: Policy) -> bool {
        matches!(self.caches, Caches::VipAliasing | Caches::Nonaliasing)
            && policy != Policy::Writeback
    }

    /// Whether a program and a device that use memory of this policy see what the other wrote only
    /// after SYNC.
    pub(crate) fn needs_sync(&self, policy: Policy) -> bool {
        policy.is_cached() && self.caches != Caches::Snooping && !self.device_snoops
    }

    /// A memory type in the architecture's words.
    ///
    /// Sources: ARM DDI 0198 (ARM926EJ-S) 4.2, ARM DDI 0406C (ARMv7-A) A3.5 and B3.8, ARM
    /// DDI 0487 (ARMv8-A) B2.7, Intel SDM volume 3, 13.3 and 13.12.
    pub(crate) fn words(&self, memory_type: MemoryType) -> &'static str {
        use MemoryType::*;

        match (self.caches, memory_type) {
            (_, Other) => "unknown",
            (Caches::Snooping, Writeback | Writealloc) => "write-back, snooped by devices",
            (Caches::Snooping, Writethrough) => "write-through",
            (Caches::Snooping, Bufferable) => "write-combining",
            (Caches::Snooping, Uncached | Device) => "uncached-minus",
            (Caches::Arm64, Uncached) => "Device-nGnRnE",
            (Caches::Arm64, Device) => "Device-nGnRE",
            (Caches::Vivt, Uncached | Device) => "uncached (C=0 B=0)",
            (Caches::Vivt, Bufferable) => "bufferable (C=0 B=1)",
            (Caches::Vivt, Writethrough) => "cached, write-through (C=1 B=0)",
            (Caches::Vivt, Writeback | Writealloc) => "cached, write-back (C=1 B=1)",
            (_, Device) => "Device",
            (_, Uncached) => "Strongly-ordered",
            (_, Bufferable) => "Normal, non-cacheable",
            (_, Writethrough) => "Normal, write-through",
            (_, Writeback) => "Normal, write-back",
            (_, Writealloc) => "Normal, write-back write-allocate",
        }
    }
}

/// Whether an ARMv7 core implements write-through.
///
/// `midr` is its Main ID Register, `ccsidr_wt` what CCSIDR says of its level 1 data cache.
/// Cortex-A5, A7, A9, A12, A15 and A17 treat write-through as non-cacheable (their Technical
/// Reference Manuals, chapter "Level 1 memory system"), whatever an emulator's CCSIDR says, so
/// only cores known to implement it count.
pub(crate) fn implements_writethrough(midr: u32, ccsidr_wt: bool) -> bool {
    const IMPLEMENTER_AND_PART: u32 = 0xff00_fff0;
    const CORTEX_A8: u32 = 0x4100_c080;

    ccsidr_wt && midr & IMPLEMENTER_AND_PART == CORTEX_A8
}

#[kunit_tests(shmbuf_machine)]
pub(crate) mod tests {
    use super::*;

    const ARM: [MemoryType; 4] = [
        MemoryType::Writeback,
        MemoryType::Writethrough,
        MemoryType::Bufferable,
        MemoryType::Uncached,
    ];
    pub(crate) const ARMV5: Machine = Machine {
        caches: Caches::Vivt,
        types: ARM,
        writethrough: true,
        highmem: false,
        accept_alias: false,
        device_snoops: false,
        contents: Contents::Registers,
    };
    pub(crate) const ARMV7: Machine = Machine {
        caches: Caches::Nonaliasing,
        types: ARM,
        writethrough: false,
        highmem: true,
        accept_alias: false,
        device_snoops: false,
        contents: Contents::Registers,
    };

    const ARM64: Machine = Machine {
        caches: Caches::Arm64,
        types: [
            MemoryType::Writealloc,
            MemoryType::Writealloc,
            MemoryType::Bufferable,
            MemoryType::Uncached,
        ],
        writethrough: false,
        highmem: false,
        accept_alias: false,
        device_snoops: false,
        contents: Contents::Registers,
    };

    fn set(policies: &[Policy]) -> u32 {
        policies.iter().fold(0, |set, p| set | (1 << p.to_uapi()))
    }

    #[test]
    fn armv5() {
        assert_eq!(ARMV5.policies(Kind::Pages), set(&Policy::ALL));
        assert_eq!(
            ARMV5.policies(Kind::Coherent),
            set(&[Policy::Writecombine, Policy::Noncached])
        );
        assert_eq!(ARMV5.policies(Kind::Streaming), set(&[Policy::Writeback]));
        assert!(!ARMV5.needs_highmem(Policy::Noncached));
    }

    #[test]
    fn armv7() {
        assert_eq!(
            ARMV7.policies(Kind::Pages),
            set(&[Policy::Writeback, Policy::Writecombine, Policy::Noncached])
        );
        assert_eq!(ARMV7.policies(Kind::Coherent), set(&[Policy::Writecombine]));
        assert_eq!(ARMV7.policies(Kind::Streaming), set(&[Policy::Writeback]));
        assert!(ARMV7.needs_highmem(Policy::Writecombine));
        assert!(!ARMV7.needs_highmem(Policy::Writeback));
    }

    #[test]
    fn armv7_without_highmem() {
        let machine = Machine {
            highmem: false,
            ..ARMV7
        };
        assert_eq!(machine.policies(Kind::Pages), set(&[Policy::Writeback]));
        assert_eq!(
            machine.memory_type(Kind::Pages, Policy::Noncached),
            Err(Refusal::Alias)
        );
        let accepting = Machine {
            accept_alias: true,
            ..machine
        };
        assert_eq!(accepting.policies(Kind::Pages), ARMV7.policies(Kind::Pages));
    }

    #[test]
    fn armv7_with_writethrough() {
        let machine = Machine {
            writethrough: true,
            ..ARMV7
        };
        assert_eq!(machine.policies(Kind::Pages), set(&Policy::ALL));
    }

    #[test]
    fn arm64() {
        let accepting = Machine {
            accept_alias: true,
            ..ARM64
        };
        for machine in [ARM64, accepting] {
            assert_eq!(machine.policies(Kind::Pages), set(&[Policy::Writeback]));
            assert_eq!(machine.policies(Kind::Streaming), set(&[Policy::Writeback]));
            assert_eq!(
                machine.policies(Kind::Coherent),
                set(&[Policy::Writecombine])
            );
            assert_eq!(
                machine.memory_type(Kind::Pages, Policy::Noncached),
                Err(Refusal::Linear)
            );
        }
    }

    #[test]
    fn aliasing_and_snooping_caches() {
        let aliasing = Machine {
            caches: Caches::VipAliasing,
            ..ARMV7
        };
        assert_eq!(
            aliasing.memory_type(Kind::Streaming, Policy::Writeback),
            Err(Refusal::Aliasing)
        );
        assert_eq!(
            aliasing.policies(Kind::Pages),
            set(&[Policy::Writecombine, Policy::Noncached])
        );
        let snooping = Machine {
            caches: Caches::Snooping,
            ..ARMV7
        };
        for kind in Kind::ALL.into_iter().filter(|&kind| kind != Kind::Region) {
            assert_eq!(snooping.policies(kind), set(&[Policy::Writeback]));
        }
    }

    #[test]
    fn memory_for_a_device_that_snoops_is_cached() {
        let on = |machine| Machine {
            device_snoops: true,
            ..machine
        };
        for machine in [on(ARMV7), on(ARM64)] {
            for kind in Kind::ALL {
                let expected = match kind {
                    Kind::Pages | Kind::Region => ARMV7.default_policy(kind),
                    _ => Policy::Writeback,
                };
                assert_eq!(machine.default_policy(kind), expected);
            }
            for kind in [Kind::Coherent, Kind::Pool, Kind::Streaming, Kind::Scatter] {
                assert_eq!(machine.policies(kind), set(&[Policy::Writeback]));
            }
            assert!(!machine.needs_sync(Policy::Writeback));
            assert_eq!(
                machine.memory_type(Kind::Coherent, Policy::Writecombine),
                Err(Refusal::DeviceSnoops)
            );
        }
        for kind in [Kind::Coherent, Kind::Pool, Kind::Streaming, Kind::Scatter] {
            let refused = on(ARMV5).memory_type(kind, Policy::Writeback);
            assert_eq!(refused, Err(Refusal::Unsnooped));
        }
    }

    #[test]
    fn device_memory_is_cached_where_it_is_memory() {
        let of_memory = |machine| Machine {
            contents: Contents::Memory,
            ..machine
        };
        let uncached = set(&[Policy::Writecombine, Policy::Noncached]);
        let cached = uncached | set(&[Policy::Writeback]);
        for machine in [ARMV5, ARMV7, ARM64] {
            assert_eq!(machine.policies(Kind::Region), uncached);
            assert_eq!(
                machine.memory_type(Kind::Region, Policy::Writeback),
                Err(Refusal::Registers)
            );
            let machine = of_memory(machine);
            assert_eq!(machine.policies(Kind::Region), cached);
            assert_eq!(machine.default_policy(Kind::Region), Policy::Noncached);
            assert!(machine.needs_sync(Policy::Writeback));
        }
        for caches in [Caches::VipAliasing, Caches::Snooping] {
            let machine = Machine { caches, ..ARMV7 };
            assert_eq!(of_memory(machine).policies(Kind::Region), uncached);
        }
    }

    #[test]
    fn cached_memory_needs_sync_unless_devices_snoop() {
        let snooping = Machine {
            caches: Caches::Snooping,
            ..ARMV7
        };
        for policy in Policy::ALL {
            let cached = matches!(policy, Policy::Writeback | Policy::Writethrough);
            for machine in [ARMV5, ARMV7, ARM64] {
                assert_eq!(machine.needs_sync(policy), cached);
            }
            assert!(!snooping.needs_sync(policy));
        }
    }

    #[test]
    fn what_the_kernel_does_not_give_is_refused() {
        let machine = Machine {
            types: [MemoryType::Writethrough; 4],
            ..ARMV5
        };
        assert_eq!(
            machine.memory_type(Kind::Pages, Policy::Writeback),
            Err(Refusal::Kernel)
        );
        assert_eq!(machine.policies(Kind::Pages), set(&[Policy::Writethrough]));
    }

    #[test]
    fn every_kind_has_its_default() {
        for machine in [ARMV5, ARMV7, ARM64] {
            for kind in Kind::ALL {
                let policy = machine.default_policy(kind);
                assert!(machine.memory_type(kind, policy).is_ok());
            }
        }
    }

    #[test]
    fn writethrough_by_core() {
        // Cortex-A8 r3p2, Cortex-A9 r0p1, Cortex-A15 r2p1, Cortex-A7 r0p5.
        assert!(implements_writethrough(0x413f_c082, true));
        assert!(!implements_writethrough(0x413f_c082, false));
        for midr in [0x410f_c090, 0x412f_c0f1, 0x410f_c075] {
            assert!(!implements_writethrough(midr, true));
        }
    }
}

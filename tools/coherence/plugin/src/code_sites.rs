// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers for the instructions that access memory, and what is known of each:
//! its address, and whose code it was when it was translated.

use std::collections::HashMap;

use coherence_model::events::Site;

/// Whose code an instruction is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The kernel's own, or what ran before it.
    Kernel,
    /// A module's, loaded at this address.
    Module {
        /// The module's name.
        name: String,
        /// Where the module's code begins.
        base: u32,
    },
    /// A program's: that of the task which ran the code first.
    Program(String),
}

/// Sites hold 24 bits.
const MOST: usize = 1 << 24;

/// All instructions that were seen.
#[derive(Default)]
pub struct Sites {
    owners: Vec<Owner>,
    list: Vec<(u32, u32)>,
    index: HashMap<(u32, u32), Site>,
}

impl Sites {
    /// The number of an owner.
    pub fn owner(&mut self, owner: Owner) -> u32 {
        let found = self.owners.iter().position(|o| *o == owner);
        found.unwrap_or_else(|| {
            self.owners.push(owner);
            self.owners.len() - 1
        }) as u32
    }

    /// The site of an instruction.
    pub fn site(&mut self, pc: u32, owner: u32) -> Site {
        *self.index.entry((pc, owner)).or_insert_with(|| {
            assert!(
                self.list.len() < MOST,
                "no run has that many different instructions"
            );
            self.list.push((pc, owner));
            Site(self.list.len() as u32 - 1)
        })
    }

    /// Where an instruction is, and whose.
    pub fn get(&self, site: Site) -> (u32, &Owner) {
        let (pc, owner) = self.list[site.0 as usize];
        (pc, &self.owners[owner as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_address_is_another_site_for_another_owner() {
        let mut sites = Sites::default();
        let first = sites.owner(Owner::Module {
            name: "first".into(),
            base: 0xbf00_0000,
        });
        let second = sites.owner(Owner::Module {
            name: "second".into(),
            base: 0xbf00_0000,
        });
        let sh = sites.owner(Owner::Program("sh".into()));
        assert_eq!(sites.owner(Owner::Program("sh".into())), sh);
        let a = sites.site(0xbf00_0010, first);
        let b = sites.site(0xbf00_0010, second);
        assert_ne!(a, b);
        assert_eq!(sites.site(0xbf00_0010, first), a);
        assert_eq!(
            sites.get(b),
            (
                0xbf00_0010,
                &Owner::Module {
                    name: "second".into(),
                    base: 0xbf00_0000
                }
            )
        );
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where `struct module` says where a module's code is: told by the layout of the kernel, or found
//! in the first module that is loaded and whose file is there.

use std::path::Path;

use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget};

use crate::symbols::{self, CodeLayout};

/// Where the name is in every kernel: behind a state and the links of a list.
pub const NAME: u32 = 12;

/// `PAGE_SIZE`
const PAGE_BYTES: u32 = 4096;

/// Offsets in `struct module`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleLayout {
    /// `name`
    pub name: u32,
    /// `mem[MOD_TEXT].base`
    pub base: u32,
    /// `mem[MOD_TEXT].size`
    pub size: u32,
    /// `mem[MOD_INIT_TEXT].base`
    pub init_base: u32,
    /// `mem[MOD_INIT_TEXT].size`
    pub init_size: u32,
}

/// What a module's file says of its `struct module`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleFile {
    /// Bytes of the struct.
    bytes: u32,
    /// Where the struct points to a function, and which: in [`symbols::Symbols`].
    functions: Vec<(u32, u32)>,
    /// Bytes of the code that stays, and of the init code.
    code: [u32; 2],
}

impl ModuleFile {
    /// Reads a module's file, if it is one.
    pub fn read(path: &Path) -> Option<Self> {
        let data = symbols::unpacked(path).ok()?;
        let file = object::File::parse(&*data).ok()?;
        let layout = CodeLayout::of(&file);
        let own = file.section_by_name(".gnu.linkonce.this_module")?;
        let functions = own.relocations().filter_map(|(offset, relocation)| {
            let RelocationTarget::Symbol(index) = relocation.target() else {
                return None;
            };
            let symbol = file.symbol_by_index(index).ok()?;
            let base = layout.base(symbol.section_index()?)?;
            // Bit 0 of an address says Thumb.
            Some((offset as u32, base + (symbol.address() as u32 & !1)))
        });
        Some(Self {
            bytes: own.size() as u32,
            functions: functions.collect(),
            code: layout.sizes(),
        })
    }

    /// Finds the layout in the struct, which has these words.
    pub fn find(&self, word: impl FnMut(u32) -> Option<u32>) -> Option<ModuleLayout> {
        let words: Vec<_> = (0..self.bytes).step_by(4).map_while(word).collect();
        let place = |initial| {
            let bytes = self.code[usize::from(initial)];
            let base = self.base(&words, initial);
            let at = words.windows(3).position(|some| {
                let fits = |size| (bytes..=bytes.next_multiple_of(PAGE_BYTES)).contains(&size);
                let is_base = base.map_or(some[0] != 0 && some[0] % PAGE_BYTES == 0, |it| {
                    some[0] == it
                });
                bytes != 0 && is_base && (fits(some[1]) || fits(some[2]))
            })?;
            // Since 6.13 there is something between the two.
            let size = if words[at + 1] >= bytes {
                at + 1
            } else {
                at + 2
            };
            Some((at as u32 * 4, size as u32 * 4))
        };
        let (base, size) = place(false)?;
        let (init_base, init_size) = place(true)?;
        Some(ModuleLayout {
            name: NAME,
            base,
            size,
            init_base,
            init_size,
        })
    }

    /// Where one of both parts begins, if a function in it is pointed to.
    fn base(&self, words: &[u32], initial: bool) -> Option<u32> {
        let function = |&&(_, link): &&(u32, u32)| (link >= symbols::INIT) == initial;
        let (at, link) = self.functions.iter().find(function)?;
        let address = words.get(*at as usize / 4)? & !1;
        Some(address.wrapping_sub(link & !symbols::INIT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: u32 = 0xbf00_0000;
    const INIT: u32 = 0xbf00_9000;

    fn file() -> ModuleFile {
        ModuleFile {
            bytes: 0x100,
            // init_module() and cleanup_module()
            functions: vec![(0x40, symbols::INIT + 0x10), (0x80, 0x1230)],
            code: [0x2100, 0x80],
        }
    }

    /// A struct with its parts as (offset, base, size); behind each base is what `between` says.
    fn words(parts: &[(u32, u32, u32)], between: bool) -> impl FnMut(u32) -> Option<u32> {
        let mut words = [0; 0x40];
        words[0x40 / 4] = INIT + 0x10;
        words[0x80 / 4] = TEXT + 0x1230 + 1;
        for &(at, base, size) in parts {
            let at = at as usize / 4;
            words[at] = base;
            words[at + 1 + usize::from(between)] = size;
        }
        move |at| words.get(at as usize / 4).copied()
    }

    fn layout(base: u32, init_base: u32, gap: u32) -> ModuleLayout {
        ModuleLayout {
            name: NAME,
            base,
            size: base + gap,
            init_base,
            init_size: init_base + gap,
        }
    }

    #[test]
    fn found() {
        let data = (0x60, 0xbf00_4000, 0x1000);
        let parts = [(0x50, TEXT, 0x3000), data, (0x70, INIT, 0x1000)];
        assert_eq!(
            file().find(words(&parts, false)),
            Some(layout(0x50, 0x70, 4))
        );
        assert_eq!(
            file().find(words(&parts, true)),
            Some(layout(0x50, 0x70, 8))
        );
        // Without pages of their own.
        let parts = [(0x50, TEXT, 0x2100), data, (0x70, INIT, 0x80)];
        assert_eq!(
            file().find(words(&parts, false)),
            Some(layout(0x50, 0x70, 4))
        );
    }

    #[test]
    fn by_its_size_if_nothing_points_there() {
        let mut file = file();
        file.functions.pop();
        let parts = [(0x50, TEXT, 0x3000), (0x70, INIT, 0x1000)];
        assert_eq!(file.find(words(&parts, true)), Some(layout(0x50, 0x70, 8)));
    }

    #[test]
    fn not_there() {
        let parts = [(0x50, TEXT, 0x3000)];
        assert_eq!(file().find(words(&parts, false)), None);
        assert_eq!(file().find(|_| None), None);
        // Which of its data is code cannot be told from no code.
        let mut file = file();
        file.code[1] = 0;
        let parts = [(0x50, TEXT, 0x3000), (0x70, INIT, 0x1000)];
        assert_eq!(file.find(words(&parts, false)), None);
    }

    #[test]
    fn no_module() {
        assert_eq!(ModuleFile::read(Path::new("/dev/null")), None);
        assert_eq!(ModuleFile::read(&std::env::current_exe().unwrap()), None);
    }
}

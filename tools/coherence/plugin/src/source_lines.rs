// SPDX-License-Identifier: MIT OR Apache-2.0
//! Source lines by address, from the debug information of an ELF file.

use std::path::Path;
use std::sync::Arc;

use addr2line::Context;
use gimli::{Dwarf, EndianArcSlice, LittleEndian, SectionId};
use object::{Object, ObjectSection, ObjectSymbol, RelocationKind, RelocationTarget};

use crate::symbols::{demangled, unpacked, CodeLayout};

type Bytes = EndianArcSlice<LittleEndian>;

/// A place in a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePlace {
    /// The function that the line is in.
    pub function: String,
    /// The file, as the compiler was told it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

/// The debug information of a file.
pub struct SourceLines(Context<Bytes>);

impl SourceLines {
    /// Reads a file's debug information, if it has some.
    pub fn read(path: &Path) -> Option<Self> {
        let data = unpacked(path).ok()?;
        Self::of(&object::File::parse(&*data).ok()?)
    }

    fn of(file: &object::File) -> Option<Self> {
        let layout = CodeLayout::of(file);
        let section = |id: SectionId| {
            let found = file.section_by_name(id.name());
            let bytes = found.map(|section| relocated(file, &section, &layout));
            let bytes = bytes.transpose()?.unwrap_or_default();
            Ok::<_, object::Error>(Bytes::new(Arc::from(bytes), LittleEndian))
        };
        file.section_by_name(SectionId::DebugLine.name())?;
        let dwarf = Dwarf::load(section).ok()?;
        Context::from_dwarf(dwarf).ok().map(Self)
    }

    /// The places of the instruction at an address, each inlined in the next.
    pub fn find(&self, address: u32) -> Vec<SourcePlace> {
        let mut places = Vec::new();
        let Ok(mut frames) = self.0.find_frames(address.into()).skip_all_loads() else {
            return places;
        };
        while let Ok(Some(frame)) = frames.next() {
            let function = frame.function.as_ref();
            let name = function.and_then(|function| function.raw_name().ok());
            let location = frame.location.as_ref();
            let line = location.and_then(|it| Some((it.file?, it.line?)));
            if let (Some(name), Some((file, line))) = (name, line) {
                places.push(SourcePlace {
                    function: demangled(&name),
                    file: file.to_owned(),
                    line,
                });
            }
        }
        places
    }
}

/// The bytes of a section. Those of a module, which is not linked, get the
/// addresses of its code.
fn relocated(
    file: &object::File,
    section: &object::Section,
    layout: &CodeLayout,
) -> Result<Vec<u8>, object::Error> {
    let mut bytes = section.uncompressed_data()?.into_owned();
    if file.kind() != object::ObjectKind::Relocatable {
        return Ok(bytes);
    }
    for (offset, relocation) in section.relocations() {
        let (RelocationTarget::Symbol(index), RelocationKind::Absolute) =
            (relocation.target(), relocation.kind())
        else {
            continue;
        };
        let symbol = file.symbol_by_index(index)?;
        let base = symbol.section_index().and_then(|it| layout.base(it));
        let rest = bytes.get_mut(offset as usize..);
        // The kernel's modules have what is added in its place (REL).
        if let Some(word) = rest.and_then(|rest| rest.first_chunk_mut::<4>()) {
            let added = u32::from_le_bytes(*word);
            let address = base.unwrap_or(0).wrapping_add(symbol.address() as u32);
            *word = address.wrapping_add(added).to_le_bytes();
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbols::Symbols;

    #[inline(always)]
    fn inlined(value: u32) -> u32 {
        std::hint::black_box(value)
    }

    #[inline(never)]
    #[no_mangle]
    fn function_with_an_inlined_one() -> u32 {
        inlined(42)
    }

    /// The test itself is an ELF file with debug information.
    #[test]
    fn inlined_functions() {
        assert_eq!(function_with_an_inlined_one(), 42);
        let path = std::env::current_exe().unwrap();
        let symbols = Symbols::from_elf(&path).unwrap();
        let begin = symbols.address("function_with_an_inlined_one").unwrap();
        let lines = SourceLines::read(&path).unwrap();
        let places = (begin..begin + 64).map(|address| lines.find(address));
        let of_both = |places: &Vec<SourcePlace>| {
            let names: Vec<_> = places.iter().map(|it| it.function.as_str()).collect();
            matches!(names[..], [.., inner, "function_with_an_inlined_one"] if inner.ends_with("inlined"))
        };
        let places = places.into_iter().find(of_both).unwrap();
        for place in &places[places.len() - 2..] {
            assert!(place.file.ends_with("source_lines.rs"), "{place:?}");
        }
        assert!(places[places.len() - 1].line > places[places.len() - 2].line);
    }

    #[test]
    fn no_debug_information() {
        assert!(SourceLines::read(Path::new("/dev/null")).is_none());
    }
}

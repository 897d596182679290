// SPDX-License-Identifier: MIT OR Apache-2.0
//! Functions by address: of the kernel from System.map, of modules and
//! programs from their ELF files.

use std::path::Path;

use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, SymbolKind};

/// Functions, sorted by address.
#[derive(Debug, Default)]
pub struct Symbols {
    functions: Vec<(u32, String)>,
    /// First address behind the last function.
    end: u32,
}

impl Symbols {
    fn new(mut functions: Vec<(u32, String)>, end: u32) -> Self {
        functions.sort_by_key(|(address, _)| *address);
        Self { functions, end }
    }

    /// Functions of the kernel. Errors: a line that is not "address type name".
    pub fn from_system_map(text: &str) -> Result<Self, String> {
        let mut functions = Vec::new();
        let mut end = 0;
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            let (Some(address), Some(kind), Some(name)) =
                (fields.next(), fields.next(), fields.next())
            else {
                return Err(format!("not a line of System.map: {line:?}"));
            };
            let address = u32::from_str_radix(address, 16)
                .map_err(|error| format!("not an address: {address:?}: {error}"))?;
            if name == "_etext" || name == "_einittext" {
                end = address.max(end);
            } else if matches!(kind, "t" | "T" | "w" | "W") {
                functions.push((address, name.to_owned()));
            }
        }
        Ok(Self::new(functions, end))
    }

    /// Functions of a program, at the addresses that the file says, or of a
    /// module, whose code begins at 0.
    pub fn from_elf(path: &Path) -> Result<Self, String> {
        let data = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse_elf(&data).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn parse_elf(data: &[u8]) -> Result<Self, object::Error> {
        let file = object::File::parse(data)?;
        let relocatable = file.kind() == object::ObjectKind::Relocatable;
        let code = if relocatable {
            module_layout(&file)
        } else {
            Vec::new()
        };
        let mut functions = Vec::new();
        let mut end = 0;
        for symbol in file.symbols().filter(|s| s.kind() == SymbolKind::Text) {
            let base = match symbol.section_index() {
                Some(index) if relocatable => code.iter().find(|(i, _)| *i == index).map(|c| c.1),
                Some(_) => Some(0),
                None => None,
            };
            // Bit 0 of an address says Thumb.
            if let (Some(base), Ok(name)) = (base, symbol.name()) {
                let address = base + (symbol.address() as u32 & !1);
                end = end.max(address + symbol.size() as u32);
                functions.push((address, name.to_owned()));
            }
        }
        Ok(Self::new(functions, end))
    }

    /// The function that an address is in, and how far.
    pub fn function(&self, address: u32) -> Option<(&str, u32)> {
        if address >= self.end {
            return None;
        }
        let next = self
            .functions
            .partition_point(|(begin, _)| *begin <= address);
        let (begin, name) = self.functions.get(next.checked_sub(1)?)?;
        Some((name, address - begin))
    }

    /// Where a function is.
    pub fn address(&self, name: &str) -> Option<u32> {
        self.functions
            .iter()
            .find(|(_, n)| n == name)
            .map(|(address, _)| *address)
    }
}

/// Where the kernel puts the sections with a module's code, from the beginning
/// of it: in their order, each aligned (layout_sections() in kernel/module/main.c).
fn module_layout(file: &object::File) -> Vec<(object::SectionIndex, u32)> {
    let mut next = 0u32;
    let mut layout = Vec::new();
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else {
            continue;
        };
        let wanted = u64::from(object::elf::SHF_ALLOC | object::elf::SHF_EXECINSTR);
        let initial = section.name().is_ok_and(|name| name.starts_with(".init"));
        if sh_flags & wanted == wanted && !initial {
            next = next.next_multiple_of(section.align().max(1) as u32);
            layout.push((section.index(), next));
            next += section.size() as u32;
        }
    }
    layout
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "\
c0008000 T _stext
c0009424 T __switch_to
c00172cc T arch_sync_dma_for_device
c00172d8 t arch_sync_dma_for_cpu
c0400000 R _etext
c0500000 d data_is_no_function
c0600000 t init_function
c0601000 T _einittext
";

    #[test]
    fn system_map() {
        let symbols = Symbols::from_system_map(MAP).unwrap();
        assert_eq!(symbols.address("__switch_to"), Some(0xc000_9424));
        assert_eq!(symbols.address("data_is_no_function"), None);
        assert_eq!(symbols.function(0xc000_9424), Some(("__switch_to", 0)));
        assert_eq!(
            symbols.function(0xc001_72d7),
            Some(("arch_sync_dma_for_device", 11))
        );
        assert_eq!(symbols.function(0xc060_0010), Some(("init_function", 16)));
        assert_eq!(symbols.function(0xc000_7ffc), None);
        assert_eq!(symbols.function(0xc060_1000), None);
        assert!(Symbols::from_system_map("c0008000 T").is_err());
        assert!(Symbols::from_system_map("here T _stext").is_err());
    }

    #[test]
    fn own_program() {
        // The test itself is an ELF file.
        let symbols = Symbols::from_elf(&std::env::current_exe().unwrap()).unwrap();
        assert!(symbols.functions.iter().any(|(_, name)| name == "main"));
        assert!(Symbols::from_elf(Path::new("/dev/null")).is_err());
    }
}

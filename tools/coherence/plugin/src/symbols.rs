// SPDX-License-Identifier: MIT OR Apache-2.0
//! Functions by address: of the kernel from System.map, of modules and
//! programs from their ELF files.

use std::path::Path;

use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, SectionIndex, SymbolKind};

/// Functions, sorted by address.
#[derive(Debug, Default)]
pub struct Symbols {
    functions: Vec<(u32, String)>,
    /// The kernel's other symbols.
    data: Vec<(u32, String)>,
    /// First address behind the last function.
    end: u32,
}

impl Symbols {
    fn new(mut functions: Vec<(u32, String)>, end: u32) -> Self {
        // Of two names the last is told: rather the one that the source has.
        functions.sort_by_key(|(address, name)| (*address, !is_alias(name)));
        Self {
            functions,
            data: Vec::new(),
            end,
        }
    }

    /// Functions of the kernel. Errors: a line that is not "address type name",
    /// or there is no end of the code.
    pub fn from_system_map(text: &str) -> Result<Self, String> {
        let (mut functions, mut data) = (Vec::new(), Vec::new());
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
            } else {
                data.push((address, name.to_owned()));
            }
        }
        if end == 0 {
            return Err("it has no _etext, so it is not a whole System.map.".into());
        }
        Ok(Self {
            data,
            ..Self::new(functions, end)
        })
    }

    /// Functions of a program, at the addresses that the file says, or of a
    /// module, whose code begins at 0, and at [`INIT`].
    pub fn from_elf(path: &Path) -> Result<Self, String> {
        let data = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse_elf(&data).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn parse_elf(data: &[u8]) -> Result<Self, object::Error> {
        let file = object::File::parse(data)?;
        let layout = CodeLayout::of(&file);
        let mut functions = Vec::new();
        let mut end = 0;
        for symbol in file.symbols().filter(|s| s.kind() == SymbolKind::Text) {
            let base = symbol.section_index().and_then(|it| layout.base(it));
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

    /// Where a function is, or something else of the kernel.
    pub fn address(&self, name: &str) -> Option<u32> {
        let mut all = self.functions.iter().chain(&self.data);
        let found = all.find(|(_, n)| n == name);
        found.map(|(address, _)| *address)
    }
}

/// Whether a name is one that module_init() and module_exit() give to a function
/// that has another.
pub fn is_alias(name: &str) -> bool {
    matches!(name, "init_module" | "cleanup_module")
}

/// Where the init code of a module begins here; what stays begins at 0.
pub const INIT: u32 = 0x8000_0000;

/// Where the sections with code of a file are.
pub struct CodeLayout {
    /// Of a module, which is not linked.
    bases: Option<Vec<(SectionIndex, u32)>>,
}

impl CodeLayout {
    /// The layout that a file has, or that the kernel gives to a module.
    pub fn of(file: &object::File) -> Self {
        let relocatable = file.kind() == object::ObjectKind::Relocatable;
        Self {
            bases: relocatable.then(|| module_layout(file)),
        }
    }

    /// What is to be added to an address in a section, if code is there.
    pub fn base(&self, section: SectionIndex) -> Option<u32> {
        let Some(bases) = &self.bases else {
            return Some(0);
        };
        let found = bases.iter().find(|(index, _)| *index == section);
        found.map(|(_, base)| *base)
    }
}

/// Where the kernel puts the sections with a module's code: in their order, each
/// aligned, the init code apart (layout_sections() in kernel/module/main.c).
fn module_layout(file: &object::File) -> Vec<(SectionIndex, u32)> {
    let (mut stays, mut init) = (0, INIT);
    let mut layout = Vec::new();
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else {
            continue;
        };
        let wanted = u64::from(object::elf::SHF_ALLOC | object::elf::SHF_EXECINSTR);
        if sh_flags & wanted == wanted {
            let initial = section.name().is_ok_and(|name| name.starts_with(".init"));
            let next: &mut u32 = if initial { &mut init } else { &mut stays };
            *next = next.next_multiple_of(section.align().max(1) as u32);
            layout.push((section.index(), *next));
            *next += section.size() as u32;
        }
    }
    layout
}

/// A function's name as its source has it: Rust's are mangled.
pub fn demangled(name: &str) -> String {
    match rustc_demangle::try_demangle(name) {
        // Without the hash.
        Ok(found) => format!("{found:#}"),
        Err(_) => name.to_owned(),
    }
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
        assert_eq!(symbols.address("data_is_no_function"), Some(0xc050_0000));
        assert_eq!(symbols.address("nothing"), None);
        assert_eq!(
            symbols.function(0xc050_0000).map(|f| f.0),
            Some("arch_sync_dma_for_cpu")
        );
        assert_eq!(symbols.function(0xc000_9424), Some(("__switch_to", 0)));
        assert_eq!(
            symbols.function(0xc001_72d7),
            Some(("arch_sync_dma_for_device", 11))
        );
        assert_eq!(symbols.function(0xc060_0010), Some(("init_function", 16)));
        assert_eq!(symbols.function(0xc000_7ffc), None);
        assert_eq!(symbols.function(0xc060_1000), None);
        assert!(Symbols::from_system_map("c0008000 T _stext\n")
            .unwrap_err()
            .contains("not a whole System.map"));
        assert!(Symbols::from_system_map("c0008000 T").is_err());
        assert!(Symbols::from_system_map("here T _stext").is_err());
    }

    #[test]
    fn names_of_module_functions() {
        for map in [
            "mine_init\n00000010 T init_module",
            "init_module\n00000010 T mine_init",
        ] {
            let symbols =
                Symbols::from_system_map(&format!("00000010 T {map}\n00000100 T _etext\n"));
            assert_eq!(symbols.unwrap().function(0x14), Some(("mine_init", 4)));
        }
    }

    #[test]
    fn names_of_rust() {
        let name = "_RNvXs_NtCsdXyd5xVVMv3_6shmbuf4fileNtB4_4FileNtB4_4Read4read";
        assert_eq!(
            demangled(name),
            "<shmbuf::file::File as shmbuf::file::Read>::read"
        );
        assert_eq!(
            demangled("_ZN6shmbuf4file4read17h0123456789abcdefE"),
            "shmbuf::file::read"
        );
        assert_eq!(demangled("arm_copy_to_user"), "arm_copy_to_user");
    }

    #[test]
    fn own_program() {
        // The test itself is an ELF file.
        let symbols = Symbols::from_elf(&std::env::current_exe().unwrap()).unwrap();
        assert!(symbols.functions.iter().any(|(_, name)| name == "main"));
        assert!(Symbols::from_elf(Path::new("/dev/null")).is_err());
    }
}

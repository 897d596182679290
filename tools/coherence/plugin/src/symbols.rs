// SPDX-License-Identifier: MIT OR Apache-2.0
//! Functions by address: of the kernel from System.map, of modules and
//! programs from their ELF files.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use object::elf::{R_ARM_CALL, R_ARM_JUMP24, R_ARM_PC24};
use object::{
    Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, SectionFlags,
    SectionIndex, SymbolKind,
};

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

    /// Functions of the kernel, of its System.map or of /proc/kallsyms. Errors: a line that is not
    /// "address type name", there is no end of the code, or it is not what its name says.
    pub fn from_system_map(text: &str) -> Result<Self, String> {
        if text.lines().count() < 10 && text.contains("The real System.map") {
            return Err("this is what the distribution has in its place: take /proc/kallsyms of the running kernel, as root, or the vmlinux of the package with debug information (nm vmlinux).".into());
        }
        let (mut functions, mut data) = (Vec::new(), Vec::new());
        let mut end = 0;
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            let (Some(address), Some(kind), Some(name)) =
                (fields.next(), fields.next(), fields.next())
            else {
                return Err(format!("not a line of System.map: {line:?}"));
            };
            // kallsyms: of a module, which is elsewhere the next time.
            if fields.next().is_some() {
                continue;
            }
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
        if !functions.is_empty() && functions.iter().all(|(address, _)| *address == 0) {
            return Err("all addresses are 0: read /proc/kallsyms as root, with 0 or 1 in /proc/sys/kernel/kptr_restrict.".into());
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
        let data = unpacked(path)?;
        Self::parse_elf(&data).map_err(|error| format!("{}: {error}.", path.display()))
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

/// The contents of a file, which may be packed as modules are.
pub fn unpacked(path: &Path) -> Result<Vec<u8>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}.", path.display());
    let data = std::fs::read(path).map_err(|error| wrong(&error))?;
    let mut unpacked = Vec::new();
    match path.extension().and_then(|it| it.to_str()) {
        Some("xz") => lzma_rs::xz_decompress(&mut &data[..], &mut unpacked)
            .map_err(|error| wrong(&format!("{error:?}")))?,
        Some("zst") => {
            let mut decoder =
                ruzstd::StreamingDecoder::new(&data[..]).map_err(|error| wrong(&error))?;
            decoder
                .read_to_end(&mut unpacked)
                .map_err(|error| wrong(&error))?;
        }
        Some("gz") => {
            flate2::read::GzDecoder::new(&data[..])
                .read_to_end(&mut unpacked)
                .map_err(|error| wrong(&error))?;
        }
        _ => return Ok(data),
    }
    Ok(unpacked)
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
    /// Where both parts of a module end.
    ends: (u32, u32),
}

impl CodeLayout {
    /// The layout that a file has, or that the kernel gives to a module.
    pub fn of(file: &object::File) -> Self {
        if file.kind() != object::ObjectKind::Relocatable {
            return Self {
                bases: None,
                ends: (0, INIT),
            };
        }
        let (bases, ends) = module_layout(file);
        Self {
            bases: Some(bases),
            ends,
        }
    }

    /// Bytes of the code of a module that stays, and of its init code.
    pub fn sizes(&self) -> [u32; 2] {
        [self.ends.0, self.ends.1 - INIT]
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
fn module_layout(file: &object::File) -> (Vec<(SectionIndex, u32)>, (u32, u32)) {
    let (mut stays, mut init) = (0, INIT);
    let mut layout = Vec::new();
    for section in file.sections() {
        let name = section.name().unwrap_or_default();
        let initial = name.starts_with(".init");
        let (size, align) = match name {
            ".plt" | ".init.plt" => far_calls(file, initial),
            _ if is_code(&section) => (section.size() as u32, section.align() as u32),
            _ => continue,
        };
        let next: &mut u32 = if initial { &mut init } else { &mut stays };
        *next = next.next_multiple_of(align.max(1));
        layout.push((section.index(), *next));
        *next += size;
    }
    (layout, (stays, init))
}

fn is_code<'a>(section: &impl ObjectSection<'a>) -> bool {
    let wanted = u64::from(object::elf::SHF_ALLOC | object::elf::SHF_EXECINSTR);
    matches!(section.flags(), SectionFlags::Elf { sh_flags } if sh_flags & wanted == wanted)
}

/// Bytes of what the kernel makes of a module's .plt or .init.plt, and how it is aligned: a jump for
/// each function elsewhere that is called, two words each, in groups of as many as a line of the
/// cache has words (arch/arm/kernel/module-plts.c).
fn far_calls(file: &object::File, initial: bool) -> (u32, u32) {
    // `struct module` is aligned to a line.
    let module = file.section_by_name(".gnu.linkonce.this_module");
    let line = module.map_or(64, |it| it.align() as u32);
    // With ftrace there are two more.
    let mut count = match file.section_by_name("__mcount_loc") {
        Some(_) => 2,
        None => 0,
    };
    for section in file.sections().filter(is_code) {
        if section.name().unwrap_or_default().starts_with(".init") != initial {
            continue;
        }
        let data = section.data().unwrap_or_default();
        let mut called = HashSet::new();
        for (offset, relocation) in section.relocations() {
            let RelocationFlags::Elf {
                r_type: kind @ (R_ARM_PC24 | R_ARM_CALL | R_ARM_JUMP24),
            } = relocation.flags()
            else {
                continue;
            };
            let RelocationTarget::Symbol(symbol) = relocation.target() else {
                continue;
            };
            let target = file.symbol_by_index(symbol).ok();
            if target.and_then(|it| it.section_index()) == Some(section.index()) {
                continue;
            }
            // A call of what is behind a function's beginning is one for itself.
            let plain = data
                .get(offset as usize..)
                .is_some_and(|it| it.starts_with(&[0xfe, 0xff, 0xff]));
            if !plain || called.insert((kind, symbol)) {
                count += 1;
            }
        }
    }
    ((count * 8_u32).next_multiple_of(2 * line), line)
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

    const XZ: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x04\xc0\x0b\x07\x21\x01\x16\x00\x00\x00\x00\x00\x00\x00\x00\x00\x59\x08\x17\xe6\x01\x00\x06\x70\x61\x63\x6b\x65\x64\x0a\x00\x00\x68\xd0\xaa\xdc\x39\x82\x2a\x42\x00\x01\x27\x07\xed\x92\x27\x64\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04\x59\x5a";
    const ZST: &[u8] =
        b"\x28\xb5\x2f\xfd\x04\x58\x39\x00\x00\x70\x61\x63\x6b\x65\x64\x0a\xe1\xde\x05\x44";
    const GZ: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x2b\x48\x4c\xce\x4e\x4d\xe1\x02\x00\x43\xe0\x41\x2f\x07\x00\x00\x00";

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
    fn kallsyms() {
        let text = format!("{MAP}bf000000 t module_function\t[module]\nc0601004 T after\n");
        let symbols = Symbols::from_system_map(&text).unwrap();
        assert_eq!(symbols.address("module_function"), None);
        assert_eq!(symbols.address("after"), Some(0xc060_1004));
        let zero = Symbols::from_system_map("00000000 T _stext\n00000000 T _etext\n");
        assert!(zero.unwrap_err().contains("as root"));
    }

    #[test]
    fn a_distribution_s_stub() {
        let text =
            "ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n";
        let reason = Symbols::from_system_map(text).unwrap_err();
        assert!(reason.contains("/proc/kallsyms"), "{reason}");
    }

    #[test]
    fn packed_files() {
        let folder = std::env::temp_dir().join(format!("coherence-packed-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        // "packed\n" by xz, zstd and gzip.
        let packed: [(&str, &[u8]); 4] = [
            ("a.ko.xz", XZ),
            ("a.ko.zst", ZST),
            ("a.ko.gz", GZ),
            ("a.ko", b"packed\n"),
        ];
        for (name, bytes) in packed {
            let path = folder.join(name);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(unpacked(&path).unwrap(), b"packed\n", "{name}");
        }
        for name in ["b.xz", "b.zst", "b.gz"] {
            let path = folder.join(name);
            std::fs::write(&path, "not packed").unwrap();
            assert!(unpacked(&path).unwrap_err().contains(name));
        }
        std::fs::remove_dir_all(&folder).unwrap();
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

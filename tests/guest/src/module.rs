// SPDX-License-Identifier: MIT OR Apache-2.0
//! The module: parameters, insmod, rmmod.

use std::{
    ffi::CString,
    fmt,
    fs::{self, File},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    kmod::{delete_module, finit_module, DeleteModuleFlags, ModuleInitFlags},
};
use shmbuf::{Alloc, Buffer, Kind, Policy};

use crate::{
    kmsg::{Line, Log},
    sys::page,
};

/// The node of the default buffer.
pub const DEVICE: &str = "/dev/shmbuf";

/// What sysfs knows of the module.
pub const SYSFS: &str = "/sys/module/shmbuf";

/// The kinds that `kind=` takes.
pub const KINDS: [Kind; 4] = [Kind::Pages, Kind::Coherent, Kind::Streaming, Kind::Scatter];

/// Module parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// `kind=`
    pub kind: Kind,
    /// `policy=`
    pub policy: Policy,
    /// `size=`, in bytes
    pub size: u64,
    /// `accept_alias=`
    pub accept_alias: bool,
}

impl Config {
    /// The driver's defaults.
    pub const DEFAULT: Self = Self::new(Kind::Pages, Policy::WriteBack);

    /// The parameters for a kind and policy, with the default size.
    pub const fn new(kind: Kind, policy: Policy) -> Self {
        Self {
            kind,
            policy,
            size: 1 << 20,
            accept_alias: false,
        }
    }

    /// The parameters as insmod takes them.
    pub fn parameters(&self) -> String {
        let Self {
            kind, policy, size, ..
        } = self;
        let alias = if self.accept_alias {
            " accept_alias=1"
        } else {
            ""
        };
        format!("kind={kind} policy={policy} size={size}{alias}")
    }
}

/// The text is what the names of tests have.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alias = if self.accept_alias { "_aliased" } else { "" };
        write!(f, "{}.{}{alias}", self.kind, self.policy)
    }
}

/// The file of the module.
#[derive(Debug, Clone)]
pub struct Module {
    path: PathBuf,
    /// Parameters that it always gets.
    parameters: String,
}

impl Module {
    /// The module that is in a file, with parameters that it always gets.
    pub fn new(path: PathBuf, parameters: String) -> Self {
        Self { path, parameters }
    }

    /// Loads the module, as insmod does.
    pub fn load(&self, parameters: &str) -> Result<(), Errno> {
        let file = File::open(&self.path).map_err(|error| {
            crate::ktap::diagnose(format_args!("{}: {error}", self.path.display()));
            error.raw_os_error().map_or(Errno::ENOENT, Errno::from_raw)
        })?;
        let parameters = format!("{parameters} {}", self.parameters);
        let parameters = CString::new(parameters).expect("no NUL");
        finit_module(file, &parameters, ModuleInitFlags::empty())
    }

    /// Loads the module, which has to work.
    #[track_caller]
    pub fn must_load(&self, parameters: &str) {
        if let Err(errno) = self.load(parameters) {
            panic!("insmod shmbuf.ko {parameters}: {errno}");
        }
    }

    /// Tries to load the module, which has to fail and leave nothing but a reason in
    /// the log. Returns the reason.
    #[track_caller]
    pub fn must_not_load(&self, parameters: &str, errno: Errno) -> Vec<Line> {
        let mut log = Log::from_now();
        let result = self.load(parameters);
        let lines = log.lines();
        if result.is_ok() {
            let _ = self.unload();
        }
        assert_eq!(result, Err(errno), "insmod shmbuf.ko {parameters}");
        assert!(!is_loaded() && !Path::new(DEVICE).exists());
        let reasons: Vec<_> = lines.into_iter().filter(is_reason).collect();
        assert!(!reasons.is_empty(), "no reason in the log: {parameters}");
        reasons
    }

    /// Unloads the module, as rmmod does, which does not wait for users.
    pub fn unload(&self) -> Result<(), Errno> {
        delete_module(c"shmbuf", DeleteModuleFlags::O_NONBLOCK)
    }

    /// Unloads the module, which has to work.
    #[track_caller]
    pub fn must_unload(&self) {
        if let Err(errno) = self.unload() {
            panic!("rmmod shmbuf: {errno}, {:?} users", users());
        }
    }
}

/// Whether a line is the driver's word on a failure.
fn is_reason(line: &Line) -> bool {
    const WARNING: u8 = 4;
    // The core's remarks on modules of our sort begin with the name as well.
    let core = ["taints kernel", "verification failed"];
    line.level <= WARNING
        && line.text.starts_with("shmbuf")
        && !core.iter().any(|remark| line.text.contains(remark))
}

/// Whether the module is loaded.
pub fn is_loaded() -> bool {
    Path::new(SYSFS).join("refcnt").exists()
}

/// Whether a DMA engine copies here. Only a COPY asks for one.
///
/// # Errors
///
/// What else the driver refuses.
pub fn has_engine() -> shmbuf::Result<bool> {
    let size = page() as u64;
    let buffer = Buffer::open(DEVICE)?.alloc(&Alloc::new(size, Kind::Pages))?;
    match buffer.copy_from(0, &buffer, size / 2..) {
        Ok(()) => Ok(true),
        Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => Ok(false),
        Err(error) => Err(error),
    }
}

/// How many handles and mappings keep the module.
pub fn users() -> Option<u32> {
    let text = fs::read_to_string(Path::new(SYSFS).join("refcnt")).ok()?;
    text.trim().parse().ok()
}

/// A parameter as sysfs shows it.
pub fn parameter(name: &str) -> String {
    let path = Path::new(SYSFS).join("parameters").join(name);
    match fs::read_to_string(&path) {
        Ok(text) => text.trim_end_matches('\n').to_string(),
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// A number of bytes with an optional K, M or G.
pub fn parse_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_names() {
        let mut config = Config::new(Kind::Pages, Policy::NonCached);
        assert_eq!(
            config.parameters(),
            "kind=pages policy=noncached size=1048576"
        );
        assert_eq!(config.to_string(), "pages.noncached");
        config.accept_alias = true;
        assert!(config.parameters().ends_with(" accept_alias=1"));
        assert_eq!(config.to_string(), "pages.noncached_aliased");
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("4096"), Some(4096));
        assert_eq!(parse_size("64K"), Some(65536));
        assert_eq!(parse_size("4M"), Some(4 << 20));
        assert_eq!(parse_size("4Mx"), None);
        assert_eq!(parse_size(""), None);
    }

    #[test]
    fn only_the_drivers_own_words_are_a_reason() {
        let line = |level, text: &str| Line {
            level,
            text: text.into(),
        };
        assert!(is_reason(&line(3, "shmbuf: size=0: not a size")));
        assert!(!is_reason(&line(6, "shmbuf: 1 MiB, pages, write-back")));
        let taint = "shmbuf: loading out-of-tree module taints kernel.";
        assert!(!is_reason(&line(4, taint)));
    }
}

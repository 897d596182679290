// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tests' own DMA engine, a module: it can be slow, and its driver can leave it.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    path::Path,
};

use nix::{
    errno::Errno,
    kmod::{delete_module, finit_module, DeleteModuleFlags, ModuleInitFlags},
};

/// The file of the module.
const MODULE: &str = "/lib/modules/engine.ko";

/// Whether this board has the module.
pub fn is_here() -> bool {
    Path::new(MODULE).exists()
}

/// Loads the module.
#[track_caller]
pub fn load(parameters: &str) {
    let file = File::open(MODULE).expect(MODULE);
    let parameters = CString::new(parameters).expect("no NUL");
    finit_module(file, &parameters, ModuleInitFlags::empty()).expect("insmod engine.ko");
}

/// Unloads the module, which does not wait for users.
pub fn unload() -> Result<(), Errno> {
    delete_module(c"engine", DeleteModuleFlags::O_NONBLOCK)
}

/// Changes a parameter.
#[track_caller]
pub fn set(parameter: &str, value: &str) {
    let path = format!("/sys/module/engine/parameters/{parameter}");
    fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// Lets the driver leave its device ("unbind"), or enter it ("bind").
pub fn driver(file: &str) -> io::Result<()> {
    let path = format!("/sys/bus/platform/drivers/test-engine/{file}");
    fs::write(path, "test-engine")
}

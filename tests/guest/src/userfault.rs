// SPDX-License-Identifier: MIT OR Apache-2.0
//! A page that is not there until a program gives it (userfaultfd(2)).

use std::{
    fs::File,
    io::Read,
    ops::Deref,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use nix::{errno::Errno, libc};

use crate::{
    drivers,
    sys::{page, Region},
};

mod ioctl {
    use crate::drivers::*;

    nix::ioctl_readwrite_bad!(api, UFFDIO_API, uffdio_api);
    nix::ioctl_readwrite_bad!(register, UFFDIO_REGISTER, uffdio_register);
    nix::ioctl_readwrite_bad!(zeropage, UFFDIO_ZEROPAGE, uffdio_zeropage);
}

/// A page of this process that is not there, with memory of its own.
#[derive(Debug)]
pub struct MissingPage {
    place: MissingPlace,
    _region: Region,
}

/// A place of this process where a page is missing. Who touches it waits until it is given.
#[derive(Debug)]
pub struct MissingPlace {
    faults: File,
    start: usize,
}

impl MissingPage {
    /// A new one.
    ///
    /// # Errors
    ///
    /// ENOSYS if the kernel has no userfaultfd, EPERM if this program may not use it.
    pub fn new() -> Result<Self, Errno> {
        let region = Region::anonymous(page());
        let place = MissingPlace::new(region.start().expose_provenance())?;
        Ok(Self {
            place,
            _region: region,
        })
    }
}

impl Deref for MissingPage {
    type Target = MissingPlace;

    fn deref(&self) -> &MissingPlace {
        &self.place
    }
}

impl MissingPlace {
    /// The page at an address, where there is anonymous memory that nobody has touched.
    ///
    /// # Errors
    ///
    /// As of [`MissingPage::new`], and EINVAL or ENOENT where there is no such memory.
    pub fn new(start: usize) -> Result<Self, Errno> {
        // SAFETY: no memory is involved.
        let number = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
        let number = Errno::result(number)?;
        // SAFETY: it is a new descriptor, and nobody else's.
        let faults: File = unsafe { OwnedFd::from_raw_fd(number as i32) }.into();
        let mut api = drivers::uffdio_api {
            api: drivers::UFFD_API.into(),
            ..Default::default()
        };
        let mut register = drivers::uffdio_register {
            range: range(start),
            mode: drivers::UFFDIO_REGISTER_MODE_MISSING.into(),
            ..Default::default()
        };
        // SAFETY: each call reads and writes one such structure.
        unsafe {
            ioctl::api(faults.as_raw_fd(), &mut api)?;
            ioctl::register(faults.as_raw_fd(), &mut register)?;
        }
        Ok(Self { faults, start })
    }

    /// The address of the page.
    pub fn address(&self) -> usize {
        self.start
    }

    /// Waits until somebody touches it.
    #[track_caller]
    pub fn wait_for_touch(&self) {
        let mut message = [0; size_of::<drivers::uffd_msg>()];
        let count = (&self.faults).read(&mut message).expect("a fault");
        assert_eq!(count, message.len());
    }

    /// Gives it: it is zero.
    #[track_caller]
    pub fn give(&self) {
        let mut zero = drivers::uffdio_zeropage {
            range: range(self.start),
            ..Default::default()
        };
        // SAFETY: the call reads and writes one such structure.
        unsafe { ioctl::zeropage(self.faults.as_raw_fd(), &mut zero) }.expect("UFFDIO_ZEROPAGE");
    }
}

fn range(start: usize) -> drivers::uffdio_range {
    drivers::uffdio_range {
        start: start as u64,
        len: page() as u64,
    }
}

// SPDX-License-Identifier: GPL-2.0

//! A misc device with what the kernel crate's lacks: data of its own, a file
//! mode, and llseek on a file of fixed size. And open files without a node.

use super::ffi;
use core::ptr::NonNull;
use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    fs::{
        File,
        Kiocb,
        LocalFile, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    mm::virt::VmaNew,
    prelude::*,
    seq_file::SeqFile,
    str::CString,
    sync::{
        aref::ARef,
        poll::{
            PollCondVar,
            PollTable, //
        }, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    },
};

/// What an open file of a [`Node`] does.
pub(crate) trait NodeOperations: Sized + Send + Sync + 'static {
    /// What the node gives access to.
    type Data: Send + Sync;

    /// Makes a new open file, for open(2).
    fn open(data: &Self::Data, file: &File) -> Result<KBox<Self>>;
    /// The size of the file, which does not change while it is open.
    fn size(&self) -> usize;
    /// Serves read(2) at `position`, and returns how many bytes that were.
    fn read(&self, position: u64, iter: &mut IovIterDest<'_>) -> Result<usize>;
    /// Serves write(2) at `position`, and returns how many bytes that were.
    fn write(&self, position: u64, iter: &mut IovIterSource<'_>) -> Result<usize>;
    /// Serves mmap(2).
    fn mmap(&self, vma: &VmaNew) -> Result;
    /// Serves ioctl(2).
    fn ioctl(&self, cmd: u32, arg: usize) -> Result<isize>;
    /// Serves poll(2): registers the waiter with `register`, and then looks whether reading and
    /// writing would go on at once. May sleep.
    fn poll(&self, register: impl FnOnce(&PollCondVar)) -> bool;
    /// Writes the lines of /proc/PID/fdinfo.
    fn show_fdinfo(&self, m: &SeqFile);
}

/// A registered misc device.
///
/// # Invariants
///
/// `misc` is registered with the operations of `Adapter<T>`, and the first field.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct Node<T: NodeOperations> {
    #[pin]
    misc: Opaque<bindings::miscdevice>,
    data: T::Data,
    name: CString,
}

// SAFETY: A misc device may be deregistered by any thread, and the data may move between them.
unsafe impl<T: NodeOperations> Send for Node<T> {}
// SAFETY: Only the data is reached by a shared reference.
unsafe impl<T: NodeOperations> Sync for Node<T> {}

impl<T: NodeOperations> Node<T> {
    /// Makes /dev/`name` with the permissions `mode`. It can be opened before this returns. May
    /// sleep; dropping it too, while nobody holds a lock that `open` takes.
    ///
    /// # Errors
    ///
    /// [`EEXIST`] if there is one of that name, [`EBUSY`] if there is no minor number left,
    /// [`ENOMEM`].
    pub(crate) fn new(name: CString, mode: u16, data: T::Data) -> impl PinInit<Self, Error> {
        try_pin_init!(&node in Self {
            data,
            name,
            misc <- Opaque::try_ffi_init(move |slot: *mut bindings::miscdevice| {
                let mut misc = MiscDeviceOptions { name: c"" }.into_raw::<Adapter<T>>();
                // SAFETY: The name was written before, and lives as long as the node.
                misc.name = unsafe { (*node.as_ptr()).name.as_char_ptr() };
                misc.fops = Adapter::<T>::table();
                misc.mode = mode;
                // SAFETY: The slot is valid for writing.
                unsafe { slot.write(misc) };
                // SAFETY: The slot is pinned, and deregistered before it is gone.
                to_result(unsafe { bindings::misc_register(slot) })
            }),
        })
    }
}

#[pinned_drop]
impl<T: NodeOperations> PinnedDrop for Node<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants.
        unsafe { bindings::misc_deregister(self.misc.get()) };
    }
}

/// A new open file with these operations, in no folder, readable and writable. It keeps `handle`,
/// and the module, until it is released. May sleep.
///
/// # Errors
///
/// [`ENOMEM`], [`ENFILE`].
pub(crate) fn anonymous_file<T: NodeOperations>(
    name: &'static CStr,
    handle: KBox<T>,
) -> Result<ARef<File>> {
    let private = KBox::new(Adapter(handle), GFP_KERNEL)?.into_foreign();
    // SAFETY: The operations are those of the private data.
    let file =
        unsafe { ffi::shmbuf_file_new(name.as_char_ptr(), Adapter::<T>::table(), private.cast()) };
    match from_err_ptr(file) {
        // SAFETY: The function returned a reference to a new file, which nobody knows.
        Ok(file) => Ok(unsafe { ARef::from_raw(NonNull::new_unchecked(file).cast()) }),
        Err(error) => {
            // SAFETY: There is no file that has it.
            drop(unsafe { <KBox<Adapter<T>> as ForeignOwnable>::from_foreign(private) });
            Err(error)
        }
    }
}

/// The handle of `file`, if it is a file with these operations.
pub(crate) fn handle<T: NodeOperations>(file: &LocalFile) -> Option<&T> {
    // SAFETY: The file is open, so its operations and private data stay.
    let (operations, private) = unsafe { ((*file.as_ptr()).f_op, (*file.as_ptr()).private_data) };
    if !core::ptr::eq(operations, Adapter::<T>::table()) {
        return None;
    }
    // SAFETY: With these operations the private data is of this type, and borrowed until `release`.
    let adapter = unsafe { <KBox<Adapter<T>> as ForeignOwnable>::borrow(private) };
    Some(&adapter.0)
}

/// The private data of an open file. Nobody but this file can make one.
struct Adapter<T>(KBox<T>);

impl<T: NodeOperations> Adapter<T> {
    const TABLE: bindings::file_operations = {
        let misc = MiscDeviceOptions { name: c"" }.into_raw::<Self>();
        bindings::file_operations {
            llseek: Some(Self::llseek),
            poll: Some(Self::poll),
            // SAFETY: The kernel crate's table is a constant.
            ..unsafe { core::ptr::read(misc.fops) }
        }
    };

    // One address, by which files are known.
    #[inline(never)]
    fn table() -> &'static bindings::file_operations {
        &Self::TABLE
    }

    /// # Safety
    ///
    /// `file` must be an open file with these operations.
    unsafe extern "C" fn llseek(file: *mut bindings::file, offset: i64, whence: c_int) -> i64 {
        // SAFETY: The private data was set by `open` and is borrowed until `release`.
        let adapter = unsafe { <KBox<Self> as ForeignOwnable>::borrow((*file).private_data) };
        // SAFETY: The file is valid.
        unsafe { bindings::fixed_size_llseek(file, offset, whence, adapter.0.size() as i64) }
    }

    /// # Safety
    ///
    /// `file` must be an open file with these operations, and `table` null or valid.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: The private data was set by `open` and is borrowed until `release`.
        let adapter = unsafe { <KBox<Self> as ForeignOwnable>::borrow((*file).private_data) };
        // SAFETY: By this function's contract.
        let (file, table) = unsafe { (File::from_raw_file(file), PollTable::from_raw(table)) };
        match adapter.0.poll(|waiters| table.register_wait(file, waiters)) {
            true => {
                bindings::POLLIN | bindings::POLLRDNORM | bindings::POLLOUT | bindings::POLLWRNORM
            }
            false => 0,
        }
    }
}

#[vtable]
impl<T: NodeOperations> MiscDevice for Adapter<T> {
    type Ptr = KBox<Self>;

    fn open(file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        // SAFETY: Only `Node` registers this type, and has the device as its first field, by its
        // invariants. The registration, hence the node, lives until `open` returns.
        let data = unsafe { &(*misc.as_raw().cast::<Node<T>>()).data };
        Ok(KBox::new(Self(T::open(data, file)?), GFP_KERNEL)?)
    }

    fn mmap(adapter: &Self, _file: &File, vma: &VmaNew) -> Result {
        adapter.0.mmap(vma)
    }

    fn read_iter(mut kiocb: Kiocb<'_, KBox<Self>>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let position = u64::try_from(kiocb.ki_pos()).map_err(|_| EINVAL)?;
        let count = kiocb.file().0.read(position, iov)?;
        *kiocb.ki_pos_mut() += count as i64;
        Ok(count)
    }

    fn write_iter(mut kiocb: Kiocb<'_, KBox<Self>>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        let position = u64::try_from(kiocb.ki_pos()).map_err(|_| EINVAL)?;
        let count = kiocb.file().0.write(position, iov)?;
        *kiocb.ki_pos_mut() += count as i64;
        Ok(count)
    }

    fn ioctl(adapter: &Self, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        adapter.0.ioctl(cmd, arg)
    }

    fn show_fdinfo(adapter: &Self, m: &SeqFile, _file: &File) {
        adapter.0.show_fdinfo(m);
    }
}

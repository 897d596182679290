// SPDX-License-Identifier: GPL-2.0

//! A misc device with what the kernel crate's lacks: data of its own, a file
//! mode, llseek on a file of fixed size, splice and fsync. And open files without a node.

use super::{
    address_space::AddressSpace,
    compat::this_module,
    cpu,
    ffi,
    poll_queue::PollQueue,
    transfer::Settle,
    vma::NewVma,
    wait_queue::Patience, //
};
use core::{
    any::TypeId,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    fs::{
        file::flags,
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
    page::PAGE_SHIFT,
    prelude::*,
    seq_file::SeqFile,
    str::CString,
    sync::{
        aref::ARef,
        poll::{
            PollCondVar,
            PollTable, //
        },
        Arc, //
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

    /// Makes a new open file, for open(2) with `flags`.
    fn open(data: &Self::Data, flags: u32) -> Result<Pin<KBox<Self>>>;
    /// Where the file's mappings are. Asked once, when the file is opened.
    fn address_space(&self) -> Arc<AddressSpace>;
    /// The size of the file, which does not change while it is open.
    fn size(&self) -> usize;
    /// The physical address of the file's first byte now: mappings lie at addresses that blocks of it can
    /// have, if nothing else is asked for.
    fn phys(&self) -> bindings::phys_addr_t;
    /// Serves read(2) at `position`, and returns how many bytes of `iter` that were.
    fn read(&self, position: u64, iter: &mut IovIterDest<'_>, patience: Patience) -> Result<usize>;
    /// Serves write(2) at `position`, and returns how many bytes of `iter` that were.
    fn write(
        &self,
        position: u64,
        iter: &mut IovIterSource<'_>,
        settle: Settle,
        patience: Patience,
    ) -> Result<usize>;
    /// Serves fsync(2), and msync(2) of mappings of the file: brings the bytes from `first` to `last`
    /// to where they are to stay.
    fn fsync(&self, first: u64, last: u64) -> Result;
    /// Serves mmap(2), `synchronous` if the file was opened with O_SYNC or O_DSYNC.
    fn mmap(&self, vma: NewVma<'_>, synchronous: bool) -> Result;
    /// Serves ioctl(2).
    fn ioctl(&self, cmd: u32, arg: usize, patience: Patience) -> Result<isize>;
    /// Who waits for news that the file has. Asked once, when the file is opened.
    fn news(&self) -> Arc<PollQueue>;
    /// Serves poll(2): registers the waiter with `register`, besides that for news, and then looks. May
    /// sleep.
    fn poll(&self, register: impl FnOnce(&PollCondVar)) -> Ready;
    /// Writes the lines of /proc/PID/fdinfo.
    fn show_fdinfo(&self, m: &SeqFile);
}

/// What poll(2) says of a file.
pub(crate) struct Ready {
    /// Reading and writing would go on at once.
    pub(crate) transfers: bool,
    /// There is something that the file has not told yet.
    pub(crate) news: bool,
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

/// A new open file with these operations, in no folder, of a mode of open(2). It keeps `handle`, and the
/// module, until it is released. May sleep.
///
/// # Errors
///
/// [`ENOMEM`], [`ENFILE`].
pub(crate) fn anonymous_file<T: NodeOperations>(
    name: &'static CStr,
    handle: Pin<KBox<T>>,
    mode: u32,
) -> Result<ARef<File>> {
    let adapter = Adapter::new(handle)?;
    let space = adapter.space.clone();
    let private = adapter.into_foreign();
    // SAFETY: The operations are those of the private data.
    let file = unsafe {
        let table = Adapter::<T>::table();
        ffi::shmbuf_file_new(name.as_char_ptr(), table, private.cast(), mode as c_int)
    };
    match from_err_ptr(file) {
        // SAFETY: The function returned a reference to a new file, which nobody knows, and which
        // keeps the adapter.
        Ok(file) => Ok(unsafe {
            space.adopt(file);
            ARef::from_raw(NonNull::new_unchecked(file).cast())
        }),
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
    if !ptr::eq(operations, Adapter::<T>::table()) {
        return None;
    }
    // SAFETY: With these operations the private data is an adapter, borrowed until `release`: nobody
    // gets a file of ours before it has one. If the table is also another type's, the adapter may be
    // that one's, and has the same layout.
    let adapter = unsafe { <KBox<Adapter<T>> as ForeignOwnable>::borrow(private) };
    (adapter.handle_type == TypeId::of::<T>()).then_some(&*adapter.handle)
}

/// That of who reads or writes.
fn patience<T: ForeignOwnable>(kiocb: &Kiocb<'_, T>) -> Patience {
    // SAFETY: The kiocb is valid, and so is its file.
    unsafe {
        match ffi::shmbuf_iocb_is_nowait(kiocb.as_raw()) {
            true => Patience::None,
            false => Patience::of(File::from_raw_file((*kiocb.as_raw()).ki_filp)),
        }
    }
}

/// The private data of an open file. Nobody but this file can make one.
///
/// # Invariants
///
/// `handle_type` is that of `T`.
#[repr(C)]
struct Adapter<T> {
    // Tables that are equal may be one: so the type of a file is not told by its table alone.
    handle_type: TypeId,
    handle: Pin<KBox<T>>,
    news: Arc<PollQueue>,
    // Goes after what uses it.
    space: Arc<AddressSpace>,
}

impl<T: NodeOperations> Adapter<T> {
    fn new(handle: Pin<KBox<T>>) -> Result<KBox<Self>> {
        let adapter = Self {
            handle_type: TypeId::of::<T>(),
            space: handle.address_space(),
            news: handle.news(),
            handle,
        };
        Ok(KBox::new(adapter, GFP_KERNEL_ACCOUNT)?)
    }

    const TABLE: bindings::file_operations = {
        let misc = MiscDeviceOptions { name: c"" }.into_raw::<Self>();
        bindings::file_operations {
            llseek: Some(Self::llseek),
            poll: Some(Self::poll),
            fsync: Some(Self::fsync),
            get_unmapped_area: match cfg!(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP) {
                true => Some(Self::get_unmapped_area),
                false => None,
            },
            // The kernel's own, by way of `read_iter` and `write_iter`.
            splice_read: Some(bindings::copy_splice_read),
            splice_write: Some(bindings::iter_file_splice_write),
            // In Linux 7.2 the kernel crate's table has none: nothing would keep the module.
            owner: this_module(),
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
        unsafe { bindings::fixed_size_llseek(file, offset, whence, adapter.handle.size() as i64) }
    }

    /// # Safety
    ///
    /// `file` must be an open file with these operations.
    unsafe extern "C" fn fsync(
        file: *mut bindings::file,
        first: i64,
        last: i64,
        _only_data: c_int,
    ) -> c_int {
        // SAFETY: The private data was set by `open` and is borrowed until `release`.
        let adapter = unsafe { <KBox<Self> as ForeignOwnable>::borrow((*file).private_data) };
        match adapter.handle.fsync(first as u64, last as u64) {
            Ok(()) => 0,
            Err(error) => error.to_errno(),
        }
    }

    /// The kernel's own choice of an address, as if the file began where its memory does in a block.
    ///
    /// # Safety
    ///
    /// `file` must be an open file with these operations.
    unsafe extern "C" fn get_unmapped_area(
        file: *mut bindings::file,
        address: usize,
        len: usize,
        pgoff: usize,
        flags: usize,
    ) -> usize {
        // SAFETY: The private data was set by `open` and is borrowed until `release`.
        let adapter = unsafe { <KBox<Self> as ForeignOwnable>::borrow((*file).private_data) };
        let before = adapter.handle.phys() as usize & (cpu::block_size().max(1) - 1);
        let pgoff = pgoff.saturating_add(before >> PAGE_SHIFT);
        // SAFETY: By this function's contract. What is found is free, whatever the offset.
        unsafe { ffi::shmbuf_get_unmapped_area(file, address, len, pgoff, flags) }
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
        // SAFETY: By this function's contract; the adapter keeps the queue until `release`.
        unsafe { adapter.news.register(file, table) };
        // SAFETY: By this function's contract.
        let (file, table) = unsafe { (File::from_raw_file(file), PollTable::from_raw(table)) };
        let ready = adapter
            .handle
            .poll(|waiters| table.register_wait(file, waiters));
        let transfers =
            bindings::POLLIN | bindings::POLLRDNORM | bindings::POLLOUT | bindings::POLLWRNORM;
        let when = |is: bool, events| if is { events } else { 0 };
        when(ready.transfers, transfers) | when(ready.news, bindings::POLLPRI)
    }
}

#[vtable]
impl<T: NodeOperations> MiscDevice for Adapter<T> {
    type Ptr = KBox<Self>;

    fn open(file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        // SAFETY: Only `Node` registers this type, and has the device as its first field, by its
        // invariants. The registration, hence the node, lives until `open` returns.
        let data = unsafe { &(*misc.as_raw().cast::<Node<T>>()).data };
        // The operations do not get the file: it has no adapter yet.
        let adapter = Self::new(T::open(data, file.flags())?)?;
        // SAFETY: The file is being opened, and keeps the adapter.
        unsafe {
            adapter.space.adopt(file.as_ptr());
            ffi::shmbuf_file_takes_nowait(file.as_ptr());
        }
        Ok(adapter)
    }

    fn mmap(adapter: &Self, file: &File, vma: &VmaNew) -> Result {
        let synchronous = file.flags() & flags::O_DSYNC != 0;
        // SAFETY: The core has just made it, and we do no more with it.
        let vma = unsafe { NewVma::new(vma) };
        adapter.handle.mmap(vma, synchronous)
    }

    fn read_iter(mut kiocb: Kiocb<'_, KBox<Self>>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let position = u64::try_from(kiocb.ki_pos()).map_err(|_| EINVAL)?;
        let (before, patience) = (iov.len(), patience(&kiocb));
        let count = kiocb.file().handle.read(position, iov, patience)?;
        // The core believes it.
        let count = count.min(before.saturating_sub(iov.len()));
        *kiocb.ki_pos_mut() += count as i64;
        Ok(count)
    }

    fn write_iter(mut kiocb: Kiocb<'_, KBox<Self>>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        let handle = &kiocb.file().handle;
        // SAFETY: The kiocb is valid.
        let position = match unsafe { ffi::shmbuf_iocb_appends(kiocb.as_raw()) } {
            // There is no room, as on a block device.
            true => handle.size() as u64,
            false => u64::try_from(kiocb.ki_pos()).map_err(|_| EINVAL)?,
        };
        let (before, patience) = (iov.len(), patience(&kiocb));
        // SAFETY: The kiocb is valid.
        let settle = match unsafe { ffi::shmbuf_iocb_is_synchronous(kiocb.as_raw()) } {
            true => Settle::Now,
            false => Settle::Later,
        };
        let count = handle.write(position, iov, settle, patience)?;
        // The core believes it.
        let count = count.min(before.saturating_sub(iov.len()));
        *kiocb.ki_pos_mut() += count as i64;
        Ok(count)
    }

    fn ioctl(adapter: &Self, file: &File, cmd: u32, arg: usize) -> Result<isize> {
        adapter.handle.ioctl(cmd, arg, Patience::of(file))
    }

    fn show_fdinfo(adapter: &Self, m: &SeqFile, _file: &File) {
        adapter.handle.show_fdinfo(m);
    }
}

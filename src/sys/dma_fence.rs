// SPDX-License-Identifier: GPL-2.0

//! Fences (`Documentation/driver-api/dma-buf.rst`), and the reservation objects of our
//! dma-bufs.

use super::{
    errno::ECANCELED,
    ffi, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    error::to_result,
    fs::File,
    prelude::*,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    },
};

/// Something that has not ended yet, for whoever waits for it: other drivers, and programs.
///
/// # Invariants
///
/// An initialized fence.
#[repr(transparent)]
pub(crate) struct Fence(Opaque<bindings::dma_fence>);

// SAFETY: A fence belongs to no thread.
unsafe impl Send for Fence {}
// SAFETY: A fence has a lock of its own.
unsafe impl Sync for Fence {}

// SAFETY: A fence is freed after its last reference is gone.
unsafe impl AlwaysRefCounted for Fence {
    fn inc_ref(&self) {
        // SAFETY: By the type invariants.
        unsafe { ffi::shmbuf_fence_get(self.0.get()) };
    }

    unsafe fn dec_ref(fence: NonNull<Self>) {
        // SAFETY: By this function's contract.
        unsafe { ffi::shmbuf_fence_put(fence.as_ref().0.get()) };
    }
}

impl Fence {
    /// The fence as a file, of which a program makes a descriptor (`struct sync_file`). May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn sync_file(&self) -> Result<ARef<File>> {
        // SAFETY: By the type invariants; the file takes a reference of its own.
        let file = NonNull::new(unsafe { ffi::shmbuf_sync_file(self.0.get()) });
        let file = file.ok_or(ENOMEM)?;
        // SAFETY: The reference of a new file is ours, and nobody has used its position.
        Ok(unsafe { ARef::from_raw(file.cast()) })
    }
}

/// The duty to signal a fence, which is done when this is dropped.
pub(crate) struct Promise {
    fence: ARef<Fence>,
    result: Result,
}

impl Promise {
    /// A fence that is not signalled. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: The function has no requirements.
        let fence = NonNull::new(unsafe { ffi::shmbuf_fence_new() }).ok_or(ENOMEM)?;
        Ok(Self {
            // SAFETY: The reference is ours.
            fence: unsafe { ARef::from_raw(fence.cast()) },
            result: Err(ECANCELED),
        })
    }

    /// The fence, for who waits for it.
    pub(crate) fn fence(&self) -> &ARef<Fence> {
        &self.fence
    }

    /// Signals the fence: what it stands for has ended so. Any context.
    pub(crate) fn keep(mut self, result: Result) {
        self.result = result;
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let error = self.result.err().map_or(0, Error::to_errno);
        // SAFETY: By the type invariants; a fence is signalled by its promise, once.
        unsafe { ffi::shmbuf_fence_signal(self.fence.0.get(), error) };
    }
}

/// What one does to memory until a fence is signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    /// Reads it: who writes has to wait.
    Reads,
    /// Writes it: everybody has to wait.
    Writes,
}

/// The fences of a dma-buf: of who uses its memory now.
#[pin_data(PinnedDrop)]
#[repr(transparent)]
pub(crate) struct Reservation {
    #[pin]
    inner: Opaque<bindings::dma_resv>,
}

// SAFETY: A reservation object belongs to no thread.
unsafe impl Send for Reservation {}
// SAFETY: A reservation object has a lock of its own.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// Without any fence.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            inner <- Opaque::ffi_init(|slot: *mut bindings::dma_resv| {
                // SAFETY: The slot is valid for writing.
                unsafe { bindings::dma_resv_init(slot) };
            }),
        })
    }

    /// Adds a fence: until it is signalled, somebody uses the memory. Waits for who holds it. Sleeps.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], [`ERESTARTSYS`] if a signal came.
    pub(crate) fn add(&self, fence: &Fence, usage: Usage) -> Result {
        self.lock()?.reserve()?.add(fence, usage);
        Ok(())
    }

    /// Waits until nobody holds it. Sleeps.
    ///
    /// # Errors
    ///
    /// [`ERESTARTSYS`] if a signal came.
    pub(crate) fn wait_for_holder(&self) -> Result {
        self.lock().map(|_| ())
    }

    fn lock(&self) -> Result<Held<'_>> {
        // SAFETY: The reservation object is valid.
        let locked = to_result(unsafe { ffi::shmbuf_resv_lock(self.inner.get()) });
        // Without a context only a signal makes it fail, and nothing has been done.
        locked.map_err(|_| ERESTARTSYS)?;
        // INVARIANT: Just locked.
        Ok(Held(self, NotThreadSafe))
    }

    /// Locks it, if nobody holds it.
    pub(crate) fn try_lock(&self) -> Option<Held<'_>> {
        // SAFETY: The reservation object is valid.
        let locked = unsafe { ffi::shmbuf_resv_trylock(self.inner.get()) };
        // INVARIANT: Just locked.
        locked.then(|| Held(self, NotThreadSafe))
    }

    /// Whether there is a fence that `usage` has to wait for and that `waits` says so of. Takes no
    /// lock: who wants it to stay so [holds](Self::try_lock) it.
    pub(crate) fn has<F: Fn(&Fence) -> bool>(&self, usage: Usage, waits: F) -> bool {
        let writes = usage == Usage::Writes;
        let data = core::ptr::from_ref(&waits).cast_mut().cast();
        // SAFETY: The reservation object is valid, and the function is called with a fence and `data`.
        unsafe { ffi::shmbuf_resv_has(self.inner.get(), writes, Some(Self::waits::<F>), data) }
    }

    /// Waits for those fences that `usage` has to wait for and that `waits` says so of. Takes no lock.
    /// Sleeps.
    ///
    /// # Errors
    ///
    /// [`ERESTARTSYS`] if a signal came.
    pub(crate) fn wait<F: Fn(&Fence) -> bool>(&self, usage: Usage, waits: F) -> Result {
        let writes = usage == Usage::Writes;
        let data = core::ptr::from_ref(&waits).cast_mut().cast();
        // SAFETY: The reservation object is valid, and the function is called with a fence and `data`.
        let ended = unsafe {
            ffi::shmbuf_resv_wait(self.inner.get(), writes, Some(Self::waits::<F>), data)
        };
        match ended {
            0.. => Ok(()),
            error => Err(Error::from_errno(error as c_int)),
        }
    }

    /// # Safety
    ///
    /// `fence` must be valid, and `data` point to an `F`.
    unsafe extern "C" fn waits<F: Fn(&Fence) -> bool>(
        fence: *mut bindings::dma_fence,
        data: *mut c_void,
    ) -> bool {
        // SAFETY: By this function's contract; a fence is the whole of a `Fence`.
        unsafe { (*data.cast::<F>())(&*fence.cast()) }
    }
}

/// A reservation object that is locked.
///
/// # Invariants
///
/// By the thread that has this.
pub(crate) struct Held<'a>(&'a Reservation, NotThreadSafe);

/// A reservation object that is locked, with room for a fence.
pub(crate) struct Slot<'a>(Held<'a>);

impl<'a> Held<'a> {
    /// Makes room for a fence. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn reserve(self) -> Result<Slot<'a>> {
        // SAFETY: The reservation object is valid, and locked.
        to_result(unsafe { bindings::dma_resv_reserve_fences(self.0.inner.get(), 1) })?;
        Ok(Slot(self))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { ffi::shmbuf_resv_unlock(self.0.inner.get()) };
    }
}

impl Slot<'_> {
    /// Adds a fence: until it is signalled, somebody uses the memory. Unlocks.
    pub(crate) fn add(self, fence: &Fence, usage: Usage) {
        let usage = match usage {
            Usage::Reads => bindings::dma_resv_usage_DMA_RESV_USAGE_READ,
            Usage::Writes => bindings::dma_resv_usage_DMA_RESV_USAGE_WRITE,
        };
        // SAFETY: Both are valid; the reservation object is locked, has room, and takes a reference of
        // its own.
        unsafe { bindings::dma_resv_add_fence(self.0 .0.inner.get(), fence.0.get(), usage) };
    }
}

#[pinned_drop]
impl PinnedDrop for Reservation {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: It was initialized, and nobody has a reference any more.
        unsafe { bindings::dma_resv_fini(self.inner.get()) };
    }
}

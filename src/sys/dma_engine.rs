// SPDX-License-Identifier: GPL-2.0

//! Copying memory by a DMA engine (`Documentation/driver-api/dmaengine/client.rst`).

use super::{
    compat::synchronize_rcu,
    dma_device::raw,
    dma_mapping::{
        Bound,
        DeviceMapping,
        Scatterlist,
        Segment, //
    },
    errno::{
        ECANCELED,
        EOPNOTSUPP, //
    },
    ffi,
    stay::{
        Stay,
        Stays, //
    }, //
};
use crate::rules::pairs::Part;
use core::ptr::NonNull;
use kernel::{
    bindings,
    device,
    dma::DataDirection,
    error::to_result,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc,
        Mutex, //
    },
    time::Jiffies,
    types::{
        NotThreadSafe,
        Opaque,
        ScopeGuard, //
    }, //
};

/// A channel of an engine that copies memory, for nobody but us.
///
/// # Invariants
///
/// The channel was requested, and not released; the engine's driver has not left.
struct Channel(NonNull<ffi::dma_chan>);

// SAFETY: A channel belongs to no thread.
unsafe impl Send for Channel {}

impl Channel {
    /// The device that reads and writes memory for the channel.
    fn device(&self) -> &device::Device {
        // SAFETY: By the type invariants; the engine keeps its device.
        unsafe { device::Device::from_raw(ffi::shmbuf_dma_channel_device(self.0.as_ptr())) }
    }

    /// What [`Lease::copy`] does for one of its pairs. Returns what is left of `patience`.
    fn copy(
        &mut self,
        from: Segment<'_>,
        to: Segment<'_>,
        progress: &Progress,
        patience: Jiffies,
    ) -> Result<Jiffies> {
        let channel = self.0.as_ptr();
        let is_mapped = from.is_for(self.device()) && to.is_for(self.device());
        if !is_mapped || !to.is_written() || from.len() != to.len() {
            return Err(EINVAL);
        }
        let (from, to, len) = (from.dma(), to.dma(), to.len());
        let _used = progress.begin()?;
        // SAFETY: By the type invariants.
        if !unsafe { ffi::shmbuf_dma_is_aligned(channel, to, from, len) } {
            return Err(EIO);
        }
        // SAFETY: By the type invariants. The addresses are mapped for the channel's device as long as
        // the segments live: until the engine has stopped.
        let descriptor = unsafe { ffi::shmbuf_dma_prep_memcpy(channel, to, from, len) };
        if descriptor.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: The descriptor was just made. The progress outlives the call, as this function
        // does not return before it was called or cannot be.
        let cookie = unsafe {
            ffi::shmbuf_dma_submit(
                descriptor,
                Some(Progress::ended),
                core::ptr::from_ref(progress).cast_mut().cast(),
            )
        };
        // SAFETY: By the type invariants.
        unsafe { ffi::shmbuf_dma_issue_pending(channel) };
        let waited = match cookie {
            0.. => progress.wait(patience),
            _ => Err(EIO),
        };
        let left = waited.or_else(|error| {
            // SAFETY: By the type invariants.
            let stopped = to_result(unsafe { ffi::shmbuf_dma_terminate_sync(channel) });
            if stopped.is_err() && cookie >= 0 {
                // It goes on writing.
                progress.wait_for_end();
            }
            // Some engines cannot wait for their tasklet (no device_synchronize).
            synchronize_rcu();
            // The callback has ended or is not called any more, so what it says is the last word,
            // also if it was late.
            match progress.stage() {
                Stage::Done | Stage::Failed => Ok(0),
                Stage::Running => Err(error),
            }
        })?;
        match progress.stage() {
            Stage::Done => Ok(left),
            Stage::Failed | Stage::Running => Err(EIO),
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; nothing is running.
        unsafe { ffi::shmbuf_dma_release_channel(self.0.as_ptr()) };
    }
}

/// How far a transfer is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Stage {
    Running,
    Done,
    Failed,
}

/// A transfer that is waited for, and that others may cancel.
#[pin_data]
pub(crate) struct Progress {
    /// Whether a channel uses it.
    is_used: Atomic<bool>,
    stage: Atomic<u32>,
    cancelled: Atomic<bool>,
    #[pin]
    woken: Opaque<bindings::completion>,
}

// SAFETY: A completion belongs to no thread.
unsafe impl Send for Progress {}
// SAFETY: A completion has a lock of its own.
unsafe impl Sync for Progress {}

impl Progress {
    /// The progress of no transfer yet.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            is_used: Atomic::new(false),
            stage: Atomic::new(Stage::Running as u32),
            cancelled: Atomic::new(false),
            woken <- Opaque::ffi_init(|slot: *mut bindings::completion| {
                // SAFETY: The slot is valid for writing.
                unsafe { bindings::init_completion(slot) };
            }),
        })
    }

    /// Whether the transfer was cancelled, by [`Self::cancel`].
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }

    /// Ends the transfer that runs, and lets none begin. Any context.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
        // SAFETY: The completion is initialized.
        unsafe { bindings::complete(self.woken.get()) };
    }

    /// Prepares for a transfer, until what is returned is dropped.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if another one goes on, [`ECANCELED`].
    fn begin(&self) -> Result<impl Drop + '_> {
        if self.is_cancelled() {
            return Err(ECANCELED);
        }
        if self.is_used.xchg(true, Full) {
            return Err(EBUSY);
        }
        let used = ScopeGuard::new(|| self.is_used.store(false, Release));
        self.stage.store(Stage::Running as u32, Relaxed);
        // SAFETY: The completion is initialized, and nobody waits.
        unsafe { ffi::shmbuf_reinit_completion(self.woken.get()) };
        Ok(used)
    }

    /// The engine's callback, in a tasklet.
    ///
    /// # Safety
    ///
    /// `progress` must be valid, and `result` null or valid.
    unsafe extern "C" fn ended(progress: *mut c_void, result: *const ffi::dmaengine_result) {
        // SAFETY: By this function's contract.
        let progress = unsafe { &*progress.cast_const().cast::<Self>() };
        // SAFETY: By this function's contract.
        let failed = unsafe { ffi::shmbuf_dma_failed(result) };
        let stage = if failed { Stage::Failed } else { Stage::Done };
        progress.stage.store(stage as u32, Release);
        // SAFETY: The completion is initialized. Its lock is held until it is no longer touched, so
        // that the waiter may free it.
        unsafe { bindings::complete(progress.woken.get()) };
    }

    /// What the engine has said so far.
    fn stage(&self) -> Stage {
        let stage = self.stage.load(Acquire);
        [Stage::Done, Stage::Failed]
            .into_iter()
            .find(|&known| known as u32 == stage)
            .unwrap_or(Stage::Running)
    }

    /// Waits until the engine has said that it has ended, for as long as that takes.
    fn wait_for_end(&self) {
        while self.stage() == Stage::Running {
            // SAFETY: The completion is initialized.
            unsafe { bindings::wait_for_completion(self.woken.get()) };
        }
    }

    /// Waits until the callback has ended, and returns how much of `patience` is left.
    fn wait(&self, patience: Jiffies) -> Result<Jiffies> {
        if self.is_cancelled() {
            return Err(ECANCELED);
        }
        // SAFETY: The completion is initialized.
        let left = unsafe {
            bindings::wait_for_completion_interruptible_timeout(self.woken.get(), patience)
        };
        match left {
            _ if self.is_cancelled() => Err(ECANCELED),
            1.. => Ok(left as Jiffies),
            0 => Err(ETIMEDOUT),
            _ => Err(ERESTARTSYS),
        }
    }
}

/// Who is told of what becomes of an engine's driver. May sleep in both calls.
pub(crate) trait Watcher: Send + Sync + 'static {
    /// The driver is going to leave its device. Who has a [`Lease`] is to give it up: that is waited
    /// for next.
    fn leaves(&self);
    /// The driver has left.
    fn left(&self);
}

/// An engine that copies memory, and a channel of it, until the engine's driver leaves.
///
/// # Invariants
///
/// - `block` is registered with `bus`, unless that is null: then the device has no driver that could
///   leave it.
/// - There is a channel as long as there is a [`Lease`].
#[pin_data(PinnedDrop)]
pub(crate) struct Engine<W: Watcher> {
    watcher: Arc<W>,
    /// The device whose driver the engine's is.
    provider: ARef<device::Device>,
    /// The device that reads and writes memory.
    device: ARef<device::Device>,
    /// Locked for one transfer after the other.
    #[pin]
    channel: Mutex<Option<Channel>>,
    stays: Arc<Stays>,
    bus: *const bindings::bus_type,
    #[pin]
    block: Opaque<bindings::notifier_block>,
}

/// The right to use an engine's channel: while it lives the engine's driver stays.
pub(crate) struct Lease<W: Watcher> {
    engine: Arc<Engine<W>>,
    stay: Stay,
}

// SAFETY: A notifier belongs to no thread, and a bus is only pointed to.
unsafe impl<W: Watcher> Send for Engine<W> {}
// SAFETY: What is changed through a shared reference has a lock.
unsafe impl<W: Watcher> Sync for Engine<W> {}

impl<W: Watcher> Engine<W> {
    /// Requests a channel that is free and whose driver can stop it, of the name `name` or of a device of
    /// that name; any if that is empty. It keeps the engine's driver from being unloaded, not from being unbound: the `watcher` is
    /// told of that. Sleeps; not to be called by the watcher.
    ///
    /// # Errors
    ///
    /// - [`EOPNOTSUPP`] if there is no such channel;
    /// - [`ERESTARTSYS`] if a signal came;
    /// - [`ENOMEM`].
    pub(crate) fn request(name: &CStr, watcher: Arc<W>) -> Result<Arc<Self>> {
        // SAFETY: The name is NUL-terminated.
        let provider = unsafe { ffi::shmbuf_dma_provider(name.as_char_ptr().cast()) };
        let provider = NonNull::new(provider.cast()).ok_or(EOPNOTSUPP)?;
        // SAFETY: The reference that was taken is ours.
        let provider: ARef<device::Device> = unsafe { ARef::from_raw(provider) };
        let locked = DeviceLock::new(provider.clone())?;
        // SAFETY: The name is NUL-terminated.
        let channel =
            unsafe { ffi::shmbuf_dma_request_channel(raw(&provider), name.as_char_ptr().cast()) };
        // INVARIANT: Just requested. The driver does not leave while its device is locked.
        let channel = NonNull::new(channel).map(Channel).ok_or(EOPNOTSUPP)?;
        let device = channel.device().into();
        // SAFETY: The device is valid.
        let bus = unsafe { (*raw(&provider)).bus };
        let stays = Stays::new()?;
        // INVARIANT: From here on the notifier takes the channel away before the driver leaves.
        let engine = Arc::pin_init(
            try_pin_init!(Self {
                watcher,
                provider,
                device,
                channel <- new_mutex!(Some(channel), "shmbuf::channel"),
                stays,
                bus,
                // The notifier is called from its registration on, so it comes last.
                block <- Opaque::try_ffi_init(|slot: *mut bindings::notifier_block| {
                    // SAFETY: The slot is valid for writing.
                    unsafe {
                        slot.write(bindings::notifier_block {
                            notifier_call: Some(Self::notified),
                            ..pin_init::zeroed()
                        });
                    }
                    match bus.is_null() {
                        true => Ok(()),
                        // SAFETY: A bus lives as long as its devices; the block is pinned.
                        false => to_result(unsafe { bindings::bus_register_notifier(*bus, slot) }),
                    }
                }),
            }? Error),
            GFP_KERNEL,
        )?;
        drop(locked);
        Ok(engine)
    }

    /// The device that reads and writes memory.
    pub(crate) fn device(&self) -> &ARef<device::Device> {
        &self.device
    }

    /// Whether the driver stays: if so, the watcher has not been told that it leaves. May sleep.
    pub(crate) fn stays(&self) -> bool {
        self.stays.is_open()
    }

    /// The right to use the channel. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the driver has left or is leaving.
    pub(crate) fn lease(self: &Arc<Self>) -> Result<Lease<W>> {
        // INVARIANT: The channel goes when nothing keeps the driver.
        Ok(Lease {
            engine: self.clone(),
            stay: self.stays.stay()?,
        })
    }

    fn leave(&self) {
        self.stays.close();
        self.watcher.leaves();
        self.stays.wait();
        drop(self.channel.lock().take());
    }

    /// # Safety
    ///
    /// `block` must be that of a live `Self`, and `data` a device.
    unsafe extern "C" fn notified(
        block: *mut bindings::notifier_block,
        event: c_ulong,
        data: *mut c_void,
    ) -> c_int {
        // SAFETY: By this function's contract.
        let engine = unsafe { &*kernel::container_of!(Opaque::cast_from(block), Self, block) };
        if data.cast() == raw(&engine.provider) {
            match event as bindings::bus_notifier_event {
                bindings::bus_notifier_event_BUS_NOTIFY_UNBIND_DRIVER => engine.leave(),
                bindings::bus_notifier_event_BUS_NOTIFY_UNBOUND_DRIVER => engine.watcher.left(),
                _ => {}
            }
        }
        bindings::NOTIFY_DONE as c_int
    }
}

#[pinned_drop]
impl<W: Watcher> PinnedDrop for Engine<W> {
    fn drop(self: Pin<&mut Self>) {
        // While the notifier looks whether the driver leaves.
        drop(self.channel.lock().take());
        if !self.bus.is_null() {
            // SAFETY: By the type invariants. It waits until the notifier is not running.
            unsafe { bindings::bus_unregister_notifier(self.bus, self.block.get()) };
        }
    }
}

impl<W: Watcher> Lease<W> {
    /// The device that reads and writes memory.
    pub(crate) fn device(&self) -> &device::Device {
        &self.engine.device
    }

    /// Maps the pages of `list` for the device; the driver stays until the mapping is dropped. The DMA
    /// API, which may be called in any context, allocates little for it, and waits for memory only for
    /// an IOMMU of 32-bit ARM. May sleep.
    ///
    /// # Errors
    ///
    /// - [`ENOMEM`];
    /// - [`EIO`] if the device cannot address them.
    pub(crate) fn map(&self, list: Scatterlist, direction: DataDirection) -> Result<DeviceMapping> {
        let bound = Bound::Stays(self.stay.clone());
        // SAFETY: While the driver stays, its device is bound to it.
        unsafe { list.map(self.device(), direction, bound) }
    }

    /// Copies from the first to the second of each of `pairs`, which are as long as each other and do not
    /// overlap, one after the other, and waits no longer than `patience` in all. If it fails, the engine
    /// no longer touches the memory, and some of it was written. Sleeps.
    ///
    /// # Errors
    ///
    /// - [`EINVAL`] if they are mapped for another device, or not so that it may write to the second;
    /// - [`EIO`] if the engine cannot do it, or says that it failed;
    /// - [`ENOMEM`] if its driver has no descriptor for it;
    /// - [`ETIMEDOUT`];
    /// - [`ECANCELED`] after [`Progress::cancel`];
    /// - [`ERESTARTSYS`] if a signal came;
    /// - [`EBUSY`] if another transfer has this progress.
    pub(crate) fn copy<'a>(
        &self,
        mut pairs: impl Iterator<Item = (Segment<'a>, Segment<'a>)>,
        progress: &Progress,
        mut patience: Jiffies,
    ) -> Result {
        let mut channel = self.engine.channel.lock();
        // By the invariants of `Engine` there is one.
        let channel = (*channel).as_mut().ok_or(ENODEV)?;
        pairs.try_for_each(|(from, to)| {
            patience = channel.copy(from, to, progress, patience)?;
            Ok(())
        })
    }
}

/// A device that is locked: no driver enters or leaves it.
///
/// # Invariants
///
/// By the thread that has this.
struct DeviceLock(ARef<device::Device>, NotThreadSafe);

impl DeviceLock {
    /// Waits until nobody else has locked it. Sleeps.
    ///
    /// # Errors
    ///
    /// [`ERESTARTSYS`] if a signal came.
    fn new(device: ARef<device::Device>) -> Result<Self> {
        // SAFETY: The device is valid.
        let locked = to_result(unsafe { ffi::shmbuf_device_lock(raw(&device)) });
        // Only a signal makes it fail, and nothing has been done.
        locked.map_err(|_| ERESTARTSYS)?;
        // INVARIANT: Just locked.
        Ok(Self(device, NotThreadSafe))
    }
}

impl Drop for DeviceLock {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { ffi::shmbuf_device_unlock(raw(&self.0)) };
    }
}

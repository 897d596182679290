// SPDX-License-Identifier: GPL-2.0

//! What keeps the driver of a device from leaving it.

use kernel::{
    new_condvar,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        CondVar,
        Mutex, //
    }, //
};

/// Who keeps a driver from leaving.
#[pin_data]
pub(super) struct Stays {
    #[pin]
    counts: Mutex<Counts>,
    /// Woken when there is one less.
    #[pin]
    released: CondVar,
}

struct Counts {
    /// Whether the driver is leaving, or has left.
    leaves: bool,
    stays: usize,
}

/// While it lives the driver does not leave.
pub(super) struct Stay(Arc<Stays>);

impl Stays {
    /// A driver that stays, and that nothing keeps yet. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn new() -> Result<Arc<Self>> {
        let counts = Counts {
            leaves: false,
            stays: 0,
        };
        Arc::pin_init(
            pin_init!(Self {
                counts <- new_mutex!(counts, "shmbuf::stays"),
                released <- new_condvar!("shmbuf::released"),
            }),
            GFP_KERNEL,
        )
    }

    /// Whether the driver can be kept: it is not leaving. May sleep.
    pub(super) fn is_open(&self) -> bool {
        !self.counts.lock().leaves
    }

    /// The driver is going to leave: nothing keeps it from now on but what does already. May sleep.
    pub(super) fn close(&self) {
        self.counts.lock().leaves = true;
    }

    /// Keeps the driver. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if it is leaving.
    pub(super) fn stay(self: &Arc<Self>) -> Result<Stay> {
        let mut counts = self.counts.lock();
        if counts.leaves {
            return Err(ENODEV);
        }
        counts.stays += 1;
        Ok(Stay(self.clone()))
    }

    /// Waits until nothing keeps the driver. Sleeps.
    pub(super) fn wait(&self) {
        let mut counts = self.counts.lock();
        while counts.stays > 0 {
            self.released.wait(&mut counts);
        }
    }
}

impl Clone for Stay {
    fn clone(&self) -> Self {
        self.0.counts.lock().stays += 1;
        Self(self.0.clone())
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut counts = self.0.counts.lock();
        counts.stays -= 1;
        if counts.leaves {
            self.0.released.notify_all();
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Kind pool: coherent memory of less than a page, from pools of the DMA API.

use crate::{
    rules::{
        failure::Failure,
        spec::Checked, //
    },
    sys::{
        cpu,
        dma_device::DmaDevice,
        dma_pool::{
            Block,
            Pool, //
        },
    },
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

/// What the blocks of a pool have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape {
    size: usize,
    align: usize,
    boundary: usize,
}

/// A pool that has blocks.
struct Used {
    shape: Shape,
    pool: Arc<Pool>,
    blocks: usize,
}

/// The pools of a device: one for each shape of which there are blocks, so that blocks share
/// pages.
#[pin_data]
pub(crate) struct Pools {
    #[pin]
    used: Mutex<KVec<Used>>,
}

impl Pools {
    /// Pools without any block so far. May sleep.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                used <- new_mutex!(KVec::new(), "shmbuf::pools"),
            }),
            GFP_KERNEL,
        )
    }

    /// The pool for `shape`, which has one more block from now on.
    fn get(&self, device: &Arc<DmaDevice>, shape: Shape) -> Result<Arc<Pool>> {
        let mut used = self.used.lock();
        if let Some(found) = used.iter_mut().find(|used| used.shape == shape) {
            found.blocks += 1;
            return Ok(found.pool.clone());
        }
        let Shape {
            size,
            align,
            boundary,
        } = shape;
        let pool = Arc::new(Pool::new(device, size, align, boundary)?, GFP_KERNEL)?;
        used.push(
            Used {
                shape,
                pool: pool.clone(),
                blocks: 1,
            },
            GFP_KERNEL,
        )?;
        Ok(pool)
    }

    /// The pool for `shape` has one block less.
    fn put(&self, shape: Shape) {
        let mut used = self.used.lock();
        if let Some(at) = used.iter().position(|used| used.shape == shape) {
            used[at].blocks -= 1;
            if used[at].blocks == 0 {
                // Which one is last does not matter.
                let last = used.len() - 1;
                used.swap(at, last);
                used.truncate(last);
            }
        }
    }
}

/// A block that counts for its pool.
struct Counted {
    pools: Arc<Pools>,
    shape: Shape,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.pools.put(self.shape);
    }
}

/// Memory of kind `pool`. Its type is what the DMA API calls coherent.
pub(crate) struct PoolBlock {
    // The block goes before its pool may.
    block: Block,
    _counted: Counted,
}

impl PoolBlock {
    /// A zeroed block of `device` as `spec` says, from `pools`. May sleep.
    ///
    /// # Errors
    ///
    /// [`Failure::Dma`], [`ENOMEM`].
    pub(super) fn new(
        pools: &Arc<Pools>,
        device: &Arc<DmaDevice>,
        spec: &Checked,
    ) -> Result<Self, Failure> {
        let shape = Shape {
            size: spec.size,
            align: spec.align,
            boundary: spec.boundary,
        };
        let pool = pools.get(device, shape)?;
        let counted = Counted {
            pools: pools.clone(),
            shape,
        };
        let block = Block::new(&pool).map_err(|_| Failure::Dma(spec.size))?;
        // The pool zeroes; the zeroes may still be in the write buffer.
        cpu::drain_write_buffer();
        Ok(Self {
            block,
            _counted: counted,
        })
    }

    /// The block of the DMA pool.
    pub(super) fn block(&self) -> &Block {
        &self.block
    }
}

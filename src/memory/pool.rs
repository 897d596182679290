// SPDX-License-Identifier: GPL-2.0

//! Kind pool: coherent memory of less than a page, from pools of the DMA API.

use crate::{
    memory::{
        limit::{
            Charged,
            Payer, //
        },
        machine::{
            cma,
            limit_of_reach, //
        },
    },
    rules::{
        block::Shape,
        counts::User,
        failure::Failure,
        machine::Machine,
        spec::Checked, //
    },
    sys::{
        cpu,
        dma_device::DmaDevice,
        dma_pool::{
            self,
            Block,
            Pool, //
        },
        task, //
    },
};
use kernel::{
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

/// A pool that has blocks.
struct Used {
    shape: Shape,
    user: User,
    blocks: usize,
    pool: Arc<Pool>,
    /// The pages of the pool, which it keeps until it is gone.
    charged: Charged,
}

impl Used {
    fn new(device: &Arc<DmaDevice>, payer: &Payer, shape: Shape) -> Result<Self, Failure> {
        let Shape {
            size,
            align,
            boundary,
        } = shape;
        let pool = Pool::new(device, size, align, boundary)?;
        Ok(Self {
            shape,
            user: payer.user(),
            blocks: 0,
            pool: Arc::new(pool, GFP_KERNEL).map_err(Error::from)?,
            charged: payer.charge(0)?,
        })
    }

    /// One block more for `device`, in no page that kmap() has left a mapping of if that
    /// `is_alias_wrong`. May sleep.
    fn alloc(
        &mut self,
        device: &DmaDevice,
        payer: &Payer,
        is_alias_wrong: bool,
    ) -> Result<Block, Failure> {
        // What is here is not given again, until this returns. Its pages remain the pool's.
        let mut aside = KVec::new();
        loop {
            let block = self.next(payer, self.blocks + aside.len())?;
            if !block.is_in_reach() {
                return Err(Failure::Reach(self.shape.size, limit_of_reach(device)));
            }
            if !is_alias_wrong || !block.is_kmapped() {
                self.blocks += 1;
                return Ok(block);
            }
            aside.push(block, GFP_KERNEL).map_err(Error::from)?;
            task::go_on()?;
        }
    }

    /// What the pool, of which `taken` blocks are taken, gives next.
    fn next(&mut self, payer: &Payer, taken: usize) -> Result<Block, Failure> {
        let pages = self.charged.size() / PAGE_SIZE;
        // The pool takes a page when it has no block left.
        let page = match taken < pages * self.shape.blocks_in_page() {
            true => None,
            false => Some(payer.charge(PAGE_SIZE)?),
        };
        let block = Block::new(&self.pool).map_err(|_| Failure::Dma(self.shape.size, cma()))?;
        if let Some(page) = page {
            self.charged.absorb(page);
        }
        Ok(block)
    }
}

/// The pools of a device: one for each user and shape of which there are blocks, so that a user's
/// blocks share pages. Who shared those of another would hold pages that count for him.
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

    /// A block of the pool for `shape`. May sleep.
    fn alloc(
        &self,
        device: &Arc<DmaDevice>,
        payer: &Payer,
        shape: Shape,
        is_alias_wrong: bool,
    ) -> Result<Block, Failure> {
        // Held meanwhile: two that find no block left would have the pool take two pages.
        let mut used = self.used.lock();
        let user = payer.user();
        let at = match Self::find(&used, user, shape) {
            Some(at) => at,
            None => {
                let new = Used::new(device, payer, shape)?;
                used.push(new, GFP_KERNEL).map_err(Error::from)?;
                used.len() - 1
            }
        };
        let block = used[at].alloc(device, payer, is_alias_wrong);
        if block.is_err() {
            Self::drop_unused(&mut used, at);
        }
        block
    }

    /// The pool for `shape` has one block of `user` less.
    fn put(&self, user: User, shape: Shape) {
        let mut used = self.used.lock();
        if let Some(at) = Self::find(&used, user, shape) {
            used[at].blocks -= 1;
            Self::drop_unused(&mut used, at);
        }
    }

    fn find(used: &[Used], user: User, shape: Shape) -> Option<usize> {
        used.iter()
            .position(|used| used.user == user && used.shape == shape)
    }

    /// Destroys a pool if it has no blocks.
    fn drop_unused(used: &mut KVec<Used>, at: usize) {
        if used[at].blocks == 0 {
            // Which one is last does not matter.
            let last = used.len() - 1;
            used.swap(at, last);
            used.truncate(last);
        }
    }
}

/// A block that counts for its pool.
struct Counted {
    pools: Arc<Pools>,
    user: User,
    shape: Shape,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.pools.put(self.user, self.shape);
    }
}

/// Memory of kind `pool`. Its type is what the DMA API calls coherent.
pub(crate) struct PoolBlock {
    // The block goes before its pool may. Who finds it free, and counted yet, counts a page too
    // many at worst.
    block: Block,
    _counted: Counted,
}

impl PoolBlock {
    /// A zeroed block of `device` as `spec` says, from `pools`, on `machine`, for `payer`. May sleep.
    ///
    /// # Errors
    ///
    /// [`Failure::Limit`], [`Failure::Share`], [`Failure::Dma`], [`ENOMEM`], and [`EINTR`] if the
    /// process was killed.
    pub(super) fn new(
        pools: &Arc<Pools>,
        device: &Arc<DmaDevice>,
        machine: &Machine,
        payer: &Payer,
        spec: &Checked,
    ) -> Result<Self, Failure> {
        let shape = Shape::new(spec.size, spec.align, spec.boundary, dma_pool::LEAST_BLOCK);
        let block = pools.alloc(device, payer, shape, machine.needs_highmem(spec.policy))?;
        // The pool zeroes; the zeroes may still be in the write buffer.
        cpu::drain_write_buffer();
        Ok(Self {
            block,
            _counted: Counted {
                pools: pools.clone(),
                user: payer.user(),
                shape,
            },
        })
    }

    /// The block of the DMA pool.
    pub(super) fn block(&self) -> &Block {
        &self.block
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Kernel addresses of memory, for others than us.

use super::{
    dma_coherent::CoherentMemory,
    pages::Pages,
    span::Span,
    vmap::Vmap, //
};
use crate::rules::range::Range;
use kernel::sync::Arc;

/// A kernel's view of a range of memory, which stays where it is as long as this lives.
pub(crate) struct KernelView {
    memory: Viewed,
    range: Range,
}

/// What there is a view of.
enum Viewed {
    /// Pages, by the linear map.
    LinearMap(Arc<Pages>),
    /// Pages, by a mapping.
    Vmap(Arc<Vmap>),
    /// Coherent memory.
    Coherent(Arc<CoherentMemory>),
}

impl KernelView {
    /// The view of `range` of `pages` by the linear map.
    pub(crate) fn linear(pages: Arc<Pages>, range: Range) -> Self {
        Self {
            memory: Viewed::LinearMap(pages),
            range,
        }
    }

    /// The view of `range` of pages, which must be inside what `vmap` maps.
    pub(crate) fn vmap(vmap: Arc<Vmap>, range: Range) -> Self {
        Self {
            memory: Viewed::Vmap(vmap),
            range,
        }
    }

    /// The view of `range` of `memory`.
    pub(crate) fn coherent(memory: Arc<CoherentMemory>, range: Range) -> Self {
        Self {
            memory: Viewed::Coherent(memory),
            range,
        }
    }

    /// The bytes of the range; nothing where there is no linear map of the pages. A range that is not
    /// inside the memory is a bug, and panics.
    pub(crate) fn span(&self) -> Option<Span<'_>> {
        match &self.memory {
            Viewed::LinearMap(pages) => Some(pages.linear()?.slice(self.range)),
            Viewed::Vmap(vmap) => Some(vmap.span(self.range)),
            Viewed::Coherent(memory) => Some(memory.span().slice(self.range)),
        }
    }
}

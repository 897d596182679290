// SPDX-License-Identifier: GPL-2.0

//! The kernel's views of memory.

use crate::{
    rules::range::Range,
    sys::{
        span::Span,
        vmap::Vmap, //
    },
};
use kernel::sync::Arc;

/// A kernel's view of some of a buffer, which lasts as long as this.
pub(crate) enum Window<'a> {
    /// A view that always exists.
    Permanent(Span<'a>),
    /// A mapping made for a part of a large buffer.
    Vmap(Arc<Vmap>),
}

impl Window<'_> {
    /// The bytes of `range` of the buffer, which must be inside the window.
    #[inline]
    pub(super) fn span(&self, range: Range) -> Span<'_> {
        match self {
            Self::Permanent(span) => span.slice(range),
            Self::Vmap(vmap) => vmap.span(range),
        }
    }
}

/// Where the kernel reaches memory, for reports.
pub(crate) enum ViewPlace {
    /// The linear map.
    Linear(usize),
    /// A window in vmalloc space: its address and the range of the buffer that it shows.
    Vmap(usize, Range),
    /// What dma_alloc_attrs() returned.
    Dma(usize),
    /// What ioremap() returned.
    Io(usize),
    /// None at the moment; it is made when needed.
    None,
}

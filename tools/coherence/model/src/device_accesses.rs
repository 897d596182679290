// SPDX-License-Identifier: MIT OR Apache-2.0
//! What devices do, or are free to do. They see memory, and no cache.

use crate::byte_states::Reader;
use crate::cache_contents::ByteEvent;
use crate::cores::LINE;
use crate::dma_ownership::{Misfit, Span};
use crate::events::{Device, Direction, PhysicalRange, Site};
use crate::hazards::{Call, Hazard, Party, Shown, Sink};
use crate::judgement::{Fault, LineFindings};
use crate::line::{Class, Fillable, Writer};
use crate::line_records::{mask, parts};
use crate::line_storage::Page;
use crate::model::Model;

/// What a device does with a range now, or from now on.
#[derive(Debug, Clone, Copy)]
struct Deed {
    reads: bool,
    /// Reads what may still be in a write buffer. Not when a device gets a
    /// buffer, as its driver may drain before it starts it.
    reads_now: bool,
    writes: bool,
}

impl Deed {
    /// The device reads now.
    const READS: Self = Self {
        reads: true,
        reads_now: true,
        writes: false,
    };
    /// The device writes, now or later.
    const WRITES: Self = Self {
        reads: false,
        reads_now: false,
        writes: true,
    };
}

impl Model {
    /// A device does something, or may do it from now on; `site` is the
    /// instruction that set it off, if one is known.
    pub fn device(&mut self, what: Device, site: Option<Site>, sink: &mut dyn Sink) {
        self.recent.clear();
        if !matches!(what, Device::Of(_)) {
            self.order += 1;
        }
        let order = self.order;
        let call = Call { site, order };
        match what {
            Device::Reads(range) => self.device_does(Deed::READS, range, site, sink),
            Device::Writes(range) => self.device_does(Deed::WRITES, range, site, sink),
            Device::Of(device) => self.dma.set_device(device),
            Device::Map(range, direction) => self.dma.map(range, direction, call),
            Device::Owns(range, direction) => self.device_owns(range, direction, call, sink),
            Device::Returns(range, direction) => self.device_returns(range, direction, site, sink),
            Device::Unmap(range, direction) => {
                let result = self.dma.unmap(range, direction, call);
                self.judge_sync(result, range, site, sink);
            }
            Device::Coherent(range) => {
                self.dma.set_coherent(range, true);
                self.mark_pages(range, |page| page.coherent = true);
                self.judge_device(Deed::WRITES, range, site, sink);
            }
            Device::CoherentFreed(range) => {
                self.dma.set_coherent(range, false);
                self.forget(range);
            }
        }
    }

    fn device_owns(
        &mut self,
        range: PhysicalRange,
        direction: Direction,
        call: Call,
        sink: &mut dyn Sink,
    ) {
        self.catch_up_range(range);
        let result = self.dma.owns(range, direction, call);
        let deed = Deed {
            // The direction of a sync says what the CPU's side of it has to do,
            // that of the mapping what the device may do.
            reads: direction.device_reads() || self.dma.lets_read(range, direction),
            reads_now: false,
            writes: direction.device_writes(),
        };
        self.device_does(deed, range, call.site, sink);
        self.mark_pages(range, |page| page.owned = true);
        self.judge_sync(result, range, call.site, sink);
    }

    fn device_returns(
        &mut self,
        range: PhysicalRange,
        direction: Direction,
        site: Option<Site>,
        sink: &mut dyn Sink,
    ) {
        self.catch_up_range(range);
        let mut written = Vec::new();
        let result = self
            .dma
            .returns(range, direction, |part| written.push(part));
        for part in written {
            // It wrote when it got it, or now, or in between: `change` has seen
            // to that.
            self.device_wrote(part.range(), ByteEvent::DeviceMayWrite);
        }
        self.judge_sync(result, range, site, sink);
    }

    /// Reports what the ledger of mappings says.
    fn judge_sync(
        &self,
        result: Result<(), Misfit>,
        range: PhysicalRange,
        site: Option<Site>,
        sink: &mut dyn Sink,
    ) {
        if let Err(Misfit(reason)) = result {
            let fault = Fault {
                hazard: Hazard::WrongSync,
                shown: Shown::ThisCore,
                pa: range.pa,
                victim: site.map_or(Party::Device, |site| Party::Cpu { va: 0, site }),
                writer: Party::Nobody,
                reason,
            };
            self.report(fault, None, sink);
        }
    }

    fn device_does(
        &mut self,
        deed: Deed,
        range: PhysicalRange,
        site: Option<Site>,
        sink: &mut dyn Sink,
    ) {
        self.judge_device(deed, range, site, sink);
        if deed.writes {
            self.device_wrote(range, ByteEvent::DeviceWrites);
        }
    }

    /// What a device runs into that reads or writes this.
    fn judge_device(
        &mut self,
        deed: Deed,
        range: PhysicalRange,
        site: Option<Site>,
        sink: &mut dyn Sink,
    ) {
        for (pa, len) in parts(range.pa, range.len) {
            // What nobody touched is in memory, and clean in caches.
            if !self.ready(pa) && !self.is_unknown(pa) {
                continue;
            }
            let (line_pa, bytes) = (pa & !(LINE - 1), mask(pa, len));
            let mut found = LineFindings::default();
            self.edit(pa, |line, states| {
                if deed.reads {
                    for class in &line.classes {
                        found.judge(states, class, bytes, Reader::Memory, line_pa, Party::Device);
                        if deed.reads_now {
                            found.judge_buffers(states, class, bytes, line_pa);
                        }
                    }
                }
                if deed.writes {
                    let unsettled = |class: &&Class| !states.summary(class.state).settled;
                    let dirty = line.classes.iter().rfind(unsettled);
                    let writer = dirty.map_or(Writer::NOBODY, |class| class.writer);
                    found.dirty(states, line, pa, writer.party(pa));
                }
            });
            self.report_line(found, site, sink);
        }
    }

    fn device_wrote(&mut self, range: PhysicalRange, event: ByteEvent) {
        for (pa, len) in parts(range.pa, range.len) {
            // Where no cache can have anything, memory just has other values.
            let page = self.storage.page_mut(pa);
            let empty = page.is_none_or(|page| page.filled == Fillable::default());
            if empty && !self.ready(pa) {
                continue;
            }
            let bytes = mask(pa, len);
            self.edit(pa, |line, states| {
                line.split(
                    states,
                    bytes,
                    event,
                    ByteEvent::Nothing,
                    Some(Writer::DEVICE),
                );
            });
            self.stored(pa, bytes);
        }
    }

    /// Nobody cares any more what was in this memory.
    fn forget(&mut self, range: PhysicalRange) {
        for (pa, len) in parts(range.pa, range.len) {
            if pa % (1 << 12) < LINE {
                self.translations.forget_uses(pa);
            }
            if self.ready(pa) {
                let bytes = mask(pa, len);
                self.edit(pa, |line, states| {
                    line.split(states, bytes, ByteEvent::Forget, ByteEvent::Nothing, None);
                });
            }
        }
        for pa in self.pages(range) {
            let page = Span::of(PhysicalRange { pa, len: 1 << 12 });
            let still = self.dma.coherent(page).next().is_some();
            self.page(pa).coherent = still;
        }
    }

    /// Pages of a range that have a record.
    fn pages(&self, range: PhysicalRange) -> Vec<u32> {
        match range.len {
            0 => Vec::new(),
            len => self
                .storage
                .pages(range.pa, range.pa.saturating_add(len - 1)),
        }
    }

    /// Sets flags of all pages of a range; they leave the fast path.
    fn mark_pages(&mut self, range: PhysicalRange, mut flag: impl FnMut(&mut Page)) {
        let span = Span::of(range);
        let mut pa = span.start & !0xfff;
        while pa < span.end {
            let page = self.page(pa as u32);
            flag(page);
            page.fast_path = 0;
            pa += 1 << 12;
        }
    }

    /// Bytes of a line that a device owns and may write, or owns at all.
    pub(crate) fn owned_bytes(&mut self, line_pa: u32, all: bool) -> u32 {
        if !self.page(line_pa).owned {
            return 0;
        }
        let owned = self.dma.owned(Span::line(line_pa), all);
        owned.fold(0, |bytes, part| bytes | part.bytes())
    }

    /// Bytes of a line that are coherent memory.
    pub(crate) fn coherent_bytes(&mut self, line_pa: u32) -> u32 {
        if !self.page(line_pa).coherent {
            return 0;
        }
        let coherent = self.dma.coherent(Span::line(line_pa));
        coherent.fold(0, |bytes, part| bytes | part.bytes())
    }
}

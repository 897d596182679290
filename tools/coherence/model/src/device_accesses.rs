// SPDX-License-Identifier: MIT OR Apache-2.0
//! What devices do, or are free to do. They see memory, and no cache.

use crate::byte_states::{Order, Reader};
use crate::cache_contents::ByteEvent;
use crate::caches::Caches;
use crate::dma_ownership::{Misfit, Owned, Returned, Span, Terms, WithDevice};
use crate::events::{Device, Direction, PhysicalRange, Site};
use crate::hazards::{Call, Hazard, Party, Shown, Sink};
use crate::judgement::{Fault, LineFindings};
use crate::line::{Class, Fillable, Writer};
use crate::line_bytes::{line_of, mask, parts, LineBytes};
use crate::line_storage::Page;
use crate::reasons;

/// What a device does with a range now, or from now on.
#[derive(Debug, Clone, Copy)]
struct Deed {
    reads: bool,
    /// Reads what may still be in a write buffer. Not when a device gets a
    /// buffer, as its driver may drain before it starts it.
    reads_now: bool,
    /// And what it finds may be what started it.
    finds: bool,
    writes: bool,
}

/// Which device it is that does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doer {
    /// Whichever has the memory.
    Any,
    /// That whose mappings are made and synced now.
    Named,
}

impl Deed {
    /// The device reads now.
    const READS: Self = Self {
        reads: true,
        reads_now: true,
        finds: false,
        writes: false,
    };
    /// The device reads now, and goes by what it finds.
    const FINDS: Self = Self {
        finds: true,
        ..Self::READS
    };
    /// The device writes, now or later.
    const WRITES: Self = Self {
        reads: false,
        reads_now: false,
        finds: false,
        writes: true,
    };
}

impl<B: LineBytes> Caches<B> {
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
            Device::Reads(range) => self.device_seen(Deed::READS, range, site, sink),
            Device::Finds(range) => self.device_seen(Deed::FINDS, range, site, sink),
            Device::Writes(range) => self.device_seen(Deed::WRITES, range, site, sink),
            Device::Of(device) => self.dma.set_device(device),
            Device::Map(range, direction) => {
                self.map(range, direction, Terms::Usual, call, sink);
            }
            Device::MapEntry(range, direction) => {
                self.map(range, direction, Terms::OfAList, call, sink);
            }
            Device::OnStack(range) => {
                if let Some(shared) = self.dma.reaches_beyond(range) {
                    self.report_call(Hazard::SharedLine, shared, site, sink);
                }
            }
            Device::MapSharingLines(range, direction) => {
                self.map(range, direction, Terms::SharingLines, call, sink);
            }
            Device::MapUnsynced(range, direction) => {
                self.map(range, direction, Terms::Unsynced, call, sink);
            }
            Device::Owns(range, direction) => self.device_owns(range, direction, call, sink),
            Device::Returns(range, direction) => {
                self.device_returns(range, direction, false, site, sink);
            }
            Device::UnmapBegins(range, direction) => {
                self.device_returns(range, direction, true, site, sink);
            }
            Device::Unmap(range, direction) => {
                let result = self.dma.unmap(range, direction, call);
                self.judge_sync(result, range, site, sink);
            }
            Device::WrongCount(range) => {
                self.judge_sync(Err(Misfit(reasons::OTHER_COUNT)), range, site, sink);
            }
            Device::Freed(range) => {
                for left in self.dma.left_in(range) {
                    self.report_call(Hazard::NeverUnmapped, left, site, sink);
                }
            }
            Device::DriverGone(device) => {
                for left in self.dma.left_by(device) {
                    self.report_call(Hazard::NeverUnmapped, left, site, sink);
                }
                self.dma.forget_device(device);
            }
            Device::Snoops(device) => {
                for span in self.dma.snoops(device) {
                    self.mark_pages(span.range(), |page| page.snooped = true);
                }
            }
            Device::Coherent(range) => {
                self.dma.coherent_allocated(range, false, call);
                self.mark_pages(range, |page| page.coherent = true);
                self.judge_device(Deed::WRITES, Doer::Any, range, site, sink);
            }
            Device::CoherentCached(range) => {
                self.dma.coherent_allocated(range, true, call);
                self.mark_pages(range, |page| page.snooped = true);
            }
            Device::CoherentFreed(range) => {
                self.dma.coherent_freed(range, call);
                self.forget(range);
            }
        }
    }

    fn map(
        &mut self,
        range: PhysicalRange,
        direction: Direction,
        terms: Terms,
        call: Call,
        sink: &mut dyn Sink,
    ) {
        if let Some(common) = self.dma.common(range, direction, terms) {
            self.report_call(Hazard::TwoMappings, common, call.site, sink);
        }
        self.dma.map(range, direction, terms, call);
        if self.dma.is_snooping() {
            self.mark_pages(range, |page| page.snooped = true);
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
            finds: false,
            writes: direction.device_writes(),
        };
        self.judge_device(deed, Doer::Named, range, call.site, sink);
        if deed.writes && !self.dma.is_seen(range, direction) {
            self.device_wrote(range, Doer::Named, ByteEvent::DeviceWrites);
        }
        self.mark_pages(range, |page| page.owned = true);
        self.judge_sync(result, range, call.site, sink);
    }

    fn device_returns(
        &mut self,
        range: PhysicalRange,
        direction: Direction,
        unmaps: bool,
        site: Option<Site>,
        sink: &mut dyn Sink,
    ) {
        self.catch_up_range(range);
        let mut parts = Vec::new();
        let result = self
            .dma
            .returns(range, direction, unmaps, |part| parts.push(part));
        for part in parts {
            match part {
                // It wrote when it got it, or now, or in between: `change` has
                // seen to that.
                Returned::MayBeWritten(part) => {
                    self.device_wrote(part.range(), Doer::Named, ByteEvent::DeviceMayWrite);
                }
                Returned::Unwritten(part) => self.device_did_not_write(part.range()),
            }
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
            let what = WithDevice {
                pa: range.pa,
                reason,
            };
            self.report_call(Hazard::WrongSync, what, site, sink);
        }
    }

    /// Reports a call of the kernel's.
    fn report_call(
        &self,
        hazard: Hazard,
        what: WithDevice,
        site: Option<Site>,
        sink: &mut dyn Sink,
    ) {
        let fault = Fault {
            hazard,
            shown: Shown::ThisCore,
            pa: what.pa,
            victim: site.map_or(Party::Device, |site| Party::Cpu { va: 0, site }),
            writer: Party::Nobody,
            reason: what.reason,
        };
        self.report(fault, None, sink);
    }

    /// A device was seen to do this.
    fn device_seen(
        &mut self,
        deed: Deed,
        range: PhysicalRange,
        site: Option<Site>,
        sink: &mut dyn Sink,
    ) {
        self.judge_stray(range, deed.writes, site, sink);
        self.dma.accessed(range, deed.writes);
        self.judge_device(deed, Doer::Any, range, site, sink);
        if deed.writes {
            self.device_wrote(range, Doer::Any, ByteEvent::DeviceWrites);
        }
    }

    /// Reports a device that touches what it does not have.
    fn judge_stray(
        &self,
        range: PhysicalRange,
        writes: bool,
        site: Option<Site>,
        sink: &mut dyn Sink,
    ) {
        let Some(stray) = self.dma.stray(range, writes) else {
            return;
        };
        if stray.reason == reasons::NEVER_MAPPED && !self.unmapped_is_stray {
            return;
        }
        let fault = Fault {
            hazard: Hazard::StrayDma,
            shown: Shown::ThisCore,
            pa: stray.pa,
            victim: Party::Device,
            writer: Party::Nobody,
            reason: stray.reason,
        };
        self.report(fault, site, sink);
    }

    /// What a device runs into that reads or writes this.
    fn judge_device(
        &mut self,
        deed: Deed,
        doer: Doer,
        range: PhysicalRange,
        site: Option<Site>,
        sink: &mut dyn Sink,
    ) {
        let ordered = deed.finds && self.one_word_is_last(range);
        for (pa, len) in parts::<B>(range.pa, range.len) {
            // What nobody touched is in memory, and clean in caches.
            if !self.ready(pa) && !self.is_unknown(pa) {
                continue;
            }
            let (line_pa, all) = (line_of::<B>(pa), mask::<B>(pa, len));
            let snooped = self.snooped_by(doer, line_pa) & all;
            let (bytes, key) = (all & !snooped, (pa >> 12) & self.key_bits);
            let mut found = LineFindings::default();
            self.edit(pa, |line, states| {
                if deed.reads {
                    let device = Party::Device;
                    if snooped != 0 {
                        let reader = Reader::Inner(line.copy_or_new(states, key));
                        for class in &line.classes {
                            found.judge(states, class, snooped, reader, line_pa, device);
                        }
                        if deed.reads_now {
                            let reader = (reader, device);
                            found.judge_unwritten(states, line, snooped, reader, line_pa);
                        }
                    }
                    for class in &line.classes {
                        found.judge(states, class, bytes, Reader::Memory, line_pa, device);
                        let buffered = states.get(class.state).buffered;
                        let in_order = buffered.order() == Some(Order::Followed) || ordered;
                        if deed.reads_now && !(deed.finds && in_order) {
                            found.judge_buffers(buffered, class, all, line_pa);
                        }
                    }
                }
                if deed.reads_now {
                    let reader = (Reader::Memory, Party::Device);
                    found.judge_unwritten(states, line, bytes, reader, line_pa);
                }
                if deed.writes && bytes != 0 {
                    let unsettled = |class: &&Class| !states.summary(class.state).settled;
                    let dirty = line.classes.iter().rfind(unsettled);
                    let writer = dirty.map_or(Writer::NOBODY, |class| class.writer);
                    found.dirty(states, line, pa, writer.party(pa));
                }
            });
            self.report_line(found, site, sink);
        }
    }

    fn device_wrote(&mut self, range: PhysicalRange, doer: Doer, event: ByteEvent) {
        for (pa, len) in parts::<B>(range.pa, range.len) {
            // Where no cache can have anything, memory just has other values.
            let page = self.storage.page_mut(pa);
            let empty = page.is_none_or(|page| page.filled == Fillable::default() && !page.snooped);
            if empty && !self.ready(pa) {
                continue;
            }
            let bytes = mask::<B>(pa, len);
            let snooped = self.snooped_by(doer, line_of::<B>(pa)) & bytes;
            let key = (pa >> 12) & self.key_bits;
            self.edit(pa, |line, states| {
                let device = Some(Writer::DEVICE);
                line.split(states, bytes & !snooped, event, ByteEvent::Nothing, device);
                if snooped != 0 {
                    // As if the CPU stored there.
                    let copy = line.copy_or_new(states, key);
                    let (inside, outside) = (
                        ByteEvent::StoreBack(copy, true),
                        ByteEvent::StoreBack(copy, false),
                    );
                    line.split(states, snooped, inside, outside, device);
                }
            });
            self.stored(pa, bytes);
        }
    }

    /// Memory has what it had before the device got it.
    fn device_did_not_write(&mut self, range: PhysicalRange) {
        for (pa, len) in parts::<B>(range.pa, range.len) {
            let bytes = mask::<B>(pa, len);
            self.edit(pa, |line, states| {
                line.split(
                    states,
                    bytes,
                    ByteEvent::Unwritten,
                    ByteEvent::Nothing,
                    None,
                );
            });
        }
    }

    /// Nobody cares any more what was in this memory.
    fn forget(&mut self, range: PhysicalRange) {
        for (pa, len) in parts::<B>(range.pa, range.len) {
            if pa % (1 << 12) < B::LINE {
                self.translations.forget_uses(pa);
            }
            if self.ready(pa) {
                let bytes = mask::<B>(pa, len);
                self.edit(pa, |line, states| {
                    line.split(states, bytes, ByteEvent::Forget, ByteEvent::Nothing, None);
                });
            }
        }
        for pa in self.pages(range) {
            let page = Span::of(PhysicalRange { pa, len: 1 << 12 });
            let still = self.dma.coherent(page).next().is_some();
            self.page(pa).coherent = still;
            self.page(pa).stored &= still;
        }
    }

    /// Pages of a range that have a record.
    pub(crate) fn pages(&self, range: PhysicalRange) -> Vec<u32> {
        match range.len {
            0 => Vec::new(),
            len => self
                .storage
                .pages(range.pa, range.pa.saturating_add(len - 1)),
        }
    }

    /// Sets flags of all pages of a range; they leave the fast path.
    fn mark_pages(&mut self, range: PhysicalRange, mut flag: impl FnMut(&mut Page<B>)) {
        let span = Span::of(range);
        let mut pa = span.start & !0xfff;
        while pa < span.end {
            let page = self.page(pa as u32);
            flag(page);
            page.fast_path = 0;
            pa += 1 << 12;
        }
    }

    /// Bytes of a line that a device owns.
    pub(crate) fn owned_bytes(&mut self, line_pa: u32, which: Owned) -> u64 {
        if !self.page(line_pa).owned {
            return 0;
        }
        let owned = self.dma.owned(Span::line(line_pa, B::LINE), which);
        owned.fold(0, |bytes, part| bytes | part.bytes(B::LINE))
    }

    /// Bytes of a line that are mapped for devices which look into the caches. No core
    /// with a VIVT cache has such.
    pub(crate) fn snooped_bytes(&mut self, line_pa: u32) -> u64 {
        if self.virtual_bits != 0 || !self.page(line_pa).snooped {
            return 0;
        }
        let snooped = self.dma.snooped(Span::line(line_pa, B::LINE));
        snooped.fold(0, |bytes, part| bytes | part.bytes(B::LINE))
    }

    /// Bytes of a line at which this device looks into the caches.
    fn snooped_by(&mut self, doer: Doer, line_pa: u32) -> u64 {
        if self.snooped_bytes(line_pa) == 0 {
            return 0;
        }
        if doer == Doer::Named {
            return if self.dma.is_snooping() { B::ALL } else { 0 };
        }
        let snooped = self.dma.snooped_by_seen(Span::line(line_pa, B::LINE));
        snooped
            .into_iter()
            .fold(0, |bytes, part| bytes | part.bytes(B::LINE))
    }

    /// Bytes of a line that are coherent memory.
    pub(crate) fn coherent_bytes(&mut self, line_pa: u32) -> u64 {
        if !self.page(line_pa).coherent {
            return 0;
        }
        let coherent = self.dma.coherent(Span::line(line_pa, B::LINE));
        let uncached = coherent.filter(|(_, cached)| !cached);
        uncached.fold(0, |bytes, (part, _)| bytes | part.bytes(B::LINE))
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loads and stores that may change something or run into something.

use crate::byte_states::Reader;
use crate::cache_contents::ByteEvent;
use crate::caches::{group, Caches, THROUGH, UNCACHED};
use crate::cores::WORD;
use crate::dma_ownership::{remove, Owned, Span};
use crate::events::{Access, MemoryType, Operation, PhysicalRange};
use crate::hazards::{Hazard, Party, Shown, Sink};
use crate::judgement::{Fault, LineFindings};
use crate::line::Writer;
use crate::line_bytes::{line_of, mask, parts, LineBytes};
use crate::reasons;

/// What the CPU does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoadOrStore {
    /// The CPU loads.
    Load,
    /// The CPU stores.
    Store,
}

fn cpu(access: &Access) -> Party {
    Party::Cpu {
        va: access.va,
        site: access.site,
    }
}

impl<B: LineBytes> Caches<B> {
    /// A load by the CPU.
    #[inline]
    pub fn load(&mut self, access: &Access, sink: &mut dyn Sink) {
        if !self.load_on_fast_path(access) {
            self.recent.clear();
            self.access(access, LoadOrStore::Load, sink);
        }
    }

    /// A store by the CPU.
    #[inline]
    pub fn store(&mut self, access: &Access, sink: &mut dyn Sink) {
        if !self.store_on_fast_path(access) {
            self.recent.clear();
            self.access(access, LoadOrStore::Store, sink);
        }
    }

    /// An access that may change states.
    fn access(&mut self, access: &Access, kind: LoadOrStore, sink: &mut dyn Sink) {
        for (pa, len) in parts::<B>(access.pa, access.len) {
            let va = access.va.wrapping_add(pa - access.pa);
            let part = Access {
                va,
                pa,
                len,
                ..*access
            };
            self.access_line(&part, access, kind, sink);
        }
    }

    /// The part of an access that is in one line.
    fn access_line(
        &mut self,
        access: &Access,
        whole: &Access,
        kind: LoadOrStore,
        sink: &mut dyn Sink,
    ) {
        let mut found = LineFindings::default();
        self.check_types(access, &mut found, sink);
        let cached = group(access.memory) != UNCACHED;
        if cached && self.virtual_bits != 0 {
            self.check_virtual_line(access, kind, &mut found);
        }
        let touched = self.check_owner(access, whole, kind, &mut found);
        if cached {
            self.check_neighbours(access, kind, &mut found);
        }
        match (kind, cached) {
            (LoadOrStore::Load, true) => self.load_cached(access, touched, &mut found),
            (LoadOrStore::Load, false) => self.load_uncached(access, touched, &mut found),
            (LoadOrStore::Store, true) => self.store_cached(access, &mut found),
            (LoadOrStore::Store, false) => self.store_uncached(access),
        }
        if !cached
            && self.snooped_bytes(line_of::<B>(access.pa)) & mask::<B>(access.pa, access.len) != 0
        {
            found.add(Fault {
                hazard: Hazard::TwoTypes,
                shown: Shown::ThisCore,
                pa: access.pa,
                victim: cpu(access),
                writer: Party::Nobody,
                reason: reasons::SNOOPED,
            });
        }
        if kind == LoadOrStore::Store {
            self.stored(access.pa, mask::<B>(access.pa, access.len));
        }
        self.report_line(found, None, sink);
        self.allow_fast_path(access);
    }

    fn load_cached(&mut self, access: &Access, touched: u64, found: &mut LineFindings) {
        let &Access { va, pa, memory, .. } = access;
        let (line_pa, key) = (line_of::<B>(pa), (va >> 12) & self.key_bits);
        let judged = mask::<B>(pa, access.len) & !touched;
        let victim = cpu(access);
        // Which the device may have written just now.
        let coherent = self.coherent_bytes(line_pa);
        let device = Some(Writer::DEVICE);
        self.edit(pa, |line, states| {
            let write = ByteEvent::DeviceMayWrite;
            line.split(states, coherent, write, ByteEvent::Nothing, device);
            let copy = line.copy_or_new(states, key);
            let (reader, load) = match memory {
                MemoryType::WriteThrough => (Reader::Through(copy), ByteEvent::LoadThrough(copy)),
                _ => (Reader::Inner(copy), ByteEvent::LoadBack(copy)),
            };
            for class in &line.classes {
                found.judge(states, class, judged, reader, line_pa, victim);
            }
            found.judge_unwritten(states, line, judged, (reader, victim), line_pa);
            line.step(states, load);
        });
    }

    fn load_uncached(&mut self, access: &Access, touched: u64, found: &mut LineFindings) {
        let line_pa = line_of::<B>(access.pa);
        let judged = mask::<B>(access.pa, access.len) & !touched;
        let victim = cpu(access);
        self.edit(access.pa, |line, states| {
            for class in &line.classes {
                found.judge(states, class, judged, Reader::Memory, line_pa, victim);
            }
            let reader = (Reader::Memory, victim);
            found.judge_unwritten(states, line, judged, reader, line_pa);
        });
    }

    fn store_cached(&mut self, access: &Access, found: &mut LineFindings) {
        let &Access { va, pa, memory, .. } = access;
        let (line_pa, key) = (line_of::<B>(pa), (va >> 12) & self.key_bits);
        let bytes = mask::<B>(pa, access.len);
        let writer = Some(Writer::cpu(va, access.site));
        // What the device may write, but for what the store itself should not
        // have touched.
        let owned = self.owned_bytes(line_pa, Owned::ToWrite) & !bytes;
        let device_may_write = owned | self.coherent_bytes(line_pa);
        if memory == MemoryType::WriteThrough {
            self.buffer_store(pa);
        }
        self.edit(pa, |line, states| {
            let copy = line.copy_or_new(states, key);
            let (inside, outside) = match memory {
                MemoryType::WriteThrough => (ByteEvent::StoreThrough(copy), ByteEvent::Nothing),
                _ => (
                    ByteEvent::StoreBack(copy, true),
                    ByteEvent::StoreBack(copy, false),
                ),
            };
            line.split(states, bytes, inside, outside, writer);
            if device_may_write != 0 {
                let pa = line_pa + device_may_write.trailing_zeros();
                found.dirty(states, line, pa, cpu(access));
            }
        });
    }

    fn store_uncached(&mut self, access: &Access) {
        let &Access { va, pa, .. } = access;
        let bytes = mask::<B>(pa, access.len);
        let writer = Some(Writer::cpu(va, access.site));
        let buffered = access.memory != MemoryType::StronglyOrdered;
        if buffered {
            self.buffer_store(pa);
        }
        self.edit(pa, |line, states| {
            let store = ByteEvent::StoreMemory { buffered };
            line.split(states, bytes, store, ByteEvent::Nothing, writer);
        });
    }

    /// A touch of what a device owns. Returns the bytes touched: what they hold
    /// is anybody's guess.
    fn check_owner(
        &mut self,
        access: &Access,
        whole: &Access,
        kind: LoadOrStore,
        found: &mut LineFindings,
    ) -> u64 {
        let line_pa = line_of::<B>(access.pa);
        let (victim, writer, which) = match kind {
            LoadOrStore::Load => (cpu(access), Party::Device, Owned::ToWrite),
            LoadOrStore::Store => (Party::Device, cpu(access), Owned::All),
        };
        let forbidden = self.owned_bytes(line_pa, which);
        let touched = forbidden & mask::<B>(access.pa, access.len);
        if touched != 0 && !(kind == LoadOrStore::Load && self.is_last_word(whole)) {
            found.add(Fault {
                hazard: Hazard::OwnedTouch,
                shown: Shown::ThisCore,
                pa: line_pa + touched.trailing_zeros(),
                victim,
                writer,
                reason: reasons::OWNED,
            });
        }
        touched
    }

    /// A touch of data that has a line in common with what a device may write. A load is
    /// harmless where the line is invalidated when the device has written, as it must be on a
    /// core that speculates.
    fn check_neighbours(&mut self, access: &Access, kind: LoadOrStore, found: &mut LineFindings) {
        let &Access { pa, len, .. } = access;
        if !self.page(pa).owned {
            return;
        }
        let shown = match kind {
            LoadOrStore::Load if self.core.speculates => Shown::SomeCore,
            _ => Shown::ThisCore,
        };
        if let Some(pa) = self.dma.beside(Span::of(PhysicalRange { pa, len })) {
            found.add(Fault {
                hazard: Hazard::SharedLine,
                shown,
                pa,
                victim: cpu(access),
                writer: Party::Nobody,
                reason: reasons::BESIDE,
            });
        }
    }

    /// Whether this is at most a word, of which a device has a part only: copies and
    /// checksums load whole words across the end of what is theirs, and drop the rest.
    fn is_last_word(&self, load: &Access) -> bool {
        let span = Span::of(PhysicalRange {
            pa: load.pa,
            len: load.len,
        });
        let mut rest = vec![span];
        for part in self.dma.owned(span, Owned::ToWrite) {
            remove(&mut rest, part);
        }
        load.len <= WORD && !rest.is_empty()
    }

    /// Whether accesses like this one may take the fast path from now on.
    fn allow_fast_path(&mut self, access: &Access) {
        let page_pa = access.pa & !0xfff;
        let whole = Span::of(PhysicalRange {
            pa: page_pa,
            len: 1 << 12,
        });
        let owned = self.page(access.pa).owned;
        let still_owned = owned && self.dma.owned(whole, Owned::All).next().is_some();
        let group = group(access.memory);
        let alone = self.virtual_bits == 0
            || group == UNCACHED
            || self
                .virtual_lines
                .under(access.va >> 12, self.emptied)
                .len()
                == 1;
        let page = self.page(access.pa);
        page.owned = still_owned;
        let allowed = !page.owned
            && page.fill.this_core == page.fill.some_core
            && alone
            && if group == UNCACHED {
                !page.snooped
            } else {
                !page.coherent
            };
        page.group = group;
        page.fast_path = u8::from(allowed) << group;
        page.fast_path_va = access.va >> 12;
    }

    /// A page used through two memory types.
    fn check_types(&mut self, access: &Access, found: &mut LineFindings, sink: &mut dyn Sink) {
        let &Access {
            va,
            pa,
            memory,
            site,
            ..
        } = access;
        let group = group(memory);
        let page = self.page(pa);
        if page.group == group && (page.fast_path >> group) & 1 == 1 {
            return;
        }
        let ignored = group == THROUGH && !self.core.write_through;
        if group == UNCACHED || ignored {
            self.translations.used_uncached(va, pa, memory);
        }
        if group == UNCACHED || self.page(pa).group == group {
            return;
        }
        let mut shown = None;
        for other in self.translations.uncached_uses(pa) {
            let other_through = other.memory == MemoryType::WriteThrough;
            let here = match (group == THROUGH, other_through) {
                (true, true) => continue,
                (true, false) => self.core.write_through,
                (false, _) => true,
            };
            // A translation that is not cached does nothing by itself.
            if sink.maps(other.va, pa & !0xfff, other.memory, other.asid) == Some(false) {
                continue;
            }
            let new = if here {
                Shown::ThisCore
            } else {
                Shown::SomeCore
            };
            shown = Some(shown.map_or(new, |old: Shown| old.min(new)));
        }
        let Some(shown) = shown else {
            return;
        };
        let bytes = mask::<B>(pa, access.len);
        let writer = self.edit(pa, |line, _| {
            let class = line.classes.iter().find(|class| class.bytes & bytes != 0);
            class.map_or(Writer::NOBODY, |class| class.writer)
        });
        found.add(Fault {
            hazard: Hazard::TwoTypes,
            shown,
            pa,
            victim: Party::Cpu { va, site },
            writer: writer.party(pa),
            reason: reasons::USED_UNCACHED,
        });
    }

    /// VIVT: the line that is found at a virtual address may be that of an
    /// earlier mapping.
    fn check_virtual_line(&mut self, access: &Access, kind: LoadOrStore, found: &mut LineFindings) {
        let &Access { va, pa, site, .. } = access;
        let others = self.virtual_lines.reach(va >> 12, pa >> 12, self.emptied);
        for other in others {
            let other_pa = (other << 12) | line_of::<B>(pa & 0xfff);
            if let Some(page) = self.storage.page_mut(other_pa) {
                page.fast_path = 0;
            }
            if !self.ready(other_pa) {
                continue;
            }
            let (mut here, mut anywhere) = (false, false);
            self.edit(other_pa, |line, states| {
                let Some(copy) = line.copy(va >> 12) else {
                    return;
                };
                for class in &line.classes {
                    let summary = states.summary(class.state);
                    here |= (summary.copies_on_this_core >> copy) & 1 == 1;
                    anywhere |= (summary.copies >> copy) & 1 == 1;
                }
                // Reported once: from here on the line is as good as gone.
                line.step(states, ByteEvent::Inner(copy, Operation::CleanInvalidate));
            });
            if !anywhere {
                continue;
            }
            let victim = Party::Cpu { va, site };
            let writer = match kind {
                LoadOrStore::Load => Writer::NOBODY.party(pa),
                LoadOrStore::Store => victim,
            };
            found.add(Fault {
                hazard: match kind {
                    LoadOrStore::Load => Hazard::StaleRead,
                    LoadOrStore::Store => Hazard::LostWrite,
                },
                shown: if here {
                    Shown::ThisCore
                } else {
                    Shown::SomeCore
                },
                pa,
                victim,
                writer,
                reason: reasons::EARLIER_MAPPING,
            });
        }
    }
}

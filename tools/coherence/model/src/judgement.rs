// SPDX-License-Identifier: MIT OR Apache-2.0
//! From what can be to what is said about it.

use crate::byte_states::{Buffered, Cause, Reader, States, Verdict};
use crate::caches::Caches;
use crate::cores::WORD;
use crate::events::Site;
use crate::hazards::{Finding, Hazard, Party, Shown, Sink};
use crate::line::{Class, Line, Writer, DEVICE};
use crate::line_bytes::LineBytes;
use crate::reasons;

/// What is wrong with an access. The fields are those of [`Finding`].
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub hazard: Hazard,
    pub shown: Shown,
    pub pa: u32,
    pub victim: Party,
    pub writer: Party,
    pub reason: &'static str,
}

impl Fault {
    /// Whether a device takes part, now or before.
    fn concerns_device(&self) -> bool {
        self.hazard.is_of_a_call()
            || matches!(self.hazard, Hazard::UnwrittenRead | Hazard::SharedLine)
            || self.victim == Party::Device
            || self.writer == Party::Device
    }
}

impl<B: LineBytes> Caches<B> {
    /// Reports a fault, and how a device came by the memory.
    pub(crate) fn report(&self, fault: Fault, by_way_of: Option<Site>, sink: &mut dyn Sink) {
        let Fault {
            hazard,
            shown,
            pa,
            victim,
            writer,
            reason,
        } = fault;
        // Memory that was given back may be another owner's by now.
        let ended = || self.dma.was_lent(pa).filter(|_| fault.concerns_device());
        sink.found(Finding {
            hazard,
            shown,
            pa,
            victim,
            writer,
            by_way_of,
            lent: self.dma.lent(pa).or_else(ended),
            order: self.order,
            reason,
        });
    }

    /// Reports all faults of a line.
    pub(crate) fn report_line(
        &self,
        found: LineFindings,
        by_way_of: Option<Site>,
        sink: &mut dyn Sink,
    ) {
        for fault in found.0.into_iter().flatten() {
            self.report(fault, by_way_of, sink);
        }
    }
}

/// Faults of one line in one access: one of a hazard.
#[derive(Debug, Default)]
pub struct LineFindings([Option<Fault>; Hazard::ALL.len()]);

impl LineFindings {
    /// Adds a fault. What the emulated core would show is more telling than what
    /// some core would, the first byte more than a later one.
    pub fn add(&mut self, new: Fault) {
        let slot = &mut self.0[new.hazard as usize];
        match slot {
            Some(old) if (old.shown, old.pa) <= (new.shown, new.pa) => {}
            _ => *slot = Some(new),
        }
    }

    /// Judges a reader that gets bytes of a class. `pa` is of the line.
    pub fn judge(
        &mut self,
        states: &mut States,
        class: &Class,
        bytes: u64,
        reader: Reader,
        pa: u32,
        victim: Party,
    ) {
        let bytes = class.bytes & bytes;
        if bytes == 0 {
            return;
        }
        let Some((cause, shown)) = worst(states.verdict(class.state, reader)) else {
            return;
        };
        let pa = pa + bytes.trailing_zeros();
        let by_device = class.writer.party == DEVICE;
        let hazard = match (reader, cause) {
            (Reader::Behind, _) => Hazard::StaleInstruction,
            (_, Cause::Lost) if by_device => Hazard::DirtyOverDevice,
            (_, Cause::Lost) => Hazard::LostWrite,
            _ => Hazard::StaleRead,
        };
        let reason = match cause {
            Cause::OldInner => reasons::OLD_LINE,
            Cause::OldOuter => reasons::OLD_OUTER_LINE,
            Cause::InInner if matches!(reader, Reader::Inner(_) | Reader::Through(_)) => {
                reasons::DIRTY_ELSEWHERE
            }
            Cause::InInner => reasons::DIRTY_IN_INNER,
            Cause::InOuter => reasons::DIRTY_IN_OUTER,
            Cause::Lost if states.get(class.state).invalidated => reasons::INVALIDATED,
            Cause::Lost => reasons::WRITTEN_OVER,
        };
        self.add(Fault {
            hazard,
            shown,
            pa,
            victim,
            writer: class.writer.party(pa),
            reason,
        });
    }

    /// Judges a reader that gets bytes which a device was to write, and did not.
    /// `pa` is of the line. That this core has lost a value, or has it elsewhere, is more
    /// telling.
    pub fn judge_unwritten(
        &mut self,
        states: &mut States,
        line: &Line,
        bytes: u64,
        (reader, victim): (Reader, Party),
        pa: u32,
    ) {
        let mut unwritten = 0u64;
        let mut writer = Writer::NOBODY;
        for class in &line.classes {
            let part = class.bytes & bytes;
            let verdict = states.verdict(class.state, reader);
            let right = part != 0
                && states.get(class.state).unwritten
                && verdict.this_core.first().is_none();
            if right && (unwritten == 0 || part.trailing_zeros() < unwritten.trailing_zeros()) {
                writer = class.writer;
            }
            unwritten |= if right { part } else { 0 };
        }
        // Copies and checksums load whole words across the end of what was written,
        // and drop the rest.
        let last_word = bytes.count_ones() <= WORD && unwritten != bytes;
        if unwritten == 0 || last_word {
            return;
        }
        let pa = pa + unwritten.trailing_zeros();
        self.add(Fault {
            hazard: Hazard::UnwrittenRead,
            shown: Shown::ThisCore,
            pa,
            victim,
            writer: match writer.party(pa) {
                Party::Device => Party::Nobody,
                before => before,
            },
            reason: reasons::NOT_WRITTEN,
        });
    }

    /// Judges a line under bytes that a device writes, `pa` the first of them.
    pub fn dirty(&mut self, states: &States, line: &Line, pa: u32, writer: Party) {
        let Some(class) = line.classes.first() else {
            return;
        };
        // A line is dirty as a whole: all classes say the same.
        let summary = states.summary(class.state);
        let shown = match (summary.dirty_on_this_core, summary.dirty_on_some_core) {
            (true, _) => Shown::ThisCore,
            (_, true) => Shown::SomeCore,
            _ => return,
        };
        self.add(Fault {
            hazard: Hazard::DirtyOverDevice,
            shown,
            pa,
            victim: Party::Device,
            writer,
            reason: reasons::DIRTY_UNDER_DEVICE,
        });
    }

    /// Judges a device that reads bytes of a class before a buffer is drained.
    pub fn judge_buffers(&mut self, buffered: Buffered, class: &Class, bytes: u64, pa: u32) {
        let bytes = class.bytes & bytes;
        let reason = match buffered {
            Buffered::Core(_) => reasons::IN_WRITE_BUFFER,
            Buffered::Outer(_) => reasons::IN_OUTER_BUFFERS,
            Buffered::No => return,
        };
        if bytes == 0 {
            return;
        }
        let pa = pa + bytes.trailing_zeros();
        self.add(Fault {
            hazard: Hazard::NotDrained,
            shown: Shown::ThisCore,
            pa,
            victim: Party::Device,
            writer: class.writer.party(pa),
            reason,
        });
    }
}

fn worst(verdict: Verdict) -> Option<(Cause, Shown)> {
    let here = verdict
        .this_core
        .first()
        .map(|cause| (cause, Shown::ThisCore));
    here.or(verdict
        .some_core
        .first()
        .map(|cause| (cause, Shown::SomeCore)))
}

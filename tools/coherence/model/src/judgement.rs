// SPDX-License-Identifier: MIT OR Apache-2.0
//! From what can be to what is said about it.

use crate::byte_states::{Buffered, Cause, Reader, States, Verdict};
use crate::events::Site;
use crate::hazards::{Finding, Hazard, Party, Shown, Sink};
use crate::line::{Class, Line, DEVICE};
use crate::reasons;

/// Findings about one line in one access: one of a hazard.
#[derive(Debug, Default)]
pub struct LineFindings([Option<Finding>; Hazard::ALL.len()]);

impl LineFindings {
    /// Adds a finding. What the emulated core would show is more telling than what
    /// some core would, the first byte more than a later one.
    pub fn add(&mut self, new: Finding) {
        let slot = &mut self.0[new.hazard as usize];
        match slot {
            Some(old) if (old.shown, old.pa) <= (new.shown, new.pa) => {}
            _ => *slot = Some(new),
        }
    }

    /// Gives all findings about the line to `sink`.
    pub fn tell(self, by_way_of: Option<Site>, sink: &mut dyn Sink) {
        for finding in self.0.into_iter().flatten() {
            sink.found(Finding {
                by_way_of,
                ..finding
            });
        }
    }

    /// Judges a reader that gets bytes of a class. `pa` is of the line.
    pub fn judge(
        &mut self,
        states: &mut States,
        class: &Class,
        bytes: u32,
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
        self.add(Finding {
            hazard,
            shown,
            pa,
            victim,
            writer: class.writer.party(pa),
            reason,
            by_way_of: None,
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
        self.add(Finding {
            hazard: Hazard::DirtyOverDevice,
            shown,
            pa,
            victim: Party::Device,
            writer,
            reason: reasons::DIRTY_UNDER_DEVICE,
            by_way_of: None,
        });
    }

    /// Judges a device that reads bytes of a class before a buffer is drained.
    pub fn judge_buffers(&mut self, states: &mut States, class: &Class, bytes: u32, pa: u32) {
        let bytes = class.bytes & bytes;
        let reason = match states.get(class.state).buffered {
            Buffered::Core => reasons::IN_WRITE_BUFFER,
            Buffered::Outer => reasons::IN_OUTER_BUFFERS,
            Buffered::No => return,
        };
        if bytes == 0 {
            return;
        }
        let pa = pa + bytes.trailing_zeros();
        self.add(Finding {
            hazard: Hazard::NotDrained,
            shown: Shown::ThisCore,
            pa,
            victim: Party::Device,
            writer: class.writer.party(pa),
            reason,
            by_way_of: None,
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

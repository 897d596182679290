// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where on the page the parts of a timeline are.

use crate::timeline::{Lane, Owner, Timeline};

const NAMES: usize = 96;
const COLUMN: usize = 180;
/// What the last column needs besides for its words.
const MARGIN: usize = COLUMN / 2;
const COPIES: usize = 250;
const TOP: usize = 44;
const ROW: usize = 40;
/// Characters that a column has room for.
const SHORT: usize = 24;

/// A row, with its name.
#[derive(Debug)]
pub struct Row {
    /// Its middle.
    pub y: usize,
    /// Who it is about.
    pub name: &'static str,
}

/// Something that happened.
#[derive(Debug)]
pub struct Mark {
    /// Its middle.
    pub x: usize,
    /// Its middle.
    pub y: usize,
    /// What happened, and in which event.
    pub what: String,
    /// Who did it, as far as there is room.
    pub who: String,
    /// Who did it, in full.
    pub title: String,
    /// Whether it is what was found.
    pub found: bool,
}

/// How long somebody owned the memory.
#[derive(Debug)]
pub struct Span {
    /// Where it begins.
    pub x: usize,
    /// How long it is.
    pub width: usize,
    /// Whether the device had it.
    pub is_device: bool,
}

/// A value that is somewhere in the end.
#[derive(Debug)]
pub struct Value {
    /// Where it begins.
    pub x: usize,
    /// The middle of its row.
    pub y: usize,
    /// What it is.
    pub what: &'static str,
    /// Whether it is the newest.
    pub newest: bool,
}

/// A timeline with places.
#[derive(Debug)]
pub struct Drawing {
    /// Of all.
    pub width: usize,
    /// Of all.
    pub height: usize,
    /// The rows.
    pub rows: Vec<Row>,
    /// The owners, one after the other.
    pub owners: Vec<Span>,
    /// What happened.
    pub marks: Vec<Mark>,
    /// What is where in the end.
    pub values: Vec<Value>,
}

impl Drawing {
    /// Lays a timeline out.
    pub fn of(timeline: &Timeline) -> Self {
        let end = NAMES + COLUMN * timeline.moments.len() + MARGIN;
        let copies = if timeline.copies.is_empty() {
            0
        } else {
            COPIES
        };
        Self {
            width: end + copies,
            height: TOP + ROW * Lane::ALL.len(),
            rows: Lane::ALL
                .iter()
                .map(|lane| Row {
                    y: middle(*lane),
                    name: lane.name(),
                })
                .collect(),
            owners: owners(timeline, end + copies),
            marks: timeline
                .moments
                .iter()
                .enumerate()
                .map(|(column, moment)| Mark {
                    x: middle_of_column(column),
                    y: middle(moment.lane),
                    what: match moment.order {
                        Some(order) => format!("{}, event {order}", moment.what),
                        None => moment.what.to_owned(),
                    },
                    who: in_short(&moment.who),
                    title: moment.who.clone(),
                    found: moment.found,
                })
                .collect(),
            values: timeline
                .copies
                .iter()
                .map(|copy| Value {
                    x: end,
                    y: middle(copy.lane),
                    what: copy.what,
                    newest: copy.newest,
                })
                .collect(),
        }
    }
}

/// The spans from one change of the owner to the next: the CPU has the memory first.
fn owners(timeline: &Timeline, end: usize) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let changes = timeline.moments.iter().enumerate();
    let changes = changes.map(|(column, moment)| (middle_of_column(column), moment.owner));
    for (x, owner) in [(NAMES, Owner::Cpu)].into_iter().chain(changes) {
        let is_device = owner == Owner::Device;
        match spans.last_mut() {
            Some(last) if last.is_device == is_device => {}
            last => {
                if let Some(last) = last {
                    last.width = x - last.x;
                }
                spans.push(Span {
                    x,
                    width: 0,
                    is_device,
                });
            }
        }
    }
    if let Some(last) = spans.last_mut() {
        last.width = end - last.x;
    }
    spans
}

fn middle_of_column(column: usize) -> usize {
    NAMES + COLUMN * column + COLUMN / 2
}

fn middle(lane: Lane) -> usize {
    TOP + ROW * (lane as usize) + ROW / 2
}

fn in_short(who: &str) -> String {
    if who.chars().count() <= SHORT {
        return who.to_owned();
    }
    who.chars().take(SHORT - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::REPORT;
    use crate::run::Run;

    #[test]
    fn owners_take_turns() {
        let run = Run::parse(REPORT).unwrap();
        let drawing = Drawing::of(&Timeline::of(&run.findings[0]));
        let spans: Vec<_> = drawing
            .owners
            .iter()
            .map(|span| (span.x, span.width, span.is_device))
            .collect();
        let mapped = NAMES + COLUMN / 2;
        assert_eq!(
            spans,
            [
                (NAMES, COLUMN / 2, false),
                (mapped, drawing.width - mapped, true),
            ]
        );
        assert!(drawing.marks.iter().all(|mark| mark.x < drawing.width));
        assert!(drawing.rows.iter().all(|row| row.y < drawing.height));
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(in_short("mine_init"), "mine_init");
        assert_eq!(in_short(&"é".repeat(30)), "é".repeat(23) + "…");
    }
}

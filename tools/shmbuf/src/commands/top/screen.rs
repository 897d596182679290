// SPDX-License-Identifier: MIT OR Apache-2.0
//! The screen: how it is laid out and drawn.

use std::{cmp::max, time::Duration};

use ratatui::{
    layout::{Constraint, Layout},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::{Cell, Paragraph, Row as TableRow, Table, TableState},
    Frame,
};

use super::rows::{Facts, Row, Shown};
use crate::processes::PRIVATE;

/// What is shown, and what is selected of it.
pub struct Screen {
    shown: Shown,
    table: TableState,
    has_colours: bool,
    interval: Duration,
}

/// What stands for what is not known.
const UNKNOWN: &str = "-";

/// What stands for users where there are none.
const NO_USERS: &str = "no process has it open, mapped or exported";

/// Lines at most of what is said of the selected buffer.
const DETAILS: usize = 4;

/// Lent ranges at most that are shown of it.
const RANGES: usize = 3;

impl Screen {
    /// Nothing is shown yet.
    pub fn new(has_colours: bool, interval: Duration) -> Self {
        Self {
            shown: Shown::default(),
            table: TableState::new(),
            has_colours,
            interval,
        }
    }

    /// Takes what is to be shown from now on. The buffer that was selected stays it.
    pub fn set(&mut self, shown: Shown) {
        let name = self.selected().map(|row| row.name.clone());
        let place = shown
            .rows
            .iter()
            .position(|row| Some(&row.name) == name.as_ref());
        self.shown = shown;
        self.select(place.or(self.table.selected()).unwrap_or(0));
    }

    pub fn select_next(&mut self) {
        let place = self.table.selected().map_or(0, |place| place + 1);
        self.select(place);
    }

    pub fn select_previous(&mut self) {
        let place = self.table.selected().unwrap_or(0);
        self.select(place.saturating_sub(1));
    }

    fn select(&mut self, place: usize) {
        let last = self.shown.rows.len().checked_sub(1);
        self.table.select(last.map(|last| place.min(last)));
    }

    fn selected(&self) -> Option<&Row> {
        self.shown.rows.get(self.table.selected()?)
    }

    pub fn draw(&mut self, frame: &mut Frame) {
        let area = frame.area();
        let width = area.width.into();
        let missing: Vec<_> = self.shown.missing.iter().collect();
        let missing: Vec<_> = missing
            .iter()
            .flat_map(|sentence| wrapped(sentence, width))
            .collect();
        let details = self.selected().map_or_else(Vec::new, |row| {
            let mut lines = wrapped(&details(row), width);
            lines.truncate(DETAILS);
            lines
        });
        let users = self.selected().map_or(0, |row| max(row.users.len(), 1));

        let height = usize::from(area.height);
        let of_missing = missing.len().min(height / 4);
        let rest = height.saturating_sub(1 + of_missing);
        // An empty line, and the names of the columns.
        let below = details.len() + users + 2;
        let of_table = (self.shown.rows.len() + 1).min(max(rest / 2, rest.saturating_sub(below)));
        let length = |lines: usize| Constraint::Length(lines.try_into().unwrap_or(u16::MAX));
        let [title, table, _, text, processes, bottom] = Layout::vertical([
            length(1),
            length(of_table),
            length(1),
            length(details.len()),
            Constraint::Fill(1),
            length(of_missing),
        ])
        .areas(area);

        frame.render_widget(self.title(width), title);
        let warn = self.warning();
        if let Some(row) = self.selected() {
            frame.render_widget(text_of(details, Style::new()), text);
            match row.users.is_empty() {
                true => frame.render_widget(Paragraph::new(NO_USERS), processes),
                false => frame.render_widget(users_table(row), processes),
            }
        }
        frame.render_widget(text_of(missing, warn), bottom);
        let buffers = buffers_table(&self.shown.rows, width, warn);
        frame.render_stateful_widget(buffers, table, &mut self.table);
    }

    fn title(&self, width: usize) -> Paragraph<'static> {
        let buffers = self.shown.rows.iter().filter(|row| row.name != PRIVATE);
        let left = match buffers.count() {
            1 => "shmbuf top: 1 buffer".into(),
            count => format!("shmbuf top: {count} buffers"),
        };
        let seconds = self.interval.as_secs_f64();
        let right = format!("rates per second, every {seconds} s   up, down: select   q: quit");
        let gap = width.saturating_sub(left.len() + right.len()).max(1);
        let line = format!("{left}{:gap$}{right}", "");
        Paragraph::new(line).style(Modifier::REVERSED)
    }

    /// How it is shown that something is not as usual.
    fn warning(&self) -> Style {
        match self.has_colours {
            true => Style::new().fg(Color::Yellow),
            false => Style::new(),
        }
    }
}

fn text_of(lines: Vec<String>, style: Style) -> Paragraph<'static> {
    Paragraph::new(lines.into_iter().map(Line::from).collect::<Vec<_>>()).style(style)
}

fn right(text: String) -> Cell<'static> {
    Cell::new(Line::from(text).right_aligned())
}

/// In 80 columns with names of up to 11 letters. A wider screen has room for all memory types.
fn buffers_table(rows: &[Row], width: usize, lent_style: Style) -> Table<'static> {
    const SHORT: u16 = 22;
    const LONG: u16 = 33;
    let of_type = if width < 100 { SHORT } else { LONG };
    let header = ["BUFFER", "KIND", "MEMORY TYPE"].map(Cell::from);
    let numbers = ["SIZE", "LENT", "READ", "WRITE", "SYNC", "COPY"];
    let header = header
        .into_iter()
        .chain(numbers.map(|name| right(name.into())));
    let row = |row: &Row| {
        let facts = row.facts.as_ref();
        let text = |of: fn(&Facts) -> String| facts.map_or(UNKNOWN.into(), of);
        let bytes = |count: Option<u64>| right(count.map_or(UNKNOWN.into(), |it| short(it, 1024)));
        let is_lent = facts.is_some_and(|facts| facts.owner != "cpu");
        let lent = right(text(lent_bytes)).style(match is_lent {
            true => lent_style.add_modifier(Modifier::BOLD),
            false => Style::new(),
        });
        // As many words as fit.
        let words = wrapped(
            &text(|facts| memory_type(&facts.memory_type).into()),
            of_type.into(),
        );
        let words = words.into_iter().next().unwrap_or_default();
        let syncs = row.rates.syncs.map(|count| short(count, 1000));
        TableRow::new([
            row.name.clone().into(),
            text(|facts| facts.kind.clone()).into(),
            words.into(),
            bytes(facts.map(|facts| facts.size)),
            lent,
            bytes(row.rates.read),
            bytes(row.rates.written),
            right(syncs.unwrap_or(UNKNOWN.into())),
            bytes(row.rates.copied),
        ])
    };
    let number = Constraint::Length(5);
    let widths = [
        Constraint::Min(11),
        Constraint::Length(9),
        Constraint::Length(of_type),
        number,
        number,
        number,
        number,
        number,
        number,
    ];
    Table::new(rows.iter().map(row), widths)
        .header(TableRow::new(header).style(Modifier::BOLD))
        .row_highlight_style(Modifier::REVERSED)
}

fn users_table(row: &Row) -> Table<'static> {
    let names = ["HANDLES", "MAPPINGS", "DMA-BUFS"].map(|name| right(name.into()));
    let header = [right("PROCESS".into()), "PROGRAM".into()]
        .into_iter()
        .chain(names);
    let rows = row.users.iter().map(|(process, user)| {
        let other = |count: usize| {
            right(match row.has_only_handles {
                true => UNKNOWN.into(),
                false => count.to_string(),
            })
        };
        TableRow::new([
            right(process.to_string()),
            user.program.clone().into(),
            right(user.handles.to_string()),
            other(user.mappings),
            other(user.dma_bufs),
        ])
    });
    // A program's name has 15 letters at most.
    let widths = [7, 16, 8, 9, 9].map(Constraint::Length);
    Table::new(rows, widths).header(TableRow::new(header).style(Modifier::BOLD))
}

/// What is said of the selected buffer.
fn details(row: &Row) -> String {
    let Row { name, facts, .. } = row;
    let Some(facts) = facts else {
        return match name.as_str() {
            PRIVATE => "private: all private buffers together".into(),
            _ => format!("{name}: what it is cannot be seen"),
        };
    };
    let Facts {
        policy,
        mapping,
        direction,
        owner,
        mappings,
        exports,
        ..
    } = facts;
    let ranges = facts.lent.iter().flatten();
    let mut lent: Vec<_> = ranges
        .clone()
        .take(RANGES)
        .map(|range| format!("{:#x} to {:#x}", range.start, range.end))
        .collect();
    match ranges.count().saturating_sub(RANGES) {
        0 if lent.is_empty() => lent.push("nothing".into()),
        0 => {}
        more => lent.push(format!("{more} more")),
    }
    let lent = match &facts.lent {
        Some(_) => format!(", lent: {}", lent.join(", ")),
        None => String::new(),
    };
    format!(
        "{name}: policy {policy}, mapping {mapping}, direction {direction}, owner {owner}, \
         mappings: {mappings}, dma-bufs: {exports}{lent}"
    )
}

/// How much is lent.
fn lent_bytes(facts: &Facts) -> String {
    match &facts.lent {
        Some(ranges) => {
            let bytes = ranges.iter().map(|range| range.end - range.start).sum();
            short(bytes, 1024)
        }
        None if facts.owner == "cpu" => "0".into(),
        None => "some".into(),
    }
}

/// A memory type without the bits that make it.
fn memory_type(words: &str) -> &str {
    words.split(" (").next().unwrap_or(words)
}

/// A number in at most five letters, to two digits or more. K is a `thousand`.
fn short(number: u64, thousand: u64) -> String {
    if number < 1000 {
        return number.to_string();
    }
    let mut rest = number as f64;
    let mut suffix = ' ';
    for next in "KMGTPE".chars() {
        rest /= thousand as f64;
        suffix = next;
        if rest < 1000.0 {
            break;
        }
    }
    let text = if rest < 10.0 {
        format!("{rest:.1}")
    } else {
        format!("{rest:.0}")
    };
    format!("{}{suffix}", text.trim_end_matches(".0"))
}

/// A sentence in lines of at most so many letters, if no word has more.
fn wrapped(sentence: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in sentence.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        commands::top::rows::Rates,
        processes::{Processes, Use},
    };
    use ratatui::{backend::TestBackend, buffer::Buffer, layout::Rect, Terminal};

    fn facts() -> Facts {
        Facts {
            kind: "streaming".into(),
            policy: "writeback".into(),
            memory_type: "cached, write-through (C=1 B=0)".into(),
            size: 1 << 20,
            owner: "cpu".into(),
            mapping: "strict".into(),
            direction: "bidirectional".into(),
            mappings: 2,
            exports: 1,
            lent: Some(Vec::new()),
        }
    }

    fn users(users: &[(i32, &str, usize, usize, usize)]) -> Processes {
        let user = |&(process, program, handles, mappings, dma_bufs): &(i32, &str, _, _, _)| {
            let program = program.into();
            let user = Use {
                program,
                handles,
                mappings,
                dma_bufs,
            };
            (process, user)
        };
        users.iter().map(user).collect()
    }

    fn example() -> Shown {
        let plain = Row {
            name: "default".into(),
            facts: Some(Facts {
                kind: "pages".into(),
                memory_type: "Normal, write-back".into(),
                size: 4 << 20,
                ..facts()
            }),
            rates: Rates {
                read: Some(0),
                written: Some(150_000_000),
                syncs: Some(60),
                copied: Some(1536),
            },
            ..Row::default()
        };
        let camera = Row {
            name: "camera".into(),
            facts: Some(Facts {
                owner: "device".into(),
                lent: Some(vec![0..0x8_0000, 0x10_0000..0x18_0000]),
                ..facts()
            }),
            rates: Rates {
                read: Some(9999),
                written: Some(0),
                syncs: Some(12_345),
                copied: None,
            },
            users: users(&[(812, "capture", 1, 2, 0), (1030, "compositor", 0, 0, 2)]),
            has_only_handles: false,
        };
        let private = Row {
            name: "812/fd/5".into(),
            facts: Some(Facts {
                kind: "scatter".into(),
                owner: "device".into(),
                lent: None,
                ..facts()
            }),
            users: users(&[(812, "capture", 1, 0, 0)]),
            has_only_handles: true,
            ..Row::default()
        };
        let together = Row {
            name: PRIVATE.into(),
            users: users(&[(812, "capture", 1, 1, 0)]),
            ..Row::default()
        };
        Shown {
            rows: vec![plain, camera, private, together],
            missing: vec!["something is missing: do something about it".into()],
        }
    }

    fn screen(shown: Shown) -> Screen {
        let mut screen = Screen::new(true, Duration::from_secs(1));
        screen.set(shown);
        screen
    }

    fn drawn(screen: &mut Screen, columns: u16, lines: u16) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        terminal.backend().buffer().clone()
    }

    /// The text of a screen, without spaces at the ends of lines.
    fn text(buffer: &Buffer) -> String {
        let Rect { width, height, .. } = buffer.area;
        let line = |y| {
            let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
            line.trim_end().to_string() + "\n"
        };
        (0..height).map(line).collect()
    }

    #[test]
    fn a_screen_of_80_by_24() {
        let mut screen = screen(example());
        screen.select_next();
        let expected = "\
shmbuf top: 3 buffers   rates per second, every 1 s   up, down: select   q: quit
BUFFER      KIND      MEMORY TYPE             SIZE  LENT  READ WRITE  SYNC  COPY
default     pages     Normal, write-back        4M     0     0  143M    60  1.5K
camera      streaming cached, write-through     1M    1M  9.8K     0   12K     -
812/fd/5    scatter   cached, write-through     1M  some     -     -     -     -
private     -         -                          -     -     -     -     -     -

camera: policy writeback, mapping strict, direction bidirectional, owner device,
mappings: 2, dma-bufs: 1, lent: 0x0 to 0x80000, 0x100000 to 0x180000
PROCESS PROGRAM           HANDLES  MAPPINGS  DMA-BUFS
    812 capture                 1         2         0
   1030 compositor              0         0         2











something is missing: do something about it
";
        assert_eq!(text(&drawn(&mut screen, 80, 24)), expected);
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        for has_colours in [true, false] {
            let mut screen = Screen::new(has_colours, Duration::from_secs(1));
            screen.set(example());
            let buffer = drawn(&mut screen, 80, 24);
            let mut cells = buffer.content.iter();
            let coloured = cells.any(|cell| (cell.fg, cell.bg) != (Color::Reset, Color::Reset));
            assert_eq!(coloured, has_colours);
            // The title and what is selected can be seen without.
            for line in [0, 2] {
                assert!(buffer[(0, line)].modifier.contains(Modifier::REVERSED));
            }
        }
    }

    #[test]
    fn the_selection_stays_on_its_buffer() {
        let mut screen = screen(example());
        screen.select_next();
        let mut fewer = example();
        fewer.rows.remove(0);
        screen.set(fewer.clone());
        assert_eq!(screen.selected().unwrap().name, "camera");
        fewer.rows.remove(0);
        screen.set(fewer);
        assert_eq!(screen.selected().unwrap().name, "812/fd/5");
        for _ in 0..10 {
            screen.select_next();
        }
        assert_eq!(screen.selected().unwrap().name, PRIVATE);
        for _ in 0..10 {
            screen.select_previous();
        }
        assert_eq!(screen.selected().unwrap().name, "812/fd/5");
        screen.set(Shown::default());
        assert_eq!(screen.selected(), None);
        screen.set(example());
        assert_eq!(screen.selected().unwrap().name, "default");
    }

    #[test]
    fn mappings_of_one_private_buffer_are_not_known() {
        let mut screen = screen(example());
        for _ in 0..2 {
            screen.select_next();
        }
        let text = text(&drawn(&mut screen, 80, 24));
        assert!(
            text.contains("    812 capture                 1         -         -\n"),
            "{text}"
        );
        screen.select_next();
        let text = self::text(&drawn(&mut screen, 80, 24));
        assert!(
            text.contains("\nprivate: all private buffers together\n"),
            "{text}"
        );
        assert!(
            text.contains("    812 capture                 1         1         0\n"),
            "{text}"
        );
    }

    #[test]
    fn few_of_many_ranges_are_shown() {
        let mut row = example().rows[1].clone();
        let facts = row.facts.as_mut().unwrap();
        facts.lent = Some((0..9).map(|slot| 2 * slot..2 * slot + 1).collect());
        let text = details(&row);
        assert!(text.ends_with(", 0x4 to 0x5, 6 more"), "{text}");
    }

    #[test]
    fn any_size_can_be_drawn() {
        let mut many = example();
        for number in 0..100 {
            many.rows.push(Row {
                name: format!("buffer-{number}"),
                ..example().rows[1].clone()
            });
        }
        let mut screen = screen(many);
        for (columns, lines) in [(1, 1), (10, 3), (80, 5), (40, 24), (300, 100)] {
            drawn(&mut screen, columns, lines);
        }
        for _ in 0..200 {
            screen.select_next();
        }
        // What is selected is in sight, and so are its users.
        let text = text(&drawn(&mut screen, 80, 24));
        assert!(text.contains("\nbuffer-99   streaming"), "{text}");
        assert!(text.contains("compositor"), "{text}");
    }

    #[test]
    fn nothing_but_a_reason() {
        let missing = vec!["there is nothing: make something".into()];
        let mut screen = screen(Shown {
            rows: Vec::new(),
            missing,
        });
        let text = text(&drawn(&mut screen, 80, 24));
        assert!(text.starts_with("shmbuf top: 0 buffers "), "{text}");
        assert!(
            text.ends_with("\nthere is nothing: make something\n"),
            "{text}"
        );
    }

    #[test]
    fn short_numbers() {
        for (number, bytes, count) in [
            (0, "0", "0"),
            (999, "999", "999"),
            (1000, "1K", "1K"),
            (1536, "1.5K", "1.5K"),
            (4096, "4K", "4.1K"),
            (1_047_000, "1M", "1M"),
            (1 << 20, "1M", "1M"),
            (123_456_789, "118M", "123M"),
            (u64::MAX, "16E", "18E"),
        ] {
            assert_eq!(short(number, 1024), bytes, "{number}");
            assert_eq!(short(number, 1000), count, "{number}");
        }
    }

    #[test]
    fn sentences_are_wrapped_at_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("one two three", 3), ["one", "two", "three"]);
        assert_eq!(wrapped("", 3), [""]);
    }
}

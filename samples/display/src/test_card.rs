// SPDX-License-Identifier: MIT OR Apache-2.0
//! The test card, which is drawn anew for each frame.

use std::convert::Infallible;

use embedded_graphics::{
    mono_font::{ascii::FONT_10X20, MonoTextStyle},
    pixelcolor::Rgb888,
    prelude::*,
    primitives::{Circle, Line, PrimitiveStyle, Rectangle},
    text::{Alignment, Baseline, Text, TextStyleBuilder},
};

use crate::canvas::Canvas;

const BARS: [Rgb888; 8] = [
    Rgb888::WHITE,
    Rgb888::YELLOW,
    Rgb888::CYAN,
    Rgb888::GREEN,
    Rgb888::MAGENTA,
    Rgb888::RED,
    Rgb888::BLUE,
    Rgb888::BLACK,
];

/// Steps of the gray ramp.
const GRAYS: u32 = 32;

/// Draws the card, with lines of text. Each frame differs from the one before it.
pub fn draw(canvas: &mut Canvas, lines: &[String], frame: u32) {
    let Ok(()) = try_draw(canvas, lines, frame);
}

fn try_draw(canvas: &mut Canvas, lines: &[String], frame: u32) -> Result<(), Infallible> {
    let Size { width, height } = canvas.size();
    let (bars, ramp) = (height / 2, height / 10);
    let stripe = |index: u32, of: u32| (width * index / of, width * (index + 1) / of);
    let column = |canvas: &mut Canvas, (left, right), top, height, color| {
        let area = Rectangle::new(point(left, top), Size::new(right - left, height));
        canvas.fill_solid(&area, color)
    };

    canvas.clear(Rgb888::new(40, 40, 40))?;
    for (index, color) in (0..).zip(BARS) {
        column(canvas, stripe(index, BARS.len() as u32), 0, bars, color)?;
    }
    for index in 0..GRAYS {
        let level = (index * 255 / (GRAYS - 1)) as u8;
        let color = Rgb888::new(level, level, level);
        column(canvas, stripe(index, GRAYS), bars, ramp, color)?;
    }

    // What a line that is one pixel off would show.
    let thin = PrimitiveStyle::with_stroke(Rgb888::WHITE, 1);
    canvas.bounding_box().into_styled(thin).draw(canvas)?;
    let circle = Circle::with_center(point(width / 2, bars / 2), bars - 20);
    circle.into_styled(thin).draw(canvas)?;
    let corner = point(width - 1, bars - 1);
    Line::new(Point::zero(), corner)
        .into_styled(thin)
        .draw(canvas)?;
    Line::new(Point::new(corner.x, 0), Point::new(0, corner.y))
        .into_styled(thin)
        .draw(canvas)?;

    let font = MonoTextStyle::new(&FONT_10X20, Rgb888::WHITE);
    let style = TextStyleBuilder::new()
        .alignment(Alignment::Center)
        .baseline(Baseline::Top)
        .build();
    let mut at = point(width / 2, bars + ramp + 16);
    let counter = format!("frame {frame}");
    for line in lines.iter().chain([&counter]) {
        Text::with_text_style(line, at, font, style).draw(canvas)?;
        at.y += 26;
    }

    // It goes to and fro, one step a frame.
    let box_size = height / 12;
    let way = width - box_size - 2;
    let step = frame * 8 % (2 * way);
    let left = 1 + step.min(2 * way - step);
    let area = Rectangle::new(
        point(left, height - box_size - 8),
        Size::new_equal(box_size),
    );
    let color = Rgb888::new(255, (frame * 5 % 256) as u8, 0);
    canvas.fill_solid(&area, color)
}

fn point(x: u32, y: u32) -> Point {
    Point::new(x as i32, y as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(size: (u32, u32), frame: u32) -> Canvas {
        let mut canvas = Canvas::new(size.0, size.1);
        draw(&mut canvas, &["words".into()], frame);
        canvas
    }

    #[test]
    fn each_frame_differs_from_its_neighbour() {
        // Those too where the box turns round.
        for frame in (0..3).chain(35..38).chain(72..76) {
            assert!(
                card((320, 200), frame) != card((320, 200), frame + 1),
                "{frame}"
            );
        }
        assert!(card((320, 200), 7) == card((320, 200), 7));
    }

    #[test]
    fn it_fits_on_small_screens() {
        card((64, 64), 0);
        card((64, 64), 10_000);
    }
}

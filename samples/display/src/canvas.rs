// SPDX-License-Identifier: MIT OR Apache-2.0
//! A picture in ordinary memory, which is drawn into and then copied to a frame.

use std::{
    convert::Infallible,
    io::{self, Write},
};

use embedded_graphics::{pixelcolor::Rgb888, prelude::*};

/// A picture. All of it is black at first.
#[derive(Clone, PartialEq, Eq)]
pub struct Canvas {
    size: Size,
    pixels: Vec<Rgb888>,
}

impl Canvas {
    /// A picture of so many pixels.
    pub fn new(width: u32, height: u32) -> Self {
        Self {
            size: Size::new(width, height),
            pixels: vec![Rgb888::BLACK; (width * height) as usize],
        }
    }

    /// The pixels, line by line.
    pub fn pixels(&self) -> impl Iterator<Item = Rgb888> + '_ {
        self.pixels.iter().copied()
    }

    /// Writes the picture as a PPM file.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn write_ppm(&self, to: &mut impl Write) -> io::Result<()> {
        writeln!(to, "P6\n{} {}\n255", self.size.width, self.size.height)?;
        let bytes: Vec<u8> = self
            .pixels()
            .flat_map(|color| [color.r(), color.g(), color.b()])
            .collect();
        to.write_all(&bytes)
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        self.size
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Infallible>
    where
        I: IntoIterator<Item = Pixel<Rgb888>>,
    {
        let bounds = self.bounding_box();
        for Pixel(at, color) in pixels {
            if bounds.contains(at) {
                self.pixels[at.y as usize * self.size.width as usize + at.x as usize] = color;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_is_left_out() {
        let mut canvas = Canvas::new(2, 2);
        let points = [(0, 1), (2, 0), (0, 2), (-1, 0), (1, -1)];
        let white = points.map(|(x, y)| Pixel(Point::new(x, y), Rgb888::WHITE));
        canvas.draw_iter(white).unwrap();
        let lit: Vec<_> = canvas
            .pixels()
            .map(|color| color == Rgb888::WHITE)
            .collect();
        assert_eq!(lit, [false, false, true, false]);
        let mut file = Vec::new();
        canvas.write_ppm(&mut file).unwrap();
        assert_eq!(file, b"P6\n2 2\n255\n\0\0\0\0\0\0\xff\xff\xff\0\0\0");
    }
}

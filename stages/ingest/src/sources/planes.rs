//! Images as planes of red, green and blue, one after the other.

use delt_formats::rgb_image::RgbImage;

/// A square image whose planes lie row by row.
pub(super) fn by_rows(planes: &[u8], side: usize) -> RgbImage {
    interleaved(planes, side, |row, column| row * side + column)
}

/// A square image whose planes lie column by column, as MATLAB has them.
pub(super) fn by_columns(planes: &[u8], side: usize) -> RgbImage {
    interleaved(planes, side, |row, column| column * side + row)
}

fn interleaved(planes: &[u8], side: usize, place: impl Fn(usize, usize) -> usize) -> RgbImage {
    let plane = side * side;
    let mut rgb = Vec::with_capacity(3 * plane);
    for row in 0..side {
        for at in (0..side).map(|column| place(row, column)) {
            rgb.extend([planes[at], planes[plane + at], planes[2 * plane + at]]);
        }
    }
    RgbImage { width: side as u32, height: side as u32, rgb }
}

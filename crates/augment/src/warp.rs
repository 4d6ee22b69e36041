//! Images sampled bilinearly at other places: for each pixel of the result the four pixels that it is a weighted sum of.

/// What lies outside an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Border {
    /// Zeros.
    Zeros,
    /// The nearest pixel of the image.
    Repeats,
}

/// An affine map from places of the result to places of the source, both counted from the center of the image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warp {
    /// `x' = m[0] x + m[1] y`, `y' = m[2] x + m[3] y`: x counts columns, y rows.
    pub matrix: [f64; 4],
    /// Added to x' and y', px.
    pub shift: [f64; 2],
    /// What lies outside.
    pub border: Border,
}

/// Where a pixel of the result comes from: places in the plane of the source, row by row, and their weights. A place outside
/// has weight 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tap {
    /// Places.
    pub at: [u32; 4],
    /// Weights.
    pub weight: [f32; 4],
}

impl Warp {
    /// The matrix that leaves every pixel where it is.
    pub const IN_PLACE: [f64; 4] = [1.0, 0.0, 0.0, 1.0];

    /// The taps of all pixels of an image of `side` px, row by row.
    pub fn taps(&self, side: usize) -> Vec<Tap> {
        let center = (side as f64 - 1.0) / 2.0;
        let [xx, xy, yx, yy] = self.matrix;
        let [shift_x, shift_y] = self.shift;
        let mut taps = Vec::with_capacity(side * side);
        for row in 0..side {
            let y = row as f64 - center;
            for column in 0..side {
                let x = column as f64 - center;
                let across = self.along(xx * x + xy * y + shift_x + center, side);
                let down = self.along(yx * x + yy * y + shift_y + center, side);
                let pairs = [(0, 0), (0, 1), (1, 0), (1, 1)];
                taps.push(Tap {
                    at: pairs.map(|(i, j)| down[i].0 * side as u32 + across[j].0),
                    weight: pairs.map(|(i, j)| (down[i].1 * across[j].1) as f32),
                });
            }
        }
        taps
    }

    /// The two pixels around a place on an axis, and their weights.
    fn along(&self, place: f64, side: usize) -> [(u32, f64); 2] {
        let last = side as f64 - 1.0;
        let place = match self.border {
            Border::Zeros => place,
            Border::Repeats => place.clamp(0.0, last),
        };
        let first = place.floor();
        let share = place - first;
        let inside =
            |at: f64, weight: f64| if at >= 0.0 && at <= last { (at as u32, weight) } else { (0, 0.0) };
        [inside(first, 1.0 - share), inside(first + 1.0, share)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(warp: Warp, plane: &[f32], side: usize) -> Vec<f32> {
        let value = |tap: &Tap| (0..4).map(|k| tap.weight[k] * plane[tap.at[k] as usize]).sum();
        warp.taps(side).iter().map(value).collect()
    }

    #[test]
    fn a_warp_in_place_changes_nothing_and_a_mirror_is_exact() {
        for side in [1, 3, 4] {
            let plane: Vec<f32> = (0..side * side).map(|i| i as f32 + 0.1).collect();
            for border in [Border::Zeros, Border::Repeats] {
                let warp = Warp { matrix: Warp::IN_PLACE, shift: [0.0; 2], border };
                assert_eq!(sampled(warp, &plane, side), plane);
                let mirrored = sampled(Warp { matrix: [-1.0, 0.0, 0.0, 1.0], ..warp }, &plane, side);
                let rows = plane.chunks(side).flat_map(|row| row.iter().rev().copied());
                assert_eq!(mirrored, rows.collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn what_lies_outside_is_zero_or_repeats() {
        let plane = [1.0, 2.0, 3.0, 4.0];
        let moved = |border| sampled(Warp { matrix: Warp::IN_PLACE, shift: [1.0, -0.5], border }, &plane, 2);
        assert_eq!(moved(Border::Zeros), [1.0, 0.0, 3.0, 0.0]);
        assert_eq!(moved(Border::Repeats), [2.0, 2.0, 3.0, 3.0]);
    }
}

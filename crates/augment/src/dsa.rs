//! Differentiable siamese augmentation (DSA) and the views of FRePo's students: draws as plain numbers, and what they do.
//!
//! One strategy of a list is drawn for a batch; its draws hold for all images (*siamese*: the same change on real and synthetic
//! images) or are made for each image. `delt-training` applies an operation to tensors.
//!
//! # Paper
//! DSA (Zhao and Bilen 2021), section 3.3; FRePo (Zhou et al. 2022), whose views repeat the border instead of bringing zeros in.

use std::ops::Range;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::warp::{Border, Warp};

/// Largest enlargement and smallest reduction of [`Strategy::Scale`].
const SCALE: f64 = 1.2;
/// Largest turn, degrees.
const TURN: f64 = 15.0;
/// Zoom of [`Strategy::Zoom`].
const ZOOM: [f64; 2] = [0.8, 1.25];
/// Largest move of [`Strategy::Translate`], a share of the side.
const TRANSLATE: f64 = 0.125;
/// Largest brightness of [`Strategy::SoftColor`], and logarithm of its largest saturation and contrast.
const SOFT: f64 = 0.25;
/// Width of the brightness of [`Strategy::Color`].
const BRIGHTNESS: f64 = 1.0;
/// Its largest saturation.
const SATURATION: f64 = 2.0;
/// Its least contrast; the largest is 1 more.
const CONTRAST: f64 = 0.5;

/// A kind of change. In brackets: its draws, where u is a number in [0, 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Brightness, saturation and contrast (u, u, u).
    Color,
    /// The window moves by whole pixels, zeros outside (down, right).
    Crop,
    /// A square of half the side becomes 0 (row and column of its center).
    Cutout,
    /// Mirrored left to right (below ½ of u).
    Flip,
    /// Width and height scaled by up to 1.2, zeros outside (u, u).
    Scale,
    /// Turned by up to 15 degrees, zeros outside (u).
    Rotate,
    /// FRePo: brightness, saturation and contrast by a quarter (u, u, u).
    SoftColor,
    /// FRePo: turned by up to 15 degrees, the border repeats (u).
    Turn,
    /// FRePo: zoomed by 0.8 to 1.25 about some place, the border repeats (u, and u twice for the place).
    Zoom,
    /// FRePo: moved by up to an eighth of the side, the border repeats (u, u).
    Translate,
    /// FRePo: a square of a quarter of the side, inside the image, becomes 0 (top, left).
    SmallCutout,
}

impl Strategy {
    /// The six of DSA.
    pub const DSA: [Self; 6] = [Self::Color, Self::Crop, Self::Cutout, Self::Flip, Self::Scale, Self::Rotate];
    /// The six that FRePo's and RCIG's students see.
    pub const FREPO: [Self; 6] =
        [Self::Flip, Self::SoftColor, Self::Zoom, Self::Turn, Self::Translate, Self::SmallCutout];
}

/// For how many images numbers are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Images {
    /// One draw for all.
    One,
    /// Draws of its own for each of so many.
    Each(usize),
}

/// A strategy with its draws.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// What is done.
    pub strategy: Strategy,
    /// One draw for all images, or one for each, in the order that [`Strategy`] says; what it does not use is 0.
    pub draws: Vec<[f64; 3]>,
}

/// What an operation does to pixels: one for all images, or one for each.
#[derive(Clone, Debug, PartialEq)]
pub enum Changes {
    /// Pixels come from other places.
    Warps(Vec<Warp>),
    /// Pixels of these rows and columns become 0.
    Holes(Vec<[Range<usize>; 2]>),
    /// Values change.
    Tones(Vec<Tones>),
}

/// Brightness is added, then distances from the mean of a pixel's channels and from the mean of the image are scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tones {
    /// What is added.
    pub brightness: f64,
    /// Factor about the mean of the channels.
    pub saturation: f64,
    /// Factor about the mean of the image.
    pub contrast: f64,
}

/// Draws one of the strategies for images of `side` px, and its numbers; nothing where there are no strategies.
pub fn draw(strategies: &[Strategy], rng: &mut impl Rng, images: Images, side: usize) -> Option<Operation> {
    if strategies.is_empty() {
        return None;
    }
    let strategy = strategies[rng.random_range(0..strategies.len() as u32) as usize];
    let count = match images {
        Images::One => 1,
        Images::Each(count) => count,
    };
    let draws = (0..count).map(|_| strategy.numbers(rng, side)).collect();
    Some(Operation { strategy, draws })
}

impl Strategy {
    /// The numbers of one image.
    fn numbers(self, rng: &mut impl Rng, side: usize) -> [f64; 3] {
        let mut numbers = [0.0; 3];
        let mut fill = |count: usize, draw: &mut dyn FnMut() -> f64| {
            numbers[..count].iter_mut().for_each(|number| *number = draw());
        };
        match self {
            Self::Color | Self::SoftColor | Self::Zoom => fill(3, &mut || rng.random()),
            Self::Scale | Self::Translate => fill(2, &mut || rng.random()),
            Self::Flip | Self::Rotate | Self::Turn => fill(1, &mut || rng.random()),
            Self::Crop => {
                let most = ((side + 4) / 8) as i32;
                fill(2, &mut || f64::from(rng.random_range(-most..=most)));
            }
            Self::Cutout => {
                // an odd square has one place less
                let last = (side - half(side) % 2) as u32;
                fill(2, &mut || f64::from(rng.random_range(0..=last)));
            }
            Self::SmallCutout => {
                let last = (side - side / 4) as u32;
                fill(2, &mut || f64::from(rng.random_range(0..=last)));
            }
        }
        numbers
    }
}

impl Operation {
    /// What it does to images of `side` px.
    pub fn changes(&self, side: usize) -> Changes {
        let px = side as f64;
        let turned = |u: f64| {
            let (sine, cosine) = (signed(u) * TURN).to_radians().sin_cos();
            [cosine, -sine, sine, cosine]
        };
        let scaled = |u: f64| 1.0 / SCALE + u * (SCALE - 1.0 / SCALE);
        match self.strategy {
            Strategy::Color => self.tones(|[brightness, saturation, contrast]| Tones {
                brightness: (brightness - 0.5) * BRIGHTNESS,
                saturation: saturation * SATURATION,
                contrast: contrast + CONTRAST,
            }),
            Strategy::SoftColor => self.tones(|[brightness, saturation, contrast]| Tones {
                brightness: signed(brightness) * SOFT,
                saturation: (signed(saturation) * SOFT).exp(),
                contrast: (signed(contrast) * SOFT).exp(),
            }),
            Strategy::Cutout => self.holes(|center| cutout(center, side)),
            Strategy::SmallCutout => self.holes(|first| first as usize..first as usize + side / 4),
            Strategy::Crop => self.warps(Border::Zeros, |[down, right, _]| (Warp::IN_PLACE, [right, down])),
            Strategy::Flip => self.warps(Border::Zeros, |[coin, ..]| {
                ([if coin < 0.5 { -1.0 } else { 1.0 }, 0.0, 0.0, 1.0], [0.0; 2])
            }),
            Strategy::Scale => self.warps(Border::Zeros, |[across, down, _]| {
                ([scaled(across), 0.0, 0.0, scaled(down)], [0.0; 2])
            }),
            Strategy::Rotate => self.warps(Border::Zeros, |[angle, ..]| (turned(angle), [0.0; 2])),
            Strategy::Turn => self.warps(Border::Repeats, |[angle, ..]| (turned(angle), [0.0; 2])),
            Strategy::Zoom => self.warps(Border::Repeats, |[zoom, across, down]| {
                let zoom = ZOOM[0] * (ZOOM[1] / ZOOM[0]).powf(zoom);
                let most = (px * zoom - px).abs() / 2.0;
                let place = [across, down].map(|u| signed(u) * most / zoom);
                ([1.0 / zoom, 0.0, 0.0, 1.0 / zoom], place)
            }),
            Strategy::Translate => self.warps(Border::Repeats, |[across, down, _]| {
                (Warp::IN_PLACE, [across, down].map(|u| signed(u) * TRANSLATE * px))
            }),
        }
    }

    fn tones(&self, of: impl Fn([f64; 3]) -> Tones) -> Changes {
        Changes::Tones(self.draws.iter().map(|draw| of(*draw)).collect())
    }

    fn holes(&self, along: impl Fn(f64) -> Range<usize>) -> Changes {
        Changes::Holes(self.draws.iter().map(|[down, across, _]| [*down, *across].map(&along)).collect())
    }

    fn warps(&self, border: Border, of: impl Fn([f64; 3]) -> ([f64; 4], [f64; 2])) -> Changes {
        let warps = self.draws.iter().map(|draw| {
            let (matrix, shift) = of(*draw);
            Warp { matrix, shift, border }
        });
        Changes::Warps(warps.collect())
    }
}

/// A number in [0, 1) stretched to [-1, 1).
fn signed(u: f64) -> f64 {
    2.0 * u - 1.0
}

/// Half a side, rounded up.
fn half(side: usize) -> usize {
    side.div_ceil(2)
}

/// What [`Strategy::Cutout`] clears along one axis; places outside count as the border, as published.
fn cutout(center: f64, side: usize) -> Range<usize> {
    let (first, last) = (center as i64 - (half(side) / 2) as i64, side as i64 - 1);
    let clamped = |at: i64| at.clamp(0, last) as usize;
    clamped(first)..clamped(first + half(side) as i64 - 1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Draws;

    const ALL: [Strategy; 11] = [
        Strategy::Color,
        Strategy::Crop,
        Strategy::Cutout,
        Strategy::Flip,
        Strategy::Scale,
        Strategy::Rotate,
        Strategy::SoftColor,
        Strategy::Turn,
        Strategy::Zoom,
        Strategy::Translate,
        Strategy::SmallCutout,
    ];

    #[test]
    fn one_draw_serves_both_sides_and_the_next_class_has_another() {
        let draws = Draws::new(7);
        let of = |class| draw(&Strategy::DSA, &mut draws.stream("siamese", 3, class), Images::One, 32);
        assert_eq!(of(0), of(0));
        assert_ne!(of(0), of(1));
        assert_eq!(of(0).expect("an operation").draws.len(), 1);
        assert_eq!(draw(&[], &mut draws.stream("siamese", 3, 0), Images::One, 32), None);
    }

    #[test]
    fn every_strategy_is_drawn_as_often_and_within_its_bounds() {
        let mut rng = Draws::new(1).stream("test", 0, 0);
        let mut seen = [0; ALL.len()];
        for _ in 0..11_000 {
            let operation = draw(&ALL, &mut rng, Images::Each(2), 30).expect("an operation");
            seen[ALL.iter().position(|s| *s == operation.strategy).expect("one of them")] += 1;
            assert_eq!(operation.draws.len(), 2);
            match operation.changes(30) {
                Changes::Holes(holes) => {
                    for range in holes.iter().flatten() {
                        assert!(range.start < range.end && range.end <= 30, "{operation:?}: {range:?}");
                    }
                }
                Changes::Tones(tones) => {
                    assert!(tones.iter().all(|t| t.brightness.abs() <= 0.5 && t.saturation <= 2.0));
                    assert!(tones.iter().all(|t| (0.5..1.5).contains(&t.contrast)));
                }
                Changes::Warps(warps) => {
                    assert!(warps.iter().all(|w| w.shift.iter().all(|s| s.abs() <= 4.0)));
                }
            }
        }
        assert!(seen.iter().all(|count| (850..1150).contains(count)), "{seen:?}");
    }

    #[test]
    fn a_cutout_at_the_border_loses_what_is_outside() {
        assert_eq!(cutout(0.0, 32), 0..8);
        assert_eq!(cutout(16.0, 32), 8..24);
        assert_eq!(cutout(32.0, 32), 24..32);
    }
}

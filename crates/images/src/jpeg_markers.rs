//! What the markers of a JPEG tell before it is decoded.

use std::fmt;

pub(crate) const JPEG_SIGNATURE: &[u8] = b"\xff\xd8";
/// Components of a frame, at most: CMYK.
const MOST_COMPONENTS: usize = 4;

/// The markers up to the image's data; a thumbnail lies inside a segment and is skipped with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct JpegMarkers {
    /// Color components of the frame: 1 gray, 3 color, 4 CMYK.
    pub(crate) components: u8,
    /// Whether the image's data end with the end marker.
    pub(crate) has_end: bool,
    /// How often each component is sampled.
    pub(crate) sampling: Sampling,
}

/// Samples of each component across and down in a unit of the image, in four bits each; 0 where there is no such component.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sampling([u8; MOST_COMPONENTS]);

impl Sampling {
    fn factors(self) -> impl Iterator<Item = (u8, u8)> {
        self.0.into_iter().filter(|both| *both != 0).map(|both| (both >> 4, both & 15))
    }

    /// Whether the decoder gives wrong pixels, or none: a color is sampled more often across than the brightness, or more often
    /// down where the brightness has four samples across, or three times across. Of 127 combinations that libjpeg-turbo 2.1.5
    /// writes, in six sizes, plain, progressive and with restart markers, zune-jpeg 0.5.15 was off by 178 to 237 in 35 of these;
    /// the others that it decodes at all are within 4 of libjpeg.
    pub(crate) fn is_decoded_wrongly(self) -> bool {
        let Some((across, down)) = self.factors().next() else { return false };
        self.factors().any(|(h, v)| h > across || h == 3 || (across == 4 && v > down))
    }

    /// Whether cameras and programs write it: no more than one kind of color sampling, 4:4:4, 4:2:2, 4:2:0, 4:4:0 or 4:1:1.
    pub(crate) fn is_usual(self) -> bool {
        let factors: Vec<_> = self.factors().collect();
        let is_usual = |luma: &(u8, u8)| matches!(luma, (1, 1) | (2, 1) | (1, 2) | (2, 2) | (4, 1));
        factors.first().is_none_or(is_usual)
            && factors.iter().skip(1).all(|both| *both == (1, 1) || Some(both) == factors.first())
    }
}

/// As `cjpeg -sample` writes it.
impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let factors: Vec<String> = self.factors().map(|(h, v)| format!("{h}x{v}")).collect();
        f.write_str(&factors.join(","))
    }
}

/// Walks the marker segments up to the image's data.
pub(crate) fn jpeg(bytes: &[u8]) -> JpegMarkers {
    const END: u8 = 0xd9;
    const START_OF_SCAN: u8 = 0xda;
    let mut markers = JpegMarkers::default();
    let mut at = JPEG_SIGNATURE.len();
    while let Some(&[0xff, marker]) = bytes.get(at..at + 2) {
        let is_padding = marker == 0xff;
        if is_padding {
            at += 1;
            continue;
        }
        let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { break };
        // Start of frame is C0..CF without the tables C4, C8, CC: length (2), depth (1), height (2), width (2), components; then
        // for each its name, its sampling and its table.
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            markers.components = bytes.get(at + 9).copied().unwrap_or(0);
            for (index, both) in markers.sampling.0.iter_mut().enumerate() {
                let is_there = index < usize::from(markers.components);
                *both = bytes.get(at + 11 + 3 * index).copied().filter(|_| is_there).unwrap_or(0);
            }
        }
        if marker == START_OF_SCAN {
            // Inside the data a byte FF is always followed by 00 or a restart marker, so FF D9 can only be the end.
            markers.has_end = bytes[at..].windows(2).any(|pair| pair == [0xff, END]);
            break;
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
    }
    markers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(factors: &[(u8, u8)]) -> Sampling {
        let mut all = Sampling::default();
        all.0.iter_mut().zip(factors).for_each(|(both, (h, v))| *both = h << 4 | v);
        all
    }

    #[test]
    fn colors_sampled_finer_across_than_the_brightness_are_decoded_wrongly() {
        for right in [
            [(1, 1), (1, 1), (1, 1)],
            [(2, 2), (1, 1), (1, 1)],
            [(1, 2), (1, 1), (1, 2)],
            [(1, 1), (1, 4), (1, 4)],
            [(4, 1), (1, 1), (1, 1)],
            [(2, 1), (2, 2), (1, 2)],
        ] {
            assert!(!sampling(&right).is_decoded_wrongly(), "{right:?}");
        }
        for wrong in [
            [(1, 1), (2, 1), (1, 1)],
            [(1, 1), (2, 2), (2, 2)],
            [(2, 1), (4, 1), (4, 1)],
            [(4, 1), (1, 1), (2, 2)],
            [(3, 1), (1, 1), (1, 1)],
        ] {
            assert!(sampling(&wrong).is_decoded_wrongly(), "{wrong:?}");
        }
        assert!(
            !sampling(&[(2, 2), (1, 1), (1, 1), (2, 2)]).is_decoded_wrongly(),
            "CMYK as Photoshop writes it"
        );
        assert!(!sampling(&[(2, 2)]).is_decoded_wrongly() && sampling(&[(2, 2)]).is_usual(), "gray");
        assert!(sampling(&[(2, 2), (1, 1), (1, 1), (2, 2)]).is_usual());
        assert!(!sampling(&[(1, 4), (1, 2), (1, 2)]).is_usual());
        assert_eq!(sampling(&[(1, 1), (2, 2), (1, 1)]).to_string(), "1x1,2x2,1x1");
    }
}

//! Section `select`: which real images the synthesis starts from.

use serde::{Deserialize, Serialize};

use super::{Invalid, SourcePath, range, teacher::Teacher};

/// Section `select`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Select {
    /// Images per class.
    pub ipc: u32,
    /// Which images of a class.
    pub strategy: Strategy,
    /// The network that scores the images, where it is not the teacher.
    #[serde(default)]
    pub ranker: Option<Teacher>,
    /// A ranking made by others in place of scoring: CSV with `image_id,label,probability,loss,rank`, or `image_id,rank`.
    #[serde(default)]
    pub scores: Option<SourcePath>,
    /// Mosaics of realistic patches in place of whole images. `strategy` then chooses the images that patches come from.
    #[serde(default)]
    pub patches: Option<Patches>,
    /// Of more images than `ipc` that `strategy` chooses, those that cover the others best.
    #[serde(default)]
    pub facility_location: Option<FacilityLocation>,
}

/// Greedy facility location by the cosine of the ranker's features: a selection that is diverse by construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FacilityLocation {
    /// Images of a class that `strategy` chooses to select from, or all where it has fewer.
    pub candidates: u32,
}

/// Patches that the ranker finds realistic, as RDED cuts and joins them (CVPR 2024, algorithm 1).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patches {
    /// An image is a mosaic of `factor` x `factor` patches; published: 1 up to 64 px, 2 at 224 px.
    pub factor: u32,
    /// Random square crops of an image, of which the one with the lowest cross-entropy is kept; published: 5.
    pub crops: u32,
    /// Images of a class that patches are looked for in, or all where it has fewer; published: 300.
    pub candidates: u32,
    /// Smallest share of an image's area that a crop has; published: torchvision's 0.08.
    pub min_crop_scale: f64,
}

impl Patches {
    /// Patches that the images of one class are made of.
    pub fn of_class(&self, ipc: u32) -> u32 {
        ipc.saturating_mul(self.factor.saturating_mul(self.factor))
    }

    fn validate(&self, ipc: u32) -> Result<(), Invalid> {
        let at = |key: &str| format!("select.patches.{key}");
        for (key, value, most, what) in [
            ("factor", self.factor, MOST_FACTOR, "patches a side"),
            ("crops", self.crops, MOST_CROPS, "crops of an image"),
        ] {
            range::require((1..=most).contains(&value), at(key), value, format_args!("1 to {most} {what}"))?;
        }
        let (found, factor, needed) = (self.candidates, self.factor, self.of_class(ipc));
        let problem = format!(
            "found {found}, but {ipc} images of {factor} x {factor} patches need {needed} images of a class; raise it"
        );
        range::ensure(found >= needed, at("candidates"), problem)?;
        range::AREA.check(at("min_crop_scale"), self.min_crop_scale)
    }
}

/// Larger mosaics show nothing any more.
const MOST_FACTOR: u32 = 8;
/// The cosine of each pair of a class's candidates is kept.
const MOST_CANDIDATES: u32 = 10_000;
/// More crops of one image are all alike.
const MOST_CROPS: u32 = 1000;

/// Which images of a class, by the ranker's probability of the true class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// DELT: from the middle of the ranking outwards (paper, table 4b).
    Medium,
    /// The most probable ones: easiest.
    Top,
    /// The least probable ones: hardest.
    Min,
    /// Drawn by the seed; scored all the same, so that the table can say how easy they are.
    Random,
}

impl Strategy {
    /// As the YAML spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Medium => "medium",
            Self::Top => "top",
            Self::Min => "min",
            Self::Random => "random",
        }
    }

    /// Images of a class that the selection needs beyond those it takes: `medium` starts above the middle, and the
    /// published code fails without one to spare.
    pub fn spare(self) -> u32 {
        u32::from(self == Self::Medium)
    }
}

impl Select {
    /// Whether the ranker looks at candidates once more, and not only at their scores.
    pub fn looks_at_images(&self) -> bool {
        self.patches.is_some() || self.facility_location.is_some()
    }

    pub(super) fn validate(&self) -> Result<(), Invalid> {
        range::require(self.ipc > 0, "select.ipc", 0, "at least 1 image per class")?;
        range::at_most("select.ipc", self.ipc, range::MOST_IPC)?;
        let problem = "an external ranking takes the place of the network that scores, and select.ranker is set too; leave one out";
        range::ensure(self.ranker.is_none() || self.scores.is_none(), "select.scores", problem)?;
        if let Some(ranker) = &self.ranker {
            ranker.validate("select.ranker")?;
        }
        if let Some(FacilityLocation { candidates }) = self.facility_location {
            let fits = candidates > self.ipc && candidates <= MOST_CANDIDATES;
            let expected = format!("more than select.ipc ({}), at most {MOST_CANDIDATES}", self.ipc);
            range::require(fits, "select.facility_location.candidates", candidates, expected)?;
            let problem = "mosaics choose their own images, and select.patches is set too; leave one out";
            range::ensure(self.patches.is_none(), "select.facility_location", problem)?;
        }
        if let Some(patches) = &self.patches {
            let problem =
                "an external ranking knows no patches, and select.patches is set too; leave one out";
            range::ensure(self.scores.is_none(), "select.scores", problem)?;
            patches.validate(self.ipc)?;
        }
        Ok(())
    }
}

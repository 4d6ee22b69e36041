//! The image grid: each class's initial images above the synthetic images that came of them, with round and iterations.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use delt_formats::initial::{INITIAL_FILE, InitialReader};
use delt_formats::synthetic::{COURSE_FILE, SYNTHETIC_FILE, SyntheticReader};
use delt_pipeline::config::Branch;
use delt_pipeline::config::matching::Start;
use delt_pipeline::config::synthesize::Init;
use delt_store::Entry;
use maud::{Markup, html};

/// Bytes of images that one page carries, before base64; further classes are left out, and the page says so.
pub const BYTES_ON_PAGE: u64 = 8 << 20;

/// The images of one branch.
#[derive(Debug, Clone, PartialEq)]
pub struct Gallery {
    /// Whether pixels were optimized; otherwise the synthetic images are the initial ones.
    pub is_optimized: bool,
    /// The classes shown, in order.
    pub classes: Vec<ClassImages>,
    /// How many classes have images.
    pub classes_in_all: usize,
    /// Iterations that the images had, each number once.
    pub iterations: BTreeSet<u32>,
    /// Some images from the start, row by row, to the end, where the method noted it.
    pub course: Option<Vec<u8>>,
}

/// The images of one class.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassImages {
    /// Class name.
    pub name: String,
    /// In the order of the slots.
    pub slots: Vec<Slot>,
}

/// One image before and after.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Slot {
    /// The real image it started from; none where it started from noise.
    pub initial_png: Option<Vec<u8>>,
    /// The ranker's probability of the true class; none where the image was not selected here.
    pub probability: Option<f32>,
    /// What came of it.
    pub synthetic_png: Vec<u8>,
    /// The round it entered at.
    pub round: u32,
    /// How many iterations it had.
    pub iterations: u32,
}

impl Gallery {
    /// Reads the classes whose images fit in about `bytes`, but at least one.
    ///
    /// # Errors
    /// A file that is not what it claims to be.
    pub fn read(branch: &Branch, initial: Option<&Entry>, synthetic: &Entry, bytes: u64) -> Result<Self> {
        let names = &synthetic.manifest.provenance.classes;
        let recipe = &branch.pipeline.synthesize;
        let is_optimized = recipe.makes_images();
        let starts_selected = match &recipe.matching {
            Some(matching) => matching.init == Start::Selected,
            None => recipe.init == Init::Selected,
        };
        let size = |entry: &Entry, file: &str| entry.manifest.files.get(file).map_or(0, |file| file.bytes);
        let initial_bytes = initial.map_or(0, |initial| size(initial, INITIAL_FILE));
        let all_bytes = initial_bytes + size(synthetic, SYNTHETIC_FILE);
        let shown = bytes.saturating_mul(names.len() as u64) / all_bytes.max(1);
        let shown = u32::try_from(shown.max(1)).unwrap_or(u32::MAX);

        let mut classes: BTreeMap<u32, BTreeMap<u32, Slot>> = BTreeMap::new();
        let (mut iterations, mut in_use) = (BTreeSet::new(), BTreeSet::new());
        for row in SyntheticReader::open(synthetic.verified_file(SYNTHETIC_FILE)?)?.rows() {
            let row = row?;
            iterations.insert(row.iterations);
            in_use.insert(row.label);
            if row.label < shown {
                let slot = classes.entry(row.label).or_default().entry(row.slot).or_default();
                (slot.synthetic_png, slot.round, slot.iterations) = (row.png, row.round, row.iterations);
            }
        }
        if let Some(initial) = initial {
            for row in InitialReader::open(initial.verified_file(INITIAL_FILE)?)?.rows() {
                let row = row?;
                if let Some(slot) = classes.get_mut(&row.label).and_then(|slots| slots.get_mut(&row.slot)) {
                    slot.probability = Some(row.probability);
                    slot.initial_png = (is_optimized && starts_selected).then_some(row.png);
                }
            }
        }
        let name = |label: u32| names.get(label as usize).cloned().unwrap_or_else(|| label.to_string());
        let images = |(label, slots): (u32, BTreeMap<u32, Slot>)| ClassImages {
            name: name(label),
            slots: slots.into_values().collect(),
        };
        let classes = classes.into_iter().map(images).collect();
        let has_course = synthetic.manifest.files.contains_key(COURSE_FILE);
        let course = has_course
            .then(|| -> Result<_> { Ok(fs_err::read(synthetic.verified_file(COURSE_FILE)?)?) })
            .transpose()?;
        Ok(Self { is_optimized, classes, classes_in_all: in_use.len(), iterations, course })
    }

    /// Iterations of the longest batch before which new images join: an image that joins late has fewer of its iterations.
    pub fn joins(&self) -> Vec<u32> {
        let all = self.iterations.last().copied().unwrap_or(0);
        self.iterations.iter().rev().skip(1).map(|iterations| all - iterations).collect()
    }

    /// The grid.
    pub fn markup(&self) -> Markup {
        html! {
            @if self.classes.len() < self.classes_in_all {
                p .note { "The first " (self.classes.len()) " of " (self.classes_in_all) " classes." }
            }
            @if let Some(course) = &self.course {
                p .note { "The first image of some classes, a row for each eighth of the way, from the start down to the end." }
                (picture(course, "course of some images"))
            }
            div .classes {
                @for class in &self.classes {
                    section .class {
                        h4 { (class.name) }
                        div .slots { @for slot in &class.slots { (slot.markup(&class.name, self.is_optimized)) } }
                    }
                }
            }
        }
    }
}

impl Slot {
    fn markup(&self, class: &str, is_optimized: bool) -> Markup {
        html! {
            figure {
                @if let Some(png) = &self.initial_png { (picture(png, &format!("initial image, {class}"))) }
                @let kind = if is_optimized { "synthetic" } else { "real" };
                (picture(&self.synthetic_png, &format!("{kind} image, {class}")))
                @if is_optimized {
                    figcaption { "round " (self.round) br; (self.iterations) " it." }
                } @else if let Some(probability) = self.probability {
                    figcaption title="probability of the true class by the network that scored (the teacher, or select.ranker)" { "p " (format!("{probability:.2}")) }
                }
            }
        }
    }
}

/// An image of the page, in the page.
pub(crate) fn picture(png: &[u8], description: &str) -> Markup {
    html! { img src={ "data:image/png;base64," (STANDARD.encode(png)) } alt=(description) title=(description); }
}

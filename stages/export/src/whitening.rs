//! The whitening that networks see a set behind: its matrices leave with the images, and Python that takes test images there and what
//! was learned back.

use std::path::Path;

use anyhow::{Result, ensure};
use delt_formats::whitening::{INVERSE, MATRIX, MEAN, WHITENING_FILE, Whitening, WhiteningFacts};
use delt_formats::{Normalization, SyntheticFacts};
use delt_pipeline::dag::Node;
use serde_json::{Value, json};

use crate::results::Results;

/// The Python beside the matrices.
const CODE: &str = "whitening.py";

/// What whoever takes the images must know of it.
#[derive(Debug)]
pub(crate) struct Whitened {
    /// For people.
    pub(crate) note: String,
    /// For the record.
    pub(crate) fact: Value,
}

/// Puts matrices and Python into the folder, where the set was learned behind a whitening or its students see it so.
///
/// # Errors
/// A whitening that is not in the store, or not that of the set; files that cannot be read or written.
pub(crate) fn write(results: &Results<'_>, folder: &Path) -> Result<Option<Whitened>> {
    let facts: SyntheticFacts = results.entry(Node::Synthetic)?.manifest.facts_as()?;
    let of_set = facts.space.as_ref().and_then(|space| space.whitening.as_ref());
    let of_students = results.branch.pipeline.evaluate.given.as_ref().and_then(|given| given.whitening);
    let is_asked = facts.space.is_none() && of_students.is_some_and(|kind| kind != Whitening::None);
    if of_set.is_none() && !is_asked {
        return Ok(None);
    }
    let entry = results.entry(Node::Whitening)?;
    ensure!(
        of_set.is_none_or(|by| by.artifact == entry.manifest.digest),
        "the images are whitened by other matrices than this branch has now; run ingest and delt-synthesize again"
    );
    let WhiteningFacts { kind, size, normalization, .. } = entry.manifest.facts_as()?;
    fs_err::copy(entry.verified_file(WHITENING_FILE)?, folder.join(WHITENING_FILE))?;
    fs_err::write(folder.join(CODE), python(kind, size, &normalization))?;
    let name = json!(kind);
    let what = if of_set.is_some() {
        "the learned numbers are whitened"
    } else {
        "students see the images whitened"
    };
    let note = format!(
        "{what} ({}): test images must be, too, by `prepare` of {CODE}, whose `invert` goes back; the matrices are in \
         {WHITENING_FILE}",
        name.as_str().unwrap_or_default()
    );
    let fact = json!({ "kind": name, "file": WHITENING_FILE, "code": CODE, "normalization": normalization });
    Ok(Some(Whitened { note, fact }))
}

/// `prepare` and `invert`, as the stages do it.
fn python(kind: Whitening, size: u32, Normalization { mean, std }: &Normalization) -> String {
    // of unit length, an image has lost its own mean and contrast: six standard deviations become black to white
    let (own, shown) = match kind {
        Whitening::UnitLength => (
            "    rows = rows - rows.mean(1, keepdim=True)\n    rows = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-30)\n",
            "    rows = 0.5 + rows / (6 * rows.square().mean(1, keepdim=True).sqrt().clamp_min(1e-30))\n",
        ),
        Whitening::None | Whitening::Trace | Whitening::Absolute => ("", ""),
    };
    format!(
        "from pathlib import Path\n\nimport torch\nfrom safetensors.torch import load_file\n\n\
         w = load_file(Path(__file__).with_name(\"{WHITENING_FILE}\"))\n\
         mean, std = (torch.tensor(channels).view(1, 3, 1, 1) for channels in ({mean:?}, {std:?}))\n\n\n\
         def prepare(pixels):\n    \
         \"\"\"Images as networks take them, of pixels from 0 to 1, [n, 3, {size}, {size}], red, green, blue.\"\"\"\n    \
         rows = ((pixels - mean) / std).flatten(1)\n{own}    \
         return ((rows - w[\"{MEAN}\"]) @ w[\"{MATRIX}\"]).view_as(pixels)\n\n\n\
         def invert(images):\n    \"\"\"Pixels from 0 to 1, and some beyond, of images as networks take them.\"\"\"\n    \
         rows = images.flatten(1) @ w[\"{INVERSE}\"] + w[\"{MEAN}\"]\n{shown}    \
         return rows.view_as(images) * std + mean\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_normalizes_before_the_matrix_and_reduces_images_to_unit_length_where_the_kind_does() {
        let normalization = Normalization { mean: [0.5, 0.25, 0.125], std: [1.0; 3] };
        let of = |kind| python(kind, 8, &normalization);
        let (trace, unit) = (of(Whitening::Trace), of(Whitening::UnitLength));
        for code in [&trace, &unit] {
            assert!(code.contains("in ([0.5, 0.25, 0.125], [1.0, 1.0, 1.0]))"), "{code}");
            assert!(code.contains("return ((rows - w[\"mean\"]) @ w[\"matrix\"]).view_as(pixels)"), "{code}");
        }
        assert!(!trace.contains("norm(dim=1"), "{trace}");
        assert!(
            unit.contains("    rows = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-30)\n    return"),
            "{unit}"
        );
    }
}

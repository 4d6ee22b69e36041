//! A set in tensors of PyTorch: images `[n, 3, h, w]`, and beside them their labels.

use std::path::{Path, PathBuf};

use delt_formats::RgbImage;
use delt_formats::teacher::Normalization;
use delt_formats::tensors::{NamedTensor, TensorValues};
use delt_guard::{WeightsError, read_tensors, read_texts};

use super::zca::Whitening;
use super::{ExternalImage, ExternalSet, Read, Space, classes};
use crate::error::{ImagesError, Result};
use crate::stored_image::Content;

/// Names of images, as DC, MTT and others save them; those of their labels.
const IMAGES: [&str; 4] = ["images", "image_syn", "data", "x"];
const LABELS: [&str; 5] = ["labels", "label", "label_syn", "targets", "y"];
/// Keys of the names of classes by label.
const NAMES: [&str; 2] = ["classes", "class_names"];
/// How far beyond 0 and 1 a pixel may be by rounding.
const ROUNDING: f32 = 0.002;

/// All images with their labels.
pub(super) fn open(
    path: &Path,
    teacher: &[String],
    space: Option<&Space<'_>>,
    read: Read,
) -> Result<ExternalSet> {
    let refused = |problem: String| ImagesError::layout(path, problem);
    let tensors = match read_tensors(path) {
        Err(WeightsError::NoTensors { .. }) => {
            let cure = "arrays of NumPy have to be made tensors: torch.save([torch.from_numpy(images), torch.from_numpy(labels)], ..)";
            return Err(refused(format!("holds no tensors; {cure}")));
        }
        read => read?,
    };
    let mut set = ExternalSet::default();
    let (images, others) = images_of(&tensors, &mut set.notes).map_err(refused)?;
    let names = NAMES.iter().find_map(|key| read_texts(path, key)).filter(|names| !names.is_empty());
    let labels = match labels_of(&tensors, images, &mut set.notes).map_err(refused)? {
        Some(labels) => labels,
        None => beside(path, images.shape[0], names.as_deref().unwrap_or(teacher), &mut set.notes)?,
    };
    let labels = teachers(&labels, names.as_deref(), teacher, &mut set.notes).map_err(refused)?;
    set.notes.extend(others);
    let stated = stated_in(&tensors).filter(|_| space.is_none());
    if let Some(Normalization { mean, std }) = stated {
        set.notes.push(format!("its own mean {mean:?} and std {std:?} are undone"));
    }
    let stated = stated.map(|normalization| Space { normalization: Some(normalization), zca: None });
    let space = space.or(stated.as_ref());
    if space.is_none() {
        check_range(images).map_err(refused)?;
    }
    let mut contents = Vec::new();
    if read == Read::Images {
        let (pictures, clipped) =
            pixels(images, space).map_err(|problem| match space.and_then(|space| space.zca) {
                Some(zca) => ImagesError::layout(zca, problem),
                None => ImagesError::layout(path, problem),
            })?;
        if clipped > 0.001 {
            let share = 100.0 * clipped;
            set.notes
                .push(format!("{share:.1} % of its values are pixels below 0 or above 1, and are clipped"));
        }
        contents = pictures;
    }
    let mut contents = contents.into_iter().map(Content::Pixels);
    set.images = (0..)
        .zip(labels)
        .map(|(index, label): (usize, u32)| ExternalImage {
            label,
            place: format!("{} image {index}", path.display()),
            content: contents.next(),
        })
        .collect();
    Ok(set)
}

/// Labels as the teacher's: by the names that the file lists, else as they are.
fn teachers(
    labels: &[i64],
    names: Option<&[String]>,
    teacher: &[String],
    notes: &mut Vec<String>,
) -> Result<Vec<u32>, String> {
    let (most, whose) = match names {
        Some(names) => (names.len(), "the classes that it names"),
        None => (teacher.len(), "the teacher's classes"),
    };
    let place = |label: &i64| {
        let fitting = u32::try_from(*label).ok().filter(|label| (*label as usize) < most);
        fitting.ok_or_else(|| {
            format!("found the label {label}, expected 0 to {}, {whose}", most.saturating_sub(1))
        })
    };
    let labels = labels.iter().map(place).collect::<Result<Vec<u32>, String>>()?;
    let matched = match names {
        Some(names) => classes::of_labels(&labels, names, teacher)?,
        None => classes::Matched { labels, is_by_number: true },
    };
    if matched.is_by_number {
        notes.push(classes::by_number("the labels are", teacher));
    }
    Ok(matched.labels)
}

/// The tensor of images, and what is said of others; the complaint where there is none.
fn images_of<'a>(
    tensors: &'a [NamedTensor],
    notes: &mut Vec<String>,
) -> Result<(&'a NamedTensor, Option<String>), String> {
    // the first convolution of a network looks like images
    let is_image = |tensor: &&NamedTensor| {
        matches!(tensor.shape[..], [n, 1 | 3, h, w] if n * h * w > 0) && !tensor.name.ends_with("weight")
    };
    let found: Vec<&NamedTensor> = tensors.iter().filter(is_image).collect();
    let rank = |tensor: &&&NamedTensor| {
        let parts: Vec<&str> = tensor.name.split('.').collect();
        IMAGES.iter().position(|name| parts.contains(name)).unwrap_or(IMAGES.len())
    };
    let Some(chosen) = found.iter().min_by_key(rank) else {
        let shapes = tensors.iter().map(|tensor| format!("{} {:?}", shown(&tensor.name), tensor.shape));
        return Err(format!(
            "has no images, expected a tensor [n, 3, height, width]; found {}",
            classes::listed(shapes.collect::<Vec<_>>().into_iter())
        ));
    };
    if chosen.shape[1] == 1 {
        notes.push("its images are gray and become three equal channels".to_owned());
    }
    let others: Vec<String> =
        found.iter().filter(|other| other.name != chosen.name).map(|other| shown(&other.name)).collect();
    let said = format!(
        "of its sets {} is taken, left out {}",
        shown(&chosen.name),
        classes::listed(others.clone().into_iter())
    );
    Ok((chosen, (!others.is_empty()).then_some(said)))
}

/// The labels that lie beside the images, whole numbers or the largest of each row; none where there are none.
fn labels_of(
    tensors: &[NamedTensor],
    images: &NamedTensor,
    notes: &mut Vec<String>,
) -> Result<Option<Vec<i64>>, String> {
    let parent = |name: &str| name.rsplit_once('.').map_or(String::new(), |(parent, _)| parent.to_owned());
    let n = images.shape[0];
    let fits = |tensor: &&NamedTensor| {
        let is_beside = tensor.name != images.name && parent(&tensor.name) == parent(&images.name);
        is_beside && matches!(tensor.shape[..], [rows] | [rows, _] if rows == n)
    };
    let rank = |tensor: &&NamedTensor| {
        let last = tensor.name.rsplit('.').next().unwrap_or_default();
        (tensor.shape.len(), LABELS.iter().position(|name| *name == last).unwrap_or(LABELS.len()))
    };
    let Some(chosen) = tensors.iter().filter(fits).min_by_key(rank) else { return Ok(None) };
    let soft = tensors.iter().find(|tensor| fits(tensor) && tensor.shape.len() == 2 && tensor.shape[1] > 1);
    if let Some(soft) = soft {
        let from = if soft.name == chosen.name {
            ", but for the class of each image, the largest of a row"
        } else {
            ""
        };
        notes.push(format!("its soft labels ({}) are not used: the teacher labels{from}", shown(&soft.name)));
    }
    let values: Vec<f32> = match (&chosen.values, chosen.shape.get(1)) {
        (TensorValues::I64(values), None | Some(1)) => return Ok(Some(values.clone())),
        (TensorValues::I64(values), Some(_)) => values.iter().map(|value| *value as f32).collect(),
        (TensorValues::F32(values), _) => values.clone(),
    };
    let width = chosen.shape.get(1).copied().unwrap_or(1).max(1);
    if width > 1 {
        return Ok(Some(values.chunks(width).map(largest).collect()));
    }
    match values.iter().find(|value| value.fract() != 0.0 || !value.is_finite()) {
        Some(odd) => Err(format!("its labels ({}) hold {odd}, expected whole numbers", shown(&chosen.name))),
        None => Ok(Some(values.iter().map(|value| *value as i64).collect())),
    }
}

fn largest(row: &[f32]) -> i64 {
    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(index, _)| index as i64)
}

/// Labels of images that are alone in their file: in a file beside it (`labels_best.pt` of `images_best.pt`), else class after
/// class as many of each.
fn beside(path: &Path, n: usize, classes: &[String], notes: &mut Vec<String>) -> Result<Vec<i64>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let other: PathBuf = path.with_file_name(name.replacen("image", "label", 1));
    if other != path && other.is_file() {
        for tensor in read_tensors(&other)? {
            if let TensorValues::I64(labels) = tensor.values
                && labels.len() == n
            {
                notes.push(format!("labels are those of {}", other.display()));
                return Ok(labels);
            }
        }
        let problem =
            format!("holds no {n} whole numbers, the labels of as many images of {}", path.display());
        return Err(ImagesError::layout(&other, problem));
    }
    let of_each = n / classes.len().max(1);
    if of_each == 0 || of_each * classes.len() != n {
        let problem = format!(
            "holds {n} images and no labels, and {n} is no multiple of the {} classes; save both: torch.save([images, labels], ..)",
            classes.len()
        );
        return Err(ImagesError::layout(path, problem));
    }
    notes.push(format!("it has no labels: taken class after class, {of_each} images of each"));
    Ok((0..n).map(|index| (index / of_each) as i64).collect())
}

/// Mean and standard deviation that the file states itself.
fn stated_in(tensors: &[NamedTensor]) -> Option<Normalization> {
    let of = |name: &str| {
        let tensor = tensors.iter().find(|tensor| tensor.name == name)?;
        let TensorValues::F32(values) = &tensor.values else { return None };
        values.as_slice().try_into().ok()
    };
    Some(Normalization { mean: of("mean")?, std: of("std")? })
}

/// Refuses values that are no pixels from 0 to 1 (floats) or 0 to 255 (whole numbers).
fn check_range(images: &NamedTensor) -> Result<(), String> {
    let (least, most) = range(&images.values);
    let is_whole = matches!(images.values, TensorValues::I64(_));
    let last = if is_whole { 255.0 } else { 1.0 };
    // not the other way round: NaN is in no range
    if least >= -ROUNDING && most <= last + ROUNDING {
        return Ok(());
    }
    Err(format!(
        "its images ({}) hold values from {least} to {most}, expected 0 to {last}; if they are normalized, state by what in \
         synthesize.import_tensors: {{mean: [..], std: [..]}}, if whitened by ZCA, {{zca: file}}; other ranges divide before saving",
        shown(&images.name)
    ))
}

/// The least and the largest value; NaN where there is one.
fn range(values: &TensorValues) -> (f32, f32) {
    let fold = |(least, most): (f32, f32), value: f32| match value.is_nan() {
        true => (f32::NAN, f32::NAN),
        false => (if value < least { value } else { least }, if value > most { value } else { most }),
    };
    let start = (f32::INFINITY, f32::NEG_INFINITY);
    match values {
        TensorValues::F32(values) => values.iter().copied().fold(start, fold),
        TensorValues::I64(values) => values.iter().map(|value| *value as f32).fold(start, fold),
    }
}

/// The images as pixels, and the share of values that had to be clipped.
fn pixels(images: &NamedTensor, space: Option<&Space<'_>>) -> Result<(Vec<RgbImage>, f64), String> {
    let &[n, channels, height, width] = images.shape.as_slice() else { return Ok((Vec::new(), 0.0)) };
    let plane = height * width;
    let whitening = space.and_then(|space| space.zca).map(|file| Whitening::read(file, channels * plane));
    let whitening = whitening.transpose()?;
    let (mean, std) = match space.and_then(|space| space.normalization) {
        Some(Normalization { mean, std }) => (mean, std),
        None => ([0.0; 3], [1.0; 3]),
    };
    let (mut pictures, mut clipped) = (Vec::with_capacity(n), 0_u64);
    for index in 0..n {
        let one = index * channels * plane..(index + 1) * channels * plane;
        let mut values: Vec<f32> = match &images.values {
            TensorValues::F32(values) => values[one].to_vec(),
            TensorValues::I64(values) if space.is_none() => {
                values[one].iter().map(|v| *v as f32 / 255.0).collect()
            }
            TensorValues::I64(values) => values[one].iter().map(|v| *v as f32).collect(),
        };
        if let Some(whitening) = &whitening {
            values = whitening.undone(&values);
        }
        let mut rgb = vec![0; 3 * plane];
        for (at, byte) in rgb.iter_mut().enumerate() {
            let channel = at % 3;
            let value = values[(channel % channels) * plane + at / 3] * std[channel] + mean[channel];
            if value.is_nan() {
                return Err(format!("image {index} holds NaN, expected numbers; its making diverged"));
            }
            clipped += u64::from(!(-ROUNDING..=1.0 + ROUNDING).contains(&value));
            *byte = (value.clamp(0.0, 1.0) * 255.0).round() as u8;
        }
        let side = |side: usize| u32::try_from(side).map_err(|_| "its images are too large".to_owned());
        pictures.push(RgbImage { width: side(width)?, height: side(height)?, rgb });
    }
    Ok((pictures, clipped as f64 / (3 * n * plane).max(1) as f64))
}

/// The name of a tensor in messages.
fn shown(name: &str) -> String {
    if name.is_empty() { "the tensor".to_owned() } else { format!("`{name}`") }
}

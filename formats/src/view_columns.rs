//! The columns in which a [`ViewRow`] is stored.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float16Array, Float32Array, ListArray, StringArray, StructArray,
    UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use half::f16;
use parquet::file::properties::{EnabledStatistics, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use crate::columns::{Columns, WrongValue, check_probability, required};
use crate::error::Result;
use crate::provenance::ArtifactKind;
use crate::table::Row;
use crate::view::{AugmentOp, CropBox, Mix, ViewRow};

fn op_fields() -> Fields {
    Fields::from(vec![
        required("op", DataType::Utf8),
        required("argument", DataType::Float32),
        required("interpolation", DataType::Utf8),
    ])
}

pub(crate) fn element(data_type: DataType) -> FieldRef {
    Arc::new(required("element", data_type))
}

impl Row for ViewRow {
    const KINDS: &'static [ArtifactKind] = &[ArtifactKind::Labels, ArtifactKind::LabelsPart];
    /// Row groups are ended by epoch, never by size.
    const GROUP_ROWS: usize = usize::MAX;

    fn schema() -> Schema {
        let logits = required("logits", DataType::List(element(DataType::Float16)));
        Schema::new(view_fields().into_iter().chain([logits]).collect::<Vec<_>>())
    }

    fn to_columns(rows: &[Self]) -> Vec<ArrayRef> {
        let logits = float16_lists(rows.iter().map(|row| row.logits.as_slice()));
        let mut columns = view_arrays(&rows.iter().collect::<Vec<_>>());
        columns.push(logits);
        columns
    }

    fn from_columns(columns: &Columns<'_>) -> Result<Vec<Self>> {
        let logits = read_float16_lists(columns, "logits")?;
        let views = views_without_logits(columns)?;
        Ok(views.into_iter().zip(logits).map(|(view, logits)| Self { logits, ..view }).collect())
    }

    fn check(&self, _index: u64, classes: usize) -> Result<(), WrongValue> {
        if !self.patch_order.is_empty() {
            let found = format!("{} patches", self.patch_order.len());
            return Err(WrongValue::new(
                "patch_order",
                found,
                "none in this layout, which has no such column",
            ));
        }
        if self.logits.len() != classes {
            let expected = format!("{classes}, one per class");
            return Err(WrongValue::new("logits", format!("{} values", self.logits.len()), expected));
        }
        if let Some(logit) = self.logits.iter().find(|logit| !logit.is_finite()) {
            return Err(WrongValue::new("logits", logit, "finite numbers"));
        }
        check_view(self)
    }

    fn properties(builder: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        plain_float16_list(builder, "logits")
    }
}

/// A list of numbers that repeat too seldom for a dictionary, and whose bounds nobody asks for.
pub(crate) fn plain_float16_list(builder: WriterPropertiesBuilder, column: &str) -> WriterPropertiesBuilder {
    let elements = ColumnPath::new([column, "list", "element"].map(str::to_owned).to_vec());
    builder
        .set_column_dictionary_enabled(elements.clone(), false)
        .set_column_statistics_enabled(elements, EnabledStatistics::None)
}

/// Everything of a view but its logits.
pub(crate) fn view_fields() -> Vec<Field> {
    let number = |name| required(name, DataType::UInt32);
    let mixing = |name| Field::new(name, DataType::UInt32, true);
    vec![
        number("epoch"),
        number("batch"),
        number("position"),
        number("image_id"),
        required("randaugment", DataType::List(element(DataType::Struct(op_fields())))),
        number("crop_top"),
        number("crop_left"),
        number("crop_height"),
        number("crop_width"),
        required("flip", DataType::Boolean),
        required("mix_kind", DataType::Utf8),
        mixing("mix_partner"),
        Field::new("mix_lambda", DataType::Float32, true),
        mixing("mix_top"),
        mixing("mix_left"),
        mixing("mix_bottom"),
        mixing("mix_right"),
    ]
}

/// The columns of [`view_fields`].
pub(crate) fn view_arrays(rows: &[&ViewRow]) -> Vec<ArrayRef> {
    let number = |value: fn(&ViewRow) -> u32| -> ArrayRef {
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| value(row))))
    };
    let mixing = |value: fn(&Mix) -> Option<u32>| -> ArrayRef {
        Arc::new(rows.iter().map(|row| value(&row.mix)).collect::<UInt32Array>())
    };
    vec![
        number(|row| row.epoch),
        number(|row| row.batch),
        number(|row| row.position),
        number(|row| row.image_id),
        randaugment_array(rows),
        number(|row| row.crop.top),
        number(|row| row.crop.left),
        number(|row| row.crop.height),
        number(|row| row.crop.width),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.flip)))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.mix.kind()))),
        mixing(|mix| match mix {
            Mix::None => None,
            Mix::Cutmix { partner, .. } | Mix::Mixup { partner, .. } => Some(*partner),
        }),
        Arc::new(rows.iter().map(|row| mix_lambda(&row.mix)).collect::<Float32Array>()),
        mixing(|mix| if let Mix::Cutmix { top, .. } = mix { Some(*top) } else { None }),
        mixing(|mix| if let Mix::Cutmix { left, .. } = mix { Some(*left) } else { None }),
        mixing(|mix| if let Mix::Cutmix { bottom, .. } = mix { Some(*bottom) } else { None }),
        mixing(|mix| if let Mix::Cutmix { right, .. } = mix { Some(*right) } else { None }),
    ]
}

/// The views that [`view_arrays`] made, with neither logits nor the order of patches.
pub(crate) fn views_without_logits(columns: &Columns<'_>) -> Result<Vec<ViewRow>> {
    let number = |column| columns.required::<UInt32Array>(column);
    let (epoch, batch) = (number("epoch")?, number("batch")?);
    let (position, image_id) = (number("position")?, number("image_id")?);
    let (crop_top, crop_left) = (number("crop_top")?, number("crop_left")?);
    let (crop_height, crop_width) = (number("crop_height")?, number("crop_width")?);
    let flip: &BooleanArray = columns.required("flip")?;
    let mixes = Mixes::of(columns)?;
    let ops = read_randaugment(columns)?;
    let mut rows = Vec::with_capacity(columns.rows());
    for (index, randaugment) in ops.into_iter().enumerate() {
        rows.push(ViewRow {
            epoch: epoch.value(index),
            batch: batch.value(index),
            position: position.value(index),
            image_id: image_id.value(index),
            patch_order: Vec::new(),
            randaugment,
            crop: CropBox {
                top: crop_top.value(index),
                left: crop_left.value(index),
                height: crop_height.value(index),
                width: crop_width.value(index),
            },
            flip: flip.value(index),
            mix: mixes.at(columns, index)?,
            logits: Vec::new(),
        });
    }
    Ok(rows)
}

/// Checks everything of a view but its logits.
pub(crate) fn check_view(view: &ViewRow) -> Result<(), WrongValue> {
    if let Some(op) = view.randaugment.iter().find(|op| !op.argument.is_finite()) {
        let found = format!("{} by {}", op.op.name(), op.argument);
        return Err(WrongValue::new("randaugment", found, "a finite number"));
    }
    check_crop(&view.crop)?;
    check_mix(&view.mix)
}

fn check_crop(crop: &CropBox) -> Result<(), WrongValue> {
    let sides = [("crop_height", crop.height), ("crop_width", crop.width)];
    match sides.into_iter().find(|(_, side)| *side == 0) {
        Some((column, side)) => Err(WrongValue::new(column, side, "1 pixel or more")),
        None => Ok(()),
    }
}

fn check_mix(mix: &Mix) -> Result<(), WrongValue> {
    if let Some(lambda) = mix_lambda(mix) {
        check_probability("mix_lambda", lambda)?;
    }
    let Mix::Cutmix { top, left, bottom, right, .. } = *mix else { return Ok(()) };
    // An empty box mixes nothing and may be drawn.
    if bottom < top {
        return Err(WrongValue::new("mix_bottom", bottom, format!("{top} or more, the top of the box")));
    }
    if right < left {
        return Err(WrongValue::new("mix_right", right, format!("{left} or more, the left side of the box")));
    }
    Ok(())
}

/// Finds the first view of an epoch whose partner is not in its batch; gives its place among them.
pub(crate) fn check_partners(views: &[ViewRow]) -> Result<(), (usize, WrongValue)> {
    let mut sizes: BTreeMap<u32, u32> = BTreeMap::new();
    for view in views {
        *sizes.entry(view.batch).or_default() += 1;
    }
    for (index, view) in views.iter().enumerate() {
        let (Mix::Cutmix { partner, .. } | Mix::Mixup { partner, .. }) = view.mix else { continue };
        let size = sizes.get(&view.batch).copied().unwrap_or(0);
        if partner >= size {
            let expected = format!("a position below {size}, the views of batch {}", view.batch);
            return Err((index, WrongValue::new("mix_partner", partner, expected)));
        }
    }
    Ok(())
}

fn randaugment_array(rows: &[&ViewRow]) -> ArrayRef {
    let ops = || rows.iter().flat_map(|row| &row.randaugment);
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(ops().map(|op| op.op.name())));
    let arguments: ArrayRef = Arc::new(Float32Array::from_iter_values(ops().map(|op| op.argument)));
    let ways: ArrayRef = Arc::new(StringArray::from_iter_values(ops().map(|op| op.interpolation.name())));
    let items = StructArray::new(op_fields(), vec![names, arguments, ways], None);
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|row| row.randaugment.len()));
    Arc::new(ListArray::new(element(DataType::Struct(op_fields())), offsets, Arc::new(items), None))
}

/// Builds a column of lists of half-precision numbers.
pub(crate) fn float16_lists<'a>(lists: impl Iterator<Item = &'a [f16]> + Clone) -> ArrayRef {
    let offsets = OffsetBuffer::from_lengths(lists.clone().map(<[f16]>::len));
    let values = Float16Array::from_iter_values(lists.flatten().copied());
    Arc::new(ListArray::new(element(DataType::Float16), offsets, Arc::new(values), None))
}

/// Reads a column of lists of half-precision numbers.
pub(crate) fn read_float16_lists(columns: &Columns<'_>, column: &'static str) -> Result<Vec<Vec<f16>>> {
    let lists: &ListArray = columns.required(column)?;
    let values = lists.values();
    let numbers = values.as_any().downcast_ref::<Float16Array>();
    let numbers =
        numbers.ok_or_else(|| columns.wrong_type(column, values.data_type(), &DataType::Float16))?;
    let bounds = lists.value_offsets().windows(2);
    Ok(bounds.map(|ends| numbers.values()[ends[0] as usize..ends[1] as usize].to_vec()).collect())
}

fn mix_lambda(mix: &Mix) -> Option<f32> {
    match mix {
        Mix::None => None,
        Mix::Cutmix { lambda, .. } | Mix::Mixup { lambda, .. } => Some(*lambda),
    }
}

fn read_randaugment(columns: &Columns<'_>) -> Result<Vec<Vec<AugmentOp>>> {
    const COLUMN: &str = "randaugment";
    let lists: &ListArray = columns.required(COLUMN)?;
    let items = lists.values();
    let wrong_type = || columns.wrong_type(COLUMN, items.data_type(), &DataType::Struct(op_fields()));
    let fields = items.as_any().downcast_ref::<StructArray>().ok_or_else(wrong_type)?;
    let [names, arguments, ways] = fields.columns() else { return Err(wrong_type()) };
    let names = names.as_any().downcast_ref::<StringArray>().ok_or_else(wrong_type)?;
    let arguments = arguments.as_any().downcast_ref::<Float32Array>().ok_or_else(wrong_type)?;
    let ways = ways.as_any().downcast_ref::<StringArray>().ok_or_else(wrong_type)?;
    let op_at = |row: usize, item: usize| -> Result<AugmentOp> {
        let op = named(columns, row, COLUMN, names.value(item), "an operation of timm's RandAugment")?;
        let interpolation = named(columns, row, COLUMN, ways.value(item), "bilinear or bicubic")?;
        Ok(AugmentOp { op, argument: arguments.value(item), interpolation })
    };
    let bounds = lists.value_offsets().windows(2).enumerate();
    bounds.map(|(row, ends)| (ends[0]..ends[1]).map(|item| op_at(row, item as usize)).collect()).collect()
}

fn named<T: FromStr>(
    columns: &Columns<'_>,
    row: usize,
    column: &'static str,
    name: &str,
    expected: &str,
) -> Result<T> {
    name.parse().map_err(|_| columns.wrong(row, column, format!("`{name}`"), expected.to_owned()))
}

/// The columns which together hold a [`Mix`].
struct Mixes<'a> {
    kind: &'a StringArray,
    lambda: &'a Float32Array,
    partner: &'a UInt32Array,
    top: &'a UInt32Array,
    left: &'a UInt32Array,
    bottom: &'a UInt32Array,
    right: &'a UInt32Array,
}

impl<'a> Mixes<'a> {
    fn of(columns: &Columns<'a>) -> Result<Self> {
        Ok(Self {
            kind: columns.required("mix_kind")?,
            lambda: columns.nullable("mix_lambda")?,
            partner: columns.nullable("mix_partner")?,
            top: columns.nullable("mix_top")?,
            left: columns.nullable("mix_left")?,
            bottom: columns.nullable("mix_bottom")?,
            right: columns.nullable("mix_right")?,
        })
    }

    fn at(&self, columns: &Columns<'_>, row: usize) -> Result<Mix> {
        let kind = self.kind.value(row);
        let absent = |column| columns.wrong(row, column, "null".to_owned(), format!("a value for {kind}"));
        let number = |array: &UInt32Array, column| {
            if array.is_valid(row) { Ok(array.value(row)) } else { Err(absent(column)) }
        };
        let lambda = || {
            if self.lambda.is_valid(row) { Ok(self.lambda.value(row)) } else { Err(absent("mix_lambda")) }
        };
        match kind {
            "none" => Ok(Mix::None),
            "cutmix" => Ok(Mix::Cutmix {
                partner: number(self.partner, "mix_partner")?,
                lambda: lambda()?,
                top: number(self.top, "mix_top")?,
                left: number(self.left, "mix_left")?,
                bottom: number(self.bottom, "mix_bottom")?,
                right: number(self.right, "mix_right")?,
            }),
            "mixup" => Ok(Mix::Mixup { partner: number(self.partner, "mix_partner")?, lambda: lambda()? }),
            other => {
                let expected = "none, cutmix or mixup".to_owned();
                Err(columns.wrong(row, "mix_kind", format!("`{other}`"), expected))
            }
        }
    }
}

//! The columns in which a [`ViewRow`] is stored.

use std::collections::BTreeMap;

use arrow::array::{
    Array, AsArray, BooleanArray, Float32Array, ListArray, StringArray, StructArray, UInt32Array,
};
use arrow::datatypes::{Float16Type, Float32Type};
use parquet::file::properties::WriterPropertiesBuilder;

use crate::columns::{
    Column, Columns, WrongValue, check_probability, list_array, list_of, nullable, required,
};
use crate::error::Result;
use crate::provenance::ArtifactKind;
use crate::table::{Row, without_dictionary};
use crate::view::{AugmentOp, CropBox, Mix, UnknownName, ViewRow};

impl Row for ViewRow {
    const KINDS: &'static [ArtifactKind] = &[ArtifactKind::Labels, ArtifactKind::LabelsPart];
    /// Row groups are ended by epoch, never by size.
    const GROUP_ROWS: usize = usize::MAX;

    fn to_columns(rows: &[Self]) -> Vec<Column> {
        let logits = list_array::<Float16Type>(rows.iter().map(|row| row.logits.as_slice()));
        let mut columns = view_columns(&rows.iter().collect::<Vec<_>>());
        columns.push(required("logits", logits));
        columns
    }

    fn from_columns(columns: &Columns<'_>, row: usize) -> Result<Self> {
        Ok(Self { logits: columns.list::<Float16Type>("logits", row)?, ..read_view(columns, row)? })
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
        without_dictionary(builder, &["logits", "list", "element"])
    }
}

/// The columns of everything of a view but its logits.
pub(crate) fn view_columns(views: &[&ViewRow]) -> Vec<Column> {
    let number = |name, value: fn(&ViewRow) -> u32| {
        required(name, UInt32Array::from_iter_values(views.iter().map(|view| value(view))))
    };
    let mixing = |name, value: fn(&Mix) -> Option<u32>| {
        nullable(name, views.iter().map(|view| value(&view.mix)).collect::<UInt32Array>())
    };
    let flips: Vec<bool> = views.iter().map(|view| view.flip).collect();
    let lambdas: Float32Array = views.iter().map(|view| view.mix.lambda()).collect();
    vec![
        number("epoch", |view| view.epoch),
        number("batch", |view| view.batch),
        number("position", |view| view.position),
        number("image_id", |view| view.image_id),
        required("randaugment", randaugment_array(views)),
        number("crop_top", |view| view.crop.top),
        number("crop_left", |view| view.crop.left),
        number("crop_height", |view| view.crop.height),
        number("crop_width", |view| view.crop.width),
        required("flip", BooleanArray::from(flips)),
        required("mix_kind", StringArray::from_iter_values(views.iter().map(|view| view.mix.kind()))),
        mixing("mix_partner", Mix::partner),
        nullable("mix_lambda", lambdas),
        mixing("mix_top", |mix| if let Mix::Cutmix { top, .. } = mix { Some(*top) } else { None }),
        mixing("mix_left", |mix| if let Mix::Cutmix { left, .. } = mix { Some(*left) } else { None }),
        mixing("mix_bottom", |mix| if let Mix::Cutmix { bottom, .. } = mix { Some(*bottom) } else { None }),
        mixing("mix_right", |mix| if let Mix::Cutmix { right, .. } = mix { Some(*right) } else { None }),
    ]
}

/// A view that [`view_columns`] stored, with neither logits nor the order of patches.
pub(crate) fn read_view(columns: &Columns<'_>, row: usize) -> Result<ViewRow> {
    let number = |column| columns.value::<UInt32Array>(column, row);
    Ok(ViewRow {
        epoch: number("epoch")?,
        batch: number("batch")?,
        position: number("position")?,
        image_id: number("image_id")?,
        patch_order: Vec::new(),
        randaugment: read_randaugment(columns, row)?,
        crop: CropBox {
            top: number("crop_top")?,
            left: number("crop_left")?,
            height: number("crop_height")?,
            width: number("crop_width")?,
        },
        flip: columns.value::<BooleanArray>("flip", row)?,
        mix: read_mix(columns, row)?,
        logits: Vec::new(),
    })
}

/// Checks everything of a view but its logits.
pub(crate) fn check_view(view: &ViewRow) -> Result<(), WrongValue> {
    if let Some(op) = view.randaugment.iter().find(|op| !op.argument.is_finite()) {
        let found = format!("{} by {}", op.op.name(), op.argument);
        return Err(WrongValue::new("randaugment", found, "a finite number"));
    }
    for (column, side) in [("crop_height", view.crop.height), ("crop_width", view.crop.width)] {
        if side == 0 {
            return Err(WrongValue::new(column, side, "1 pixel or more"));
        }
    }
    if let Some(lambda) = view.mix.lambda() {
        check_probability("mix_lambda", lambda)?;
    }
    let Mix::Cutmix { top, left, bottom, right, .. } = view.mix else { return Ok(()) };
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
        let size = sizes[&view.batch];
        if let Some(partner) = view.mix.partner().filter(|partner| *partner >= size) {
            let expected = format!("a position below {size}, the views of batch {}", view.batch);
            return Err((index, WrongValue::new("mix_partner", partner, expected)));
        }
    }
    Ok(())
}

fn randaugment_array(views: &[&ViewRow]) -> ListArray {
    let ops = || views.iter().flat_map(|view| &view.randaugment);
    let ops = StructArray::from(vec![
        required("op", StringArray::from_iter_values(ops().map(|op| op.op.name()))),
        required("argument", Float32Array::from_iter_values(ops().map(|op| op.argument))),
        required("interpolation", StringArray::from_iter_values(ops().map(|op| op.interpolation.name()))),
    ]);
    list_of(views.iter().map(|view| view.randaugment.len()), ops)
}

fn read_randaugment(columns: &Columns<'_>, row: usize) -> Result<Vec<AugmentOp>> {
    const COLUMN: &str = "randaugment";
    let ops = columns.value::<ListArray>(COLUMN, row)?;
    let ops = ops.as_struct();
    let [names, arguments, ways] = [0, 1, 2].map(|field| ops.column(field));
    let unknown =
        |expected| move |UnknownName(name)| columns.wrong(row, COLUMN, format!("`{name}`"), expected);
    let op_at = |at| {
        let (name, way) = (names.as_string::<i32>().value(at), ways.as_string::<i32>().value(at));
        Ok(AugmentOp {
            op: name.parse().map_err(unknown("an operation of timm's RandAugment"))?,
            argument: arguments.as_primitive::<Float32Type>().value(at),
            interpolation: way.parse().map_err(unknown("bilinear or bicubic"))?,
        })
    };
    (0..ops.len()).map(op_at).collect()
}

fn read_mix(columns: &Columns<'_>, row: usize) -> Result<Mix> {
    let kind = columns.value::<StringArray>("mix_kind", row)?;
    let absent = |column| columns.wrong(row, column, "null", format!("a value for {kind}"));
    let number = |column| columns.optional::<UInt32Array>(column, row).ok_or_else(|| absent(column));
    let lambda = || columns.optional::<Float32Array>("mix_lambda", row).ok_or_else(|| absent("mix_lambda"));
    Ok(match kind {
        "none" => Mix::None,
        "cutmix" => Mix::Cutmix {
            partner: number("mix_partner")?,
            lambda: lambda()?,
            top: number("mix_top")?,
            left: number("mix_left")?,
            bottom: number("mix_bottom")?,
            right: number("mix_right")?,
        },
        "mixup" => Mix::Mixup { partner: number("mix_partner")?, lambda: lambda()? },
        other => {
            return Err(columns.wrong(row, "mix_kind", format!("`{other}`"), "none, cutmix or mixup"));
        }
    })
}

//! The second layout of `labels.parquet`: views whose logits are packed or whose patches are in another order.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, Float16Array, ListArray, UInt16Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use half::f16;
use parquet::file::properties::{EnabledStatistics, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use crate::columns::{Columns, WrongValue, required};
use crate::error::Result;
use crate::label_packing::{LabelPacking, PackedLogits, PackedValues};
use crate::provenance::ArtifactKind;
use crate::table::Row;
use crate::view::ViewRow;
use crate::view_columns::{
    check_view, element, float16_lists, plain_float16_list, read_float16_lists, view_arrays, view_fields,
    views_without_logits,
};

/// A view beside its packed logits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PackedView {
    /// The view; its logits are empty.
    view: ViewRow,
    logits: PackedLogits,
}

impl PackedView {
    pub(crate) fn pack(view: &ViewRow, packing: LabelPacking) -> Self {
        let logits = PackedLogits::pack(&view.logits, packing);
        Self { view: ViewRow { logits: Vec::new(), ..view.clone() }, logits }
    }

    pub(crate) fn unpack(self, classes: usize) -> ViewRow {
        ViewRow { logits: self.logits.unpack(classes), ..self.view }
    }
}

impl Row for PackedView {
    const KINDS: &'static [ArtifactKind] = ViewRow::KINDS;
    const GROUP_ROWS: usize = ViewRow::GROUP_ROWS;

    fn schema() -> Schema {
        let half = |name| Field::new(name, DataType::Float16, true);
        let packed = [
            required("patch_order", DataType::Binary),
            required("kept_classes", DataType::List(element(DataType::UInt16))),
            required("kept_logits", DataType::List(element(DataType::Float16))),
            required("codes", DataType::Binary),
            half("code_low"),
            half("code_high"),
            half("rest"),
        ];
        Schema::new(view_fields().into_iter().chain(packed).collect::<Vec<_>>())
    }

    fn to_columns(rows: &[Self]) -> Vec<ArrayRef> {
        let half = |row: &'_ Self| match &row.logits.values {
            PackedValues::Half(values) => values.clone(),
            PackedValues::Codes { .. } => Vec::new(),
        };
        let halves: Vec<Vec<f16>> = rows.iter().map(half).collect();
        let codes = rows.iter().map(|row| match &row.logits.values {
            PackedValues::Codes { codes, .. } => codes.as_slice(),
            PackedValues::Half(_) => &[],
        });
        let bound = |of: fn(&PackedValues) -> Option<f16>| -> ArrayRef {
            Arc::new(rows.iter().map(|row| of(&row.logits.values)).collect::<Float16Array>())
        };
        let classes = rows.iter().flat_map(|row| row.logits.kept.iter().copied());
        let offsets = OffsetBuffer::from_lengths(rows.iter().map(|row| row.logits.kept.len()));
        let classes: ArrayRef = Arc::new(UInt16Array::from_iter_values(classes));
        let mut columns = view_arrays(&rows.iter().map(|row| &row.view).collect::<Vec<_>>());
        columns.extend([
            Arc::new(BinaryArray::from_iter_values(rows.iter().map(|row| &row.view.patch_order))) as ArrayRef,
            Arc::new(ListArray::new(element(DataType::UInt16), offsets, classes, None)),
            float16_lists(halves.iter().map(Vec::as_slice)),
            Arc::new(BinaryArray::from_iter_values(codes)),
            bound(|values| if let PackedValues::Codes { low, .. } = values { Some(*low) } else { None }),
            bound(|values| if let PackedValues::Codes { high, .. } = values { Some(*high) } else { None }),
            Arc::new(rows.iter().map(|row| row.logits.rest).collect::<Float16Array>()),
        ]);
        columns
    }

    fn from_columns(columns: &Columns<'_>) -> Result<Vec<Self>> {
        let views = views_without_logits(columns)?;
        let orders: &BinaryArray = columns.required("patch_order")?;
        let kept = read_classes(columns)?;
        let halves = read_float16_lists(columns, "kept_logits")?;
        let codes: &BinaryArray = columns.required("codes")?;
        let low: &Float16Array = columns.nullable("code_low")?;
        let high: &Float16Array = columns.nullable("code_high")?;
        let rest: &Float16Array = columns.nullable("rest")?;
        let at = |array: &Float16Array, row: usize| array.is_valid(row).then(|| array.value(row));
        let mut rows = Vec::with_capacity(views.len());
        for (row, ((view, kept), half)) in views.into_iter().zip(kept).zip(halves).enumerate() {
            let codes = codes.value(row).to_vec();
            let values = match (at(low, row), at(high, row)) {
                (Some(low), Some(high)) => PackedValues::Codes { low, high, codes },
                (None, None) if codes.is_empty() => PackedValues::Half(half),
                _ => {
                    let expected = "code_low and code_high beside codes, and neither without".to_owned();
                    return Err(columns.wrong(row, "codes", format!("{} codes", codes.len()), expected));
                }
            };
            let view = ViewRow { patch_order: orders.value(row).to_vec(), ..view };
            rows.push(Self { view, logits: PackedLogits { kept, values, rest: at(rest, row) } });
        }
        Ok(rows)
    }

    fn check(&self, _index: u64, classes: usize) -> Result<(), WrongValue> {
        let PackedLogits { kept, values, rest } = &self.logits;
        let expected = if rest.is_some() { kept.len() } else { classes };
        if values.len() != expected {
            let wanted = format!("{expected}, one for each kept class");
            return Err(WrongValue::new("kept_logits", format!("{} values", values.len()), wanted));
        }
        if rest.is_none() && !kept.is_empty() {
            return Err(WrongValue::new("rest", "null", "the logit of the classes that are not kept"));
        }
        if let Some(pair) = kept.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(WrongValue::new("kept_classes", pair[1], format!("a class above {}", pair[0])));
        }
        if let Some(class) = kept.last().filter(|class| usize::from(**class) >= classes) {
            let wanted = format!("a class below {classes}, the number of classes");
            return Err(WrongValue::new("kept_classes", class, wanted));
        }
        let is_finite = match values {
            PackedValues::Half(values) => values.iter().all(|value| value.is_finite()),
            PackedValues::Codes { low, high, .. } => low.is_finite() && high.is_finite() && low <= high,
        };
        if !is_finite || rest.is_some_and(|rest| !rest.is_finite()) {
            return Err(WrongValue::new("kept_logits", "a number that is not finite", "finite numbers"));
        }
        check_patch_order(&self.view.patch_order)?;
        check_view(&self.view)
    }

    fn properties(builder: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        // the epoch of a row group is read from its bounds; nobody asks for those of the other columns
        let builder = builder
            .set_statistics_enabled(EnabledStatistics::None)
            .set_column_statistics_enabled(ColumnPath::from("epoch"), EnabledStatistics::Chunk);
        plain_float16_list(builder, "kept_logits")
    }
}

/// Refuses an order that does not name each patch of a square mosaic once.
fn check_patch_order(order: &[u8]) -> Result<(), WrongValue> {
    let side = order.len().isqrt();
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    let is_whole = side * side == order.len()
        && sorted.iter().enumerate().all(|(place, patch)| place == usize::from(*patch));
    if is_whole {
        return Ok(());
    }
    Err(WrongValue::new("patch_order", format!("{order:?}"), "each patch of a square mosaic once, from 0"))
}

fn read_classes(columns: &Columns<'_>) -> Result<Vec<Vec<u16>>> {
    const COLUMN: &str = "kept_classes";
    let lists: &ListArray = columns.required(COLUMN)?;
    let values = lists.values();
    let numbers = values.as_any().downcast_ref::<UInt16Array>();
    let numbers = numbers.ok_or_else(|| columns.wrong_type(COLUMN, values.data_type(), &DataType::UInt16))?;
    let bounds = lists.value_offsets().windows(2);
    Ok(bounds.map(|ends| numbers.values()[ends[0] as usize..ends[1] as usize].to_vec()).collect())
}

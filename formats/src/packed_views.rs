//! The second layout of `labels.parquet`: views whose logits are packed or whose patches are in another order.

use arrow::array::{BinaryArray, Float16Array};
use arrow::datatypes::{Float16Type, UInt16Type};
use half::f16;
use parquet::file::properties::{EnabledStatistics, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use crate::columns::{Column, Columns, WrongValue, list_array, nullable, required};
use crate::error::Result;
use crate::label_packing::{LabelPacking, PackedLogits, PackedValues};
use crate::provenance::ArtifactKind;
use crate::table::{Row, without_dictionary};
use crate::view::ViewRow;
use crate::view_columns::{check_view, read_view, view_columns};

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

    fn to_columns(rows: &[Self]) -> Vec<Column> {
        let views: Vec<&ViewRow> = rows.iter().map(|row| &row.view).collect();
        let logits = || rows.iter().map(|row| &row.logits);
        let halves = logits().map(|logits| match &logits.values {
            PackedValues::Half(values) => values.as_slice(),
            PackedValues::Codes { .. } => &[],
        });
        let codes = logits().map(|logits| match &logits.values {
            PackedValues::Codes { codes, .. } => codes.as_slice(),
            PackedValues::Half(_) => &[],
        });
        let half = |name, of: fn(&PackedLogits) -> Option<f16>| {
            nullable(name, logits().map(of).collect::<Float16Array>())
        };
        let kept = logits().map(|logits| logits.kept.as_slice());
        let mut columns = view_columns(&views);
        columns.extend([
            required(
                "patch_order",
                BinaryArray::from_iter_values(views.iter().map(|view| &view.patch_order)),
            ),
            required("kept_classes", list_array::<UInt16Type>(kept)),
            required("kept_logits", list_array::<Float16Type>(halves)),
            required("codes", BinaryArray::from_iter_values(codes)),
            half("code_low", |logits| logits.values.bounds().map(|(low, _)| low)),
            half("code_high", |logits| logits.values.bounds().map(|(_, high)| high)),
            half("rest", |logits| logits.rest),
        ]);
        columns
    }

    fn from_columns(columns: &Columns<'_>, row: usize) -> Result<Self> {
        let bytes = |column| columns.value::<BinaryArray>(column, row).map(<[u8]>::to_vec);
        let half = |column| columns.optional::<Float16Array>(column, row);
        let codes = bytes("codes")?;
        let values = match (half("code_low"), half("code_high")) {
            (Some(low), Some(high)) => PackedValues::Codes { low, high, codes },
            (None, None) if codes.is_empty() => {
                PackedValues::Half(columns.list::<Float16Type>("kept_logits", row)?)
            }
            _ => {
                let expected = "code_low and code_high beside codes, and neither without";
                return Err(columns.wrong(row, "codes", format!("{} codes", codes.len()), expected));
            }
        };
        let view = ViewRow { patch_order: bytes("patch_order")?, ..read_view(columns, row)? };
        let kept = columns.list::<UInt16Type>("kept_classes", row)?;
        Ok(Self { view, logits: PackedLogits { kept, values, rest: half("rest") } })
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
        without_dictionary(builder, &["kept_logits", "list", "element"])
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

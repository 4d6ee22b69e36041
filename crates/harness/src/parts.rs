//! Shards: an artifact made in parts, each an artifact of its own, by as many processes as there are parts.
//!
//! A part holds what an unsharded run would have in its checkpoint folder, so that joining parts and ending a run are one
//! and the same: the result has the same bytes for any number of shards.

use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context, Result};
use delt_formats::sealed;
use delt_store::Entry;
use serde_json::json;

use crate::args::Args;
use crate::session::{Made, Session, Work};
use delt_pipeline::config::Invalid;
use delt_pipeline::plan::{self, Plan, Stage};
use delt_pipeline::yaml::YamlError;

/// The parts of `units`, as equal as can be; some are empty where there are fewer units than parts.
fn ranges(count: u32, units: u64) -> Vec<Range<u64>> {
    let count = u64::from(count);
    let start = |shard: u64| (u128::from(units) * u128::from(shard) / u128::from(count)) as u64;
    (0..count).map(|shard| start(shard)..start(shard + 1)).collect()
}

/// Where finished pieces lie: in the checkpoint folder of this run, or in parts that shards have made.
#[derive(Debug)]
pub struct Pieces(Vec<(Range<u64>, Place)>);

#[derive(Debug)]
enum Place {
    Folder(PathBuf),
    Part(Entry),
}

impl Pieces {
    /// The file `name` of the piece `unit`; one of a part after every byte of it was checked.
    ///
    /// # Errors
    /// No such piece, or what the store reports.
    pub fn file(&self, unit: u64, name: &str) -> Result<PathBuf> {
        let place = self.0.iter().find(|(range, _)| range.contains(&unit));
        match &place.with_context(|| format!("piece {unit} was not made"))?.1 {
            Place::Folder(folder) => Ok(folder.join(name)),
            Place::Part(entry) => Ok(entry.verified_file(name)?),
        }
    }

    /// The ranges, in order: one file each where a part is one file.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(range, _)| range.clone())
    }
}

/// How a stage makes one artifact out of pieces.
#[expect(missing_debug_implementations, reason = "functions have nothing to show")]
pub struct InPieces<'a> {
    /// Number of pieces; asked for only where something is to be made.
    pub units: &'a dyn Fn() -> Result<u64>,
    /// Leaves the finished pieces of a range in the checkpoint folder, and goes on where an earlier run stopped.
    pub make: &'a dyn Fn(Range<u64>, &Work<'_>) -> Result<()>,
    /// Whether a file of the checkpoint folder belongs to a finished piece.
    pub is_piece: fn(&str) -> bool,
    /// Class names.
    pub classes: &'a [String],
}

/// Stages whose work has parts.
const SHARDED: [&str; 4] =
    [plan::TEACHER_TRAIN.name, plan::INIT_SELECT.name, plan::DELT_SYNTHESIZE.name, plan::RELABEL.name];

/// Refuses shards where there is nothing to split, and a shard that is none of them.
pub(crate) fn check_shards(stage: Stage, args: &Args) -> Result<(), YamlError> {
    let (place, problem) = match (args.shards, args.shard) {
        (Some(_), _) if !SHARDED.contains(&stage.name) => {
            let parts = SHARDED.join(", ");
            ("--shards", format!("{} has no parts, expected one of {parts}", stage.name))
        }
        (Some(shards), Some(shard)) if shard >= shards => {
            ("--shard", format!("found {shard}, expected a number from 0 to {}", shards - 1))
        }
        _ => return Ok(()),
    };
    Err(YamlError::of_key("command line", &Invalid::new(place, problem)))
}

impl Session {
    /// Whether this run makes nothing but one part.
    pub fn makes_one_part(&self) -> bool {
        self.args.shard.is_some()
    }

    /// Finds the artifact of `plan`, or makes its pieces, in parts where shards were asked for, and joins them.
    ///
    /// # Errors
    /// What making, joining and the store report.
    pub fn produce_in_pieces(
        &self,
        plan: &Plan,
        pieces: &InPieces<'_>,
        join: impl FnOnce(&Pieces, &Work<'_>) -> Result<Made>,
    ) -> Result<()> {
        let is_there = !self.args.force && self.dag().found(plan.kind, &plan.key())?.is_some();
        if is_there && self.makes_one_part() {
            self.told.cached(&plan.run);
            return Ok(());
        }
        let Some(shards) = self.args.shards.filter(|_| !is_there) else {
            self.produce(plan, |work| {
                let units = (pieces.units)()?;
                (pieces.make)(0..units, work)?;
                let folder = Place::Folder(work.checkpoint_dir().to_owned());
                join(&Pieces(vec![(0..units, folder)]), work)
            })?;
            return self.forget_parts(plan);
        };
        let mut parts = Vec::new();
        for (shard, range) in (0..).zip(ranges(shards, (pieces.units)()?)) {
            if range.is_empty() || self.args.shard.is_some_and(|only| only != shard) {
                continue;
            }
            let part = part_of(plan, &range);
            // whoever forces the whole joins again the parts that are there
            let is_forced = self.args.force && self.makes_one_part();
            let made = self.produce_as(is_forced, &part, |work| make_part(pieces, &range, work))?;
            parts.extend(made.map(|entry| (range, Place::Part(entry))));
        }
        if self.makes_one_part() {
            return Ok(());
        }
        self.produce(plan, |work| join(&Pieces(parts), work))?;
        self.forget_parts(plan)
    }

    /// Once the whole is there, its parts may go with the next garbage collection.
    fn forget_parts(&self, plan: &Plan) -> Result<()> {
        let has_parts = self.args.shards.is_some() || self.published.borrow().contains(&plan.key());
        if self.args.dry_run || !has_parts {
            return Ok(());
        }
        match self.store().forget(&parts_of(plan)) {
            Err(error) if !error.is_read_only() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Digits of the whole's key in the names of its parts: runs of one name with other settings have parts of their own.
const KEY_DIGITS_IN_NAMES: usize = 8;

/// The name above the runs of the parts of an artifact.
fn parts_of(plan: &Plan) -> String {
    format!("{}.parts-{}", plan.run, plan.key().prefix(KEY_DIGITS_IN_NAMES))
}

fn part_of(plan: &Plan, range: &Range<u64>) -> Plan {
    Plan {
        kind: plan.kind.part(),
        schema_version: plan.kind.part().schema_version(),
        config: json!({ "of": plan.config, "from": range.start, "to": range.end }),
        run: format!("{}/{:06}-{:06}", parts_of(plan), range.start, range.end),
        ..plan.clone()
    }
}

fn make_part(pieces: &InPieces<'_>, range: &Range<u64>, work: &Work<'_>) -> Result<Made> {
    (pieces.make)(range.clone(), work)?;
    for file in fs_err::read_dir(work.checkpoint_dir())? {
        let file = file?;
        let name = file.file_name();
        if (pieces.is_piece)(&name.to_string_lossy()) {
            // the part's manifest would vouch for a damaged checkpoint
            sealed::verify(file.path().as_ref())?;
            // linked, not moved: an interrupted run resumes from its checkpoints
            let to = work.out_dir().join(&name);
            fs_err::hard_link(file.path(), &to).or_else(|_| fs_err::copy(file.path(), &to).map(drop))?;
        }
    }
    Ok(Made {
        provenance: work.provenance(pieces.classes),
        facts: json!({ "from": range.start, "to": range.end }),
        summary: format!("part {} to {} made", range.start, range.end),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_equal_and_leave_nothing_out() {
        let lengths = |count, units| -> Vec<u64> {
            let ranges = ranges(count, units);
            assert_eq!(ranges.first().map(|range| range.start), Some(0));
            assert_eq!(ranges.last().map(|range| range.end), Some(units));
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
            ranges.into_iter().map(|range| range.end - range.start).collect()
        };
        assert_eq!(lengths(1, 7), [7]);
        assert_eq!(lengths(3, 7), [2, 2, 3]);
        assert_eq!(lengths(4, 2), [0, 1, 0, 1]);
        assert_eq!(lengths(2, u64::MAX), [u64::MAX / 2, u64::MAX / 2 + 1]);
    }
}

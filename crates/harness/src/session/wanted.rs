//! Which branches of a pipeline the command line names.

use delt_pipeline::cells::{Table, origin_of, table_of};
use delt_pipeline::config::{self, Branch, Invalid};
use delt_pipeline::near::no_branch;
use delt_pipeline::yaml::YamlError;

use crate::args::Args;

/// Whether one of the branches is called so.
pub(super) fn has(branches: &[Branch], name: &String) -> bool {
    branches.iter().any(|branch| *name == branch.name || *name == branch.group)
}

/// Refuses names that no branch has. Of a cell that has others of them, those that its table's other cells have are passed over and said:
/// `make TABLE BRANCH='a b'` means each where it is.
///
/// # Errors
/// The first name that is unknown, with those that are near.
pub(super) fn check(args: &Args, all: &[Branch]) -> Result<Option<String>, YamlError> {
    let (own, others): (Vec<_>, Vec<_>) = args.branches.iter().partition(|name| has(all, name));
    let Some(unknown) = others.first() else { return Ok(None) };
    if !own.is_empty() && are_elsewhere(args, &others) {
        let names = others.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        return Ok(Some(format!("this cell has no branch {names}, as others of its table have")));
    }
    let mut known: Vec<&str> = all.iter().map(|branch| branch.group.as_str()).collect();
    known.dedup();
    let invalid = Invalid::new("branches", no_branch(unknown, &known));
    Err(YamlError::of_key(origin_of(&args.pipeline, None), &invalid))
}

/// Whether other cells of the pipeline's table have branches of all these names.
fn are_elsewhere(args: &Args, names: &[&String]) -> bool {
    let Some(table) = table_of(&args.pipeline).and_then(|path| Table::read(&path).ok()?) else {
        return false;
    };
    let mut left = names.to_vec();
    for cell in table.names() {
        if let Ok(branches) = config::load(&table.pipeline_of(cell), &args.set, None) {
            left.retain(|name| !has(&branches, name));
        }
        if left.is_empty() {
            return true;
        }
    }
    false
}

//! Settings that change nothing in a branch: dropout of networks that have none, and how to train a network that is imported. They
//! give artifacts other keys and the same bytes, or nothing at all.

use delt_formats::teacher::Architecture;

use super::overridden::few;
use super::{Branch, Pipeline};
use crate::roles::Role;

/// One line for each setting that changes nothing in some of these branches, which it names.
pub(super) fn notes(branches: &[Branch]) -> Vec<String> {
    let mut found: Vec<([String; 2], Vec<&str>)> = Vec::new();
    for branch in branches {
        for said in of(branch) {
            match found.iter_mut().find(|(other, _)| *other == said) {
                Some((_, names)) => names.push(&branch.group),
                None => found.push((said, vec![&branch.group])),
            }
        }
    }
    let line = |([setting, why], mut names): ([String; 2], Vec<&str>)| {
        names.dedup();
        format!("{setting} changes nothing in {}: {why}", few(&names))
    };
    found.into_iter().map(line).collect()
}

/// The settings of a branch that change nothing, and why.
fn of(branch: &Branch) -> Vec<[String; 2]> {
    let Pipeline { evaluate, .. } = &branch.pipeline;
    let mut found = Vec::new();
    if evaluate.dropout {
        found.extend(without_dropout("evaluate.dropout", &[evaluate.student]));
    }
    for Recipe { place, dropout, trained } in recipes(&branch.pipeline) {
        if trained.is_empty() {
            let is_of_it = |said: &&str| {
                let rest = said.strip_prefix(&place);
                rest.is_some_and(|rest| rest.starts_with(['.', '=']))
            };
            let vain = branch.overrides().filter(is_of_it);
            found.extend(vain.map(|said| [said.to_owned(), "the weights are imported".to_owned()]));
        } else if dropout {
            found.extend(without_dropout(&format!("{place}.dropout"), &trained));
        }
    }
    found
}

fn without_dropout(setting: &str, networks: &[Architecture]) -> Option<[String; 2]> {
    let names: Vec<String> = networks.iter().map(ToString::to_string).collect();
    let why = format!("there is no dropout in {}", names.join(" and "));
    (!networks.iter().any(Architecture::has_dropout)).then(|| [setting.to_owned(), why])
}

/// How networks are trained on the real images.
struct Recipe {
    /// The section, e.g. `teacher.train`.
    place: String,
    /// Whether it asks for dropout.
    dropout: bool,
    /// Those that are trained by it.
    trained: Vec<Architecture>,
}

fn recipes(pipeline: &Pipeline) -> Vec<Recipe> {
    let recipe = |place: String, role: Role| {
        let own = pipeline.network_of(role)?;
        let full_data = pipeline.network_of(Role::FullData).filter(|_| role == Role::Teacher);
        let mut trained: Vec<Architecture> = std::iter::once(&own)
            .chain(&full_data)
            .filter_map(|network| network.import.is_none().then_some(network.network))
            .collect();
        trained.dedup();
        Some(Recipe { place: format!("{place}.train"), dropout: own.train?.dropout, trained })
    };
    let ranker = pipeline.select.ranker.iter().map(|_| ("select.ranker".to_owned(), Role::Ranker));
    let committee = (0..pipeline.committee.len()).map(|at| (format!("committee.{at}"), Role::Committee(at)));
    let teacher = std::iter::once(("teacher".to_owned(), Role::Teacher));
    teacher.chain(ranker).chain(committee).filter_map(|(place, role)| recipe(place, role)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{load, overridden};

    /// What is said of overrides of the digits.
    fn said(overrides: &[&str]) -> Vec<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/digits.yaml");
        let overrides: Vec<String> = overrides.iter().map(|given| (*given).to_owned()).collect();
        let branches = load(&path, &overrides, None).expect("loads");
        overridden::notes(&branches, &branches).expect("fits")
    }

    #[test]
    fn dropout_of_a_network_that_has_none_is_said_to_change_nothing() {
        let why = "changes nothing in random, delt: there is no dropout in convnet2-w32";
        assert_eq!(said(&["evaluate.dropout=true"]), [format!("evaluate.dropout {why}")]);
        assert_eq!(said(&["teacher.train.dropout=true"]), [format!("teacher.train.dropout {why}")]);
        assert_eq!(
            said(&["branches.delt.evaluate.dropout=true", "draws=[1,2,3]"]),
            ["evaluate.dropout changes nothing in delt: there is no dropout in convnet2-w32"]
        );
        assert!(said(&["evaluate.dropout=false"]).is_empty());
        let student = "evaluate.student={name: mobilenet_v2}";
        // the teacher's recipe is that of the students on the full data, too
        assert!(said(&["evaluate.dropout=true", "teacher.train.dropout=true", student]).is_empty());
    }

    #[test]
    fn how_to_train_a_teacher_that_is_imported_is_said_to_change_nothing() {
        let import = "teacher.import={path: weights.pth, classes: dataset}";
        let why = "changes nothing in random, delt: the weights are imported";
        assert!(said(&[import]).is_empty(), "what the file says of it is no mistake");
        assert_eq!(
            said(&[import, "teacher.train.epochs=3", "teacher.train.dropout=true"]),
            [format!("teacher.train.epochs=3 {why}"), format!("teacher.train.dropout=true {why}")]
        );
        let other = "evaluate.student.width=16";
        assert!(
            said(&[import, "teacher.train.epochs=3", other]).is_empty(),
            "that of the full data is trained"
        );
    }
}

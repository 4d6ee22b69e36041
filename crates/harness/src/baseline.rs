//! Which branch of random real images a method is compared with: the one of its own students.

use delt_pipeline::config::evaluate::Evaluate;
use delt_pipeline::config::given::{GivenLr, GivenOptimizer};
use delt_pipeline::config::{Branch, Pipeline};
use serde_json::json;

/// How a branch of random real images is written.
const BASELINE: &str = "random: {select: {strategy: random}, synthesize: {max_iterations: 0}}";

/// Whether these are random real images, learned as the others are and in the same space. Real images have no learned targets and no
/// learned learning rate: where those are learned, classes and a number are as good.
pub(crate) fn is_baseline_of(baseline: &Pipeline, own: &Pipeline) -> bool {
    let (theirs, (relabel, evaluate)) = (baseline.student_recipe(), own.student_recipe());
    let as_good = as_good_as(&theirs.1, evaluate.clone());
    // a method has its space by itself, which students of real images have to ask for
    let without_space = |mut evaluate: Evaluate| {
        evaluate.given.iter_mut().for_each(|given| given.whitening = None);
        evaluate
    };
    let theirs = (theirs.0, without_space(theirs.1));
    let is_own = |recipe| theirs == (relabel.clone(), without_space(recipe));
    baseline.keeps_random_images()
        && !own.keeps_random_images()
        && (evaluate.given.is_none() || baseline.whitening() == own.whitening())
        && (is_own(evaluate) || as_good.is_some_and(is_own))
}

/// The recipe with the classes of images, and a learning rate of `theirs` where it is learned; only where the set gives the targets.
fn as_good_as(theirs: &Evaluate, own: Evaluate) -> Option<Evaluate> {
    let (lr, mut own) = (theirs.given.as_ref()?.optimizer.lr(), own.with_hard_labels());
    match &mut own.given.as_mut()?.optimizer {
        GivenOptimizer::Sgd { lr: own, .. } | GivenOptimizer::Adam { lr: own, .. } => {
            *own = if matches!(own, GivenLr::Learned(_)) { lr } else { *own };
        }
    }
    Some(own)
}

/// How a branch of random real images under the students of another one is written.
pub(crate) fn baseline_of(own: &Branch) -> String {
    let Some(given) = &own.pipeline.evaluate.given else { return BASELINE.to_owned() };
    let mut changes = vec!["targets: hard".to_owned()];
    let named = |kind| json!(kind).as_str().map(|kind| format!("whitening: {kind}"));
    changes.extend(own.pipeline.whitening().and_then(named));
    let is_learned = matches!(given.optimizer.lr(), GivenLr::Learned(_));
    changes.extend(is_learned.then(|| "optimizer: {lr: 0.01}".to_owned()));
    format!(
        "random-{name}: {{like: {name}, select: {{strategy: random}}, synthesize: {{method: {{kind: early_late}}, max_iterations: 0}}, \
         evaluate: {{given: {{{changes}}}}}}}",
        name = own.group,
        changes = changes.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn branches(pipeline: &str, overrides: &[&str]) -> Vec<Branch> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines").join(pipeline);
        let overrides: Vec<String> = overrides.iter().map(|given| (*given).to_owned()).collect();
        delt_pipeline::config::load(&path, &overrides, None).expect("loads")
    }

    fn named<'a>(branches: &'a [Branch], name: &str) -> &'a Branch {
        branches.iter().find(|branch| branch.group == name).expect("a branch")
    }

    /// The branches that one is compared with.
    fn baselines<'a>(branches: &'a [Branch], own: &str) -> Vec<&'a str> {
        let own = &named(branches, own).pipeline;
        let fit = branches.iter().filter(|other| is_baseline_of(&other.pipeline, own));
        fit.map(|other| other.group.as_str()).collect()
    }

    #[test]
    fn each_method_is_compared_with_random_images_under_its_own_students() {
        let branches = branches("digits-matching.yaml", &[]);
        for (own, expected) in [
            ("dm", "random-hard"),
            ("mtt", "random-hard"),
            ("frepo", "random-frepo"),
            ("rcig", "random-rcig"),
            ("rat-bptt", "random-rat-bptt"),
            ("frepo-relabel", "random"),
        ] {
            assert_eq!(baselines(&branches, own), [expected], "{own}");
        }
        assert_eq!(baselines(&branches, "dc"), [""; 0]);
    }

    #[test]
    fn a_branch_that_is_recommended_is_one_to_compare_with() {
        let without = branches("digits-matching.yaml", &[]);
        for own in ["dc", "mtt", "frepo", "rat-bptt"] {
            let added = baseline_of(named(&without, own));
            let (name, changes) = added.split_once(": ").expect("a name");
            let branches = branches("digits-matching.yaml", &[&format!("branches.{name}={changes}")]);
            assert!(baselines(&branches, own).contains(&name), "{added}");
        }
    }

    #[test]
    fn learned_targets_are_compared_with_the_classes_of_random_images() {
        const GIVEN: &str = "evaluate.given={targets: hard, loss: {kind: cross_entropy}, budget: {steps: 9}, batch: all, \
            augmentation: [], tests: {every: 3}, optimizer: {kind: adam, lr: 0.001, beta_1: 0.9, beta_2: 0.999, epsilon: 1.0e-8}}";
        for (targets, is_baseline) in [("{targets: learned}", true), ("{batch: {images: 9}}", false)] {
            let learned = format!("branches.delt={{evaluate: {{given: {targets}}}}}");
            let branches = branches("digits.yaml", &["relabel.source=given", GIVEN, &learned]);
            assert_eq!(baselines(&branches, "delt").contains(&"random"), is_baseline, "{targets}");
        }
    }
}

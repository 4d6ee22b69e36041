//! Why an artifact is to be made: what differs from the one that the last run of the same name ended with.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use delt_formats::canonical::Digest;
use delt_formats::provenance::Provenance;
use serde_json::Value;

use delt_pipeline::plan::Plan;

use crate::session::Session;

/// Digits of a content digest that people compare.
const DIGITS: usize = 12;

/// What changed since the last run, one line each; a reason even where nothing did.
///
/// # Errors
/// What the store reports.
pub(crate) fn changes(session: &Session, plan: &Plan) -> Result<Vec<String>> {
    let Some(key) = session.dag().pointed(&plan.run)? else {
        return Ok(vec!["no run of this name before".to_owned()]);
    };
    let Some(last) = session.dag().found(plan.kind, &key)? else {
        return Ok(vec!["what the last run made is gone or damaged".to_owned()]);
    };
    Ok(differences(&last.manifest.provenance, plan))
}

fn differences(last: &Provenance, plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    let mut compare = |name: &str, was: String, is: String| {
        if was != is {
            lines.push(format!("{name}: {is}, was {was}"));
        }
    };
    let (version, schema) = (plan.stage.algorithm_version, plan.schema_version);
    compare("algorithm version", last.algorithm_version.to_string(), version.to_string());
    compare("schema version", last.schema_version.to_string(), schema.to_string());
    compare("seed", last.seed.to_string(), plan.seed.to_string());
    let (was, is) = (leaves(&last.config), leaves(&plan.config));
    for key in was.keys().chain(is.keys()).collect::<BTreeSet<_>>() {
        let text = |value: Option<&String>| value.map_or("not given", String::as_str).to_owned();
        compare(&format!("config {key}"), text(was.get(key)), text(is.get(key)));
    }
    for role in last.inputs.keys().chain(plan.inputs.keys()).collect::<BTreeSet<_>>() {
        let text = |digest: Option<&Digest>| digest.map_or("none", |digest| digest.prefix(DIGITS)).to_owned();
        compare(&format!("input {role}"), text(last.inputs.get(role)), text(plan.inputs.get(role)));
    }
    lines
}

/// Every value of a configuration that is no section, by its path: `views.flip`.
fn leaves(config: &Value) -> BTreeMap<String, String> {
    fn below(path: &str, value: &Value) -> BTreeMap<String, String> {
        let Some(section) = value.as_object().filter(|section| !section.is_empty()) else {
            return BTreeMap::from([(path.to_owned(), value.to_string())]);
        };
        let separator = if path.is_empty() { "" } else { "." };
        section.iter().flat_map(|(key, value)| below(&format!("{path}{separator}{key}"), value)).collect()
    }
    below("", config)
}

#[cfg(test)]
mod tests {
    use delt_formats::provenance::ArtifactKind;
    use serde_json::json;

    use super::*;
    use delt_pipeline::plan;

    #[test]
    fn every_difference_is_named_once_with_both_values() {
        let input = |text: &str| Digest::of_bytes(text.as_bytes());
        let before = Plan {
            kind: ArtifactKind::Labels,
            schema_version: 1,
            stage: plan::RELABEL,
            config: json!({ "epochs": 300, "views": { "flip": true, "mix": { "kind": "cutmix" } } }),
            seed: 3407,
            inputs: BTreeMap::from([
                ("synthetic".to_owned(), input("a")),
                ("teacher".to_owned(), input("t")),
            ]),
            run: "digits/delt/labels".to_owned(),
        };
        let last = before.provenance(&[]);
        assert!(differences(&last, &before).is_empty());
        let mut now = before;
        now.config =
            json!({ "epochs": 300, "views": { "flip": false, "mix": null }, "labels": { "bits": 8 } });
        now.seed = 1;
        now.inputs =
            BTreeMap::from([("synthetic".to_owned(), input("b")), ("committee-1".to_owned(), input("c"))]);
        let short = |text: &str| input(text).prefix(DIGITS).to_owned();
        assert_eq!(
            differences(&last, &now),
            [
                "seed: 1, was 3407".to_owned(),
                "config labels.bits: 8, was not given".to_owned(),
                "config views.flip: false, was true".to_owned(),
                "config views.mix: null, was not given".to_owned(),
                "config views.mix.kind: not given, was \"cutmix\"".to_owned(),
                format!("input committee-1: {}, was none", short("c")),
                format!("input synthetic: {}, was {}", short("b"), short("a")),
                format!("input teacher: none, was {}", short("t")),
            ]
        );
    }
}

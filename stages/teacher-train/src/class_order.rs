//! Which class each output of an imported classifier stands for, and how to bring the outputs to the dataset's order.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use delt_formats::teacher::Architecture;
use delt_formats::tensors::{NamedTensor, TensorValues};
use delt_pipeline::config::teacher::ClassOrder;
use serde::Deserialize;

/// Names listed in a message before the rest is only counted.
const NAMES_SHOWN: usize = 8;

fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(NAMES_SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 if names.is_empty() => "none".to_owned(),
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The class names in the order of the classifier's outputs: a permutation of `dataset`.
///
/// # Errors
/// A file that cannot be read, or names that are not the dataset's.
pub fn resolve(order: &ClassOrder, dataset: &[String]) -> Result<Vec<String>> {
    let (names, origin) = match (order, order.file()) {
        (ClassOrder::List(names), _) => (names.clone(), "import.classes".to_owned()),
        (ClassOrder::Named(_), Some(path)) => (read(path)?, path.display().to_string()),
        (ClassOrder::Named(_), None) => return Ok(dataset.to_vec()),
    };
    let known: BTreeSet<&str> = dataset.iter().map(String::as_str).collect();
    let mut seen = BTreeSet::new();
    let repeated: Vec<&str> = names.iter().map(String::as_str).filter(|name| !seen.insert(*name)).collect();
    let missing: Vec<&str> = dataset.iter().map(String::as_str).filter(|name| !seen.contains(name)).collect();
    let unknown: Vec<&str> = names.iter().map(String::as_str).filter(|name| !known.contains(name)).collect();
    ensure!(
        missing.is_empty() && unknown.is_empty() && repeated.is_empty(),
        "{origin}: {} class names do not fit the dataset's {}: missing {}; unknown to the dataset {}; named more than once {}; \
         give the names as the dataset spells them, in the order of the classifier's outputs",
        names.len(),
        dataset.len(),
        listed(&missing),
        listed(&unknown),
        listed(&repeated)
    );
    Ok(names)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ClassFile {
    List(Vec<String>),
    Object { classes: Vec<String> },
}

fn read(path: &Path) -> Result<Vec<String>> {
    let text = fs_err::read_to_string(path).context(
        "teacher.import.classes names a file that cannot be read; give `dataset`, a list of names, or a file that holds them",
    )?;
    if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
        return Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect());
    }
    match serde_json::from_str(&text) {
        Ok(ClassFile::List(classes) | ClassFile::Object { classes }) => Ok(classes),
        Err(_) => bail!(
            "{}: expected a JSON list of class names, or an object with such a list under `classes`",
            path.display()
        ),
    }
}

/// Sorts the rows of the last linear layer from `order` to `dataset`, which hold the same names.
///
/// A layer with another number of outputs is left alone: building the network names it.
pub fn permute_classifier(
    tensors: &mut [NamedTensor],
    architecture: &Architecture,
    order: &[String],
    dataset: &[String],
) {
    let layer = architecture.classifier();
    let rows: Vec<usize> =
        dataset.iter().filter_map(|name| order.iter().position(|output| output == name)).collect();
    for tensor in tensors {
        let is_classifier =
            tensor.name.strip_prefix(&layer).is_some_and(|leaf| leaf == ".weight" || leaf == ".bias");
        if !is_classifier || tensor.shape.first() != Some(&rows.len()) {
            continue;
        }
        if let TensorValues::F32(values) = &mut tensor.values {
            let width = values.len() / rows.len().max(1);
            *values = rows.iter().flat_map(|row| values[row * width..(row + 1) * width].to_vec()).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn resolve_file(file: &str, text: &str) -> Result<Vec<String>> {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join(file);
        fs_err::write(&path, text).expect("written");
        resolve(&ClassOrder::Named(path.display().to_string()), &names("cat dog owl"))
    }

    #[test]
    fn an_order_may_be_the_datasets_own_a_list_or_a_file() {
        let dataset = names("cat dog owl");
        assert_eq!(resolve(&ClassOrder::Named("dataset".into()), &dataset).expect("resolved"), dataset);
        assert_eq!(
            resolve(&ClassOrder::List(names("owl cat dog")), &dataset).expect("resolved"),
            names("owl cat dog")
        );
        let expected = names("dog owl cat");
        assert_eq!(resolve_file("c.json", r#"["dog", "owl", "cat"]"#).expect("resolved"), expected);
        assert_eq!(
            resolve_file("c.json", r#"{"size": 3, "classes": ["dog", "owl", "cat"]}"#).expect("resolved"),
            expected
        );
        assert_eq!(resolve_file("c.txt", "dog\n owl\r\ncat\n\n").expect("resolved"), expected);
    }

    #[test]
    fn names_that_differ_are_listed() {
        let order = ClassOrder::List(names("cat wolf cat"));
        let message = resolve(&order, &names("cat dog owl")).expect_err("refused").to_string();
        assert_eq!(
            message,
            "import.classes: 3 class names do not fit the dataset's 3: missing dog, owl; unknown to the dataset wolf; named \
             more than once cat; give the names as the dataset spells them, in the order of the classifier's outputs"
        );
        let message = resolve_file("c.json", r#"{"labels": []}"#).expect_err("refused").to_string();
        assert!(
            message.ends_with(
                "c.json: expected a JSON list of class names, or an object with such a list under `classes`"
            ),
            "{message}"
        );
        let absent = resolve(&ClassOrder::Named("absent/names.txt".into()), &names("cat dog owl"));
        let error = absent.expect_err("refused");
        assert_eq!(
            format!("{error:#}"),
            "teacher.import.classes names a file that cannot be read; give `dataset`, a list of names, or a file that holds \
             them: failed to open file `absent/names.txt`: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn classifier_rows_follow_the_dataset_and_other_tensors_stay() {
        let tensor = |name: &str, shape: Vec<usize>, values: Vec<f32>| NamedTensor {
            name: name.to_owned(),
            shape,
            values: TensorValues::F32(values),
        };
        let other = tensor("classifier.0.weight", vec![3, 1], vec![7.0, 8.0, 9.0]);
        let mut tensors = vec![
            tensor("classifier.weight", vec![3, 2], vec![1.0, 1.5, 2.0, 2.5, 3.0, 3.5]),
            tensor("classifier.bias", vec![3], vec![1.0, 2.0, 3.0]),
            other.clone(),
        ];
        let architecture = Architecture::convnet(1, 1);
        permute_classifier(&mut tensors, &architecture, &names("owl cat dog"), &names("cat dog owl"));
        assert_eq!(tensors[0].values, TensorValues::F32(vec![2.0, 2.5, 3.0, 3.5, 1.0, 1.5]));
        assert_eq!(tensors[1].values, TensorValues::F32(vec![2.0, 3.0, 1.0]));
        assert_eq!(tensors[2], other);
    }
}

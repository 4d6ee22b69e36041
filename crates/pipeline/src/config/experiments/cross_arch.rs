//! Section `cross_arch`: one set, many students.

use std::collections::BTreeMap;

use delt_formats::teacher::Architecture;
use serde::{Deserialize, Serialize};
use serde_yaml::Value;

use super::missing;
use super::students::{named, short_names, unknown, usual};
use crate::config::{Branch, Invalid, Pipeline, range};
use crate::near::no_branch;

/// Section `cross_arch`: one set, many students.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossArch {
    /// The students: a name, or a network with its fields. Absent: those of published tables for the size of the images.
    #[serde(default)]
    pub students: Option<Vec<Student>>,
    /// Learning rate of all students. Absent: the pipeline's own student keeps that of `evaluate`, each other one has its published
    /// rate, else that of the paper's appendix.
    #[serde(default)]
    pub lr: Option<f64>,
    /// Top-1 that a paper prints, in percent, by branch and student, as `students` or the table names it.
    #[serde(default)]
    pub published: BTreeMap<String, BTreeMap<String, f64>>,
}

/// Learning rate of students for which none is published, by the paper's appendix.
const UNPUBLISHED_LR: f64 = 1e-3;

/// A student of [`CrossArch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected each of `students` to be a name, or a network: {name: convnet, depth: 3, width: 128}"
)]
pub enum Student {
    /// By its name; what is missing follows from the size of the images.
    Named(String),
    /// With all of its fields.
    Whole(Architecture),
}

impl Pipeline {
    /// The networks that learn one set, in the order of the table.
    ///
    /// # Errors
    /// [`Invalid`]: no section, a name that stands for no network, one that does not fit the images.
    pub fn cross_students(&self) -> Result<Vec<Architecture>, Invalid> {
        let section = self.cross_arch.as_ref().ok_or_else(|| missing("cross_arch"))?;
        let place = "cross_arch.students";
        section.lr.map_or(Ok(()), |lr| range::POSITIVE.check("cross_arch.lr", lr))?;
        let size = self.teacher.size;
        let Some(listed) = &section.students else {
            let students = usual(size).iter().filter_map(|name| self.known_as(name));
            return Ok(students.filter(|network| network.misfit(size as usize).is_none()).collect());
        };
        range::require(!listed.is_empty(), place, "an empty list", "at least one network")?;
        let (mut students, mut written) = (Vec::new(), Vec::<String>::new());
        for student in listed {
            let (network, name) = match student {
                Student::Whole(network) => (*network, network.to_string()),
                Student::Named(name) => {
                    let network = self.known_as(name).ok_or_else(|| Invalid::new(place, unknown(name)))?;
                    (network, name.clone())
                }
            };
            if let Some(problem) = network.misfit(size as usize) {
                return Err(Invalid::new(place, format!("{network}: {problem}")));
            }
            if let Some(before) = students.iter().position(|other| *other == network) {
                return Err(Invalid::new(place, twice(&written[before], &name)));
            }
            students.push(network);
            written.push(name);
        }
        Ok(students)
    }

    /// Refuses figures of branches and students that are none.
    pub(super) fn validate_published(&self) -> Result<(), Invalid> {
        let published = self.cross_arch.iter().flat_map(|section| &section.published);
        for (branch, figures) in published {
            let place = format!("cross_arch.published.{branch}");
            let branches = || self.branches.keys().filter_map(Value::as_str);
            if !branches().any(|name| name == branch) {
                return Err(Invalid::new(place, no_branch(branch, &branches().collect::<Vec<_>>())));
            }
            let own = [self.evaluate.student, self.teacher.network];
            let known = || own.into_iter().chain(self.cross_students().unwrap_or_default());
            let is_known = |name: &str| {
                self.known_as(name).is_some()
                    || Architecture::NAMES.contains(&name)
                    || known().any(|network| network.to_string() == name)
            };
            if let Some(name) = figures.keys().find(|name| !is_known(name)) {
                return Err(Invalid::new(place, unknown(name)));
            }
        }
        Ok(())
    }

    /// What a name stands for: the pipeline's own student or teacher, where it is called so, else what is usual at this size.
    fn known_as(&self, name: &str) -> Option<Architecture> {
        let own = [self.evaluate.student, self.teacher.network];
        own.into_iter().find(|network| network.name() == name).or_else(|| named(name, self.teacher.size))
    }

    /// What a network is called in tables and among runs: the shortest name that stands for it here, else all that there is to say.
    pub fn called(&self, network: Architecture) -> String {
        let stands_for_it = |name: &String| self.known_as(name) == Some(network);
        short_names(network).into_iter().find(stands_for_it).unwrap_or_else(|| network.to_string())
    }
}

/// What is said of a student that is listed once more, in the words in which both are written.
fn twice(before: &str, again: &str) -> String {
    match before == again {
        true => format!("`{again}` is named twice; name it once"),
        false => format!("`{before}` and `{again}` are the same network; name it once"),
    }
}

impl Branch {
    /// What a paper prints of a network as student of this branch: under what the table calls it, else under a name that stands for
    /// it, else under its bare name.
    pub fn published_cross_arch(&self, student: Architecture) -> Option<f64> {
        let figures = self.pipeline.cross_arch.as_ref()?.published.get(&self.group)?;
        let stands_for_it = |name: &&String| self.pipeline.known_as(name) == Some(student);
        let of_name = || figures.keys().find(stands_for_it).map(String::as_str);
        let called = student.to_string();
        let key = figures.contains_key(&called).then_some(called.as_str()).or_else(of_name);
        figures.get(key.unwrap_or(student.name())).copied()
    }

    /// The same set with another student, at the learning rate of section `cross_arch`, else that which is published for it. Where that
    /// section has none, the pipeline's own student stays as it is.
    #[must_use]
    pub fn with_student(&self, student: Architecture) -> Self {
        let mut branch = self.clone();
        let evaluate = &mut branch.pipeline.evaluate;
        let lr = self.pipeline.cross_arch.as_ref().and_then(|section| section.lr);
        if student == evaluate.student && lr.is_none() {
            return branch;
        }
        evaluate.student = student;
        evaluate.lr = lr.or(student.published_lr()).or(Some(UNPUBLISHED_LR));
        let called = self.pipeline.called(student);
        let words = called
            .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .filter(|word| !word.is_empty());
        branch.name = format!("{}-on-{}", self.name, words.collect::<Vec<_>>().join("-"));
        branch
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{branch, refused_at_once};
    use super::*;

    fn students(pipeline: &str, settings: &[&str]) -> String {
        let students = branch(pipeline, settings).pipeline.cross_students().expect("known and fitting");
        students.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn names_stand_for_what_is_usual_at_the_size_of_the_images() {
        let large = "resnet18 (standard stem), efficientnet_b0, mobilenet_v2, mnasnet1_3, regnet_y_8gf";
        assert_eq!(students("imagenet1k-ipc10.yaml", &[]), large);
        let medium = "convnet3-w128, resnet18 (small stem), mobilenet_v2_modified, shufflenet_v2_x0_5_small, wrn_16_2, dc_vgg11";
        assert_eq!(students("cifar100-ipc10.yaml", &[]), medium);
        assert_eq!(
            students("digits.yaml", &[]),
            "convnet2-w128, dc_alexnet-none, mobilenet_v2_modified, wrn_16_2"
        );
        let given =
            "cross_arch.students=[dc_vgg11_bn,dc_resnet18,resnet34,{name: convnet, depth: 2, width: 8}]";
        let expected = "dc_vgg11, dc_resnet18-instance, resnet34 (small stem, conv1 from PyTorch's default), convnet2-w8";
        assert_eq!(students("cifar100-ipc10.yaml", &[given]), expected);
    }

    #[test]
    fn students_that_are_unknown_too_large_or_named_twice_are_refused() {
        let refused = |list: &str| refused_at_once(&[&format!("cross_arch.students={list}")]);
        assert_eq!(
            refused("[]"),
            "`cross_arch.students`: found an empty list, expected at least one network"
        );
        assert_eq!(
            refused("[resnet19]"),
            "`cross_arch.students`: `resnet19` stands for no network by itself; write it with its fields, e.g. {name: convnet, depth: 3, \
             width: 128} (docs/networks.md), or did you mean `resnet18`?"
        );
        assert!(refused("[dc_vgg11_bm]").contains("did you mean `dc_vgg11`?"));
        let zebra = refused("[zebra]");
        assert!(zebra.ends_with("(docs/networks.md)"), "{zebra}");
        assert_eq!(
            refused("[vgg11]"),
            "`cross_arch.students`: vgg11: 8 px is too small for this network; expected 32 or more; raise teacher.size"
        );
        assert_eq!(
            refused("[convnet2,convnet2]"),
            "`cross_arch.students`: `convnet2` is named twice; name it once"
        );
        assert_eq!(
            refused("[convnet2,{name: convnet, depth: 2, width: 128}]"),
            "`cross_arch.students`: `convnet2` and `convnet2-w128` are the same network; name it once"
        );
    }

    #[test]
    fn another_student_has_its_published_learning_rate_and_the_own_one_stays() {
        let own = branch("digits.yaml", &[]);
        assert_eq!(own.with_student(own.pipeline.evaluate.student), own);
        let of = |name| {
            let branch = own.with_student(named(name, 8).expect("known"));
            (branch.name, branch.pipeline.evaluate.lr)
        };
        assert_eq!(of("mobilenet_v2_modified"), ("random-on-mobilenet_v2_modified".to_owned(), Some(2.5e-3)));
        assert_eq!(of("dc_alexnet_bn"), ("random-on-dc_alexnet_bn".to_owned(), Some(1e-3)));
    }

    #[test]
    fn a_learning_rate_that_is_written_is_that_of_all_students() {
        let own = branch("digits.yaml", &["cross_arch.lr=0.005"]);
        let student = own.pipeline.evaluate.student;
        for network in [student, named("mobilenet_v2_modified", 8).expect("known")] {
            assert_eq!(own.with_student(network).pipeline.evaluate.lr, Some(5e-3));
        }
        assert_ne!(own.with_student(student).name, own.name, "its evaluation is another");
        assert!(refused_at_once(&["cross_arch.lr=0"]).starts_with("`cross_arch.lr`: found 0, expected"));
    }

    #[test]
    fn a_network_is_called_as_one_would_write_it() {
        let own = branch("cifar100-ipc10.yaml", &[]);
        let called = |network: Architecture| own.pipeline.called(network);
        for name in ["resnet18", "resnet34", "convnet2", "dc_vgg11_bn", "dc_alexnet", "vgg11_bn", "wrn_16_2"]
        {
            assert_eq!(called(own.pipeline.known_as(name).expect("known")), name);
        }
        let large = named("resnet34", 224).expect("known");
        assert_eq!(called(large), "resnet34 (standard stem)");
        assert_eq!(own.with_student(large).name, "random-on-resnet34-standard-stem");
        assert_eq!(called(Architecture::convnet(2, 8)), "convnet2-w8");
    }

    #[test]
    fn published_figures_are_found_under_each_name_of_a_student() {
        let figures = |names: &str| {
            let given = format!("cross_arch.published={{random: {{{names}}}}}");
            let own = branch("digits.yaml", &[&given]);
            let of = |name| own.published_cross_arch(named(name, 8).expect("known"));
            [of("convnet3"), of("dc_vgg11_bn"), of("wrn_16_2")]
        };
        let each = [Some(1.0), Some(2.0), Some(3.0)];
        assert_eq!(figures("convnet3: 1, dc_vgg11_bn: 2, wrn_16_2: 3"), each, "as STUDENTS names them");
        let bare = figures("convnet: 1, dc_vgg11: 2, wrn_16_2: 3");
        assert_eq!(bare, each);
        let given = "{random: {resnet19: 1}}";
        let said = |published: &str| refused_at_once(&[&format!("cross_arch.published={published}")]);
        assert!(said(given).starts_with("`cross_arch.published.random`: `resnet19` stands for no network"));
        assert_eq!(
            said("{dlet: {resnet18: 1}}"),
            "`cross_arch.published.dlet`: no branch `dlet`; did you mean `delt`?; there are: random, delt"
        );
    }
}

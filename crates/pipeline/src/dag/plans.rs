//! The plan of each node from its inputs and the sections of the pipeline that its stage reads.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use delt_formats::canonical::Digest;
use delt_formats::provenance::ArtifactKind;
use delt_formats::synthetic::SyntheticFacts;
use delt_formats::teacher::{Normalization, TeacherFacts};
use delt_formats::{Keep, LabelPacking};
use serde_json::json;
use walkdir::{DirEntry, WalkDir};

use super::{Dag, Lookup, Node};
use crate::config::Branch;
use crate::config::given::Given;
use crate::config::matching::Matching;
use crate::config::method::{Method, RatBptt};
use crate::config::relabel::TeacherMode;
use crate::config::teacher::Teacher;
use crate::plan::{self, Plan};
use crate::roles::Role;

pub(super) const TEACHER: Node = Node::Network(Role::Teacher);
const RANKER: Node = Node::Network(Role::Ranker);

impl<L: Lookup> Dag<L> {
    /// Makes the plan of a node whose key follows from the pipeline alone; data sets and imported networks have theirs from what
    /// is read ([`Self::dataset_plan`], [`Self::network_plan`]).
    pub(super) fn make_plan(&self, branch: &Branch, node: Node) -> Result<Plan> {
        match node {
            Node::Dataset => {
                bail!("the plan of a data set follows from what its source holds, not from the pipeline")
            }
            Node::Whitening => self.whitening_plan(branch),
            Node::Network(role) => self.network_plan(branch, role, None),
            Node::Experts => self.experts_plan(branch),
            Node::Scores => self.scores_plan(branch),
            Node::Initial => self.initial_plan(branch),
            Node::Synthetic => self.synthetic_plan(branch),
            Node::Labels(seed) => self.labels_plan(branch, seed),
            Node::Evaluation => self.evaluation_plan(branch),
        }
    }

    /// The settings of what matches batches of real images.
    fn matching_of<'b>(&self, branch: &'b Branch) -> Result<&'b Matching> {
        branch.pipeline.synthesize.matching.as_ref().context("this branch matches no batches of real images")
    }

    fn whitening_plan(&self, branch: &Branch) -> Result<Plan> {
        let kind = branch.pipeline.whitening().context("this branch whitens nothing")?;
        let config = json!({ "kind": kind, "size": branch.pipeline.teacher.size });
        self.plan_of(branch, Node::Whitening, config, &[Node::Dataset])
    }

    fn experts_plan(&self, branch: &Branch) -> Result<Plan> {
        let matching = self.matching_of(branch)?;
        let mut config = serde_json::to_value(branch.pipeline.experts.as_ref())?;
        config["network"] = json!(matching.network);
        config["size"] = json!(branch.pipeline.teacher.size);
        let whitening = matching.is_whitened().then_some(Node::Whitening);
        let inputs: Vec<Node> = [Node::Dataset].into_iter().chain(whitening).collect();
        self.plan_of(branch, Node::Experts, config, &inputs)
    }

    /// Images that match batches of real ones: of EarlyLate recovery's settings nothing counts.
    fn matching_plan(&self, branch: &Branch) -> Result<Plan> {
        let method = branch.pipeline.synthesize.method;
        let (matching, needs) = (self.matching_of(branch)?, branch.pipeline.synthesize.needs());
        let mut inputs = vec![Node::Initial, Node::Dataset];
        inputs.extend(needs.whitening.then_some(Node::Whitening));
        inputs.extend(needs.experts.then_some(Node::Experts));
        let config = json!({ "method": method, "matching": matching });
        let plan = self.plan_of(branch, Node::Synthetic, config, &inputs)?;
        Ok(Plan { schema_version: method.schema_version(), ..plan })
    }

    fn scores_plan(&self, branch: &Branch) -> Result<Plan> {
        let Some(file) = &branch.pipeline.select.scores else {
            return self.plan_of(branch, Node::Scores, json!({}), &[Node::Dataset, RANKER]);
        };
        let mut plan = self.plan_of(branch, Node::Scores, json!({}), &[Node::Dataset])?;
        let digest = Digest::of_file(file).context(
            "`select.scores`: the ranking cannot be read; correct its path, or leave it out, so that the teacher or select.ranker scores",
        )?;
        plan.config["scores"] = json!(digest);
        Ok(plan)
    }

    fn initial_plan(&self, branch: &Branch) -> Result<Plan> {
        let select = &branch.pipeline.select;
        if branch.pipeline.synthesize.import.is_some() {
            let what = "initial images of a branch that imports its images".to_owned();
            return Err(self.missing(what, plan::INIT_SELECT).into());
        }
        let mut config =
            json!({ "ipc": select.ipc, "strategy": select.strategy, "size": branch.pipeline.teacher.size });
        if let Some(patches) = &select.patches {
            config["patches"] = json!(patches);
        }
        if let Some(facility_location) = &select.facility_location {
            config["facility_location"] = json!(facility_location);
        }
        let mut inputs = vec![Node::Dataset, Node::Scores];
        inputs.extend(select.looks_at_images().then_some(RANKER));
        self.plan_of(branch, Node::Initial, config, &inputs)
    }

    fn synthetic_plan(&self, branch: &Branch) -> Result<Plan> {
        let (node, synthesize) = (Node::Synthetic, &branch.pipeline.synthesize);
        if let Some(images) = &synthesize.import {
            let teacher = self.entry(branch, TEACHER)?;
            let content = content_of(images)
                .context("`synthesize.import`: the images cannot be read; correct the path")?;
            let (ipc, size) = (branch.pipeline.select.ipc, branch.pipeline.teacher.size);
            let classes = Digest::of_json(&teacher.as_ref().provenance.classes);
            let mut config = json!({ "import": content, "classes": classes, "ipc": ipc, "size": size });
            // once taken by number, whatever names they have
            if may_name_classes(images) {
                config["labels"] = json!("by name");
            }
            if let Some(tensors) = &synthesize.import_tensors {
                let zca = tensors.zca.as_deref().map(Digest::of_file).transpose();
                let zca = zca
                    .context("`synthesize.import_tensors.zca`: the file cannot be read; correct the path")?;
                config["tensors"] = json!({ "normalization": tensors.normalization(), "zca": zca });
            }
            return self.plan_of(branch, node, config, &[]);
        }
        if synthesize.method.is_matching() {
            return self.matching_plan(branch);
        }
        if synthesize.max_iterations == 0 {
            return self.plan_of(branch, node, json!({ "max_iterations": 0 }), &[Node::Initial]);
        }
        let needs = synthesize.needs();
        let mut inputs = vec![Node::Initial];
        inputs.extend(needs.teacher.then_some(TEACHER));
        inputs.extend(needs.real_images.then_some(Node::Dataset));
        let mut plan = self.plan_of(branch, node, serde_json::to_value(synthesize)?, &inputs)?;
        if branch.pipeline.recovers_by_committee() {
            self.add_committee(branch, &mut plan)?;
        }
        Ok(plan)
    }

    fn labels_plan(&self, branch: &Branch, seed: u64) -> Result<Plan> {
        let relabel = &branch.pipeline.relabel;
        let config = json!({ "epochs": relabel.stored_epochs(), "views": relabel.view_spec() });
        let mut plan = self.plan_of(branch, Node::Labels(seed), config, &[Node::Synthetic, TEACHER])?;
        let classes = self.classes(branch)?;
        plan.config["batch"] = json!(self.student_batch(branch)?);
        let packing = relabel.labels.packing();
        if packing != LabelPacking::FULL {
            plan.config["packing"] = json!(packing);
        }
        check_packing(packing, classes)?;
        if let Some(file) = relabel.imported(seed) {
            let digest = Digest::of_file(&file).with_context(|| {
                format!("`relabel.import`: the labels of seed {seed} cannot be read; correct the path, or label the views of this seed too")
            })?;
            plan.config["import"] = json!(digest);
        }
        if relabel.teacher_mode != TeacherMode::default() {
            plan.config["teacher_mode"] = json!(relabel.teacher_mode);
        }
        if branch.pipeline.labels_by_committee() {
            plan.config["voters"] = json!(relabel.voters);
            if let Some(strengths) = &relabel.strengths {
                plan.config["strengths"] = json!(strengths);
            }
            self.add_committee(branch, &mut plan)?;
        }
        Ok(plan)
    }

    /// Students that learn what the set itself gives know no labels, and read nothing else of their section.
    fn given_plan(&self, branch: &Branch, given: &Given) -> Result<Plan> {
        let evaluate = &branch.pipeline.evaluate;
        let config = json!({
            "student": evaluate.student,
            "bn_momentum": evaluate.bn_momentum,
            "given": given,
            "seeds": branch.pipeline.relabel.seeds,
        });
        let mut inputs = vec![Node::Dataset, TEACHER, Node::Synthetic];
        inputs.extend(branch.pipeline.whitening().map(|_| Node::Whitening));
        self.plan_of(branch, Node::Evaluation, config, &inputs)
    }

    fn evaluation_plan(&self, branch: &Branch) -> Result<Plan> {
        if let Some(given) = &branch.pipeline.evaluate.given {
            return self.given_plan(branch, given);
        }
        let relabel = &branch.pipeline.relabel;
        let mut config = serde_json::to_value(&branch.pipeline.evaluate)?;
        config["seeds"] = json!(relabel.seeds);
        if relabel.stored_epochs() != relabel.epochs {
            config["epochs"] = json!(relabel.epochs);
        }
        let mut inputs = vec![Node::Dataset, TEACHER, Node::Synthetic];
        inputs.extend(relabel.label_seeds().iter().map(|seed| Node::Labels(*seed)));
        let mut plan = self.plan_of(branch, Node::Evaluation, config, &inputs)?;
        plan.config["lr"] = json!(branch.pipeline.student_lr(self.classes(branch)?)?);
        Ok(plan)
    }

    /// Refuses what the plans of a branch would refuse once its networks are made, as far as its data set tells it.
    ///
    /// # Errors
    /// The setting, what it is and what fits; [`super::Missing`].
    pub fn check(&self, branch: &Branch) -> Result<()> {
        let facts = self.dataset_facts(branch)?;
        let classes = facts.train_per_class.len();
        let pipeline = &branch.pipeline;
        if pipeline.synthesize.import.is_none() {
            self.check_ipc(branch)?;
            if !pipeline.relabel.is_given() {
                pipeline.student_batch(classes, &[])?;
            }
        }
        check_packing(pipeline.relabel.labels.packing(), classes)?;
        if let Method::RatBptt(RatBptt { classes: Some(some), .. }) = pipeline.synthesize.method {
            ensure!(
                some as usize <= classes,
                "`synthesize.method.classes`: found {some}, expected at most the {classes} that there are; leave it out to take them all"
            );
        }
        let own = Normalization { mean: facts.mean, std: facts.std };
        let of = |network: &Teacher| network.import.as_ref().and_then(|it| it.normalization).unwrap_or(own);
        if pipeline.recovers_by_committee() || pipeline.labels_by_committee() {
            for (index, member) in pipeline.committee.iter().enumerate() {
                check_normalization(index, &of(member), &of(&pipeline.teacher))?;
            }
        }
        Ok(())
    }

    /// How many classes the teacher tells apart.
    pub(super) fn classes(&self, branch: &Branch) -> Result<usize> {
        Ok(self.entry(branch, TEACHER)?.as_ref().provenance.classes.len())
    }

    /// The images of each class of a branch that imports them, where a class has others than `select.ipc`; else none.
    ///
    /// # Errors
    /// [`super::Missing`], or what the store reports.
    pub fn imported_per_class(&self, branch: &Branch) -> Result<Vec<u64>> {
        if branch.pipeline.synthesize.import.is_none() {
            return Ok(Vec::new());
        }
        Ok(self.entry(branch, Node::Synthetic)?.as_ref().facts_as::<SyntheticFacts>()?.per_class)
    }

    /// Images of a student's step.
    ///
    /// # Errors
    /// As [`crate::config::Pipeline::student_batch`]; [`super::Missing`].
    pub fn student_batch(&self, branch: &Branch) -> Result<u32> {
        Ok(branch.pipeline.student_batch(self.classes(branch)?, &self.imported_per_class(branch)?)?)
    }

    /// The committee's networks beside the teacher, in the order of the pipeline file.
    ///
    /// # Errors
    /// A network of other classes, or one that normalizes its images otherwise than the teacher;
    /// [`super::Missing`], or what the store reports.
    pub fn committee(&self, branch: &Branch) -> Result<Vec<L::Entry>> {
        let teacher = self.entry(branch, TEACHER)?;
        let expected = teacher.as_ref().facts_as::<TeacherFacts>()?.normalization;
        let mut members = Vec::new();
        for index in 0..branch.pipeline.committee.len() {
            let member = self.entry(branch, Node::Network(Role::Committee(index)))?;
            let manifest = member.as_ref();
            let place = Path::new(ArtifactKind::Teacher.dir()).join(manifest.key.prefix(PLACE_DIGITS));
            manifest.provenance.expect_classes(&place, &teacher.as_ref().provenance.classes)?;
            check_normalization(index, &manifest.facts_as::<TeacherFacts>()?.normalization, &expected)?;
            members.push(member);
        }
        Ok(members)
    }

    /// Names the committee's networks as inputs of a plan.
    pub(super) fn add_committee(&self, branch: &Branch, plan: &mut Plan) -> Result<()> {
        for (index, member) in self.committee(branch)?.into_iter().enumerate() {
            plan.inputs.insert(Role::Committee(index).name(), member.as_ref().digest.clone());
        }
        Ok(())
    }

    /// What to say where `relabel.batch` asks for more images than there are.
    ///
    /// # Errors
    /// [`super::Missing`], or a manifest that cannot be read.
    pub fn batch_is_all(&self, branch: &Branch) -> Result<Option<String>> {
        let imported: u64 = self.imported_per_class(branch)?.iter().sum();
        let in_use = self.dataset_facts(branch)?.train_per_class.iter().filter(|images| **images > 0).count();
        let images =
            if imported > 0 { imported } else { in_use as u64 * u64::from(branch.pipeline.select.ipc) };
        let batch = branch.pipeline.relabel.batch.filter(|batch| u64::from(*batch) > images);
        Ok(batch.map(|batch| {
            format!("relabel: relabel.batch is {batch}, but there are {images} synthetic images; a step takes them all")
        }))
    }
}

/// Digits of a key in a message.
const PLACE_DIGITS: usize = 12;

/// A label of which all classes are kept is stored otherwise.
fn check_packing(packing: LabelPacking, classes: usize) -> Result<()> {
    if let Keep::TopK(k) = packing.keep {
        ensure!(
            (k as usize) < classes,
            "`relabel.labels.keep.top_k`: found {k} of {classes} classes, which is all of them; use keep: full"
        );
    }
    Ok(())
}

/// The images are optimized and labeled in the teacher's normalized space.
fn check_normalization(index: usize, found: &Normalization, expected: &Normalization) -> Result<()> {
    ensure!(
        found == expected,
        "`committee.{index}`: normalizes by mean {:?} and std {:?}, expected the teacher's {:?} and {:?}; train it here, or set \
         import.normalization to those",
        found.mean,
        found.std,
        expected.mean,
        expected.std
    );
    Ok(())
}

/// Whether a set may say itself what its numbered classes are called: a file of PyTorch, or what export wrote.
fn may_name_classes(path: &Path) -> bool {
    let is_pytorch = path
        .extension()
        .is_some_and(|ending| ["pt", "pth", "tar"].iter().any(|of| ending.eq_ignore_ascii_case(of)));
    if path.is_dir() { path.join("delt-export.json").is_file() } else { is_pytorch }
}

/// The digest of a file, or of all files in a folder with their names; hidden ones are passed over.
fn content_of(path: &Path) -> Result<Digest> {
    if !path.is_dir() {
        return Ok(Digest::of_file(path)?);
    }
    let is_seen =
        |entry: &DirEntry| entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.');
    let mut files = BTreeMap::new();
    for entry in WalkDir::new(path).follow_links(true).into_iter().filter_entry(is_seen) {
        let entry = entry?;
        if entry.file_type().is_file() {
            let name = entry.path().strip_prefix(path)?.to_string_lossy().into_owned();
            files.insert(name, Digest::of_file(entry.path())?);
        }
    }
    Ok(Digest::of_json(&files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_normalizes_otherwise_is_refused() {
        let teacher = Normalization { mean: [0.5; 3], std: [0.25; 3] };
        check_normalization(0, &teacher, &teacher).expect("the same");
        let other = Normalization { mean: [0.0; 3], ..teacher };
        assert_eq!(
            check_normalization(1, &other, &teacher).expect_err("refused").to_string(),
            "`committee.1`: normalizes by mean [0.0, 0.0, 0.0] and std [0.25, 0.25, 0.25], expected the teacher's [0.5, 0.5, 0.5] \
             and [0.25, 0.25, 0.25]; train it here, or set import.normalization to those"
        );
    }
}

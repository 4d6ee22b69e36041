//! The page of a run whose artifacts are made up here: whatever the store holds is on it, what it lacks is left out.
//! `DELT_REPORT_PAGE=page.html cargo test -p report` keeps the page, to look at it.

use std::f32::consts::PI;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use delt_formats::canonical::Digest;
use delt_formats::history::HistoryWriter;
use delt_formats::initial::{InitialRow, InitialWriter};
use delt_formats::provenance::{ArtifactKind, Provenance};
use delt_formats::synthetic::{SyntheticRow, SyntheticWriter};
use delt_formats::trace::{TraceRow, TraceWriter};
use delt_formats::{
    DatasetFacts, HistoryRow, LabelsFacts, Normalization, RgbImage, StudentResult, Summary, TeacherFacts,
};
use delt_harness::args::Args;
use delt_harness::session::{Made, Session, Work};
use delt_pipeline::config::Branch;
use delt_pipeline::dag::Node;
use delt_pipeline::plan::{self, Plan};
use delt_pipeline::roles::Role;
use delt_store::Location;
use serde_json::{Value, json};

const SEEDS: [u64; 3] = [3407, 4663, 2897];
const IPC: u32 = 10;
const SIZE: u32 = 8;

fn session(store: &Path, output: Option<PathBuf>) -> Session {
    session_with(store, output, &[])
}

fn session_with(store: &Path, output: Option<PathBuf>, set: &[&str]) -> Session {
    let args = Args {
        pipeline: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/digits.yaml"),
        set: set.iter().map(|setting| (*setting).to_owned()).collect(),
        data: None,
        set_path: None,
        teacher: None,
        store: Location::Folder(store.to_path_buf()),
        cache: store.join("cache"),
        bin: None,
        device: "flex".into(),
        branches: Vec::new(),
        force: false,
        dry_run: false,
        assume_files: false,
        verbose: false,
        shards: None,
        shard: None,
        output,
        format: None,
    };
    Session::open(plan::REPORT, args).expect("session")
}

fn classes() -> Vec<String> {
    (0..10).map(|digit| digit.to_string()).collect()
}

/// An image that depends on class and slot; `noise` blurs what it is.
fn picture(label: u32, slot: u32, noise: f32) -> Vec<u8> {
    let value = |x: u32, y: u32, channel: u32| {
        let angle = (x * (label + 1) + y * (slot + 2)) as f32 * PI / 16.0 + channel as f32;
        let grain = ((x * 7 + y * 13 + channel * 5 + slot) % 11) as f32 / 11.0;
        (255.0 * ((1.0 - noise) * (0.5 + 0.5 * angle.sin()) + noise * grain)) as u8
    };
    let rgb = (0..SIZE * SIZE).flat_map(|i| (0..3).map(move |c| value(i % SIZE, i / SIZE, c))).collect();
    RgbImage { width: SIZE, height: SIZE, rgb }.encode_png().expect("PNG")
}

fn slots() -> impl Iterator<Item = (u32, u32)> {
    (0..10).flat_map(|label| (0..IPC).map(move |slot| (label, slot)))
}

/// A file that the page never opens.
fn unread(dir: &Path, _: &Provenance) {
    std::fs::write(dir.join("unread"), "made up").expect("write");
}

fn publish(session: &Session, plan: &Plan, facts: Value, write: impl Fn(&Path, &Provenance)) {
    let make = |work: &Work<'_>| {
        let provenance = work.provenance(&classes());
        write(work.out_dir(), &provenance);
        Ok(Made { provenance, facts, summary: "made up".into() })
    };
    session.produce(plan, make).expect("published");
}

fn publish_inputs(session: &Session, branch: &Branch) {
    let plan = session.dag().dataset_plan(branch, &Digest::of_bytes(b"digits")).expect("plan");
    let facts = DatasetFacts {
        train_images: 1257,
        test_images: 540,
        train_per_class: vec![125; 10],
        mean: [0.3; 3],
        std: [0.4; 3],
        source: "made up".into(),
        train_broken: 0,
        test_broken: 0,
        resized: None,
    };
    publish(session, &plan, json!(facts), |dir, _| {
        std::fs::write(dir.join("train.parquet"), [0; 90_000]).expect("write");
    });
    session
        .store()
        .point(&session.dag().dataset_pointer(branch).expect("pointer"), ArtifactKind::Dataset, &plan.key())
        .expect("pointer");

    let teacher = &branch.pipeline.teacher;
    let plan = session.dag().network_plan(branch, Role::Teacher, None).expect("plan");
    let facts = TeacherFacts {
        architecture: teacher.network,
        size: SIZE,
        normalization: Normalization { mean: [0.3; 3], std: [0.4; 3] },
        test_top1: 97.96,
        test_top5: 100.0,
        epochs: 10,
        imported: false,
    };
    publish(session, &plan, json!(facts), unread);
    publish(session, &session.dag().plan(branch, Node::Scores).expect("plan"), json!({}), unread);
}

fn publish_images(session: &Session, branch: &Branch) {
    let initial = |dir: &Path, provenance: &Provenance| {
        let mut writer = InitialWriter::create(dir.join("initial.parquet"), provenance).expect("create");
        for (label, slot) in slots() {
            let (png, image_id) = (picture(label, slot, 0.1), u64::from(label * 100 + slot));
            writer.write(&InitialRow { png, label, slot, image_id, probability: 0.5 }).expect("write");
        }
        writer.finish().expect("finish");
    };
    publish(session, &session.dag().plan(branch, Node::Initial).expect("plan"), json!({}), initial);

    let most = branch.pipeline.synthesize.max_iterations;
    let synthetic = |dir: &Path, provenance: &Provenance| {
        let mut writer = SyntheticWriter::create(dir.join("synthetic.parquet"), provenance).expect("create");
        for (label, slot) in slots() {
            let (round, noise) = if most == 0 { (0, 0.1) } else { (slot / 2, 0.6) };
            let iterations = most.saturating_sub(round * 25);
            writer
                .write(&SyntheticRow {
                    png: picture(label, slot, noise),
                    label,
                    slot,
                    round,
                    iterations,
                    ..SyntheticRow::default()
                })
                .expect("write");
        }
        writer.finish().expect("finish");
        if most == 0 {
            return;
        }
        let mut writer = TraceWriter::create(dir.join("trace.parquet"), provenance).expect("create");
        for (batch, iteration) in (0..2).flat_map(|batch| (0..most).map(move |iteration| (batch, iteration)))
        {
            let fall = (-(f64::from(iteration % 50)) / 20.0).exp();
            let (ce, bn) = ((0.02 + 2.0 * fall) as f32, (3.0 + 30.0 * fall) as f32 + batch as f32);
            writer.write(&TraceRow { batch, iteration, lr: 0.1, ce, bn }).expect("write");
        }
        writer.finish().expect("finish");
    };
    let facts = json!({ "images": 100, "image_iterations": 100 * most, "rounds": 1 });
    publish(session, &session.dag().plan(branch, Node::Synthetic).expect("plan"), facts, synthetic);
}

fn publish_students(session: &Session, branch: &Branch, top1: f64) {
    for seed in SEEDS {
        let (views, bytes, bytes_per_image) = (10_000, 612_345, 6123.45);
        let facts = LabelsFacts {
            epochs: 100,
            batch: 25,
            images: 100,
            views,
            bytes,
            bytes_per_image,
            seed,
            labeled_by: None,
        };
        publish(
            session,
            &session.dag().plan(branch, Node::Labels(seed)).expect("plan"),
            json!(facts),
            unread,
        );
    }
    let student = |seed: u64| StudentResult {
        seed,
        last_top1: top1,
        best_top1: top1 + 0.5,
        best_epoch: 90,
        last_top5: 99.0,
    };
    let summary = Summary {
        branch_recipe: json!({}), // the page asks the artifacts themselves
        students: SEEDS.map(student).to_vec(),
        last_mean: top1,
        last_std: 0.42,
        best_mean: top1 + 0.5,
        best_std: 0.3,
        image_bytes: 20_480,
        label_bytes: 3 * 612_345,
        images: 100,
        test_images: 540,
        cosine_to_centroid: 0.7,
        pairwise_cosine: 0.5,
    };
    let write = |dir: &Path, provenance: &Provenance| {
        let mut writer = HistoryWriter::create(dir.join("history.parquet"), provenance).expect("create");
        for (index, seed) in (0..).zip(SEEDS) {
            for epoch in 0..100 {
                let is_tested = epoch % 10 == 0 || epoch == 99;
                let reached = top1 * (1.0 - (-f64::from(epoch + 2) / 15.0).exp()) - f64::from(index);
                let top1 = is_tested.then_some(reached);
                writer
                    .write(&HistoryRow { seed, epoch, lr: 0.005, loss: 1.0, top1, top5: top1 })
                    .expect("write");
            }
        }
        writer.finish().expect("finish");
        summary.write(dir.join("summary.json")).expect("write");
    };
    publish(session, &session.dag().plan(branch, Node::Evaluation).expect("plan"), json!(summary), write);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a list of cases")]
fn a_whole_run_is_on_one_page_without_anything_external() {
    let dir = tempfile::tempdir().expect("temp dir");
    let session = session(dir.path(), std::env::var_os("DELT_REPORT_PAGE").map(PathBuf::from));
    for (branch, top1) in session.branches().iter().zip([88.4, 93.1]) {
        publish_inputs(&session, branch);
        publish_images(&session, branch);
        publish_students(&session, branch, top1);
    }
    report::stage::run(&session).expect("page");
    let page = std::fs::read_to_string(report::stage::page_path(&session)).expect("page");
    for expected in [
        "<h1>digits</h1>",
        "97.96",
        "88.40 ± 0.42",
        "93.60 ± 0.30",
        "0.700",
        "6.0 KiB",
        "round 4<br>100 it.",
        "aria-label=\"top-1 accuracy by epoch\"",
        "aria-label=\"delt: BN-statistics loss\"",
        "evaluation (delt)",
        "dataset (random, delt)",
        "<li>delt against random: +4.70 points, 95 % interval ",
        "guessing reaches up to 13.1 %, the share of the largest class is 10.0 %</li>",
        "<li>the 100 images of delt take 20.0 KiB, 0.23 times the data set (87.9 KiB); the labels of one student 598.0 KiB, 6.8 \
         times the data set and 30 times the images</li>",
        "<code>make digits/report STORE=",
        "Dotted: new images join here, and the loss rises",
        "<mark>  strategy: random</mark>",
    ] {
        assert!(page.contains(expected), "{expected} is not on the page");
    }
    assert_eq!(
        page.matches("data:image/png;base64,").count(),
        300,
        "100 real, 100 initial, 100 synthetic images"
    );
    let base64 = |png: Vec<u8>| STANDARD.encode(png);
    let figure = format!(
        "<figure><img src=\"data:image/png;base64,{}\" alt=\"initial image, 0\" title=\"initial image, 0\"><img \
         src=\"data:image/png;base64,{}\" alt=\"synthetic image, 0\" title=\"synthetic image, 0\"><figcaption>round 0<br>200 \
         it.</figcaption></figure>",
        base64(picture(0, 0, 0.1)),
        base64(picture(0, 0, 0.6))
    );
    assert!(page.contains(&figure), "{figure}");
    let soft_labels =
        "<tr><th>delt</th><td>3407</td><td>100</td><td>10,000</td><td>598.0 KiB</td><td>6.0 KiB</td></tr>";
    assert!(page.contains(soft_labels), "{soft_labels}");
    let of_images = "<td>100</td><td>20,000</td><td>20.0 KiB</td><td>598.0 KiB</td><td>0.700</td>";
    assert!(
        page.contains(of_images),
        "images, image-iterations, bytes of the images and of one student's labels: {of_images}"
    );
    let wide = page.matches("<table").count();
    assert_eq!(
        page.matches("<div class=\"scroll\" role=\"region\"").count(),
        wide,
        "a table that a phone cuts off"
    );
    assert_eq!(page.matches("<p class=\"hint\">The table scrolls sideways.</p>").count(), wide);
    // slots of a class join in pairs, 25 iterations after those before, in both charts of the losses
    assert_eq!(page.matches("<line class=\"mark\"").count(), 2 * 4);
    let entry = session.dag().entry(&session.branches()[1], Node::Synthetic).expect("made");
    let seconds = |stage: &str, seconds: f64| {
        let device = "flex (CPU)";
        json!({ "stage": stage, "seconds": seconds, "device": device, "peak_memory_bytes": 1 << 30, "resumed": true,
            "finished_unix_seconds": 1_700_000_000 })
            .to_string()
    };
    std::fs::write(entry.dir.join("run.json"), seconds("delt-synthesize", 75.0)).expect("written");
    let network = Node::Network(Role::FullData);
    let entry = session.dag().entry(&session.branches()[1], network).expect("made");
    std::fs::write(entry.dir.join("run.json"), seconds("teacher-train", 30.0)).expect("written");
    report::stage::run(&session).expect("page");
    let page = std::fs::read_to_string(report::stage::page_path(&session)).expect("page");
    for expected in [
        "<th>synthetic (delt)</th><td class=\"text\">delt-synthesize</td><td class=\"text\">flex (CPU)</td><td>1.0 GiB</td>\
         <td>1 min 15 s *</td>",
        "resumed from the checkpoint of a process that was killed",
        "<div><dt>delt-synthesize</dt><dd>1 min 15 s</dd></div>",
        "3.5 times as long as training on all images (30 s); as multiples of that: networks 1.0, synthesis 2.5</li>",
        "made 2023-11-14 22:13 to 20",
    ] {
        assert!(page.contains(expected), "{expected} is not on the page");
    }
    for foreign in ["http://", "https://", "<script", "<link", "url(", "@import", "srcset="] {
        assert!(!page.contains(foreign), "{foreign} on a page that must stand alone");
    }
    let sources = page.matches("src=").count();
    assert_eq!(sources, page.matches("src=\"data:image/png;base64,").count(), "a source that is not inlined");
}

#[test]
fn the_recipe_is_that_of_the_artifacts() {
    let dir = tempfile::tempdir().expect("temp dir");
    let session = session_with(dir.path(), None, &["relabel.batch=null"]);
    let branch = &session.branches()[1];
    publish_inputs(&session, branch);
    publish_images(&session, branch);
    publish_students(&session, branch, 93.1);
    report::stage::run(&session).expect("page");
    let page = std::fs::read_to_string(report::stage::page_path(&session)).expect("page");
    let recipe = page.split_once("<h2>Recipe</h2>").expect("a recipe").1;
    let recipe = recipe.replace("<mark>", "").replace("</mark>", "");
    // derived from ipc 10 and ten classes; the pipeline file says null
    for expected in [
        "labels:\n  batch: 50",
        "  seeds:\n  - 3407\n  - 4663\n  - 2897\n",
        "initial:\n  ipc: 10\n  seed: 0\n",
    ] {
        assert!(recipe.contains(expected), "{expected:?} in {recipe}");
    }
    assert!(!recipe.contains("batch: null"), "{recipe}");
}

#[test]
fn a_page_that_cannot_be_written_is_refused_by_its_place() {
    let dir = tempfile::tempdir().expect("temp dir");
    let file = dir.path().join("file");
    std::fs::write(&file, "no folder").expect("written");
    let session = session(&dir.path().join("store"), Some(file.join("page.html")));
    publish_inputs(&session, &session.branches()[0]);
    assert_eq!(
        report::stage::run(&session).expect_err("refused").to_string(),
        format!(
            "`OUTPUT`: {0}/page.html: nothing can be created in {0}: not a directory; choose another place with OUTPUT= (--output)",
            file.display()
        )
    );
}

#[test]
fn a_run_of_which_the_store_has_nothing_has_no_page() {
    let dir = tempfile::tempdir().expect("temp dir");
    let session = session(dir.path(), None);
    assert_eq!(
        report::stage::run(&session).expect_err("refused").to_string(),
        format!(
            "nothing of digits as it stands is in the store {}; run `make digits` first, with the same SET, DATA and STORE",
            dir.path().display()
        )
    );
    assert!(!dir.path().join("reports").exists());
}

#[test]
fn a_run_that_has_only_begun_has_a_page_too() {
    let dir = tempfile::tempdir().expect("temp dir");
    let session = session(dir.path(), None);
    for branch in session.branches() {
        publish_inputs(&session, branch);
    }
    report::stage::run(&session).expect("page");
    let page = std::fs::read_to_string(dir.path().join("reports/digits.html")).expect("page");
    assert!(page.contains("97.96") && page.contains("nothing was measured"), "{page}");
    assert!(!page.contains("<h2>Images</h2>"));
    // a page of results would be lost to one without
    assert_eq!(
        report::stage::run(&session).expect_err("refused").to_string(),
        format!(
            "{0}/reports/digits.html: there is a page already, and nothing of digits as it stands now is evaluated in {0}; run `make \
             digits` first, with the same SET and DATA, or choose another place with OUTPUT= (--output)",
            dir.path().display()
        )
    );
}

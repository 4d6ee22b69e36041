//! What is asked of a set beside the accuracy of one student: many students, classes in steps, pruning.

use delt_tests::binaries::Run;

/// A branch with one student.
const ONE: [&str; 4] = ["--branch", "delt", "--set", "relabel.seeds=[3407]"];

/// What guessing reaches on the test images.
const CHANCE: &str = "\nguessing reaches up to 18.0 %, the share of the largest class is 10.0 %\n";

/// What a program prints.
fn table(run: &Run, program: &str, settings: &[&str]) -> String {
    let output = run.output(program, settings);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The lines of figures that a program leaves in the store, without the head.
fn figures(run: &Run, program: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(run.store().join(format!("reports/tiny-{program}.csv"))).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

/// What a program says where it refuses.
fn refused(program: &str, settings: &[&str]) -> String {
    let run = Run::new();
    run.up_to("ingest", &ONE);
    let output = run.output(program, &[&ONE, settings].concat());
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn one_set_teaches_many_students_and_its_own_one_is_the_evaluated_one() {
    let run = Run::new();
    run.up_to("evaluate", &ONE);
    let students = "cross_arch.students=[{name: convnet, depth: 2, width: 8},wrn_16_2,dc_alexnet]";
    let published = "cross_arch.published={delt: {wrn_16_2: 12.5}}";
    let settings = [&ONE[..], &["--set", students, "--set", published]].concat();
    let said = table(&run, "cross-arch", &settings);
    let lines = said.lines().skip(2).take(3);
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows.iter().map(|row| row[1]).collect::<Vec<_>>(),
        ["convnet2-w8", "wrn_16_2", "dc_alexnet"],
        "{said}"
    );
    assert_eq!(
        rows.iter().map(|row| (row[2], row[6])).collect::<Vec<_>>(),
        [("0.005", "-"), ("0.001", "12.5"), ("0.001", "-")]
    );
    assert_eq!(run.manifests("evaluation").len(), 3, "the own student is not trained again");
    let (_, own) = run.pointed("tiny/delt/evaluation", "evaluation");
    assert_eq!(figures(&run, "cross-arch")[0][5].parse().ok(), own.facts["last_mean"].as_f64());
    let (_, other) = run.pointed("tiny/delt-on-wrn_16_2/evaluation", "evaluation");
    assert_eq!(other.provenance.inputs, own.provenance.inputs, "the same labels");
    for known in [CHANCE, "note: delt, student dc_alexnet: 1 of 1 students are no better than guessing"] {
        assert!(said.contains(known), "{said}");
    }
    assert_eq!(table(&run, "cross-arch", &settings), said, "notes do not go with the run that made them");
}

#[test]
fn classes_come_in_steps_and_the_last_student_knows_them_all() {
    let run = Run::new();
    run.up_to("delt-synthesize", &ONE);
    let settings = [&ONE[..], &["--set", "continual.steps=4", "--set", "continual.orders=[1,2]"]].concat();
    let said = table(&run, "continual", &settings);
    let rows: Vec<Vec<&str>> = said.lines().skip(2).map(|line| line.split_whitespace().collect()).collect();
    let counts: Vec<(&str, &str)> = rows.iter().map(|row| (row[1], row[2])).collect();
    assert_eq!(counts[..4], [("2", "6"), ("5", "15"), ("7", "21"), ("10", "30")], "{said}");
    assert!(said.contains("labels of the classes so far") && rows[4][1] == "mean", "{said}");
    let lines = figures(&run, "continual");
    assert_eq!(lines.len(), 8);
    assert_eq!(lines[3][..5], ["delt", "1", "10", "30", "100"]);
    assert_ne!(lines[0][5..], lines[4][5..], "another order");
    assert_eq!(lines[0][7..9], ["4", "seen_classes"]);
    assert!(!run.store().join("labels").exists(), "labels of a step are not kept");
    for known in
        [CHANCE, "note: delt: ", " of 8 students are no better than guessing (that of order 1, 2 classes: "]
    {
        assert!(said.contains(known), "{said}");
    }
    assert_eq!(table(&run, "continual", &settings), said);
    let page = run.store().join("page.html");
    table(&run, "report", &[&settings[..], &["--output", page.to_str().unwrap()]].concat());
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("top-1 accuracy by classes so far") && page.contains("delt, mean of 2 orders"));
    let three = [&settings[..6], &["--set", "continual.orders=[1,2,3]"]].concat();
    let page = run.store().join("more.html");
    table(&run, "report", &[&three[..], &["--output", page.to_str().unwrap()]].concat());
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("Not whole: delt (2 of 3 orders); run make tiny/continual "), "{page}");
    // a student of half of the classes is the same whether they came in two steps or in four
    let halves = [&ONE[..], &["--set", "continual.steps=2", "--set", "continual.orders=[1]"]].concat();
    let before = run.manifests("evaluation").len();
    table(&run, "continual", &halves);
    assert_eq!(run.manifests("evaluation").len(), before);
    let all = [&settings[..], &["--set", "continual.labels=all_classes"]].concat();
    assert!(table(&run, "continual", &all).contains("know all classes"));
}

#[test]
fn a_student_loses_half_of_its_channels_and_learns_again() {
    let run = Run::new();
    run.up_to("relabel", &ONE);
    let said = table(&run, "prune", &ONE);
    let [line] = figures(&run, "prune").try_into().unwrap();
    assert_eq!(line[..3], ["delt", "convnet2-w8", "3407"]);
    // half of the sixteen, but a layer keeps one
    assert!(line[6] == "16" && ["8", "9"].contains(&line[7].as_str()), "{said}");
    let (folder, manifest) = run.pointed("tiny/delt/pruned", "evaluation");
    let values: Vec<u64> = line[8..10].iter().map(|count| count.parse().unwrap()).collect();
    assert!(values[1] < values[0]);
    assert!(folder.join("pruned-3407.safetensors").exists());
    assert_eq!(manifest.facts["students"][0]["tuned"].as_f64(), line[5].parse().ok());
    assert!(said.contains(CHANCE), "{said}");
    assert_eq!(table(&run, "prune", &ONE), said);
    let of_teacher = [&ONE[..], &["--set", "prune.start=teacher", "--set", "prune.share=0.25"]].concat();
    assert!(table(&run, "prune", &of_teacher).contains("without 4 of 16 channels (prune.share 0.25)"));
    let by_magnitude = [&ONE[..], &["--set", "prune.criterion=magnitude"]].concat();
    let magnitude = table(&run, "prune", &by_magnitude);
    assert!(magnitude.contains("8 of 16 channels (prune.share 0.5), by the magnitude of"), "{magnitude}");
    let [own, _, of_magnitude] = figures(&run, "prune").try_into().unwrap();
    assert_eq!(own, line, "figures of other settings stay");
    assert_eq!(
        of_magnitude[6..8],
        ["16", "8"],
        "half of each layer, where by scales a layer that would lose all keeps one"
    );
    assert_ne!(of_magnitude[3..6], line[3..6]);
    assert_eq!(of_magnitude[10..13], ["0.5", "magnitude", "random"]);
    assert!(run.store().join(&of_magnitude[13]).join("manifest.json").exists(), "{of_magnitude:?}");
}

#[test]
fn what_cannot_be_is_refused_before_any_work() {
    let said = refused("continual", &["--set", "continual.steps=11"]);
    assert!(
        said.contains("`continual.steps`: found 11, expected 1 to 10, the classes that there are"),
        "{said}"
    );
    let said =
        refused("prune", &["--set", "evaluate.student={name: convnet, depth: 2, width: 8, norm: instance}"]);
    assert!(said.contains("`evaluate.student`: convnet2-w8-instance has no BatchNorm"), "{said}");
    let said = refused("cross-arch", &["--set", "cross_arch.students=[resnet19]"]);
    assert!(said.contains("`resnet19` stands for no network by itself"), "{said}");
    let run = Run::new();
    run.up_to("delt-synthesize", &ONE);
    let output = run.output("prune", &ONE);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("is not in the store; make it with `make tiny/relabel"), "{said}");
}

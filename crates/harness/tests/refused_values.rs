//! Values of a pipeline that are refused at load, with what is said of them.

use std::path::Path;

use delt_pipeline::config::load;

/// What is said of `digits.yaml` with these settings, after the name of the branch.
fn said(settings: &[&str]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/digits.yaml");
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    let message = load(&path, &settings, None).expect_err("refused").to_string();
    message.split_once("): at ").map_or(message.clone(), |(_, said)| said.to_owned())
}

#[test]
fn a_number_outside_its_range_is_refused_and_so_is_none() {
    const BELOW_ONE: &str = "0 or more, less than 1";
    const NOT_NEGATIVE: &str = "a finite number of 0 or more";
    const POSITIVE: &str = "a finite number above 0";
    const SHARE: &str = "more than 0, at most 1";
    let refusals = [
        ("evaluate.lr", "-1", POSITIVE),
        ("evaluate.lr", ".nan", POSITIVE),
        ("evaluate.epsilon", ".inf", POSITIVE),
        ("evaluate.beta_1", "1", BELOW_ONE),
        ("evaluate.beta_2", "-0.5", BELOW_ONE),
        ("evaluate.beta_2", ".nan", BELOW_ONE),
        ("evaluate.weight_decay", "-0.1", NOT_NEGATIVE),
        ("evaluate.weight_decay", ".nan", NOT_NEGATIVE),
        ("synthesize.bn_matching_weight", "-1", NOT_NEGATIVE),
        ("synthesize.bn_matching_weight", ".nan", NOT_NEGATIVE),
        ("synthesize.first_bn_multiplier", ".inf", NOT_NEGATIVE),
        ("teacher.train.optimizer.momentum", "1", BELOW_ONE),
        ("teacher.train.optimizer.momentum", ".nan", BELOW_ONE),
        ("teacher.train.optimizer.weight_decay", "-1", NOT_NEGATIVE),
        ("teacher.train.schedule.warmup", "1", BELOW_ONE),
        ("teacher.train.schedule.warmup", ".nan", BELOW_ONE),
        ("teacher.train.bn_momentum", "0", SHARE),
        ("teacher.train.bn_momentum", ".nan", SHARE),
    ];
    for (key, value, expected) in refusals {
        let found = value.trim_start_matches('.').replace("nan", "NaN");
        let setting = format!("{key}={value}");
        assert_eq!(said(&[&setting]), format!("`{key}`: found {found}, expected {expected}"), "{setting}");
    }
}

#[test]
fn numbers_that_no_machine_has_memory_or_time_for_are_refused() {
    let refusals = [
        ("teacher.size", 100_000, 4096),
        ("teacher.network.width", 100_000, 8192),
        ("teacher.train.epochs", 1_000_000, 100_000),
        ("teacher.train.batch", 1_000_000, 65_536),
        ("teacher.train.pad", 5000, 4096),
        ("select.ipc", 4_000_000_000_u32, 100_000),
        ("synthesize.batch", 65_537, 65_536),
        ("synthesize.jitter", 4097, 4096),
        ("relabel.epochs", 100_001, 100_000),
        ("relabel.batch", 100_000, 65_536),
        ("evaluate.student.width", 8193, 8192),
    ];
    for (key, value, most) in refusals {
        let setting = format!("{key}={value}");
        assert_eq!(
            said(&[&setting]),
            format!("`{key}`: found {value}, expected at most {most}"),
            "{setting}"
        );
    }
    assert_eq!(
        said(&["branches.delt.synthesize.max_iterations=20000000"]),
        "`synthesize.max_iterations`: found 20000000, expected at most 10000000"
    );
    assert_eq!(
        said(&["relabel.randaugment={magnitude: 5, layers: 1000, std: 1}"]),
        "`relabel.randaugment.layers`: found 1000, expected at most 100"
    );
    let seeds: Vec<String> = (0..1001).map(|seed| seed.to_string()).collect();
    assert_eq!(
        said(&[&format!("relabel.seeds=[{}]", seeds.join(","))]),
        "`relabel.seeds`: found 1001 seeds, expected at most 1000"
    );
}

#[test]
fn numbers_that_are_none_are_refused_everywhere() {
    let keys = [
        "evaluate.bn_momentum",
        "evaluate.loss.temperature",
        "relabel.min_crop_scale",
        "relabel.mix.alpha",
        "synthesize.beta_1",
        "synthesize.beta_2",
        "synthesize.epsilon",
        "synthesize.lr",
        "synthesize.milestone",
        "synthesize.min_crop_scale",
        "teacher.train.label_smoothing",
        "teacher.train.optimizer.lr",
        "ingest.source.test_fraction",
    ];
    for key in keys {
        said(&[&format!("{key}=.nan")]);
    }
    said(&["relabel.randaugment={magnitude: .nan, layers: 1, std: 1}"]);
    said(&["relabel.randaugment={magnitude: 5, layers: 1, std: .nan}"]);
}

#[test]
fn an_adamw_teacher_is_held_to_adamws_ranges() {
    let with = |change: &str| {
        let values = "lr: 0.1, beta_1: 0.9, beta_2: 0.999, epsilon: 1.0e-8, weight_decay: 0";
        let (key, _) = change.split_once(':').expect("key: value");
        let kept: Vec<&str> = values.split(", ").filter(|value| !value.starts_with(key)).collect();
        said(&[&format!("teacher.train.optimizer={{name: adamw, {}, {change}}}", kept.join(", "))])
    };
    let at = "`teacher.train.optimizer";
    assert_eq!(with("beta_1: 1"), format!("{at}.beta_1`: found 1, expected 0 or more, less than 1"));
    assert_eq!(with("beta_2: .nan"), format!("{at}.beta_2`: found NaN, expected 0 or more, less than 1"));
    assert_eq!(with("epsilon: 0"), format!("{at}.epsilon`: found 0, expected a finite number above 0"));
    assert_eq!(
        with("weight_decay: -1"),
        format!("{at}.weight_decay`: found -1, expected a finite number of 0 or more")
    );
    assert_eq!(with("lr: .nan"), format!("{at}.lr`: found NaN, expected more than 0"));
}

#[test]
fn nesterov_needs_a_momentum() {
    assert_eq!(
        said(&["teacher.train.optimizer.momentum=0"]),
        "`teacher.train.optimizer.nesterov`: found true with momentum 0, which it needs; set a momentum or nesterov: false"
    );
}

#[test]
fn an_import_is_held_to_its_ranges() {
    let with =
        |options: &str| said(&[&format!("teacher.import={{path: w.pth, classes: dataset, {options}}}")]);
    let at = "`teacher.import";
    assert_eq!(
        with("expected_top1: 101"),
        format!("{at}.expected_top1`: found 101, expected percent, 0 to 100")
    );
    assert_eq!(
        with("expected_top1: .nan"),
        format!("{at}.expected_top1`: found NaN, expected percent, 0 to 100")
    );
    assert_eq!(
        with("normalization: {mean: [0, 0, 0], std: [1, 0, 1]}"),
        format!("{at}.normalization.std`: found 0, expected a finite number above 0")
    );
    assert_eq!(
        with("normalization: {mean: [0, .nan, 0], std: [1, 1, 1]}"),
        format!("{at}.normalization.mean`: found NaN, expected a finite number")
    );
}

#[test]
fn options_that_would_change_nothing_are_refused() {
    let problem = "which has no rounds to draw; leave it out";
    assert_eq!(
        said(&["synthesize.min_iterations=50", "synthesize.early_late=false"]),
        format!("`synthesize.min_iterations`: found 50 with early_late: false, {problem}")
    );
    assert_eq!(
        said(&["synthesize.min_iterations=50", "select.ipc=1"]),
        format!("`synthesize.min_iterations`: found 50 with select.ipc 1, {problem}")
    );
    assert_eq!(
        said(&["synthesize.max_iterations=0", "branches.delt.synthesize.init=noise"]),
        "`synthesize.init`: found noise with max_iterations 0, which keeps the selected images; set init: selected or more \
         iterations"
    );
    let ranker = "select.ranker={size: 8, network: {name: convnet, depth: 2, width: 8}, import: {path: w.pth, classes: dataset}}";
    assert_eq!(
        said(&[ranker, "select.scores=ranking.csv"]),
        "`select.scores`: an external ranking takes the place of the network that scores, and select.ranker is set too; leave one out"
    );
}

#[test]
fn noise_as_a_start_leaves_the_random_branch_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/digits.yaml");
    load(&path, &["synthesize.init=noise".to_owned()], None).expect("loads");
}

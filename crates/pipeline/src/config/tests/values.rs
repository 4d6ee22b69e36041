//! Values that are refused by themselves, whatever stands beside them.

use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "a list of cases")]
fn every_refusal_names_the_key_and_what_is_expected() {
    let refusals = [
        (
            "relabel.batch=null select.ipc=5",
            "`relabel.batch`: no batch is published for select.ipc 5; set relabel.batch, the images of one step",
        ),
        (
            "synthesize.import_tensors.zca=zca.pt",
            "`synthesize.import_tensors`: found without synthesize.import, whose tensors it is about; leave it out",
        ),
        (
            "synthesize.import=set.pt synthesize.import_tensors.mean=[0,0,0]",
            "`synthesize.import_tensors`: found one of mean and std; state both, or neither",
        ),
        (
            "synthesize.import=set.pt synthesize.import_tensors.mean=[0,0,0] synthesize.import_tensors.std=[1,0,1]",
            "`synthesize.import_tensors.std`: found 0, expected a finite number above 0",
        ),
        ("relabel.batch=1", "`relabel.batch`: found 1, expected at least 2 images: BatchNorm needs a batch"),
        ("relabel.seeds=[1,1]", "`relabel.seeds`: a seed is named twice; name each once"),
        ("relabel.seeds=[]", "`relabel.seeds`: found an empty list, expected at least one student seed"),
        ("relabel.epochs=0", "`relabel.epochs`: found 0, expected at least 1"),
        (
            "select.facility_location={candidates: 10}",
            "`select.facility_location.candidates`: found 10, expected more than select.ipc (10), at most 10000",
        ),
        ("relabel.labels.bits=4", "`relabel.labels.bits`: found 4, expected 16 or 8 bits a logit"),
        (
            "relabel.labels={keep: {top_k: 0}, bits: 8}",
            "`relabel.labels.keep.top_k`: found 0, expected at least 1 logit of a view, or keep: full",
        ),
        (
            "relabel.labels.keep=some",
            "`relabel.labels.keep`: unknown variant `some`, expected `full` or `top_k`",
        ),
        (
            "relabel.labels.epochs=0",
            "`relabel.labels.epochs`: found 0, expected 1 to 100 (relabel.epochs), or null to store them all",
        ),
        (
            "relabel.shuffle_patches=3",
            "`relabel.shuffle_patches`: 3 x 3 patches do not divide 8 px (teacher.size)",
        ),
        (
            "evaluate.student={\"name\":\"resnet18\"}",
            "`evaluate.student.stem`: is missing, expected `small` or `standard`; write it, or let the file extend one",
        ),
        ("relabel.mix.alpha=-1", "`relabel`: "),
        ("relabel.mix={kind: none, alpha: 1}", "unknown field `alpha`"),
        ("teacher.train.schedule={name: cosine, warmup: 0.2}", "unknown field `warmup`"),
        ("evaluate.loss={kind: hard_label, temperature: 4}", "unknown field `temperature`"),
        ("evaluate.loss.temperature=0", "`evaluate.loss.temperature`: found 0, expected more than 0"),
        ("evaluate.student={name: convnet, depth: 5, width: 8}", "`evaluate.student`: a ConvNet of depth 5"),
        ("evaluate.test_every=0", "`evaluate.test_every`: found 0, expected at least 1"),
        ("synthesize.lr=fast", "`synthesize.lr`: invalid type: string \"fast\", expected a number"),
        ("select=3", "`select`: invalid type: integer `3`, expected a section of `key: value` lines"),
        ("select.ipc=0", "`select.ipc`: found 0, expected at least 1 image per class"),
        ("synthesize.min_crop_scale=0", "`synthesize.min_crop_scale`: found 0, expected a share of the area"),
        ("synthesize.beta_1=1", "`synthesize.beta_1`: found 1, expected 0 or more, less than 1"),
        ("synthesize.min_iterations=7", "`synthesize.min_iterations`: found 7, expected a multiple of"),
        ("teacher.size=4", "`teacher.size`: 4 px is too small; expected 8 or more"),
        ("teacher.train=null", "`teacher`: expected `train` (a recipe) or `import` (a weights file)"),
        ("ingest.classes=[\"1\"]", "`ingest.classes`: expected at least two class names"),
        (
            "ingest.normalization={mean: [.nan, 0, 0], std: [1, 1, 1]}",
            "`ingest.normalization.mean`: found NaN, expected 0 to 1, as pixels are",
        ),
        (
            "ingest.normalization={mean: [0, 0, 0], std: [1, 0, 1]}",
            "`ingest.normalization.std`: found 0, expected more than 0, at most 1",
        ),
        (
            "ingest.normalization={mean: [127, 127, 127], std: [50, 50, 50]}",
            "`ingest.normalization.mean`: found 127, expected 0 to 1, as pixels are; divide what is meant for 0 to 255 by 255",
        ),
        (
            "ingest.normalization={mean: [0.5, 0.5, 0.5], std: [0.2, 50, 0.2]}",
            "`ingest.normalization.std`: found 50, expected more than 0, at most 1, for pixels from 0 to 1",
        ),
        (
            "teacher.import={path: t.pth, classes: dataset, normalization: cifar}",
            "`teacher.import.normalization`: expected `imagenet`, or a section of mean and std, three numbers each",
        ),
        (
            "teacher.import={path: t.pth, classes: dataset, normalization: {mean: [127, 127, 127], std: [50, 50, 50]}}",
            "`teacher.import.normalization`: found mean [127.0, 127.0, 127.0] and std [50.0, 50.0, 50.0], expected those of pixels",
        ),
        (
            "ingest.source={kind: imagenette, px: 64}",
            "`ingest.source.px`: expected 160 or 320; leave it out for the full size",
        ),
        (
            "ingest.source.test_fraction=1.5",
            "`ingest.source.test_fraction`: expected a share between 0 and 1",
        ),
    ];
    for (settings, expected) in refusals {
        let settings: Vec<String> = if settings.contains('{') {
            vec![settings.to_owned()]
        } else {
            settings.split(' ').map(str::to_owned).collect()
        };
        let message =
            load(&repository_file("digits.yaml"), &settings, None).expect_err("refused").to_string();
        assert!(message.contains("digits.yaml"), "{message}");
        assert!(message.contains(expected), "{settings:?}: expected `{expected}` in: {message}");
    }
}

#[test]
fn a_value_outside_its_range_is_refused_with_key_value_and_range() {
    let refusals = [
        ("evaluate.lr=0", "evaluate.lr`: found 0, expected a finite number above 0"),
        ("evaluate.epsilon=0", "evaluate.epsilon`: found 0, expected a finite number above 0"),
        ("evaluate.bn_momentum=0", "evaluate.bn_momentum`: found 0, expected more than 0, at most 1"),
        ("evaluate.bn_momentum=1.5", "evaluate.bn_momentum`: found 1.5, expected more than 0, at most 1"),
        ("evaluate.loss.temperature=.nan", "evaluate.loss.temperature`: found NaN, expected more than 0"),
        ("synthesize.batch=0", "synthesize.batch`: found 0, expected at least 1 image"),
        (
            "synthesize.round_iterations=0",
            "synthesize.round_iterations`: 200 iterations are not a multiple of rounds of 0; choose a divisor",
        ),
        (
            "synthesize.min_iterations=0",
            "synthesize.min_iterations`: found 0, expected a multiple of round_iterations (25) up to \
             max_iterations (200)",
        ),
        (
            "synthesize.min_crop_scale=1.5",
            "synthesize.min_crop_scale`: found 1.5, expected a share of the area, more than 0, at most 1",
        ),
        (
            "synthesize.milestone=2",
            "synthesize.milestone`: found 2, expected a share of the iterations, 0 to 1",
        ),
        (
            "synthesize.residual={share: 1, every: 5, restart_adam: true}",
            "synthesize.residual.share`: found 1, expected more than 0, less than 1",
        ),
        ("synthesize.beta_2=-1", "synthesize.beta_2`: found -1, expected 0 or more, less than 1"),
        ("synthesize.lr=0", "synthesize.lr`: found 0, expected a finite number above 0"),
        ("synthesize.epsilon=-1", "synthesize.epsilon`: found -1, expected a finite number above 0"),
        ("teacher.train.epochs=0", "teacher.train.epochs`: found 0, expected more than 0"),
        (
            "teacher.train.batch=1",
            "teacher.train.batch`: found 1, expected at least 2 images: BatchNorm needs a batch",
        ),
        ("teacher.train.optimizer.lr=0", "teacher.train.optimizer.lr`: found 0, expected more than 0"),
        (
            "teacher.train.label_smoothing=1",
            "teacher.train.label_smoothing`: found 1, expected a share of 0 or more, less than 1",
        ),
        (
            "teacher.network.width=0",
            "teacher.network`: a ConvNet of depth 2 and width 0 does not fit 8 px; expected a width of 1 or more, \
             and 8 px to be left with a pixel when halved 2 times; lower the depth or raise teacher.size",
        ),
        (
            "relabel.min_crop_scale=0",
            "relabel`: augmentation setting `min_crop_scale` is 0, expected above 0 and at most 1; correct it in the \
             pipeline's YAML",
        ),
    ];
    for (setting, expected) in refusals {
        // the branch `random` recovers nothing, so settings of rounds are met by `delt`
        let branch = if expected.contains("iterations`: ") { "delt" } else { "random" };
        let expected = format!(" (branch {branch}): at `{expected}");
        assert_eq!(said("digits.yaml", &[setting], None), expected, "{setting}");
    }
}

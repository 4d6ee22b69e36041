"""Labels of any torch model, as relabel takes them."""

import json
import re

import numpy as np
import pytest

import delt

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def module(run):
    return delt.Teacher(run).module()


def logits(views: delt.StoredViews) -> np.ndarray:
    return np.concatenate([views.arrays(at).logits for at in range(len(views))])


def test_the_same_teacher_gives_the_stored_logits_and_students_learn_from_them(binaries, run, module, tmp_path):
    own = logits(delt.StoredViews(run))
    files = delt.label(run, module, tmp_path, name="the teacher in torch", classes=run.classes)
    assert [path.name for path in files] == ["labels-3407.parquet", "labels-4663.parquet"]
    again = logits(delt.StoredViews(run, labels=files[0]))
    assert (np.abs(again - own) <= np.abs(own) / 1024 + 1e-4).all()
    said = binaries.run("relabel", "evaluate", sets=(f"relabel.import={tmp_path}",))
    assert "labels: those of" in said
    taken = delt.open(binaries.store)["tiny/delt"].artifact("labels-3407")
    assert taken.facts["labeled_by"]["name"] == "the teacher in torch" and len(taken.facts["labeled_by"]["digest"]) == 64
    assert (logits(delt.StoredViews(run)) == again).all()
    binaries.run("relabel")  # the run points to the teacher's labels again
    assert (logits(delt.StoredViews(run)) == own).all()


def test_classes_count_by_name_and_more_outputs_may_be_there(run, module, tmp_path):
    plain = delt.label(run, module, tmp_path / "plain", name="t", classes=run.classes, seeds=[3407])
    order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]

    def other(views):
        answer = module(views)[:, order]
        return torch.cat([torch.full((len(answer), 1), 100.0), answer], 1)

    names = ["goose", *(run.classes[at] for at in order)]
    sorted_ = delt.label(run, other, tmp_path / "other", name="o", digest="o1", classes=names, seeds=[3407])
    assert (logits(delt.StoredViews(run, labels=sorted_[0])) == logits(delt.StoredViews(run, labels=plain[0]))).all()


def test_views_with_shuffled_patches_are_labeled_in_their_layout(binaries, run, module, tmp_path):
    sets = ("relabel.shuffle_patches=2", "relabel.labels={keep: {top_k: 3}, bits: 8}")
    binaries.run("relabel", sets=sets)
    try:
        stored = delt.StoredViews(run)
        delt.label(run, module, tmp_path, name="t", classes=run.classes)
        whole = logits(delt.StoredViews(run, labels=tmp_path / "labels-3407.parquet"))
        kept = np.array([row["kept_classes"] for batch in stored.rows(0) for row in batch])
        assert (np.sort(np.argsort(-whole[: len(kept)], 1)[:, :3], 1) == kept).mean() > 0.95
        binaries.run("relabel", "evaluate", sets=(*sets, f"relabel.import={tmp_path}"))
    finally:
        binaries.run("relabel")


def test_a_model_that_does_not_fit_is_refused(run, module, tmp_path):
    for model, more, said in [
        (module, {"classes": run.classes[:9]}, "classes: 1 of the run's 10 are not among the model's 9 outputs: '9'; give"),
        (lambda views: module(views)[0], {"digest": "x"}, "the model answers [10] to 30 views, expected [30, outputs]"),
        (lambda views: module(views) * 1e6, {"digest": "x"}, "expected a number up to 65504"),
        (lambda views: module(views).softmax(1), {"digest": "x"}, "epoch 0: the model answers probabilities"),
        (lambda views: module(views), {}, "digest: this model has no state_dict; give digest="),
    ]:
        with pytest.raises(delt.DeltError, match=re.escape(said)):
            delt.label(run, model, tmp_path / "labels", **{"name": "m", "classes": run.classes, **more})
    assert not list(tmp_path.iterdir()), "files are there only when they are whole, and their folder with the first"

    calls = []

    def second_epoch_fails(views):
        calls.append(len(views))
        return module(views) * (1 if len(calls) == 1 else np.nan)

    with pytest.raises(delt.DeltError, match="epoch 1: the model's logit is nan"):
        delt.label(run, second_epoch_fails, tmp_path / "labels", name="m", digest="x", classes=run.classes)
    assert not list((tmp_path / "labels").iterdir())


def test_logarithms_of_probabilities_are_labels_and_numbers_are_names(run, module, tmp_path):
    own = logits(delt.StoredViews(run, 3407))
    [path] = delt.label(
        run,
        lambda views: module(views).softmax(1).clamp(min=1e-7).log(),
        tmp_path,
        name="m",
        digest="x",
        classes=list(range(10)),
        seeds=[3407],
    )
    again = logits(delt.StoredViews(run, labels=path))

    def shares(values):
        return torch.from_numpy(values).softmax(1).numpy()

    assert np.abs(shares(again) - shares(own)).max() < 0.01


def test_the_file_says_which_model_answered(run, module, tmp_path):
    import pyarrow.parquet as pq

    [path] = delt.label(run, module, tmp_path, name="m", classes=run.classes, seeds=[4663])
    said = json.loads(pq.read_metadata(path).metadata[b"delt"])
    assert said["producer"] == "delt.label" and said["seed"] == 4663 and said["classes"] == run.classes
    assert said["inputs"] == run.artifact("labels-4663").inputs and said["config"]["labeler"]["name"] == "m"
    module.train()
    [again] = delt.label(run, module, tmp_path / "again", name="m", classes=run.classes, seeds=[4663])
    assert module.training and again.read_bytes() == path.read_bytes()
    module.eval()

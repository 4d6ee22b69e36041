"""Opening stores, runs and artifacts, and what is said of those that are none."""

import json
import re
from pathlib import Path

import pytest

import delt

ROOT = Path(__file__).parents[2]


def test_a_store_names_its_runs_and_their_artifacts(binaries, run):
    assert "tiny/delt" in list(delt.open(binaries.store))
    assert {"dataset", "initial", "labels-3407", "labels-4663", "synthetic", "teacher"} <= set(run.names)
    assert run.seeds == [3407, 4663] and run.classes == [str(digit) for digit in range(10)]
    labels = run.artifact("labels-3407")
    assert labels.inputs["synthetic"] == run.artifact("synthetic").digest
    assert delt.open(labels.folder).digest == labels.digest


def test_labels_in_the_order_of_torch_are_taken_where_there_are_no_others(tmp_path, run):
    own = run.artifact("labels-3407")
    pointers = tmp_path / "runs/p/b"
    pointers.mkdir(parents=True)
    (tmp_path / "labels").symlink_to(own.folder.parent)
    (pointers / "torch-labels-3407.json").write_text(json.dumps({"artifact": "labels", "key": own.folder.name}))
    theirs = delt.open(tmp_path)["p/b"]
    assert theirs.seeds == [3407] and theirs.labels(3407).digest == own.digest
    (pointers / "labels-3407.json").write_text(json.dumps({"artifact": "labels", "key": "another"}))
    assert theirs.seeds == [3407]
    with pytest.raises(delt.DeltError, match="another"):
        theirs.labels(3407)


def test_what_is_missing_is_named(tmp_path, binaries, run):
    for what, said in [
        (lambda: delt.open(tmp_path), "is no artifact store"),
        (lambda: delt.open(binaries.store)["gone"], "has no run gone, it holds tiny/delt"),
        (lambda: delt.open(binaries.store)["tiny/detl"], "has no run tiny/detl, did you mean tiny/delt"),
        (lambda: delt.open(binaries.store)["tiny"], "has no run tiny, which is a pipeline; its branches are runs: tiny/delt"),
        (lambda: run.artifact("ranker"), "has no ranker, it holds dataset"),
        (lambda: run.artifact("teacher").file("weights.pth"), "has no file weights.pth, it holds"),
        (lambda: delt.SyntheticImages(run.artifact("teacher")), "is an artifact of kind teacher, expected synthetic"),
        (lambda: delt.SyntheticImages(run.artifact("synthetic")), "give transform= or normalization="),
    ]:
        with pytest.raises(delt.DeltError, match=re.escape(said)):
            what()


def test_a_home_folder_may_be_written_as_a_tilde(monkeypatch, binaries, run):
    monkeypatch.setenv("HOME", str(binaries.store.parent))
    assert delt.open("~/store")["tiny/delt"].names == run.names
    labels = run.artifact("labels-3407")
    assert delt.open(f"~/store/{labels.folder.relative_to(binaries.store)}").digest == labels.digest


def test_a_file_of_another_size_is_refused(tmp_path, run):
    source = run.artifact("synthetic").folder
    for name in ("manifest.json", "synthetic.parquet"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    (tmp_path / "synthetic.parquet").write_bytes(b"short")
    with pytest.raises(delt.DeltError, match="found 5 bytes, expected"):
        delt.open(tmp_path).file("synthetic.parquet")


def test_the_package_has_the_version_of_the_workspace():
    version = re.compile(r'^version = "(.*?)"', re.MULTILINE)
    own, workspace = ((ROOT / path).read_text() for path in ("python/pyproject.toml", "Cargo.toml"))
    assert version.search(own)[1] == version.search(workspace)[1]

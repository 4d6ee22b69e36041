"""Images, views and teachers of a run."""

import re
import sys

import numpy as np
import pytest
from conftest import STAGES, Binaries

import delt
from delt import views


def test_images_are_those_of_the_file(run):
    images = delt.SyntheticImages(run, transform=np.asarray)
    assert len(images) == 30 and images.pixels.shape == (30, 8, 8, 3) and images.pixels.dtype == np.uint8
    assert images.labels.tolist() == [digit for digit in range(10) for _ in range(3)]
    pixels, label = images[7]
    assert (pixels == images.pixels[7]).all() and label == 2


def test_a_slice_is_a_list_of_items_and_negative_places_count_from_the_end(run):
    images = delt.SyntheticImages(run, transform=np.asarray)
    real = delt.RealImages(run, transform=np.asarray)
    for some in (images, real):
        assert [(pixels.tolist(), label) for pixels, label in some[-3:]] == [
            (some[at][0].tolist(), some[at][1]) for at in range(len(some) - 3, len(some))
        ]
        assert some[-1][1] == some.labels[-1] and some[5:2] == []
    stored = delt.StoredViews(run)
    assert (stored.arrays(-1).views == stored.arrays(8).views).all()


def test_without_torch_an_error_says_how_to_get_it_and_what_there_is(monkeypatch, run, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)  # its import fails then
    get = "needs torch, which is not installed: pip install 'delt[torch]'; without it, "
    teacher = delt.Teacher(run)
    for what, said in [
        (lambda: delt.SyntheticImages(run)[0], get + "`transform=numpy.asarray` gives pixels"),
        (lambda: delt.StoredViews(run)[0], get + "`arrays(i)` gives the same batch"),
        (teacher.state_dict, get + "`arrays()` gives the weights"),
        (teacher.module, get + "`arrays()` gives the weights"),
        (lambda: delt.label(run, None, tmp_path, name="m", classes=run.classes), get + "docs/artifacts.md"),
    ]:
        with pytest.raises(delt.DeltError, match=re.escape(said)):
            what()
    assert delt.SyntheticImages(run).pixels.shape == (30, 8, 8, 3)
    assert delt.SyntheticImages(run, transform=np.asarray)[0][0].shape == (8, 8, 3)
    assert delt.StoredViews(run).arrays(0).views.shape == (10, 3, 8, 8)


def test_a_batch_is_what_its_rows_say(run):
    stored = delt.StoredViews(run)
    assert (stored.epochs, stored.batches, len(stored)) == (3, 3, 9)
    batch = stored.arrays(4)
    assert batch.views.shape == (10, 3, 8, 8) and batch.logits.shape == (10, 10) and batch.views.dtype == np.float32
    rows = stored.rows(1)[1]
    assert batch.labels.tolist() == [stored.images.labels[row["image_id"]] for row in rows]
    assert any(row["mix_kind"] == "cutmix" for row in rows)
    with pytest.raises(IndexError):
        stored.arrays(9)
    with pytest.raises(IndexError):
        stored.arrays(-10)


def test_a_view_without_changes_is_the_image(run):
    images = delt.SyntheticImages(run, transform=np.asarray)
    whole = {"randaugment": [], "crop_top": 0, "crop_left": 0, "crop_height": 8, "crop_width": 8, "flip": False}
    mean, std = np.zeros(3, np.float32), np.ones(3, np.float32)
    expected = images.pixels[3].transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    assert (views.view(whole, images.pixels[3], mean, std) == expected).all()
    assert (views.view(dict(whole, flip=True), images.pixels[3], mean, std) == expected[:, :, ::-1]).all()


def test_labels_of_other_images_are_refused(binaries, run):
    other = Binaries(binaries.folder, binaries.store.with_name("other"))
    other.run(*STAGES[:-1])
    other.run("delt-synthesize", sets=("synthesize.lr=0.05",))
    with pytest.raises(delt.DeltError, match="was made from another synthetic than .*; run relabel again"):
        delt.StoredViews(delt.open(other.store)["tiny/delt"])


def test_a_loader_gives_the_batches_of_workers_in_order(run):
    torch = pytest.importorskip("torch")
    stored = delt.StoredViews(run)
    loader = torch.utils.data.DataLoader(stored, batch_size=None, num_workers=1)
    for own, loaded in zip(stored, loader, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(own, loaded, strict=True))


@pytest.mark.parametrize(
    "network",
    [
        None,
        "{name: resnet18, stem: small}",
        "{name: resnet18, stem: standard}",
        "{name: mobilenet_v2}",
        "{name: shufflenet_v2_x0_5_small}",
    ],
)
def test_a_teacher_in_torch_gives_the_stored_logits_and_its_accuracy(binaries, run, network):
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    if network:
        size = "teacher.size=32" if "standard" in network else "teacher.size=8"
        sets = (f"teacher.network={network}", "teacher.train.epochs=1", "relabel.epochs=1", "relabel.seeds=[3407]", size)
        binaries.run(*STAGES[:-1], sets=sets, branch="random")
        run = delt.open(binaries.store)["tiny/random"]
    teacher = delt.Teacher(run)
    module = teacher.module()
    with torch.inference_mode():
        for views, logits, _ in delt.StoredViews(run, 3407):
            allowed = logits.abs() / 2048 + 1e-4 * logits.abs().max().clamp(min=1)
            assert ((module(views) - logits).abs() <= allowed).all()
        test = delt.RealImages(run)
        images, labels = torch.stack([image for image, _ in test]), torch.tensor([label for _, label in test])
        right = (module(images).argmax(1) == labels).float().mean() * 100
    # one image of a hundred may lie on the border of two classes
    assert abs(right - teacher.artifact.facts["test_top1"]) <= 1.001

"""Synthetic images, stored views and real images as map-style data sets, which torch's ``DataLoader`` takes.

Nothing here needs torch until an item is asked for: ``SyntheticImages.pixels`` and ``StoredViews.arrays`` are numpy's, and
``transform=numpy.asarray`` makes an item pixels. A slice of a data set is a list of items, and ``[-1]`` is the last one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from delt import needs
from delt import views as build
from delt.store import Artifact, DeltError, Run

Normalization = tuple[Sequence[float], Sequence[float]]


class Batch(NamedTuple):
    """Views of one step of a student.

    Attributes:
        views: float32 ``[n, 3, size, size]``, normalized and mixed.
        logits: float32 ``[n, classes]``, before temperature.
        labels: int64 ``[n]``, the class of each image before it was mixed.
    """

    views: Any
    logits: Any
    labels: Any


class SyntheticImages:
    """The synthetic images of a run: ``[i]`` is an image and its label.

    Args:
        source: a run, or an artifact of kind ``synthetic`` (then give ``transform`` or ``normalization``).
        transform: from a Pillow image to what is wanted, as torchvision's transforms are; without one an item is a float32 tensor
            ``[3, size, size]``, normalized, or what was learned in a network's space.
        normalization: mean and std of pixels in 0..1, the teacher's by default.

    Attributes:
        pixels: uint8 ``[n, size, size, 3]``, RGB.
        labels: int64 ``[n]``; ``classes[label]`` is the name.
        values: float32 ``[n, 3, size, size]``, the images in the space of ``facts["space"]`` where they were learned there, of which
            ``pixels`` are a preview; else None.
        targets: float32 ``[n, classes]``, where targets were learned; else None.
    """

    def __init__(
        self,
        source: Run | Artifact,
        transform: Callable[[Image.Image], Any] | None = None,
        normalization: Normalization | None = None,
    ) -> None:
        artifact = source.artifact("synthetic") if isinstance(source, Run) else source.expect("synthetic")
        if normalization is None and isinstance(source, Run):
            normalization = normalization_of(source.artifact("teacher"))
        if normalization is None and transform is None:
            raise DeltError(f"{artifact.folder}: give transform= or normalization=(mean, std), or a run, whose teacher has one")
        table = pq.read_table(artifact.file("synthetic.parquet"))
        self.classes: list[str] = artifact.classes
        self.pixels: np.ndarray = np.stack([build.decode(image["bytes"]) for image in table["image"].to_pylist()])
        self.labels: np.ndarray = table["label"].to_numpy().astype(np.int64)
        self.transform, self.normalization = transform, normalization
        self.values, self.targets = _lists(table, "pixels"), _lists(table, "target")
        if self.values is not None:
            self.values = self.values.reshape(len(table), 3, *self.pixels.shape[1:3])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return _items(self, index)
        if self.values is not None and self.transform is None:
            torch = needs.package("torch", "an image as a tensor", "`SyntheticImages.values` are the same as an array")
            return torch.from_numpy(self.values[index].copy()), int(self.labels[index])
        return _item(self.pixels[index], self.labels[index], self.transform, self.normalization)


class RealImages:
    """The real images that students are tested on (``split="test"``), or that the teacher learned from (``"train"``), each brought to
    the teacher's size as delt does it: ``[i]`` is an image and its label, as of :class:`SyntheticImages`.
    """

    def __init__(self, run: Run, split: str = "test", transform: Callable[[Image.Image], Any] | None = None) -> None:
        teacher = run.artifact("teacher")
        table = pq.read_table(run.artifact("dataset").file(f"{split}.parquet"), columns=["image", "label"])
        self.classes: list[str] = teacher.classes
        self.labels: np.ndarray = table["label"].to_numpy().astype(np.int64)
        self.transform, self.normalization = transform, normalization_of(teacher)
        self._files, self._size = table["image"], int(teacher.facts["size"])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return _items(self, index)
        pixels = build.fit(build.decode(self._files[index]["bytes"].as_py()), self._size)
        return _item(pixels, self.labels[index], self.transform, self.normalization)


class StoredViews:
    """The batches that a student sees, epoch after epoch, as the teacher labeled them: ``[i]`` is a :class:`Batch` of tensors.

    Views are equal to delt's own to the bit, see :mod:`delt.views`. For a ``DataLoader`` say ``batch_size=None``, since items are batches,
    and no ``shuffle``: an epoch is read at a time.

    Args:
        run: whose views these are.
        seed: of the student, one of ``run.seeds``; by default the first.
        labels: a file that :func:`delt.label` wrote, in place of the run's own labels.
        normalization: mean and std of pixels in 0..1 of the network that is to see the views, the teacher's by default.

    Attributes:
        epochs: how many are stored; a student with more sees them again.
        batches: of one epoch.
        classes: names of the classes.
        size: side of the views, px.
    """

    def __init__(
        self,
        run: Run,
        seed: int | None = None,
        labels: str | Path | None = None,
        normalization: Normalization | None = None,
    ) -> None:
        self.seed = _seed(run, seed)
        self.labels, self.teacher = run.labels(self.seed), run.artifact("teacher")
        synthetic = run.artifact("synthetic")
        _expect_made_from(self.labels, synthetic=synthetic, teacher=self.teacher)
        self.images = SyntheticImages(run)
        self.classes: list[str] = self.labels.classes
        self.size = int(self.teacher.facts["size"])
        mean, std = normalization or normalization_of(self.teacher)
        self._mean, self._std = np.array(mean, np.float32), np.array(std, np.float32)
        self.path = self.labels.file("labels.parquet") if labels is None else Path(labels).expanduser()
        self.epochs: int = pq.ParquetFile(self.path).num_row_groups
        self._kept: tuple[int, list[list[build.Row]]] = (-1, [])
        self.batches = len(self.rows(0))

    def rows(self, epoch: int) -> list[list[build.Row]]:
        """The rows of ``labels.parquet`` of an epoch by batch; the last epoch that was read is kept."""
        if self._kept[0] != epoch:
            rows = pq.ParquetFile(self.path).read_row_group(epoch).to_pylist()
            self._kept = epoch, [list(batch) for _, batch in itertools.groupby(rows, lambda row: row["batch"])]
        return self._kept[1]

    def __len__(self) -> int:
        return self.epochs * self.batches

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return _items(self, index)
        torch = needs.package("torch", "a batch of tensors", "`arrays(i)` gives the same batch in numpy's arrays")
        return Batch(*(torch.from_numpy(array) for array in self.arrays(index)))

    def epoch(self, epoch: int) -> Any:
        """Iterates over the batches of an epoch."""
        return (self[epoch * self.batches + batch] for batch in range(self.batches))

    def arrays(self, index: int) -> Batch:
        """Batch ``index % batches`` of epoch ``index // batches``, in numpy's arrays; negative ones count from the end."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        index %= len(self)
        rows = self.rows(index // self.batches)[index % self.batches]
        before = [build.view(row, self.images.pixels[row["image_id"]], self._mean, self._std) for row in rows]
        answers = np.stack([build.logits(row, len(self.classes)) for row in rows])
        return Batch(build.mixed(rows, np.stack(before)), answers, self.images.labels[[row["image_id"] for row in rows]])


def normalization_of(teacher: Artifact) -> Normalization:
    """Mean and std of red, green and blue, of pixels in 0..1, that a teacher normalizes by."""
    return teacher.facts["normalization"]["mean"], teacher.facts["normalization"]["std"]


def _seed(run: Run, seed: int | None) -> int:
    if not run.seeds:
        raise DeltError(f"{run.name}: has no labels; run relabel")
    return run.seeds[0] if seed is None else seed


def _expect_made_from(labels: Artifact, **inputs: Artifact) -> None:
    for role, artifact in inputs.items():
        if labels.inputs.get(role) != artifact.digest:
            raise DeltError(f"{labels.folder}: was made from another {role} than {artifact.folder}; run relabel again")


def _lists(table: Any, column: str) -> np.ndarray | None:
    """A column of lists as an array ``[n, length]``; None where the file has no such column, or a row has no list."""
    if column not in table.column_names or table[column].null_count > 0:
        return None
    return np.array(table[column].to_pylist(), np.float32)


def _items(images: Any, which: slice) -> list[Any]:
    return [images[at] for at in range(*which.indices(len(images)))]


def _item(
    pixels: np.ndarray, label: Any, transform: Callable[[Image.Image], Any] | None, normalization: Normalization | None
) -> tuple[Any, int]:
    if transform is not None:
        return transform(Image.fromarray(pixels)), int(label)
    torch = needs.package("torch", "an image as a tensor", "`transform=numpy.asarray` gives pixels, as `SyntheticImages.pixels` does")
    mean, std = (np.array(values, np.float32) for values in normalization or ((0.0,) * 3, (1.0,) * 3))
    values = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1))), int(label)

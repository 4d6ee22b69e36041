"""Labels of any model: the stored views of a run with other logits, in a file that ``relabel.import`` takes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from delt import needs
from delt.data import Normalization, StoredViews
from delt.store import DeltError, Run

#: Raised whenever the same model and views give other bytes.
ALGORITHM_VERSION = 1
#: Columns of the packed layout, which only keeps the order of patches here: all classes, 16 bits.
_PACKED = {
    "kept_classes": pa.list_(pa.uint16()),
    "kept_logits": pa.list_(pa.float16()),
    "codes": pa.binary(),
    "code_low": pa.float16(),
    "code_high": pa.float16(),
    "rest": pa.float16(),
}


def label(
    run: Run,
    model: Callable[[Any], Any],
    folder: str | Path,
    *,
    name: str,
    classes: Sequence[str],
    digest: str | None = None,
    normalization: Normalization | None = None,
    seeds: Sequence[int] | None = None,
    batch: int = 256,
    device: Any = None,
) -> list[Path]:
    """Asks a model for the labels of the views that a run stores, and writes ``folder/labels-SEED.parquet`` for each seed.

    ``make P SET=relabel.import=folder`` then trains students on them: the same views, other logits.

    Args:
        run: whose views are labeled; its stage ``relabel`` has been run.
        model: from views, float32 ``[n, 3, size, size]``, to logits ``[n, len(classes)]`` before softmax; probabilities are refused, their
            logarithm will do: ``lambda views: model(views).clamp(min=1e-7).log()``. For another input size wrap it:
            ``lambda views: model(torch.nn.functional.interpolate(views, 224))``. A ``torch.nn.Module`` is asked in evaluation mode.
        folder: for the files, made with the first of them; files of these names are replaced.
        name: what the model is called in the provenance.
        classes: names of the model's outputs, in order. They may be more than the run's and in another order: names count, and a
            number is the name that it is written as.
        digest: what tells this model from others; by default that of a module's ``state_dict``, and needed where there is none.
        normalization: mean and std of pixels in 0..1 that the model expects; by default the teacher's.
        seeds: of students; by default all of the run.
        batch: about how many views the model sees at once; batches are kept whole.
        device: of torch, where the views are put; by default where a module's first parameter is.

    Returns:
        The files.
    """
    needs.package("torch", "delt.label, which asks a model of torch,", "docs/artifacts.md describes the file that relabel.import takes")
    order = _places(run.classes, [str(name) for name in classes])
    labeler = {"name": name, "digest": digest or _digest(model)}
    seeds = run.seeds if seeds is None else seeds
    if not seeds:
        raise DeltError(f"{run.name}: has no views to label; run relabel")
    folder, written = Path(folder).expanduser(), []
    for seed in seeds:
        views = StoredViews(run, seed, normalization=normalization)
        path = folder / f"labels-{seed}.parquet"
        beside = path.with_name(f".{path.name}.writing")
        answers = partial(_answers, model, views, order=order, batch=batch, device=device)
        try:
            _write(beside, views, labeler, answers)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        written.append(path)
    return written


def _answers(model: Any, views: StoredViews, epoch: int, order: list[int], batch: int, device: Any) -> np.ndarray:
    """Logits of all views of an epoch in half precision, ``[views, classes]``, in the order of the run's classes."""
    import torch

    found, are_probabilities, count = [], True, max(1, batch // max(1, len(views.rows(epoch)[0])))
    is_training = getattr(model, "training", False)
    if isinstance(model, torch.nn.Module):
        model.eval()
        device = device or next((parameter.device for parameter in model.parameters()), None)
    try:
        with torch.inference_mode():
            for first in range(0, views.batches, count):
                some = range(first, min(first + count, views.batches))
                images = np.concatenate([views.arrays(epoch * views.batches + at).views for at in some])
                answer = model(torch.from_numpy(images).to(device)).float().cpu().numpy()
                _check(answer, len(images), max(order) + 1, epoch)
                are_probabilities &= bool((answer >= 0).all() and (np.abs(answer.sum(1) - 1) < 1e-3).all())
                found.append(answer[:, order])
    finally:
        if isinstance(model, torch.nn.Module):
            model.train(is_training)
    if are_probabilities:
        raise DeltError(
            f"epoch {epoch}: the model answers probabilities (none is negative, and those of each view sum to 1), expected logits; give "
            "it without its softmax, or their logarithm: lambda views: model(views).clamp(min=1e-7).log()"
        )
    logits = np.concatenate(found)
    with np.errstate(over="ignore"):
        halves = logits.astype(np.float16)
    if not np.isfinite(halves).all():
        wrong = logits[~np.isfinite(halves)][0]
        raise DeltError(f"epoch {epoch}: the model's logit is {wrong}, expected a number up to 65504; are these its logits?")
    return halves


def _check(answer: np.ndarray, views: int, outputs: int, epoch: int) -> None:
    if answer.ndim != 2 or len(answer) != views or answer.shape[1] < outputs:
        raise DeltError(
            f"epoch {epoch}: the model answers {list(answer.shape)} to {views} views, expected [{views}, outputs] with an output for "
            "each of `classes`; wrap the model so that it returns logits"
        )


def _write(path: Path, views: StoredViews, labeler: dict[str, str], answers: Callable[[int], np.ndarray]) -> None:
    provenance = dict(views.labels.provenance, producer="delt.label", algorithm_version=ALGORITHM_VERSION)
    provenance["config"] = {**{k: v for k, v in views.labels.config.items() if k != "packing"}, "labeler": labeler}
    metadata = json.dumps(provenance, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    source, writer = pq.ParquetFile(views.path), None
    try:
        for epoch in range(views.epochs):
            table = source.read_row_group(epoch)
            table = _with_logits(table, answers(epoch)).replace_schema_metadata(None)
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd", store_schema=False)
            writer.write_table(table, row_group_size=max(1, table.num_rows))
        if writer is not None:
            writer.add_key_value_metadata({"delt": metadata})
    finally:
        if writer is not None:
            writer.close()


def _with_logits(table: pa.Table, logits: np.ndarray) -> pa.Table:
    """A table of views with other logits, in the layout that it has."""
    rows, classes = logits.shape
    offsets = pa.array(np.arange(0, rows * classes + 1, classes, dtype=np.int32))
    values = pa.ListArray.from_arrays(offsets, pa.array(logits.reshape(-1), pa.float16()))
    if "patch_order" not in table.column_names:
        kept = [name for name in table.column_names if name != "logits" and name not in _PACKED]
        return table.select(kept).append_column("logits", values)
    empty: dict[str, Any] = {"kept_classes": [[]] * rows, "codes": [b""] * rows}
    for column, kind in _PACKED.items():
        found = values if column == "kept_logits" else pa.array(empty.get(column, [None] * rows), kind)
        table = table.set_column(table.schema.get_field_index(column), column, found)
    return table


def _places(wanted: Sequence[str], outputs: Sequence[str]) -> list[int]:
    """For each class of the run the model's output of that name."""
    places = {name: place for place, name in enumerate(outputs)}
    missing = [name for name in wanted if name not in places]
    if missing or len(places) != len(outputs):
        twice = len(outputs) - len(places)
        raise DeltError(
            f"classes: {len(missing)} of the run's {len(wanted)} are not among the model's {len(outputs)} outputs"
            f"{f' ({twice} of which have a name twice)' if twice else ''}: {', '.join(map(repr, missing[:5]))}; "
            f"give the names of the outputs as the run spells them: {', '.join(map(repr, wanted[:5]))}"
        )
    return [places[name] for name in wanted]


def _digest(model: Any) -> str:
    """SHA-256 of a module's state: names, types, shapes and bytes."""
    if not hasattr(model, "state_dict"):
        raise DeltError("digest: this model has no state_dict; give digest=, a text that tells it from other models")
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {list(array.shape)}\n".encode())
        digest.update(array.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

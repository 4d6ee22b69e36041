"""From a row of ``labels.parquet`` to the view that the teacher labeled, by numpy and Pillow, as delt computes it.

The steps are those of docs/artifacts.md, "From a row to a view". Pixels are float32 and every product and sum is taken in the order
of delt's own code, so that the values are equal to the bit; Pillow's Rotate differs by one of 255 in a pixel of some thousand images.
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Row = dict[str, Any]


def decode(png: bytes) -> np.ndarray:
    """The pixels of an image file: uint8 ``[height, width, 3]``."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def view(row: Row, pixels: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """The view of a row before mixing: steps 1 to 5.

    Args:
        row: of ``labels.parquet``.
        pixels: of the image, uint8 ``[size, size, 3]``.
        mean, std: the network's, float32 ``[3]``, of pixels in 0..1.

    Returns:
        Normalized values, float32 ``[3, size, size]``.
    """
    image = Image.fromarray(_shuffled(pixels, list(row.get("patch_order") or b"")))
    for operation in row["randaugment"]:
        image = _augmented(image, **operation)
    values = np.asarray(image).astype(np.float32) / np.float32(255)
    top, left, height, width = (row[f"crop_{side}"] for side in ("top", "left", "height", "width"))
    values = values[top : top + height, left : left + width]
    values = _resized(_resized(values, len(pixels), axis=1), len(pixels), axis=0)
    values = values[:, ::-1] if row["flip"] else values
    return ((values - mean) / std).transpose(2, 0, 1)


def mixed(rows: list[Row], before: np.ndarray) -> np.ndarray:
    """Step 6 for a batch, float32 ``[n, 3, size, size]``: each view mixed with its partner as the partner was before."""
    views = before.copy()
    for row, own in zip(rows, views):
        if row["mix_kind"] == "cutmix":
            box = slice(None), slice(row["mix_top"], row["mix_bottom"]), slice(row["mix_left"], row["mix_right"])
            own[box] = before[row["mix_partner"]][box]
        elif row["mix_kind"] == "mixup":
            share = np.float32(row["mix_lambda"])
            own[:] = own * share + before[row["mix_partner"]] * (np.float32(1) - share)
    return views


def logits(row: Row, classes: int) -> np.ndarray:
    """The teacher's logits of a row, before temperature, from either layout: float32 ``[classes]``."""
    if "logits" in row:
        return np.array(row["logits"], np.float32)
    values = np.array(row["kept_logits"], np.float32)
    if row["code_low"] is not None:
        low, high = np.float32(row["code_low"]), np.float32(row["code_high"])
        codes = np.frombuffer(row["codes"], np.uint8).astype(np.float32)
        values = (low + codes * ((high - low) / np.float32(255))).astype(np.float16).astype(np.float32)
    if row["rest"] is None:
        return values
    whole = np.full(classes, row["rest"], np.float32)
    whole[row["kept_classes"]] = values
    return whole


def fit(pixels: np.ndarray, size: int) -> np.ndarray:
    """A real image as students are tested on it, uint8 ``[size, size, 3]``: the short side to ``max(size // 7 * 8, size)``, the center."""
    height, width = pixels.shape[:2]
    short = max(size // 7 * 8, size)
    sides = (short, short * height // width) if width <= height else (short * width // height, short)
    resized = np.asarray(Image.fromarray(pixels).resize(sides, Image.Resampling.BILINEAR))
    top, left = (round((side - size) / 2) for side in resized.shape[:2])
    return resized[top : top + size, left : left + size]


def _shuffled(pixels: np.ndarray, order: list[int]) -> np.ndarray:
    """Step 1: place p of the mosaic shows patch ``order[p]``."""
    if not order:
        return pixels
    side = math.isqrt(len(order))
    patch = len(pixels) // side
    mosaic = pixels.reshape(side, patch, side, patch, 3).swapaxes(1, 2)
    mosaic = mosaic.reshape(-1, patch, patch, 3)[order].reshape(mosaic.shape)
    return mosaic.swapaxes(1, 2).reshape(pixels.shape)


def _augmented(image: Image.Image, op: str, argument: float, interpolation: str) -> Image.Image:
    """Step 2: one operation of timm's RandAugment."""
    exact, (width, height) = round(argument, 6), image.size
    way, fill = Image.Resampling[interpolation.upper()], (124, 116, 104)
    moves = {
        "ShearX": (1, exact, 0, 0, 1, 0),
        "TranslateXRel": (1, 0, exact * width, 0, 1, 0),
        "ShearY": (1, 0, 0, exact, 1, 0),
        "TranslateYRel": (1, 0, 0, 0, 1, exact * height),
    }
    if op in moves:
        return image.transform(image.size, Image.Transform.AFFINE, moves[op], way, fillcolor=fill)
    if op == "Rotate":
        return image.rotate(exact, way, fillcolor=fill)
    if op in ("Color", "Contrast", "Brightness", "Sharpness"):
        return getattr(ImageEnhance, op)(image).enhance(argument)
    if op == "SolarizeAdd":
        return image.point([min(v + int(argument), 255) if v < 128 else v for v in range(256)] * 3)
    return getattr(ImageOps, op.lower())(image, *([int(argument)] if op in ("Posterize", "Solarize") else []))


def _resized(values: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Step 4 along one side: float32, bilinear, to ``size`` values; the inputs of each are summed in ascending order."""
    n = values.shape[axis]
    centers = (np.arange(size) + 0.5) * (n / size)
    support = max(n / size, 1.0)
    first = np.maximum(centers - support + 0.5, 0).astype(int)
    end = np.minimum((centers + support + 0.5).astype(int), n)
    taps = first + np.arange((end - first).max())[:, None]  # [taps, size]
    weights = np.maximum(1 - np.abs((taps + 0.5 - centers) / support), 0) * (taps < end)
    total = np.zeros(size)
    for row in weights:
        total += row
    weights = (weights / total).astype(np.float32)
    shape = [1] * values.ndim
    shape[axis] = size
    out: np.ndarray = np.float32(0)  # type: ignore[assignment]
    for at, weight in zip(np.minimum(taps, n - 1), weights):
        out = out + values.take(at, axis) * weight.reshape(shape)
    return out

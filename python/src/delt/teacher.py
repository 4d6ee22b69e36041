"""Trained networks: weights in PyTorch's layout, and the module that they belong to."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

import numpy as np

from delt import needs
from delt.data import Normalization, normalization_of
from delt.store import Artifact, DeltError, Run

_TYPES = {"F32": "<f4", "I64": "<i8"}


class Teacher:
    """A network of a run, or an artifact of kind ``teacher``.

    Args:
        source: a run, or the artifact.
        name: of the network in the run: ``teacher``, ``ranker``, ``full-data``, ``committee-0``.

    Attributes:
        architecture: e.g. ``{"name": "convnet", "depth": 3, "width": 64}``.
        size: side of its square input, px.
        normalization: mean and std of pixels in 0..1.
        classes: names of its outputs, in order.
    """

    def __init__(self, source: Run | Artifact, name: str = "teacher") -> None:
        self.artifact = source.artifact(name).expect("teacher") if isinstance(source, Run) else source.expect("teacher")
        self.architecture: dict[str, Any] = self.artifact.facts["architecture"]
        self.size = int(self.artifact.facts["size"])
        self.normalization: Normalization = normalization_of(self.artifact)
        self.classes: list[str] = self.artifact.classes

    def arrays(self) -> dict[str, np.ndarray]:
        """The tensors of ``weights.safetensors`` by name."""
        content = self.artifact.file("weights.safetensors").read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        header.pop("__metadata__", None)
        found = {}
        for name, entry in header.items():
            begin, end = (start + offset for offset in entry["data_offsets"])
            found[name] = np.frombuffer(content[begin:end], _TYPES[entry["dtype"]]).reshape(entry["shape"]).copy()
        return found

    def state_dict(self) -> dict[str, Any]:
        """The same as torch's tensors; ``load_state_dict`` of torchvision's networks takes them as they are."""
        torch = needs.package("torch", "a state_dict of tensors", "`arrays()` gives the weights in numpy's arrays")
        return {name: torch.from_numpy(array) for name, array in self.arrays().items()}

    def module(self) -> Any:
        """The network in evaluation mode: normalized images ``[n, 3, size, size]`` to logits ``[n, classes]``."""
        needs.package("torch", "a network of torch", "`arrays()` gives the weights in numpy's arrays")
        from delt.networks import build

        module = build(self.architecture, len(self.classes), self.size)
        if module is None:
            raise DeltError(f"{self.artifact.folder}: this package has no network {self.architecture}; use state_dict()")
        state = OrderedDict(self.state_dict())
        # MnasNet asks for the version
        state._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
        module.load_state_dict(state)
        return module.eval()

    def __repr__(self) -> str:
        return f"<teacher {self.architecture} of {len(self.classes)} classes, {self.size} px>"

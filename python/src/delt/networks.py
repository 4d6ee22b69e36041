"""The networks of delt's teachers in torch: torchvision's, and the ConvNet of the distillation literature, which it lacks."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from delt import needs


class ConvNet(nn.Module):
    """``depth`` blocks of 3x3 convolution, BatchNorm, ReLU and 2x2 average pooling, then a linear layer.

    Images ``[n, 3, size, size]`` to logits ``[n, classes]``.
    """

    def __init__(self, depth: int, width: int, classes: int, size: int) -> None:
        super().__init__()
        conv = [nn.Conv2d(width if block else 3, width, 3, padding=1) for block in range(depth)]
        norm = [nn.BatchNorm2d(width) for _ in range(depth)]
        self.layers = nn.ModuleDict({"conv": nn.ModuleList(conv), "norm": nn.ModuleList(norm)})
        self.classifier = nn.Linear(width * (size >> depth) ** 2, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of normalized images."""
        for conv, norm in zip(self.layers["conv"], self.layers["norm"]):  # type: ignore[call-overload]
            images = F.avg_pool2d(F.relu(norm(conv(images))), 2)
        return self.classifier(images.flatten(1))


def build(architecture: dict[str, Any], classes: int, size: int) -> nn.Module | None:
    """A network as a teacher's facts describe it, with weights of torch's own; none where there is none of this name."""
    name = architecture["name"]
    if name == "convnet":
        return ConvNet(architecture["depth"], architecture["width"], classes, size)
    if name not in ("resnet18", "resnet34", "mobilenet_v2"):
        return None
    models = needs.package("torchvision.models", f"a {name}", "`state_dict()` gives the weights")
    module: Any = getattr(models, name)(num_classes=classes)
    if architecture.get("stem") == "small":
        module.conv1, module.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return module

"""The networks of delt's teachers in torch: torchvision's, and the ConvNet of the distillation literature, which it lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from delt import needs

NORMS: dict[str, Callable[[int, int], nn.Module]] = {
    "batch": lambda channels, side: nn.BatchNorm2d(channels),
    "instance": lambda channels, side: nn.GroupNorm(channels, channels),
    "group": lambda channels, side: nn.GroupNorm(4, channels),
    "layer": lambda channels, side: nn.LayerNorm([channels, side, side]),
    "none": lambda channels, side: nn.Identity(),
}

TORCHVISION = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "densenet121", "vgg11", "vgg11_bn", "vgg16_bn", "alexnet"),
    *("mobilenet_v2", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "mnasnet1_3", "efficientnet_b0", "regnet_y_8gf"),
    *("vit_b_16", "swin_t", "swin_v2_t"),
)

# ShuffleNets for small images by the side of their first convolution
SHUFFLENET_KERNELS = {"shufflenet_v2_x0_5_small": 3, "shufflenet_v2_x0_5_pointwise": 1}


class ConvNet(nn.Module):
    """``depth`` blocks of 3x3 convolution, normalization, ReLU and 2x2 average pooling, then a linear layer.

    ``before``: normalize what enters a convolution but the first, in place of what leaves it. ``doubling``: each block has
    twice the channels of the one before it. Images ``[n, 3, size, size]`` to logits ``[n, classes]``.
    """

    def __init__(
        self, depth: int, width: int, classes: int, size: int, norm: str = "batch", before: bool = False, doubling: bool = False
    ) -> None:
        super().__init__()
        channels = [3] + [width << (block if doubling else 0) for block in range(depth)]
        convs = [nn.Conv2d(channels[block], channels[block + 1], 3, padding=1) for block in range(depth)]
        kinds = ["none" if before and block == 0 else norm for block in range(depth)]
        norms = [NORMS[kind](channels[block + (not before)], size >> block) for block, kind in enumerate(kinds)]
        self.layers = nn.ModuleDict({"conv": nn.ModuleList(convs), "norm": nn.ModuleList(norms)})
        self.classifier = nn.Linear(channels[-1] * (size >> depth) ** 2, classes)
        self.before = before

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of normalized images."""
        for conv, norm in zip(self.layers["conv"], self.layers["norm"]):  # type: ignore[call-overload]
            images = conv(norm(images)) if self.before else norm(conv(images))
            images = F.avg_pool2d(F.relu(images), 2)
        return self.classifier(images.flatten(1))


def build(architecture: dict[str, Any], classes: int, size: int) -> nn.Module | None:
    """A network as a teacher's facts describe it, with weights of torch's own; none where there is none of this name."""
    name = architecture["name"]
    if name == "convnet":
        norm, before = architecture.get("norm", "batch"), architecture.get("norm_before_conv", False)
        doubling = architecture.get("doubling", False)
        return ConvNet(architecture["depth"], architecture["width"], classes, size, norm, before, doubling)
    models = needs.package("torchvision.models", f"a {name}", "`state_dict()` gives the weights")
    if name == "deit_tiny":
        return models.VisionTransformer(size, 16, 12, 3, 192, 768, num_classes=classes)
    if name in SHUFFLENET_KERNELS:
        module: Any = models.shufflenet_v2_x0_5(num_classes=classes)
        kernel = SHUFFLENET_KERNELS[name]
        module.conv1[0], module.maxpool = nn.Conv2d(3, 24, kernel, padding=kernel // 2, bias=False), nn.Identity()
        return module
    if name not in TORCHVISION:
        return None
    module = getattr(models, name)(num_classes=classes, **({"image_size": size} if name == "vit_b_16" else {}))
    if architecture.get("stem") == "small":
        module.conv1, module.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return module

"""An outer iteration of each batch-to-batch method, as `bench/src/matching.rs` has it: gradient, step of the images, what moves after.

Ten classes at 32 px, one image a class (DM ten). Gradients are taken of what moves alone, where published code takes more.
"""

import math

import torch

from batch import golden, methods

CLASSES, SIDE = 10, 32
STRATEGIES = ("color", "crop", "cutout", "flip", "scale", "rotate")
PIXELS = {"crop": 4, "cutout": 16}
DRAWS = {
    "flip": ("coin",),
    "scale": ("sx", "sy"),
    "rotate": ("angle",),
    "crop": ("down", "right"),
    "cutout": ("row", "column"),
    "color": ("brightness", "saturation", "contrast"),
}
CONVNET3 = ([128] * 3, CLASSES, SIDE)
CONV = ([128, 256, 512], CLASSES, SIDE)


def draw(strategies, n):
    """A strategy with draws, one or one for each of `n` images, as an augmentation."""
    kind = strategies[torch.randint(len(strategies), ()).item()]
    values = {name: torch.rand(n) for name in DRAWS[kind]}
    if kind in PIXELS:
        low = -PIXELS[kind] if kind == "crop" else 0
        values = {name: torch.randint(low, low + 2 * PIXELS[kind] + 1, (n,)) for name in values}
    return lambda x: methods.augment(x, kind, values)


class Data:
    """Real images by class, and synthetic ones that are moved."""

    def __init__(self, ipc, real, layout):
        self.layout, self.per_class = layout, real
        self.synthetic = self.images(CLASSES * ipc).requires_grad_()
        self.labels = torch.arange(CLASSES).repeat_interleave(ipc)
        self.targets = golden.one_hot(self.labels, CLASSES)
        self.real = self.images(CLASSES * real)
        self.real_targets = golden.one_hot(torch.arange(CLASSES).repeat_interleave(real), CLASSES)

    def images(self, n):
        return torch.rand(n, 3, SIDE, SIDE).mul(3).sub(1.5).contiguous(memory_format=self.layout)

    def of_class(self, label):
        rows = label * self.per_class + torch.randperm(self.per_class)
        return self.real[rows], self.real_targets[rows]

    def rows(self, label):
        return (self.labels == label).nonzero().flatten()


def fresh(net, layout, lecun=False):
    """First weights: PyTorch's own, or with variance 1/fan-in and without biases."""
    weights, bound = {}, 1.0
    for name, shape in net.shapes().items():
        is_weight, leaf = name.endswith("weight"), torch.empty(shape)
        bound = 1 / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else bound
        if ".norm." in name:
            leaf.fill_(1.0 if is_weight else 0.0)
        elif lecun:
            torch.nn.init.trunc_normal_(leaf, std=bound / 0.87962566, a=-2 * bound, b=2 * bound) if is_weight else leaf.zero_()
        else:
            leaf.uniform_(-bound, bound)
        weights[name] = leaf.contiguous(memory_format=layout) if leaf.dim() == 4 else leaf
    return weights


def stepping(optimizer, leaves, loss_of, after=lambda: None):
    """An iteration of the images (and what else moves with them) by the gradient of a loss."""

    def run():
        loss = loss_of()
        for leaf, gradient in zip(leaves, torch.autograd.grad(loss, leaves)):
            leaf.grad = gradient
        optimizer.step()
        after()
        loss.item()

    return run


def dm(layout):
    net, data = methods.Net(*CONVNET3, "instance"), Data(10, 64, layout)

    def loss():
        weights, real, synthetic = fresh(net, layout), [], []
        for label in range(CLASSES):
            view = draw(STRATEGIES, 1)
            real.append(view(data.of_class(label)[0]))
            synthetic.append(view(data.synthetic[data.rows(label)]))
        return methods.distribution(net, weights, real, synthetic)

    return stepping(torch.optim.SGD([data.synthetic], lr=0.1, momentum=0.5), [data.synthetic], loss)


def dsa(layout):
    net, data = methods.Net(*CONVNET3, "instance"), Data(1, 64, layout)

    def loss():
        weights = {name: value.requires_grad_() for name, value in fresh(net, layout).items()}
        total = 0
        for label in range(CLASSES):
            view, rows = draw(STRATEGIES, 1), data.rows(label)
            images, targets = data.of_class(label)
            synthetic = view(data.synthetic[rows]), data.targets[rows]
            total = total + methods.matched(net, weights, (view(images), targets), synthetic)
        return total

    return stepping(torch.optim.SGD([data.synthetic], lr=0.1, momentum=0.5), [data.synthetic], loss)


def trajectory(layout, curvature):
    net, data = methods.Net(*CONVNET3, "instance"), Data(1, 0, layout)
    start, target = (golden.flat(fresh(net, torch.contiguous_format)) for _ in range(2))
    lr = torch.tensor(0.01, requires_grad=True)
    groups = [{"params": [data.synthetic], "lr": 0.1}, {"params": [lr], "lr": 1e-9}]

    def loss():
        views = [draw(STRATEGIES, CLASSES) for _ in range(10)]
        orders = [torch.randperm(CLASSES) for _ in views]
        batches = [(view(data.synthetic[rows]), data.targets[rows]) for view, rows in zip(views, orders)]
        return methods.trajectory(net, start, target, batches, lr, curvature)

    return stepping(torch.optim.SGD(groups, momentum=0.5), [data.synthetic, lr], loss)


def rat_bptt(layout):
    net, data = methods.Net(*CONVNET3, "instance"), Data(1, 50, layout)
    strategies = ("flip", "rotate")

    def loss():
        start = golden.flat(fresh(net, torch.contiguous_format))
        views = [draw(strategies, CLASSES) for _ in range(10)]
        batches = [(view(data.synthetic), data.targets) for view in views]
        real = draw(strategies, len(data.real))(data.real), data.real_targets
        return methods.rat_bptt(net, start, batches, 5, {"lr": 1e-3}, real)

    return stepping(torch.optim.Adam([data.synthetic], lr=1e-3), [data.synthetic], loss)


class Lamb(torch.optim.Adam):
    """Adam's step scaled to the norm of each tensor."""

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            before = [leaf.clone() for leaf in group["params"]]
            super().step()
            for leaf, old in zip(group["params"], before):
                change = (leaf - old) / group["lr"]
                trust = old.norm() / change.norm()
                leaf.copy_(old + group["lr"] * trust * change)


def frepo(layout):
    net, data = methods.Net(*CONV, "batch", before=True), Data(1, 52, layout)
    weights = {name: value.requires_grad_() for name, value in fresh(net, layout, lecun=True).items()}
    running = [None, *[[torch.zeros(width), torch.ones(width)] for width in net.widths[:-1]]]
    labels = (data.targets - 1 / CLASSES).requires_grad_()
    network = torch.optim.Adam(list(weights.values()), lr=3e-4)
    leaves = [data.synthetic, labels]

    def loss():
        rows = torch.randperm(len(data.real))[:512]
        real = data.real[rows], data.real_targets[rows] - 1 / CLASSES
        constant = {name: value.detach() for name, value in weights.items()}
        return methods.frepo(net, constant, running, leaves, real, 1e-6)

    def after():
        logits, _ = net(weights, data.synthetic.detach(), running, momentum=0.9)
        error = ((logits - labels.detach()) ** 2).sum() / (2 * len(labels))
        network.zero_grad()
        error.backward()
        network.step()

    return stepping(Lamb(leaves, lr=3e-4, eps=1e-6), leaves, loss, after)


def rcig(layout):
    net, data = methods.Net(*CONV, "none", softplus=60.0), Data(1, 26, layout)
    weights = {name: value.requires_grad_() for name, value in fresh(net, layout, lecun=True).items()}
    labels = (data.targets - 1 / CLASSES).requires_grad_()
    kappa = torch.zeros((), requires_grad=True)
    leaves = [data.synthetic, labels, kappa]
    network = torch.optim.Adam(list(weights.values()), lr=5e-5)
    images = torch.optim.Adam([{"params": leaves[:2], "lr": 3e-3}, {"params": [kappa], "lr": 0.03}])

    def gradients():
        of = methods.Rcig(net, {name: value.detach() for name, value in weights.items()}, 5e-4 * CLASSES)
        synthetic = leaves[:2]
        constant = methods.mirrored(data.synthetic.detach(), labels.detach())
        tau = torch.zeros(sum(value.numel() for value in weights.values()) - of.last, requires_grad=True)
        inner = torch.optim.Adam([tau], lr=1e-4)
        for _ in range(5):
            (tau.grad,) = torch.autograd.grad(of.inner(tau, *constant), tau)
            inner.step()
        rows = torch.randperm(len(data.real))[:256]
        loss = of.outer(tau, synthetic, (data.real[rows], data.real_targets[rows]), kappa)
        *direct, on_tau = torch.autograd.grad(loss, [*leaves, tau])
        found = of.inner(tau, *methods.mirrored(*synthetic))
        (gradient,) = torch.autograd.grad(found, tau, create_graph=True)
        v = torch.zeros_like(tau, requires_grad=True)
        inverse = torch.optim.Adam([v], lr=1e-3)
        for _ in range(5):
            (curved,) = torch.autograd.grad(gradient @ v.detach(), tau, retain_graph=True)
            v.grad = curved - on_tau
            inverse.step()
        implicit = torch.autograd.grad(-(gradient @ v.detach()), synthetic)
        for leaf, a, b in zip(synthetic, direct, implicit):
            leaf.grad = a + b * (a.norm() / b.norm()).clamp(max=1)
        kappa.grad = direct[2]
        return loss

    def run():
        loss = gradients()
        images.step()
        x, y = methods.mirrored(data.synthetic.detach(), labels.detach())
        network.zero_grad()
        (((net(weights, x)[0] - y) ** 2).sum() / (2 * y.numel())).backward()
        network.step()
        loss.item()

    return run


WORKS = {
    "dm": dm,
    "dsa": dsa,
    "mtt": lambda layout: trajectory(layout, True),
    "tesla": lambda layout: trajectory(layout, False),
    "rat-bptt": rat_bptt,
    "frepo": frepo,
    "rcig": rcig,
}
# as `delt-bench` calls them
NAMES = {f"{method}-{'conv' if method in ('frepo', 'rcig') else 'convnet3'}-{SIDE}": method for method in WORKS}


def make(method, layout):
    """A run of a method, once its gradients have met the golden file."""
    golden.require(method, layout)
    torch.manual_seed(0)
    return WORKS[method](layout)

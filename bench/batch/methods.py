"""The batch-to-batch methods in PyTorch, by true double backward (`create_graph=True`; RCIG's linear network by `torch.func.jvp`).

Losses only: whoever calls takes `torch.autograd.grad` of them on the images. `golden.py` holds them to the golden files.
"""

import math

import torch
import torch.nn.functional as F


class Net:
    """A ConvNet as a function of its weights, a dict by name in forward order."""

    def __init__(self, widths, classes, size, norm, before=False, softplus=None):
        self.widths, self.norm, self.before, self.softplus = widths, norm, before, softplus
        self.features, self.classes = widths[-1] * (size >> len(widths)) ** 2, classes

    def shapes(self):
        shapes, channels = {}, 3
        for block, width in enumerate(self.widths):
            normal = channels if self.before else width
            names = {f"layers.norm.{block}.{leaf}": (normal,) for leaf in ("weight", "bias")}
            if self.norm == "none" or (self.before and block == 0):
                names = {}
            conv = {f"layers.conv.{block}.weight": (width, channels, 3, 3), f"layers.conv.{block}.bias": (width,)}
            shapes |= {**names, **conv} if self.before else {**conv, **names}
            channels = width
        shapes["classifier.weight"] = (self.classes, self.features)
        shapes["classifier.bias"] = (self.classes,)
        return shapes

    def split(self, flat):
        """A vector of all weights as a dict of views."""
        shapes = self.shapes()
        parts = torch.split(flat, [math.prod(shape) for shape in shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts)}

    def __call__(self, weights, x, running=None, momentum=None):
        """Logits and features; `running`: means and variances by block, moved where there is a `momentum`."""
        for block in range(len(self.widths)):
            if self.before:
                x = self.normalized(weights, x, block, running, momentum)
            x = F.conv2d(x, weights[f"layers.conv.{block}.weight"], weights[f"layers.conv.{block}.bias"], padding=1)
            if not self.before:
                x = self.normalized(weights, x, block, running, momentum)
            x = F.relu(x) if self.softplus is None else F.softplus(x, self.softplus)
            x = F.avg_pool2d(x, 2)
        features = x.flatten(1)
        return F.linear(features, weights["classifier.weight"], weights["classifier.bias"]), features

    def normalized(self, weights, x, block, running, momentum):
        if f"layers.norm.{block}.weight" not in weights:
            return x
        gamma, beta = weights[f"layers.norm.{block}.weight"], weights[f"layers.norm.{block}.bias"]
        if self.norm == "instance":
            return F.group_norm(x, x.shape[1], gamma, beta, 1e-5)
        if running is None:
            return F.batch_norm(x, None, None, gamma, beta, training=True, eps=1e-5)
        return F.batch_norm(x, *running[block], gamma, beta, momentum is not None, momentum or 0.0, 1e-5)


def augment(x, kind, draws):
    """A strategy of DSA with given draws, one or one for each image: u in [0, 1), or whole pixels."""
    n, _, side, _ = x.shape
    u = {name: torch.as_tensor(value, dtype=x.dtype).reshape(-1, 1, 1, 1) for name, value in draws.items()}
    if kind == "flip":
        return torch.where(u["coin"] < 0.5, x.flip(3), x)
    if kind == "color":
        x = x + (u["brightness"] - 0.5)
        mean = x.mean(1, keepdim=True)
        x = (x - mean) * (u["saturation"] * 2) + mean
        mean = x.mean([1, 2, 3], keepdim=True)
        return (x - mean) * (u["contrast"] + 0.5) + mean
    if kind in ("scale", "rotate"):
        if kind == "scale":
            sx, sy = (1 / 1.2 + u[name].flatten() * (1.2 - 1 / 1.2) for name in ("sx", "sy"))
            rows = [[sx, 0 * sx, 0 * sx], [0 * sy, sy, 0 * sy]]
        else:
            t = (u["angle"].flatten() - 0.5) * math.radians(30)
            rows = [[t.cos(), -t.sin(), 0 * t], [t.sin(), t.cos(), 0 * t]]
        theta = torch.stack([torch.stack(row, -1) for row in rows], -2).expand(n, 2, 3)
        return F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), align_corners=False)
    at = torch.arange(n).view(-1, 1, 1)
    whole = {name: torch.as_tensor(value).reshape(-1, 1) for name, value in draws.items()}
    if kind == "crop":
        pad = int(side / 8 + 0.5)
        rows = (torch.arange(side) + whole["down"] + pad).unsqueeze(2)
        columns = (torch.arange(side) + whole["right"] + pad).unsqueeze(1)
        return F.pad(x, [pad] * 4).permute(0, 2, 3, 1)[at, rows, columns].permute(0, 3, 1, 2)
    hole = int(side / 2 + 0.5)
    span = torch.arange(hole) - hole // 2
    rows, columns = ((span + whole[name]).clamp(0, side - 1) for name in ("row", "column"))
    mask = torch.ones(n, side, side, dtype=x.dtype)
    mask[at, rows.unsqueeze(2), columns.unsqueeze(1)] = 0
    return x * mask.unsqueeze(1)


def cross_entropy(logits, targets):
    return -(targets * F.log_softmax(logits, 1)).sum() / len(logits)


def distribution(net, weights, real, synthetic):
    """DM: squared distances of mean features, class by class, of augmented images."""
    with torch.no_grad():
        expected = [net(weights, x)[1].mean(0) for x in real]
    return sum(((net(weights, x)[1].mean(0) - mean) ** 2).sum() for x, mean in zip(synthetic, expected))


def distance(a, b):
    """DC's distance of two lists of gradients, row by row."""
    total = 0
    for a, b in zip(a, b):
        if a.dim() > 1:
            a, b = a.flatten(1), b.flatten(1)
            total = total + (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum()
    return total


def matched(net, weights, real, synthetic, running=None):
    """DC, DSA: distance of the gradients on two augmented batches (images, targets) of a class."""
    leaves = list(weights.values())
    b = torch.autograd.grad(cross_entropy(net(weights, real[0], running)[0], real[1]), leaves)
    logits = net(weights, synthetic[0], running)[0]
    a = torch.autograd.grad(cross_entropy(logits, synthetic[1]), leaves, create_graph=True)
    return distance(a, b)


def trajectory(net, start, target, batches, lr, curvature):
    """MTT; without `curvature` TESLA, the way held constant: from vectors, on augmented batches (images, targets)."""
    theta, end = start.detach().requires_grad_(), start
    for x, y in batches:
        loss = cross_entropy(net(net.split(theta), x)[0], y)
        (gradient,) = torch.autograd.grad(loss, theta, create_graph=True)
        end = end - lr * gradient
        theta = end if curvature else end.detach().requires_grad_()
    return ((end - target) ** 2).sum() / ((start - target) ** 2).sum()


def adam_step(theta, moments, gradient, steps, lr, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    """One step of Adam as PyTorch takes it, differentiable; where the second moment is 0, so is its derivative."""
    first = beta_1 * moments[0] + (1 - beta_1) * gradient
    second = beta_2 * moments[1] + (1 - beta_2) * gradient * gradient
    is_zero = second == 0
    root = second.masked_fill(is_zero, 1.0).sqrt().masked_fill(is_zero, 0.0)
    change = first / (1 - beta_1**steps) / (root / math.sqrt(1 - beta_2**steps) + epsilon)
    return theta - lr * change, (first, second)


def rat_bptt(net, start, batches, window, adam, real):
    """RaT-BPTT: cross-entropy of real images after steps of Adam on batches, the last `window` differentiated."""
    theta, moments = start.detach().requires_grad_(), (torch.zeros_like(start), torch.zeros_like(start))
    for step, (x, y) in enumerate(batches):
        is_plain = step + window < len(batches)
        x, y = (x.detach(), y.detach()) if is_plain else (x, y)
        loss = cross_entropy(net(net.split(theta), x)[0], y)
        (gradient,) = torch.autograd.grad(loss, theta, create_graph=not is_plain)
        with torch.set_grad_enabled(not is_plain):
            theta, moments = adam_step(theta, moments, gradient, step + 1, **adam)
        theta = theta.requires_grad_()
    return cross_entropy(net(net.split(theta), real[0])[0], real[1])


def gap(labels, most):
    """Mean of the gap of the two largest labels of each row, cut at `most`."""
    top = labels.topk(2, 1).values
    return (top[:, 0] - top[:, 1]).clamp(max=most).mean()


def regression(features, labels, real_features, real_labels, ridge):
    """Half the mean squared error of kernel ridge regression on features, solved in float64."""
    features, labels, real_features = features.double(), labels.double(), real_features.double()
    kernel = features @ features.T
    kernel = kernel + ridge * kernel.trace() / len(kernel) * torch.eye(len(kernel), dtype=kernel.dtype)
    predicted = real_features @ (features.T @ torch.linalg.solve(kernel, labels))
    return ((predicted - real_labels) ** 2).sum() / (2 * len(real_labels))


def mirrored(images, labels):
    return torch.cat([images, images.flip(3)]), torch.cat([labels, labels])


def frepo(net, weights, running, synthetic, real, ridge, mirror=True):
    """FRePo: regression on the features of a network in evaluation mode, less the margin of the labels."""
    images, labels = mirrored(*synthetic) if mirror else synthetic
    with torch.no_grad():
        real_features = net(weights, real[0], running)[1]
    loss = regression(net(weights, images, running)[1], labels, real_features, real[1], ridge)
    return loss - gap(synthetic[1], 1 / net.classes)


class Rcig:
    """RCIG's two losses: with weights `base` frozen, and a tangent `tau` (a vector without the last matrix)."""

    def __init__(self, net, base, l2):
        self.net, self.base, self.l2 = net, base, l2
        self.last = base["classifier.weight"].numel()

    def linear(self, tau, x):
        """Features of the frozen network, and the derivative of its logits along the tangent."""
        zeros = tau.new_zeros(self.last)
        classes = self.net.classes
        whole = torch.cat([tau[:-classes], zeros, tau[-classes:]])
        (_, features), (dot, _) = torch.func.jvp(
            lambda weights: self.net(weights, x), (self.base,), (self.net.split(whole),)
        )
        return features, dot

    def solved(self, tau, x, y):
        """Features, what is left of the labels, and the dual weights of the last layer."""
        features, dot = self.linear(tau, x)
        rest, f = (y - dot).double(), features.double()
        kernel = f @ f.T + self.l2 * torch.eye(len(f), dtype=f.dtype)
        return features, rest, torch.linalg.solve(kernel, rest)

    def inner(self, tau, x, y):
        _, rest, alpha = self.solved(tau, x, y)
        return self.l2 / (2 * y.numel()) * ((rest * alpha).sum() + (tau**2).sum())

    def outer(self, tau, synthetic, real, kappa, mirror=True):
        x, y = mirrored(*synthetic) if mirror else synthetic
        features, _, alpha = self.solved(tau, x, y)
        real_features, dot = self.linear(tau, real[0])
        predicted = dot + real_features @ (features.T @ alpha.to(features.dtype))
        loss = cross_entropy(kappa.exp() * predicted, real[1])
        return loss - gap(synthetic[1], 1 / (2 * self.net.classes))

"""Whole iterations of a method in float64 with double backward, for `tests/tests/peer/batch.rs`: `iterate.py FOLDER`.

Reads `job.json` and `job.safetensors` (images, real ones, first weights of each iteration, or of a pool of one; no augmentation,
all images in each batch) and writes images and targets after the last iteration, `images.f32` and `targets.f32`.
"""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from batch import golden, methods  # noqa: E402


class Method:
    """What a method starts from: `config` is the pipeline's section `synthesize.method`."""

    def __init__(self, job, tensors):
        self.net, self.config, self.tensors = golden.net_of(job["net"]), job["config"], tensors
        self.images, self.targets = tensors["images"].requires_grad_(), tensors["targets"]
        self.real = tensors["real"], tensors["real_targets"]

    def groups(self):
        """What the optimizer of the images moves."""
        return [{"params": [self.images]}]

    def of_class(self, images, targets):
        """The images of each class with their targets."""
        labels = targets.argmax(1)
        return [(images[labels == label], targets[labels == label]) for label in range(self.net.classes)]

    def start(self, iteration):
        return self.tensors[f"start.{iteration}"]

    def after(self, iteration):
        """What moves once the images have."""


class Distribution(Method):
    def gradient(self, iteration):
        weights = self.net.split(self.start(iteration))
        real, synthetic = self.of_class(*self.real), self.of_class(self.images, self.targets)
        loss = methods.distribution(self.net, weights, [x for x, _ in real], [x for x, _ in synthetic])
        return torch.autograd.grad(loss, self.images)[0]


class Gradient(Method):
    def gradient(self, iteration):
        if iteration % self.config["outer"] == 0:
            self.theta = self.start(iteration)
        weights = {name: value.detach().requires_grad_() for name, value in self.net.split(self.theta).items()}
        pairs = zip(self.of_class(*self.real), self.of_class(self.images, self.targets))
        loss = sum(methods.matched(self.net, weights, *pair) for pair in pairs)
        return torch.autograd.grad(loss, self.images)[0]

    def after(self, iteration):
        if (iteration + 1) % self.config["outer"] == 0:
            return
        for _ in range(self.config["inner_epochs"]):
            theta = self.theta.detach().requires_grad_()
            loss = methods.cross_entropy(self.net(self.net.split(theta), self.images.detach())[0], self.targets)
            self.theta = theta.detach() - self.config["network_lr"] * torch.autograd.grad(loss, theta)[0]


class Trajectory(Method):
    def __init__(self, job, tensors):
        super().__init__(job, tensors)
        self.lr = torch.tensor(self.config["lr"], dtype=torch.float64, requires_grad=True)
        self.moves = torch.optim.SGD([self.lr], **self.config["lr_step"])

    def gradient(self, iteration):
        batches = [(self.images, self.targets)] * self.config["steps"]
        ends = self.start(iteration), self.tensors[f"target.{iteration}"]
        loss = methods.trajectory(self.net, *ends, batches, self.lr, self.config["curvature"])
        gradient, self.lr.grad = torch.autograd.grad(loss, [self.images, self.lr])
        return gradient

    def after(self, iteration):
        self.moves.step()


class RatBptt(Method):
    mean_norm = None

    def gradient(self, iteration):
        config, batches = self.config, [(self.images, self.targets)] * self.config["steps"]
        start, window = self.start(iteration), self.config["window"]
        loss = methods.rat_bptt(self.net, start, batches, window, config["inner"], self.real)
        (gradient,) = torch.autograd.grad(loss, self.images)
        if self.mean_norm is not None:
            gradient = gradient * (config["clip"]["factor"] * self.mean_norm / gradient.norm()).clamp(max=1)
        decay = config["clip"]["decay"] if self.mean_norm is not None else 0
        self.mean_norm = decay * (self.mean_norm or 0) + (1 - decay) * gradient.norm()
        return gradient


class Pooled(Method):
    """FRePo and RCIG: labels are learned, and one network is trained on the set after each iteration."""

    divisor, batch_share = 1, 0.0

    def __init__(self, job, tensors):
        super().__init__(job, tensors)
        self.targets.requires_grad_()
        split = self.net.split(self.start(0)).items()
        self.weights = {name: value.detach().clone().requires_grad_() for name, value in split}
        self.network = torch.optim.Adam(list(self.weights.values()), lr=self.config["network_lr"])
        self.running = None

    def groups(self):
        return [{"params": [self.images, self.targets]}]

    def constant(self):
        return {name: value.detach() for name, value in self.weights.items()}

    def train(self, images, targets):
        old = self.running and [layer and [value.clone() for value in layer] for layer in self.running]
        logits, _ = self.net(self.weights, images, self.running, momentum=self.batch_share)
        error = ((logits - targets) ** 2).sum() / (2 * len(targets) * self.divisor)
        self.network.zero_grad()
        error.backward()
        self.network.step()
        for block, layer in enumerate(self.running or []):
            if layer:  # the variance is the biased one
                count, kept = len(images) * (images.shape[3] >> block) ** 2, (1 - self.batch_share) * old[block][1]
                layer[1].copy_(kept + (layer[1] - kept) * (count - 1) / count)


class Frepo(Pooled):
    def __init__(self, job, tensors):
        super().__init__(job, tensors)
        self.batch_share = self.config["bn_momentum"]
        self.running = [None, *([torch.zeros(w).double(), torch.ones(w).double()] for w in self.net.widths[:-1])]

    def gradient(self, iteration):
        synthetic, real = [self.images, self.targets], (self.real[0], self.real[1] - 1 / self.net.classes)
        how = self.config["ridge"], self.config["mirror"]
        loss = methods.frepo(self.net, self.constant(), self.running, synthetic, real, *how)
        return torch.autograd.grad(loss, synthetic)

    def after(self, iteration):
        self.train(self.images.detach(), self.targets.detach())


class Rcig(Pooled):
    def __init__(self, job, tensors):
        super().__init__(job, tensors)
        self.divisor, self.rates, self.courses = self.net.classes, None, []
        self.kappa = torch.tensor(self.config["log_temperature"]["start"], dtype=torch.float64, requires_grad=True)

    def groups(self):
        return [*super().groups(), {"params": [self.kappa], "lr": self.config["log_temperature"]["lr"]}]

    def descend(self, start, lr, steps, step):
        """Adam from zero; `step` gives a value and its gradient. The end, and the values before each step."""
        at, values = torch.zeros_like(start), []
        optimizer = torch.optim.Adam([at], lr=lr)
        for _ in range(steps):
            value, at.grad = step(at)
            values.append(float(value))
            optimizer.step()
        return at, values

    def search(self, lr, values):
        control = self.config["lr_control"]
        while self.fell(values(lr)):
            lr *= control["raise"]
        return lr * control["raise"] * control["retreat"]

    @staticmethod
    def fell(values):
        return all(b < a for a, b in zip(values, values[1:]))

    def gradient(self, iteration):
        config = self.config
        of = methods.Rcig(self.net, self.constant(), config["l2"] * len(self.images))
        synthetic, zero = [self.images, self.targets], torch.cat([value.flatten() for value in of.base.values()])[of.last :]
        constant = methods.mirrored(*(leaf.detach() for leaf in synthetic))

        def inner(tau):
            tau = tau.detach().requires_grad_()
            loss = of.inner(tau, *constant)
            return loss.detach(), torch.autograd.grad(loss, tau)[0]

        fit = lambda lr: self.descend(zero, lr, config["inner_steps"], inner)  # noqa: E731
        if iteration == 0:
            self.rates = [self.search(config["inner_lr"], lambda lr: fit(lr)[1]), None]
        tau, losses = fit(self.rates[0])
        tau.requires_grad_()
        loss = of.outer(tau, synthetic, self.real, self.kappa)
        *direct, of_kappa, on_tau = torch.autograd.grad(loss, [*synthetic, self.kappa, tau])
        (slope,) = torch.autograd.grad(of.inner(tau, *methods.mirrored(*synthetic)), tau, create_graph=True)

        def curved(v):
            left = torch.autograd.grad(slope @ v.detach(), tau, retain_graph=True)[0] - on_tau
            return v @ (left - on_tau), left

        invert = lambda lr: self.descend(zero, lr, config["inverse_steps"], curved)  # noqa: E731
        if iteration == 0:
            self.rates[1] = self.search(config["inverse_lr"], lambda lr: invert(lr)[1])
        v, _ = invert(self.rates[1])
        self.see(losses, iteration)
        implicit = torch.autograd.grad(-(slope @ v), synthetic)
        shares = [(a.norm() / b.norm()).clamp(max=1) for a, b in zip(direct, implicit)]
        return *(a + share * b for a, b, share in zip(direct, implicit, shares)), of_kappa

    def see(self, losses, iteration):
        control = self.config["lr_control"]
        self.courses.append((self.fell(losses), losses[-1] > losses[0]))
        if iteration == 0 or iteration % control["every"]:
            return
        fell, diverged = (sum(course) / len(self.courses) for course in zip(*self.courses))
        if diverged >= control["diverged"]:
            self.rates[0] *= control["lower"]
        elif fell >= control["fell"]:
            self.rates[0] *= control["higher"]
        self.courses = []

    def after(self, iteration):
        self.train(*methods.mirrored(self.images.detach(), self.targets.detach()))


METHODS = {
    "frepo": Frepo,
    "rcig": Rcig,
    "distribution_matching": Distribution,
    "gradient_matching": Gradient,
    "trajectory_matching": Trajectory,
    "rat_bptt": RatBptt,
}


def main(folder):
    job = json.loads((folder / "job.json").read_text())
    tensors = {name: value.double() for name, value in golden.read_safetensors(folder / "job.safetensors").items()}
    method = METHODS[job["config"]["kind"]](job, tensors)
    rule = job["image_optimizer"]
    if rule["kind"] == "sgd":
        optimizer = torch.optim.SGD(method.groups(), lr=rule["lr"], momentum=rule["momentum"])
    else:
        betas = rule["beta_1"], rule["beta_2"]
        optimizer = torch.optim.Adam(method.groups(), lr=rule["lr"], betas=betas, eps=rule["epsilon"])
    leaves = [leaf for group in optimizer.param_groups for leaf in group["params"]]
    for iteration in range(job["iterations"]):
        found = method.gradient(iteration)
        for leaf, gradient in zip(leaves, found if isinstance(found, tuple) else [found]):
            leaf.grad = gradient
        optimizer.step()
        method.after(iteration)
    for name, tensor in [("images", method.images), ("targets", method.targets)]:
        (folder / f"{name}.f32").write_bytes(tensor.detach().float().numpy().tobytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Whole iterations of a method in float64 with double backward, for `tests/tests/peer/batch.rs`: `iterate.py FOLDER`.

Reads `job.json` and `job.safetensors` (images, real ones, first weights of each iteration; no augmentation, all images in each
batch) and writes the images after the last iteration, `images.f32`.
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


METHODS = {
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
        optimizer = torch.optim.SGD([method.images], lr=rule["lr"], momentum=rule["momentum"])
    else:
        betas = rule["beta_1"], rule["beta_2"]
        optimizer = torch.optim.Adam([method.images], lr=rule["lr"], betas=betas, eps=rule["epsilon"])
    for iteration in range(job["iterations"]):
        method.images.grad = method.gradient(iteration)
        optimizer.step()
        method.after(iteration)
    (folder / "images.f32").write_bytes(method.images.detach().float().numpy().tobytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))

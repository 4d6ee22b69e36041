"""Holds `methods.py` to the golden files (`tests/golden/README.md`) before anything is timed.

`python bench/batch/golden.py [METHOD..]` prints the errors. The folder is `DELT_GOLDEN`, else `../shared/golden`, else
`tests/golden`.
"""

import json
import math
import os
import struct
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from batch import methods  # noqa: E402

WORKSPACE = Path(__file__).resolve().parents[2]
TIMES_REACHED = 20


def folder():
    shared = WORKSPACE / "../shared/golden"
    found = WORKSPACE / os.environ["DELT_GOLDEN"] if "DELT_GOLDEN" in os.environ else shared
    return (found if found.is_dir() else WORKSPACE / "tests/golden") / "batch"


def read_safetensors(path):
    data = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    header.pop("__metadata__", None)

    def tensor(entry):
        start, end = entry["data_offsets"]
        return torch.from_numpy(np.frombuffer(body[start:end], "<f4").copy()).reshape(entry["shape"])

    return {name: tensor(entry) for name, entry in header.items() if entry["dtype"] == "F32"}


def uniform(name, count):
    """Values in [-1, 1): splitmix64 from the FNV-1a hash of the name."""
    start = 0xCBF29CE484222325
    for byte in name.encode():
        start = (start ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(start) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / 2**53 * 2 - 1


def net_of(facts):
    widths = [facts["width"] << (block if facts["doubling"] else 0) for block in range(facts["depth"])]
    norm = {"running": "batch"}.get(facts["norm"], facts["norm"])
    before, beta = facts["norm_before_conv"], facts["softplus_beta"]
    return methods.Net(widths, facts["classes"], facts["size"], norm, before, beta)


class File:
    """A golden file, with the weights of its networks by formula."""

    def __init__(self, name, layout):
        self.facts = json.loads((folder() / f"{name}.json").read_text())
        tensors = read_safetensors(folder() / f"{name}.safetensors")
        to = lambda t: t.contiguous(memory_format=layout) if t.dim() == 4 else t  # noqa: E731
        self.tensors = {name: to(tensor) for name, tensor in tensors.items()}
        self.prefix = json.loads((folder() / "meta.json").read_text())["weights_prefix"]
        self.errors = []

    def values(self, name, shape):
        u = uniform(self.prefix + name, math.prod(shape)).reshape(shape)
        leaf = name.rsplit(".", 1)[1]
        base, scale = {"running_mean": (0, 0.3), "running_var": (1, 0.5), "weight": (1, 0.2)}.get(leaf, (0, 0.1))
        if len(shape) > 1:
            base, scale = 0, math.sqrt(3 / math.prod(shape[1:]))
        return torch.from_numpy((base + scale * u).astype(np.float32))

    def weights(self, net):
        return {name: self.values(name, shape) for name, shape in net.shapes().items()}

    def running(self, net, facts):
        if facts["norm"] != "running":
            return None
        names = [name.rsplit(".", 1)[0] for name in net.shapes() if ".norm." in name and name.endswith("weight")]
        channels = [net.shapes()[f"{name}.weight"] for name in names]
        values = lambda name, shape, leaf: self.values(f"{name}.{leaf}", shape)  # noqa: E731
        layers = [[values(n, s, leaf) for leaf in ("running_mean", "running_var")] for n, s in zip(names, channels)]
        return [None, *layers] if net.before else layers

    def named(self, net, tag, scale, without=()):
        parts = [
            scale * uniform(f"{self.prefix}{tag}.{name}", math.prod(shape))
            for name, shape in net.shapes().items()
            if name not in without
        ]
        return torch.from_numpy(np.concatenate(parts).astype(np.float32))

    def leaf(self, name):
        return self.tensors[name].clone(memory_format=torch.preserve_format).requires_grad_()

    def within(self, what, found, expected, reached):
        found, expected = torch.as_tensor(found).detach().double(), torch.as_tensor(expected).double()
        error = ((found - expected).norm() / expected.norm()).item()
        self.errors.append((what, error, TIMES_REACHED * reached))


def one_hot(labels, classes):
    return torch.nn.functional.one_hot(torch.as_tensor(labels), classes).float()


def flat(weights):
    return torch.cat([value.flatten() for value in weights.values()])


def dm(layout):
    file = File("distribution_matching", layout)
    net, facts, synthetic = net_of(file.facts["net"]), file.facts, file.leaf("synthetic")
    ways = [(it["kind"], it["draws"]) for it in facts["augmentation"]]

    def groups(images, count):
        return [methods.augment(part, *way) for part, way in zip(images.split(count), ways)]

    real = groups(file.tensors["real"], facts["real_per_class"])
    loss = methods.distribution(net, file.weights(net), real, groups(synthetic, facts["ipc"]))
    file.within("loss", loss, facts["loss"], facts["reached"]["loss"])
    (gradient,) = torch.autograd.grad(loss, synthetic)
    file.within("images", gradient, file.tensors["grad"], facts["reached"]["grad"])
    return file.errors


def dsa(layout):
    file = File("gradient_matching", layout)
    for name, case in file.facts["cases"].items():
        net, way = net_of(case["net"]), case["augmentation"]
        weights = {name: value.requires_grad_() for name, value in file.weights(net).items()}
        synthetic = file.leaf(f"{name}.synthetic")

        def batch(images):
            targets = one_hot([case["label"]] * len(images), net.classes)
            return (methods.augment(images, way["kind"], way["draws"]) if way else images), targets

        real, running = batch(file.tensors[f"{name}.real"]), file.running(net, case["net"])
        found = methods.matched(net, weights, real, batch(synthetic), running)
        file.within(f"{name} distance", found, case["distance"], 2e-7)
        (gradient,) = torch.autograd.grad(found, synthetic)
        file.within(name, gradient, file.tensors[f"{name}.grad"], file.facts["reached"][name])
    return file.errors


def of_trajectory(layout, cases, curvature):
    file = File("trajectory_matching", layout)
    net = net_of(file.facts["net"])
    start = flat(file.weights(net))
    target = start + file.named(net, "target", file.facts["target_scale"])
    for name in cases:
        case, reached = file.facts["cases"][name], file.facts["reached"][name]
        images, targets = file.leaf(f"{name.split('.')[0]}.images"), file.leaf("targets")
        lr = torch.tensor(file.facts["lr"], requires_grad=True)
        batches = [(images[rows], targets[rows]) for rows in file.facts["batches"]]
        if ways := case["augmentation"]:
            batches = [(methods.augment(x, way["kind"], way["draws"]), y) for (x, y), way in zip(batches, ways)]
        loss = methods.trajectory(net, start, target, batches, lr, curvature)
        file.within(f"{name} loss", loss, case["loss"], 1e-6)
        found = dict(zip(("images", "targets", "lr"), torch.autograd.grad(loss, [images, targets, lr])))
        expected = {leaf: file.tensors[f"{name}.grad_{leaf}"] for leaf in ("images", "targets")}
        for leaf, value in (expected | {"lr": case["grad_lr"]}).items():
            file.within(f"{name} {leaf}", found[leaf], value, reached[f"grad_{leaf}"])
    return file.errors


def mtt(layout):
    return of_trajectory(layout, ["plain.mtt", "augmented.mtt"], True)


def tesla(layout):
    return of_trajectory(layout, ["plain.tesla"], False)


def rat_bptt(layout):
    file = File("rat_bptt", layout)
    facts = file.facts
    net, images, targets = net_of(facts["net"]), file.leaf("images"), file.leaf("targets")
    batches, real = [(images, targets)] * facts["steps"], one_hot(facts["real_labels"], 4)
    real = file.tensors["real"], real
    loss = methods.rat_bptt(net, flat(file.weights(net)), batches, facts["window"], facts["adam"], real)
    file.within("loss", loss, facts["loss"], 1e-6)
    for leaf, gradient in zip(("images", "targets"), torch.autograd.grad(loss, [images, targets])):
        file.within(leaf, gradient, file.tensors[f"grad_{leaf}"], facts["reached"][f"grad_{leaf}"])
    return file.errors


def frepo(layout):
    file = File("frepo", layout)
    for name in ("none_doubling", "pre_running_doubling"):
        case, reached = file.facts["cases"][name], file.facts["reached"][name]
        net = net_of(case["net"])
        synthetic = [file.leaf(f"{name}.{leaf}") for leaf in ("images", "labels")]
        real = [file.tensors[f"{name}.{leaf}"] for leaf in ("real", "real_labels")]
        running = file.running(net, case["net"])
        loss = methods.frepo(net, file.weights(net), running, synthetic, real, case["ridge"], case["flip"])
        file.within(f"{name} loss", loss, case["loss"], reached["loss"])
        for leaf, gradient in zip(("images", "labels"), torch.autograd.grad(loss, synthetic)):
            file.within(f"{name} {leaf}", gradient, file.tensors[f"{name}.grad_{leaf}"], reached[f"grad_{leaf}"])
    return file.errors


def rcig(layout):
    file = File("rcig", layout)
    facts, reached, last = file.facts, file.facts["reached"], "classifier.weight"
    net = net_of(facts["net"])
    of = methods.Rcig(net, file.weights(net), facts["l2"])
    synthetic = [file.leaf(leaf) for leaf in ("images", "labels")]
    real = file.tensors["real"], one_hot(facts["real_labels"], net.classes)
    tau = file.named(net, "tau", facts["tau_scale"], [last]).requires_grad_()
    v = file.named(net, "v", facts["v_scale"], [last])
    kappa = torch.tensor(facts["log_temperature"], requires_grad=True)
    inner = of.inner(tau, *methods.mirrored(*synthetic))
    (gradient,) = torch.autograd.grad(inner, tau, create_graph=True)
    found = {"hv": torch.autograd.grad(gradient @ v, tau, retain_graph=True)[0], "inner_grad": gradient}
    implicit = torch.autograd.grad(-(gradient @ v), synthetic)
    outer = of.outer(tau, synthetic, real, kappa)
    *direct, on_kappa, found["grad_tau"] = torch.autograd.grad(outer, [*synthetic, kappa, tau])
    names = [name for name in net.shapes() if name != last]
    for name, value in found.items():
        expected = torch.cat([file.tensors[f"{name}.{part}"].flatten() for part in names])
        file.within(name, value, expected, reached[name])
    for name, pair in (("direct", direct), ("implicit", implicit)):
        for leaf, value in zip(("images", "labels"), pair):
            file.within(f"{name} {leaf}", value, file.tensors[f"{name}_{leaf}"], reached[f"{name}_{leaf}"])
    file.within("inner loss", inner, facts["inner_loss"], reached["inner_grad"])
    file.within("outer loss", outer, facts["outer_loss"], reached["inner_grad"])
    file.within("kappa", on_kappa, facts["grad_log_temperature"], reached["direct_log_temperature"])
    return file.errors


CHECKS = {"dm": dm, "dsa": dsa, "mtt": mtt, "tesla": tesla, "rat-bptt": rat_bptt, "frepo": frepo, "rcig": rcig}


def require(method, layout):
    """Ends the process unless the gradients are the golden ones."""
    try:
        errors = CHECKS[method](layout)
    except FileNotFoundError as error:
        sys.exit(f"{method} is not timed: no golden file {error.filename}; set DELT_GOLDEN to a folder that has it")
    for what, error, allowed in errors:
        if not error < allowed:
            sys.exit(f"{method} is not timed: {what} is {error:.1e} from the golden file, allowed {allowed:.1e}")
    return errors


if __name__ == "__main__":
    for method in sys.argv[1:] or CHECKS:
        for layout in (torch.contiguous_format, torch.channels_last):
            for what, error, allowed in CHECKS[method](layout):
                print(f"{method} {what}: {error:.1e} of {allowed:.1e}{'' if error < allowed else ' TOO FAR'}")

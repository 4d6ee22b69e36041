"""The work of `delt-bench` in PyTorch, in the fastest of eager and compiled, NCHW and channels-last.

`torch_peer.py WORK THREADS` says which it took, then runs the work once for each line `run` on stdin and answers
with seconds. `torch_peer.py WORK THREADS RUNS` runs it so often and prints the peak memory of the process in bytes.

`torch_peer.py --serve DEVICE THREADS` says what it is, then answers each request (`verify-device`): both are lines of JSON.
"""

import json
import resource
import sys
import time
import traceback

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from batch import works

CLASSES = 100
MEAN = torch.tensor([0.507, 0.487, 0.441]).view(1, 3, 1, 1)
STD = torch.tensor([0.267, 0.256, 0.276]).view(1, 3, 1, 1)
# side and batch
CASES = {
    "convnet3-32": (32, 100),
    "resnet18-32": (32, 50),
    "resnet18-64": (64, 25),
    "resnet50-32": (32, 25),
    "mobilenet_v2-64": (64, 50),
    "efficientnet_b0-64": (64, 50),
    "deit_tiny-224": (224, 4),
}


def convnet3(classes, width=128):
    layers, channels = [], 3
    for _ in range(3):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.AvgPool2d(2)]
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * 16, classes))


def small_stem(net):
    """With a 3x3 stem and no max-pool."""
    net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return net


def deit_tiny(classes):
    return torchvision.models.VisionTransformer(224, 16, 12, 3, 192, 768, num_classes=classes)


NETS = {
    "convnet3": convnet3,
    "resnet18": lambda classes: small_stem(torchvision.models.resnet18(num_classes=classes)),
    "resnet50": lambda classes: small_stem(torchvision.models.resnet50(num_classes=classes)),
    "resnet18-imagenet": lambda classes: torchvision.models.resnet18(num_classes=classes),
    "resnet50-imagenet": lambda classes: torchvision.models.resnet50(num_classes=classes),
    "mobilenet_v2": lambda classes: torchvision.models.mobilenet_v2(num_classes=classes),
    "efficientnet_b0": lambda classes: torchvision.models.efficientnet_b0(num_classes=classes),
    "deit_tiny": deit_tiny,
}


class Statistics:
    """What the published hook computes at the input of one BatchNorm layer."""

    def __init__(self, layer):
        self.term = None
        layer.register_forward_hook(self)

    def __call__(self, layer, inputs, output):
        x = inputs[0].float()
        n = x.shape[1]
        mean = x.mean([0, 2, 3])
        var = x.permute(1, 0, 2, 3).contiguous().reshape(n, -1).var(1, unbiased=False)
        self.term = torch.norm(layer.running_var - var, 2) + torch.norm(layer.running_mean - mean, 2)


def make_work(name, layout, compiles):
    if name in works.NAMES:
        return works.make(works.NAMES[name], layout)
    kind, case = name.split("-", 1)
    size, batch = CASES[case]
    return step(kind, case.rsplit("-", 1)[0], size, batch, CLASSES, layout, compiles)


def step(kind, network, size, batch, classes, layout, compiles, device="cpu", half=False):
    """A function that does one step; `half`: by autocast to bf16."""
    torch.manual_seed(0)
    net = NETS[network](classes).to(device, memory_format=layout)
    pixels = torch.rand(batch, 3, size, size, device=device).mul(3).sub(1.5).contiguous(memory_format=layout)
    labels = torch.arange(batch, device=device) % classes
    mean, std = MEAN.to(device), STD.to(device)
    autocast = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=half)

    if kind == "recovery":
        net.eval()
        for p in net.parameters():
            p.requires_grad_(False)
        hooks = [Statistics(m) for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
        net = torch.compile(net) if compiles else net
        x = pixels.clone(memory_format=torch.preserve_format).requires_grad_()
        adam = torch.optim.Adam([x], lr=0.25, betas=(0.5, 0.9), eps=1e-8)
        low, high = (0 - mean) / std, (1 - mean) / std

        def run():
            adam.zero_grad()
            y = x[:, :, 3 : size - 5, 2 : size - 4]
            y = F.interpolate(y, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
            y = torch.flip(y, [3])
            terms = [10.0, *[1.0] * (len(hooks) - 1)]
            with autocast:
                loss = F.cross_entropy(net(y), labels)
            loss = loss + 0.01 * sum(h.term * w for h, w in zip(hooks, terms))
            loss.backward()
            adam.step()
            with torch.no_grad():
                x.data = torch.clamp(x.data, low, high)
            loss.item()

        return run

    if kind in ("student", "teacher"):
        net.train()
        net = torch.compile(net) if compiles else net
        long = [p for p in net.parameters() if p.dim() > 1]
        short = [p for p in net.parameters() if p.dim() <= 1]
        if kind == "student":
            groups = [{"params": long, "weight_decay": 0.01}, {"params": short, "weight_decay": 0.0}]
            optimizer = torch.optim.AdamW(groups, lr=1e-3)
            target = F.softmax(torch.rand(batch, classes, device=device).mul(10).sub(5) / 20, 1)

            def loss_of(logits):
                return F.kl_div(F.log_softmax(logits / 20, 1), target, reduction="batchmean")
        else:
            groups = [{"params": long, "weight_decay": 5e-4}, {"params": short, "weight_decay": 0.0}]
            optimizer = torch.optim.SGD(groups, lr=1e-3, momentum=0.9, nesterov=True)

            def loss_of(logits):
                return F.cross_entropy(logits, labels, label_smoothing=0.05)

        def run():
            optimizer.zero_grad()
            with autocast:
                loss = loss_of(net(pixels))
            loss.backward()
            optimizer.step()
            loss.item()

        return run

    net.eval()
    net = torch.compile(net) if compiles else net
    if kind == "labeling":

        @torch.no_grad()
        def run():
            with autocast:
                net(pixels).half().cpu().numpy()

        return run

    pictures = torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8, device=device)

    @torch.no_grad()
    def run():
        x = (pictures.permute(0, 3, 1, 2).float() / 255 - mean) / std
        F.softmax(net(x.contiguous(memory_format=layout)), 1).cpu().numpy()

    return run


def seconds(run):
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def serve(device, threads):
    """Answers requests for steps until stdin ends."""
    torch.set_num_threads(threads)
    is_gpu = device.startswith("cuda")
    if is_gpu and not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no CUDA device")
    torch.backends.cudnn.benchmark = True
    print(json.dumps({
        "torch": torch.__version__, "cuda": torch.version.cuda, "device": torch.cuda.get_device_name(device) if is_gpu else "cpu",
        "cudnn": torch.backends.cudnn.version() if is_gpu else None, "threads": threads,
        "tf32": {"convolutions": torch.backends.cudnn.allow_tf32, "products": torch.backends.cuda.matmul.allow_tf32},
    }), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        layout = torch.channels_last if asked["channels_last"] else torch.contiguous_format
        work = asked["kind"], asked["network"], asked["size_px"], asked["batch"], asked["classes"]
        try:
            if asked["compiled"]:
                torch.compiler.reset()
            if is_gpu:
                torch.cuda.reset_peak_memory_stats(device)
            run = step(*work, layout, asked["compiled"], device, asked["dtype"] == "bf16")
            first = seconds(run)
            times = []
            # eager on the CPU, a first step that took more than its time is all there is; elsewhere it compiles, or chooses kernels
            if asked["compiled"] or is_gpu or first < 3 * asked["seconds"]:
                fits = int(max(asked["seconds"] - first, 1) / seconds(run)) - 1
                times = [seconds(run) for _ in range(max(1, min(asked["runs"], fits)))]
            peak = torch.cuda.max_memory_reserved(device) if is_gpu else None
            mean = sum(times) / len(times) if times else first
            answer = {"seconds": mean, "first_seconds": first, "runs": len(times), "peak_bytes": peak}
        except Exception as error:  # of a compiler that is not there, or memory: the others go on
            traceback.print_exc()
            answer = {"why": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(answer), flush=True)


def main():
    if sys.argv[1] == "--serve":
        return serve(sys.argv[2], int(sys.argv[3]))
    name, threads = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(threads)
    layouts = {"NCHW": torch.contiguous_format, "channels-last": torch.channels_last}
    # double backward, which the batch-to-batch methods take, cannot be compiled
    kinds = ["eager"] if name in works.NAMES else ["eager", "compiled"]
    ways = {f"{kind} {layout}": (layouts[layout], kind == "compiled") for kind in kinds for layout in layouts}

    def best_of_two(way):
        run = make_work(name, *ways[way])
        run()
        return min(seconds(run), seconds(run))

    fastest = min(ways, key=best_of_two)
    torch.compiler.reset()
    run = make_work(name, *ways[fastest])
    if len(sys.argv) > 3:
        for _ in range(int(sys.argv[3])):
            run()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        return
    run()
    print(f"{fastest}, PyTorch {torch.__version__}", flush=True)
    for line in sys.stdin:
        if line.strip() != "run":
            break
        print(seconds(run), flush=True)


main()

"""One training step of a recurrent-unet: Burn's, as `autochrome-trainer dry-run` times it, beside the same network's in PyTorch.

    just bench-training trainer/configs/recurrent.toml --data PACK [--device cuda] [--rounds 5]

The same network, sizes, losses, optimizer and moving average of the weights, in float; the two take turns, so that what else the machine does meets both.
Not the same: PyTorch's batch lies on the device already, soft targets as shares of all bins; Burn's step brings its own there, and looks at
every weight for numbers that are not finite. Burn's workers, of which there is one on a GPU, normalize over a share of the lanes each. Burn's time is the mean of three steps, PyTorch's the
median of five.
"""

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time
import tomllib

import torch
from torch import nn
from torch.nn import functional

# The 17-unit grid of ab bins.
BINS = 101


def conv3x3(width_in, width_out, stride=1, bias=False):
    return nn.Conv2d(width_in, width_out, 3, stride, 1, bias=bias)


class Stage(nn.Sequential):
    """3x3 convolution, batch normalization, ReLU."""

    def __init__(self, width_in, width_out, stride=1):
        super().__init__(conv3x3(width_in, width_out, stride), nn.BatchNorm2d(width_out), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.branch = nn.Sequential(Stage(width, width), conv3x3(width, width), nn.BatchNorm2d(width))

    def forward(self, x):
        return torch.relu(x + self.branch(x))


class ConvGru(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gates_x, self.gates_h = conv3x3(width, 2 * width, bias=True), conv3x3(width, 2 * width)
        self.candidate_x, self.candidate_h = conv3x3(width, width, bias=True), conv3x3(width, width)

    def forward(self, x, state, frames):
        gates, candidates, outputs = self.gates_x(x).chunk(frames), self.candidate_x(x).chunk(frames), []
        for gate, candidate in zip(gates, candidates):
            update, keep = torch.sigmoid(gate + self.gates_h(state)).chunk(2, 1)
            candidate = torch.tanh(candidate + self.candidate_h(keep * state))
            state = state + update * (candidate - state)
            outputs.append(state)
        return torch.cat(outputs), state


class RecurrentUNet(nn.Module):
    """trainer/src/nets/recurrent_unet.rs."""

    def __init__(self, widths, deep_blocks, head_width, outputs):
        super().__init__()
        w2, w4, w8, w16 = widths
        self.quarter_in = nn.Sequential(Stage(1, w2, 2), Stage(w2, w4, 2), Stage(w4, w4))
        self.eighth_in = nn.Sequential(Stage(w4, w8, 2), Stage(w8, w8))
        self.deep = nn.Sequential(Stage(w8, w16, 2), *[Residual(w16) for _ in range(deep_blocks)])
        self.deep_memory, self.eighth_memory = ConvGru(w16 // 2), ConvGru(w8 // 2)
        self.grow_eighth, self.eighth_out = Stage(w16, w8), Stage(2 * w8, w8)
        self.grow_quarter, self.quarter_out = Stage(w8, w4), Stage(2 * w4, head_width)
        self.head = nn.Conv2d(head_width, outputs, 1)

    def forward(self, x, states, frames):
        def half_through(memory, x, state):
            remembered, own = x.chunk(2, 1)
            remembered, state = memory(remembered, state, frames)
            return torch.cat([remembered, own], 1), state

        quarter = self.quarter_in(x)
        eighth = self.eighth_in(quarter)
        deep, first = half_through(self.deep_memory, self.deep(eighth), states[0])
        grown = functional.interpolate(self.grow_eighth(deep), scale_factor=2)
        eighth, second = half_through(self.eighth_memory, self.eighth_out(torch.cat([grown, eighth], 1)), states[1])
        grown = functional.interpolate(self.grow_quarter(eighth), scale_factor=2)
        return self.head(self.quarter_out(torch.cat([grown, quarter], 1))), [first, second]


def refuse_what_is_not_built(config, device):
    """Ends where Burn would do other work than PyTorch does here."""
    net, loss = config.get("net", {}), config.get("loss", {})
    reasons = [key for key in ("precision", "accumulate", "output", "bins", "adversarial", "quantization") if key in config]
    reasons += [f"loss.{key}" for key in ("regression", "feature", "warp", "agreement", "colorfulness_weight", "fidelity_weight") if key in loss]
    if net.get("kind") != "recurrent-unet" or not {"widths", "deep_blocks", "head_width"} <= net.keys():
        reasons.append("net: only recurrent-unet, with its three settings")
    if reasons:
        sys.exit(f"the configuration asks for what is not built here: {', '.join(reasons)}")


class Step:
    """Forward, the losses of `losses::losses`, backward, clipping, AdamW."""

    def __init__(self, config, device):
        refuse_what_is_not_built(config, device)
        net, data = config["net"], config.get("data", {})
        self.device, self.loss = device, config.get("loss", {})
        self.lanes, self.frames = data.get("lanes", 16), data.get("chunk_frames", 4)
        height, width = data.get("height", 128), data.get("width", 128)
        self.net = RecurrentUNet(net["widths"], net["deep_blocks"], net["head_width"], BINS).to(device)
        self.average = [p.detach().clone() for p in self.net.parameters()]
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-4, weight_decay=0.02)
        count, rows, columns = self.lanes * self.frames, height // 4, width // 4
        self.lightness = torch.rand(count, 1, height, width, device=device) - 0.5
        self.centers = 100 * (torch.rand(2, BINS, device=device) - 0.5)
        self.share = torch.softmax(4 * torch.randn(count, BINS, rows, columns, device=device), 1)
        self.weight = torch.rand(count, 1, rows, columns, device=device)
        self.ab = torch.einsum("cq,nqhw->nchw", self.centers, self.share)
        w16, w8 = net["widths"][3], net["widths"][2]
        self.states = [
            torch.zeros(self.lanes, w16 // 2, height // 16, width // 16, device=device),
            torch.zeros(self.lanes, w8 // 2, height // 8, width // 8, device=device),
        ]

    def weights(self):
        """As Burn counts them: with the running statistics of the normalizations."""
        statistics = [value for name, value in self.net.named_buffers() if "running" in name]
        return sum(tensor.numel() for tensor in [*self.net.parameters(), *statistics])

    def __call__(self):
        started = time.perf_counter()
        raw, states = self.net(self.lightness, self.states, self.frames)
        log_share = functional.log_softmax(raw, 1)
        ab = torch.einsum("cq,nqhw->nchw", self.centers, log_share.exp())
        loss = -((log_share * self.share).sum(1, keepdim=True) * self.weight).mean()
        loss = loss + self.loss.get("mean_weight", 1.0) * functional.huber_loss(ab / 10, self.ab / 10)
        if self.frames > 1:
            change = lambda x: x[self.lanes :] - x[: -self.lanes]
            loss = loss + self.loss.get("temporal_weight", 0.5) * (change(ab) - change(self.ab)).abs().mean() / 10
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        torch._foreach_lerp_(self.average, [p.detach() for p in self.net.parameters()], 0.001)
        self.states = [state.detach() for state in states]
        # Waits until the device has done all of it.
        assert loss.isfinite().item()
        return time.perf_counter() - started


def ours(arguments):
    """Milliseconds of a step, weights, frames a step."""
    command = [str(arguments.trainer), "dry-run", arguments.config, "--data", arguments.data, "--device", arguments.device]
    # A program with CUDA in it computes on the CPU only if it is told so.
    environment = {**os.environ, "BURN_DEVICE": "flex"} if arguments.device == "cpu" else None
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    rate = re.search(r"a step: \d+ ms \(([\d.]+) frames/s\)", ran.stdout)
    size = re.search(r"(\d+) weights, (\d+) frames a step", ran.stdout)
    if ran.returncode or not rate or not size:
        sys.exit(f"{' '.join(command)} ended with {ran.returncode} and said no step's time:\n{ran.stdout}")
    frames = int(size[2])
    return 1e3 * frames / float(rate[1]), int(size[1]), frames


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--data", required=True, help="the packed set")
    built = pathlib.Path(__file__).parents[2] / "target/release/autochrome-trainer"
    parser.add_argument("--trainer", default=built, type=pathlib.Path, help="the program, built before: %(default)s")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if not arguments.trainer.exists():
        sys.exit(f"{arguments.trainer} is not there; build it (`just trainer --help`, or `just trainer-cuda` for a GPU)")
    with open(arguments.config, "rb") as file:
        step = Step(tomllib.load(file), torch.device(arguments.device))
    if arguments.device == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = False
    for _ in range(3):
        step()
    burn, pytorch = [], []
    for _ in range(arguments.rounds):
        milliseconds, *found = ours(arguments)
        expected = [step.weights(), step.lanes * step.frames]
        if found != expected:
            sys.exit(f"not the same work: weights and frames a step are {found} in Burn, {expected} in PyTorch")
        burn.append(milliseconds)
        pytorch.append(1e3 * statistics.median(step() for _ in range(5)))
    ratios = sorted(b / p for b, p in zip(burn, pytorch))
    print(f"{step.weights()} weights, {step.lanes * step.frames} frames a step, PyTorch {torch.__version__}, {arguments.device}, {torch.get_num_threads()} threads")
    print(f"Burn {statistics.median(burn):.0f} ms, PyTorch {statistics.median(pytorch):.0f} ms a step (medians of {arguments.rounds} rounds in turn)")
    print(f"Burn / PyTorch: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


main()

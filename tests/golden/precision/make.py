"""How far PyTorch's gradients under bf16 autocast are from f32, for the examples' four steps: see tests/golden/README.md.

    python tests/golden/precision/make.py
"""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.dirname(HERE)
sys.path[:0] = [GOLDEN, os.path.join(GOLDEN, "step")]

import torch
import torch.nn as nn
import torch.nn.functional as F

import golden
from make import nt_xent, off_diagonal, regress, standardize
from networks import BasicBlock, Mlp, conv

SHAPE = (64, 1, 28, 28)


class SmallResNet(nn.Module):
    """The standard library's `small_resnet`."""

    def __init__(self, width=16):
        super().__init__()
        self.conv1 = conv(1, width, 3, 2)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = BasicBlock(width, width, 1)
        self.layer2 = BasicBlock(width, 2 * width, 2)
        self.layer3 = BasicBlock(2 * width, 4 * width, 2)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.layer3(self.layer2(self.layer1(x))).mean(dim=(2, 3))



def simclr(a, b):
    return nt_xent(a, b, 0.2)


def barlow_twins(a, b):
    a, b = standardize(a), standardize(b)
    c = a.T @ b / len(a)
    return ((torch.diag(c) - 1) ** 2).sum() + 0.0051 * (off_diagonal(c) ** 2).sum()


def byol(a, b):
    (p1, z1), (p2, z2) = a, b
    return regress(p1, z2) + regress(p2, z1)


def simsiam(a, b):
    cos = lambda p, z: F.cosine_similarity(p, z).mean()
    (p1, z1), (p2, z2) = a, b
    return -(cos(p1, z2) + cos(p2, z1)) / 2


# The networks (targets end in _t), what they give for a view, and the loss of that for both views.
CASES = {
    "simclr": (
        lambda: {"f": SmallResNet(), "g": Mlp(64, 256, 128, bias=False)},
        lambda n, x: n["g"](n["f"](x)),
        simclr,
    ),
    "barlow_twins": (
        lambda: {"f": SmallResNet(), "g": Mlp(64, 256, 256, bias=False)},
        lambda n, x: n["g"](n["f"](x)),
        barlow_twins,
    ),
    "byol": (
        lambda: {
            "f": SmallResNet(),
            "g": Mlp(64, 256, 128),
            "q": Mlp(128, 256, 128),
            "f_t": SmallResNet(),
            "g_t": Mlp(64, 256, 128),
        },
        lambda n, x: (n["q"](n["g"](n["f"](x))), n["g_t"](n["f_t"](x)).detach()),
        byol,
    ),
    "simsiam": (
        lambda: {
            "f": SmallResNet(),
            "g": Mlp(64, 256, 256, last_norm=True, last_affine=False),
            "h": Mlp(256, 64, 256),
        },
        lambda n, x: (lambda z: (n["h"](z), z.detach()))(n["g"](n["f"](x))),
        simsiam,
    ),
}


def gradients(case, init, views, autocast):
    """path -> gradient. Under autocast the networks are; the loss is f32, as here, which is no worse than a loss under autocast."""
    networks, forward, loss = CASES[case]
    nets = networks()
    for name, net in nets.items():
        net.train().to(memory_format=torch.channels_last)
        net.requires_grad_(not name.endswith("_t"))
    golden.fill(nets, init)
    wide = lambda z: tuple(map(wide, z)) if isinstance(z, tuple) else z.float()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        given = [forward(nets, x) for x in views]
    loss(*map(wide, given)).backward()
    return {path: p.grad.double() for path, p, *_ in golden.parameters(nets) if p.grad is not None}


def main():
    torch.set_num_threads(2)
    tensors = {}
    for case in CASES:
        nets = CASES[case][0]()
        recipe = golden.initial(nets)
        shapes = {path: list(t.shape) for path, t, *_ in golden.parameters(nets)}
        shapes |= {path: list(b.shape) for path, b in golden.buffers(nets)}
        init = {path: golden.tensor(path, shapes[path], *recipe[path]) for path in recipe}
        views = [golden.images("images", name, SHAPE) for name in ("x1", "x2")]
        wide, narrow = (gradients(case, init, views, autocast) for autocast in (False, True))
        for path in recipe:
            tensors[f"{case}/init/{path}"] = torch.tensor([*recipe[path], *shapes[path]], dtype=torch.float64)
        for path in wide:
            off = (narrow[path] - wide[path]).norm()
            tensors[f"{case}/grad/{path}"] = torch.stack([wide[path].norm(), off])
        norm = lambda grads: torch.stack([g.norm() for g in grads]).norm().item()
        off = norm(narrow[path] - g for path, g in wide.items()) / norm(wide.values())
        print(f"{case}: autocast's gradients are off by {off:.3f} over all")
    metadata = {"torch": torch.__version__.split("+")[0], "views": json.dumps(SHAPE)}
    golden.save(os.path.join(HERE, "autocast.safetensors"), tensors, metadata)


if __name__ == "__main__":
    main()

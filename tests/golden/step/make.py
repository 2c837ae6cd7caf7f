"""Golden training steps of the four methods, by PyTorch in f64: see tests/golden/README.md.

    python tests/golden/step/make.py [CASE...]            makes these files again, or all
    python tests/golden/step/make.py --check [CASE...]    also runs each case in f32 and prints how far that lands from f64
"""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), HERE]

import torch
import torch.nn as nn
import torch.nn.functional as F

import golden
from networks import BasicBlock, Mlp, Relu, ResNet, SmallBasic, SmallBottleneck, scale_only


# --- losses ----------------------------------------------------------------------------------------------------------


def nt_xent(z1, z2, temperature):
    """Eq. 1 of the SimCLR paper, mean over the 2B anchors."""
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    n = len(z)
    logits = (z @ z.T / temperature).masked_fill(torch.eye(n, dtype=torch.bool), float("-inf"))
    return F.cross_entropy(logits, torch.arange(n).roll(n // 2))


def regress(p, z):
    return (2 - 2 * F.cosine_similarity(p, z)).mean()


def standardize(x):
    return F.batch_norm(x, None, None, training=True, eps=1e-5)


def off_diagonal(c):
    return c - torch.diag(torch.diag(c))


# --- the cases -------------------------------------------------------------------------------------------------------


class Case:
    """One spec: its networks, its loss, its optimizer. `size` and `batch` are the views', `first` the first step's number."""

    size, batch, first = 12, 6, 0
    salt = ""  # in the names of the views; chosen so that no input of a ReLU is within NEAREST of 0
    clip = None
    deep = False
    style = "general"
    detached = ()  # networks that a stop-gradient hides in part: finite differences leave them alone
    tau = None

    def networks(self):
        raise NotImplementedError

    def targets(self):
        return {}

    def loss(self, n, x1, x2):
        raise NotImplementedError

    def optimizer(self, groups):
        raise NotImplementedError

    def rate(self, k, path, what, network):
        raise NotImplementedError

    excluded = ("bias", "norm")


class SimClr(Case):
    first = 1
    salt = "14/"

    def networks(self):
        head = nn.Sequential(
            nn.Linear(12, 16, bias=False), nn.BatchNorm1d(16), Relu(), nn.Linear(16, 8, bias=False), scale_only(8)
        )
        return {"f": SmallBasic(6), "g": head}

    def loss(self, n, x1, x2):
        z1, z2 = n["g"](n["f"](x1)), n["g"](n["f"](x2))
        spread = F.normalize(z1, dim=1).std(dim=0, unbiased=False).mean()
        return nt_xent(z1, z2, 0.5), {"z1": z1, "z2": z2, "spread": spread}

    def optimizer(self, groups):
        return golden.Lars(groups, momentum=0.9, weight_decay=0.01, eta=0.08, lr_in_momentum=True)

    def rate(self, k, path, what, network):
        return golden.cosine(0.5, 0.0, k, total=8, warmup=2)


class Byol(Case):
    clip = 0.3

    def networks(self):
        return {"f": SmallBottleneck(8), "g": Mlp(16, 12, 8, bias=False), "q": Mlp(8, 12, 8)}

    def targets(self):
        return {"f_t": ("f", SmallBottleneck(8)), "g_t": ("g", Mlp(16, 12, 8, bias=False))}

    def tau(self, k):
        return golden.cosine(0.9, 1.0, k, total=6)

    def loss(self, n, x1, x2):
        online = lambda x: n["q"](n["g"](n["f"](x)))
        goal = lambda x: n["g_t"](n["f_t"](x)).detach()
        p1 = online(x1)
        one = regress(p1, goal(x2))
        two = regress(online(x2), goal(x1))
        return one + two, {"p1": p1, "one": one}

    def optimizer(self, groups):
        return torch.optim.AdamW(groups, betas=(0.8, 0.95), eps=1e-3)

    decay = 0.1

    def rate(self, k, path, what, network):
        return 0.004 if network == "q" else golden.cosine(0.02, 0.002, k, total=6)


class BarlowTwins(Case):
    def networks(self):
        return {"f": SmallBottleneck(8), "g": Mlp(16, 10, 10, 8, bias=False)}

    def loss(self, n, x1, x2):
        a = standardize(n["g"](n["f"](x1)))
        b = standardize(n["g"](n["f"](x2)))
        c = a.T @ b / len(x1)
        loss = ((torch.diag(c) - 1) ** 2).sum() + 0.0051 * (off_diagonal(c) ** 2).sum()
        return loss, {"a": a, "b": b, "c": c}

    def optimizer(self, groups):
        return golden.Lars(groups, momentum=0.9, weight_decay=0.02, eta=0.01, lr_in_momentum=False)

    def rate(self, k, path, what, network):
        return golden.cosine(0.02, 0.001, k, total=5) if what in ("bias", "norm") else golden.cosine(2.0, 0.1, k, total=5)


class SimSiam(Case):
    first = 8332  # the epoch ends between the first and the second step
    excluded = ()
    detached = ("f", "g")

    def networks(self):
        return {
            "f": SmallBasic(6),
            "g": Mlp(12, 12, 12, bias=False, last_norm=True, last_affine=False),
            "h": Mlp(12, 6, 12),
        }

    def loss(self, n, x1, x2):
        z1, z2 = n["g"](n["f"](x1)), n["g"](n["f"](x2))
        p1, p2 = n["h"](z1), n["h"](z2)
        cos = lambda p, z: F.cosine_similarity(p, z.detach()).mean()
        return -(cos(p1, z2) + cos(p2, z1)) / 2, {"z1": z1, "z2": z2, "p1": p1, "p2": p2}

    def optimizer(self, groups):
        return torch.optim.SGD(groups, lr=0.0, momentum=0.9, nesterov=True)

    decay = 0.05

    def rate(self, k, path, what, network):
        return 0.05 if network == "h" else golden.cosine(0.1, 0.0, k - k % 8333, total=3 * 8333)


def resnet18():
    return ResNet(BasicBlock, [2, 2, 2, 2], 64)


class Large(Case):
    """ResNet-18 as the recipes train it on CIFAR-10: 32x32 views, here 8 of them."""

    size, batch = 32, 8
    deep = True
    style = "usual"


class LargeSimClr(Large):
    first = 5

    def networks(self):
        return {"f": resnet18(), "g": Mlp(512, 512, 128)}

    def loss(self, n, x1, x2):
        return nt_xent(n["g"](n["f"](x1)), n["g"](n["f"](x2)), 0.5), {}

    def optimizer(self, groups):
        return torch.optim.SGD(groups, lr=0.0, momentum=0.9)

    excluded = ()
    decay = 5e-4

    def rate(self, k, path, what, network):
        return golden.cosine(0.06, 0.0, k, total=50, warmup=10)


class LargeByol(Large):
    def networks(self):
        return {"f": resnet18(), "g": Mlp(512, 1024, 256, bias=False), "q": Mlp(256, 1024, 256)}

    def targets(self):
        return {"f_t": ("f", resnet18()), "g_t": ("g", Mlp(512, 1024, 256, bias=False))}

    def tau(self, k):
        return golden.cosine(0.99, 1.0, k, total=100)

    loss = Byol.loss

    def optimizer(self, groups):
        return golden.Lars(groups, momentum=0.9, weight_decay=1.5e-6, eta=0.001, lr_in_momentum=False)

    def rate(self, k, path, what, network):
        return golden.cosine(0.2, 0.0, k, total=100)


class LargeBarlowTwins(Large):
    def networks(self):
        return {"f": resnet18(), "g": Mlp(512, 1024, 1024, 256, bias=False)}

    loss = BarlowTwins.loss

    def optimizer(self, groups):
        return golden.Lars(groups, momentum=0.9, weight_decay=1e-6, eta=0.001, lr_in_momentum=False)

    def rate(self, k, path, what, network):
        return golden.cosine(0.0048, 0.0, k, total=100) if what in ("bias", "norm") else golden.cosine(0.2, 0.0, k, total=100)


class LargeSimSiam(Large):
    detached = ("f", "g")
    excluded = ()
    decay = 5e-4

    def networks(self):
        return {
            "f": resnet18(),
            "g": Mlp(512, 1024, 1024, bias=False, last_norm=True, last_affine=False),
            "h": Mlp(1024, 256, 1024),
        }

    loss = SimSiam.loss

    def optimizer(self, groups):
        return torch.optim.SGD(groups, lr=0.0, momentum=0.9)

    def rate(self, k, path, what, network):
        return golden.cosine(0.03, 0.0, k, total=100)


SMALL = {"simclr": SimClr, "byol": Byol, "barlow_twins": BarlowTwins, "simsiam": SimSiam}
LARGE = {
    "resnet18_simclr": LargeSimClr,
    "resnet18_byol": LargeByol,
    "resnet18_barlow_twins": LargeBarlowTwins,
    "resnet18_simsiam": LargeSimSiam,
}
STEPS = 3

# How near to 0 the inputs of ReLUs may come: nearer, and f32 may fall on the other side. ResNet-18 as it usually starts has too many
# inputs for any bound, but while its branches are near 0 their ReLUs hardly matter.
NEAREST = {"general": 1e-5, "usual": 0.0}


# --- running ---------------------------------------------------------------------------------------------------------


def views(case, step):
    shape = (case.batch, 3, case.size, case.size)
    return [golden.images(f"{case.salt}step{step}/image", f"{case.salt}step{step}/{name}", shape) for name in ("x1", "x2")]


def run(case, dtype):
    """Three steps; returns path -> initial tensor (f32), and a list of what each step yields: loss, value, grad, param, buffer."""
    online, sources = case.networks(), case.targets()
    nets = dict(online, **{name: net for name, (_, net) in sources.items()})
    for net in nets.values():
        net.to(dtype).train()
    for name in sources:
        nets[name].requires_grad_(False)
    recipe = golden.initial(nets, case.style)
    shapes = {path: list(t.shape) for path, t, *_ in golden.parameters(nets)} | {p: list(b.shape) for p, b in golden.buffers(nets)}
    init = {path: golden.tensor(path, shapes[path], *recipe[path]) for path in recipe}
    golden.fill(nets, init)

    groups = []
    for path, p, what, network in golden.parameters(online):
        excluded = what in case.excluded
        groups.append({"params": [p], "excluded": excluded, "of": (path, what, network), "lr": 0.0})
        if hasattr(case, "decay"):
            groups[-1]["weight_decay"] = 0.0 if excluded else case.decay
    optimizer = case.optimizer(groups)

    out = []
    for step in range(STEPS):
        k = case.first + step
        x1, x2 = (x.to(dtype) for x in views(case, step))
        loss, values = case.loss(nets, x1, x2)
        for group in optimizer.param_groups:
            group["params"][0].grad = None
            group["lr"] = case.rate(k, *group["of"])
        loss.backward()
        result = {"loss": loss.detach().to(torch.float64)}
        for name, value in values.items():
            result[f"value/{name}"] = value.detach()
        for path, p, *_ in golden.parameters(online):
            result[f"grad/{path}"] = p.grad.clone()
        if case.clip:
            nn.utils.clip_grad_norm_([p for _, p, *_ in golden.parameters(online)], case.clip)
        optimizer.step()
        if sources:
            tau = case.tau(k)
            with torch.no_grad():
                for name, (source, net) in sources.items():
                    for t, p in zip(net.parameters(), online[source].parameters()):
                        t.mul_(tau).add_(p, alpha=1 - tau)
        for path, p, *_ in golden.parameters(nets):
            result[f"param/{path}"] = p.detach().clone()
        for path, b in golden.buffers(nets):
            result[f"buffer/{path}"] = b.clone()
        out.append(result)
    return init, recipe, shapes, out


def check_by_differences(case, init, expected):
    """Compares the first step's gradients with central differences, for one parameter of each network it can be done for.

    The first weight, which everything passes through, where the encoder is small; the last weight of the heads where it is deep:
    there a step small enough not to cross the kinks of thousands of ReLUs drowns in rounding.
    """
    online, sources = case.networks(), case.targets()
    nets = dict(online, **{name: net for name, (_, net) in sources.items()})
    for net in nets.values():
        net.to(torch.float64).train()
    golden.fill(nets, init)
    x1, x2 = (x.to(torch.float64) for x in views(case, 0))
    for network in online:
        if network in case.detached or (case.deep and network == "f"):
            continue
        weights = [(path, p) for path, p, what, _ in golden.parameters({network: nets[network]}) if what == "weight"]
        path, p = weights[-1 if case.deep else 0]
        found, direction = golden.directional(lambda: case.loss(nets, x1, x2)[0].item(), p, "direction")
        wanted = (expected[0][f"grad/{path}"] * direction).sum().item()
        if abs(found - wanted) > 1e-5 * max(abs(wanted), 1e-3):
            raise SystemExit(f"the gradient of {path} along a direction is {wanted}, by differences {found}")


def check_in_f32(name, case, expected):
    """Prints how far f32 lands from f64, as the test measures it: what the bounds leave room for."""
    init, _, _, found = run(case, torch.float32)
    worst = {}

    def note(what, error, path):
        worst[what] = max(worst.get(what, (0.0, "")), (error, path))

    for step in (0, STEPS - 1):
        largest = max(t.norm().item() for key, t in expected[step].items() if key.startswith("grad/"))
        for key, want in expected[step].items():
            error = (found[step][key].to(torch.float64) - want).norm().item()
            family, _, path = key.partition("/")
            if family == "grad":
                note(f"grad@{step}", error / max(want.norm().item(), 1e-5 * largest), path)
            else:
                note(f"{family}@{step}", error / max(want.norm().item(), 1e-3), path)
            if family == "param":
                change = (want - init[path].to(torch.float64)).norm().item()
                note(f"change@{step}", error / max(change, 1e-3 * want.norm().item(), 1e-6), path)
    print(f"{name}: " + ", ".join(f"{what} {error:.1e} ({path})" for what, (error, path) in sorted(worst.items())))


def rounded(t):
    return t.to(torch.float32)


def small_file(init, shapes, case, out):
    tensors = {f"init/{path}": t for path, t in init.items()}
    for step in range(STEPS):
        for name, x in zip(("x1", "x2"), views(case, step)):
            tensors[f"in{step}/{name}"] = x
    for step, result in enumerate(out):
        for key, t in result.items():
            family = key.split("/")[0]
            if family == "loss":
                tensors[f"want{step}/{key}"] = t
            elif step != 1 and not (step == STEPS - 1 and family in ("grad", "value")):
                tensors[f"want{step}/{key}"] = rounded(t)
    return tensors


def large_file(init, recipe, shapes, out):
    tensors = {
        f"init/{path}": torch.tensor([*recipe[path], *shapes[path]], dtype=torch.float64) for path in recipe
    }
    for step, result in enumerate(out):
        for key, t in result.items():
            family, _, path = key.partition("/")
            if family == "loss":
                tensors[f"want{step}/{key}"] = t
            elif family == "grad" and step == 0:
                tensors[f"want{step}/{key}"] = golden.sketch(t)
            elif family in ("param", "buffer") and step != 1:
                tensors[f"want{step}/{key}"] = golden.sketch(t.to(torch.float64) - init[path].to(torch.float64))
    return tensors


def main():
    cases = SMALL | LARGE
    for name in [arg for arg in sys.argv[1:] if arg != "--check"] or cases:
        make = cases[name]
        case = make()
        Relu.nearest = float("inf")
        init, recipe, shapes, out = run(case, torch.float64)
        if Relu.nearest < NEAREST[case.style]:
            raise SystemExit(f"{name}: an input of a ReLU is {Relu.nearest}")
        check_by_differences(case, init, out)
        if "--check" in sys.argv[1:]:
            check_in_f32(name, case, out)
        tensors = small_file(init, shapes, case, out) if name in SMALL else large_file(init, recipe, shapes, out)
        shape = [case.batch, 3, case.size, case.size]
        metadata = {"at_step": str(case.first), "torch": torch.__version__.split("+")[0], "views": json.dumps(shape)}
        size = golden.save(os.path.join(HERE, f"{name}.safetensors"), tensors, metadata)
        print(f"{name}: loss {[round(r['loss'].item(), 6) for r in out]}, {size} bytes")


if __name__ == "__main__":
    main()

"""Golden values and gradients of single layers and functions, by PyTorch in f64: see tests/golden/README.md.

    python tests/golden/ops/make.py

Writes ops.safetensors beside it, and the specs of `TABLES` into tests/specs/ops; the other specs there are written by hand.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SPECS = os.path.join(os.path.dirname(os.path.dirname(HERE)), "specs", "ops")
sys.path.insert(0, os.path.dirname(HERE))

import torch
import torch.nn as nn
import torch.nn.functional as F

import golden

BATCH = 6


# --- tables: one expression in the language and in PyTorch, each on the output z of a linear layer of its own --------


def shared_max(x, y):
    """Where both are equal each gets half of the gradient."""
    return torch.amax(torch.stack([x, y]), dim=0)


def shared_min(x, y):
    return torch.amin(torch.stack([x, y]), dim=0)


def norm(x, dim):
    """The Euclidean norm, with gradient 0 at 0."""
    return torch.linalg.vector_norm(x, dim=dim)


def standardize(x, dim=0, eps=1e-5):
    return (x - x.mean(dim, keepdim=True)) / torch.sqrt(x.var(dim, unbiased=False, keepdim=True) + eps)


def cosine(a, b, eps=1e-8):
    return (a * b).sum(1) / (norm(a, 1).clamp_min(eps) * norm(b, 1).clamp_min(eps))


def extreme(z):
    return F.softplus(200 * z) / 100 + torch.sigmoid(200 * z) + torch.tanh(100 * z)


def off_diagonal(c):
    return c - torch.diag(torch.diag(c))


# name -> (in the language, in PyTorch), functions of z [6, 5]
ELEMENTWISE = {
    "add": ("1 + z - z * 0.5 / 3", lambda z: 1 + z - z * 0.5 / 3),
    "divide": ("z / (2 + z * z)", lambda z: z / (2 + z * z)),
    "negate": ("-z^2", lambda z: -(z**2)),
    "cube": ("z^3", lambda z: z**3),
    "root": ("(z * z + 0.5)^-1.5", lambda z: (z * z + 0.5) ** -1.5),
    "two_to": ("2^z", lambda z: 2**z),
    "power": ("softplus(z)^z", lambda z: F.softplus(z) ** z),
    "exp": ("exp(z)", torch.exp),
    "log": ("log(z * z + 0.5)", lambda z: torch.log(z * z + 0.5)),
    "sqrt": ("sqrt(z * z + 0.1)", lambda z: torch.sqrt(z * z + 0.1)),
    "abs": ("abs(z)", torch.abs),
    "relu": ("relu(z)", F.relu),
    "gelu": ("gelu(z)", F.gelu),
    "sigmoid": ("sigmoid(3 * z)", lambda z: torch.sigmoid(3 * z)),
    "tanh": ("tanh(z)", torch.tanh),
    "softplus": ("softplus(4 * z)", lambda z: F.softplus(4 * z)),
    "sin": ("sin(2 * z)", lambda z: torch.sin(2 * z)),
    "cos": ("cos(2 * z)", lambda z: torch.cos(2 * z)),
    "maximum": ("maximum(z, 0.3 - z)", lambda z: torch.maximum(z, 0.3 - z)),
    "minimum": ("minimum(z, 0.2)", lambda z: torch.minimum(z, torch.tensor(0.2, dtype=z.dtype))),
    "clamp": ("clamp(z, -0.5, 0.6)", lambda z: z.clamp(-0.5, 0.6)),
    "where": ("where(z > 0.1, 2 * z, z * z)", lambda z: torch.where(z > 0.1, 2 * z, z * z)),
    "large": ("log(1 + exp(minimum(40 * z, 30))) / 10", lambda z: torch.log(1 + torch.exp((40 * z).clamp_max(30))) / 10),
    "extreme": ("softplus(200 * z) / 100 + sigmoid(200 * z) + tanh(100 * z)", extreme),
}

REDUCTIONS = {
    "sum": ("sum(z * z, axis: 0)", lambda z: (z * z).sum(0)),
    "sum_all": ("sum(sin(z)) / 10", lambda z: z.sin().sum() / 10),
    "sum_keep": ("z * sum(z, axis: 1, keep: true)", lambda z: z * z.sum(1, keepdim=True)),
    "sum_both": ("sum(z * z, axis: [0, 1]) / 10", lambda z: (z * z).sum((0, 1)) / 10),
    "mean": ("mean(z, axis: -1)", lambda z: z.mean(-1)),
    "max": ("max(z, axis: 1)", lambda z: z.amax(1)),
    "max_all": ("max(z)", lambda z: z.amax()),
    "min": ("min(z, axis: 0, keep: true)", lambda z: z.amin(0, keepdim=True)),
    "var": ("var(z, axis: 0)", lambda z: z.var(0, unbiased=False)),
    "var_unbiased": ("var(z, axis: 1, unbiased: true)", lambda z: z.var(1, unbiased=True)),
    "std": ("std(z, axis: 0)", lambda z: z.std(0, unbiased=False)),
    "std_unbiased": ("std(z, unbiased: true)", lambda z: z.std(unbiased=True)),
    "logsumexp": ("logsumexp(z, axis: 1)", lambda z: z.logsumexp(1)),
    "logsumexp_far": ("logsumexp(300 * z, axis: 0) / 100", lambda z: (300 * z).logsumexp(0) / 100),
    "norm": ("norm(z, axis: 1)", lambda z: norm(z, 1)),
    "norm_all": ("norm(z)", lambda z: norm(z, (0, 1))),
    "argmax": ("z * one_hot(argmax(z, axis: 1), 5)", lambda z: z * F.one_hot(z.argmax(1), 5)),
}

SHAPES = {
    "matmul": ("z @ z.T", lambda z: z @ z.T),
    "matmul_of_transposes": ("z.T @ z", lambda z: z.T @ z),
    "transpose": ("transpose(z) * 2 @ z", lambda z: z.T * 2 @ z),
    "reshape": ("reshape(z, [5, 6]) @ z", lambda z: z.reshape(5, 6) @ z),
    "concat": ("concat([z, 2 * z, z[0..2]], axis: 0)", lambda z: torch.cat([z, 2 * z, z[0:2]])),
    "concat_columns": ("concat([z, sin(z)], axis: 1) @ ones([10, 2])", lambda z: torch.cat([z, z.sin()], 1) @ torch.ones(10, 2, dtype=z.dtype)),
    "stack": ("max(stack([z, 1 - z, z * z], axis: 0), axis: 0)", lambda z: torch.stack([z, 1 - z, z * z]).amax(0)),
    "index": ("z[2] * z[-1]", lambda z: z[2] * z[-1]),
    "slice": ("z[1..4]", lambda z: z[1:4]),
    "diag": ("diag(z.T @ z) - 1", lambda z: torch.diag(z.T @ z) - 1),
    "off_diagonal": ("off_diagonal(z.T @ z)", lambda z: off_diagonal(z.T @ z)),
    "eye": ("z.T @ z - eye(5)", lambda z: z.T @ z - torch.eye(5, dtype=z.dtype)),
    "broadcast": ("z + sum(z, axis: 0) * full([6, 1], 0.5) + zeros([6, 5])", lambda z: z + z.sum(0) * torch.full((6, 1), 0.5, dtype=z.dtype)),
    "take": ("take(z, [3, 0, 3], axis: 0)", lambda z: z[[3, 0, 3]]),
    "comprehension": ("sum(stack([for i in 0..3: (i + 1) * z[i]], axis: 0), axis: 0)", lambda z: z[0] + 2 * z[1] + 3 * z[2]),
    "stop": ("z * stop_gradient(z)", lambda z: z * z.detach()),
}

COMPOSITE = {
    "softmax": ("5 * softmax(3 * z, axis: 1)", lambda z: 5 * F.softmax(3 * z, 1)),
    "softmax_columns": ("5 * softmax(z, axis: 0)", lambda z: 5 * F.softmax(z, 0)),
    "log_softmax": ("log_softmax(2 * z, axis: 1)", lambda z: F.log_softmax(2 * z, 1)),
    "l2_normalize": ("l2_normalize(z)", lambda z: F.normalize(z, dim=-1)),
    "l2_normalize_columns": ("l2_normalize(z, axis: 0)", lambda z: F.normalize(z, dim=0)),
    "standardize": ("standardize(z)", lambda z: standardize(z)),
    "standardize_rows": ("standardize(z, axis: 1, eps: 0.1)", lambda z: standardize(z, 1, 0.1)),
    "cosine_similarity": ("cosine_similarity(z, 1 - z * z)", lambda z: cosine(z, 1 - z * z)),
    "cross_entropy": ("cross_entropy(3 * z, labels)", lambda z: F.cross_entropy(3 * z, LABELS, reduction="none")),
}

# The second and fifth images are 0 and so are the biases, so that rows of z are exactly 0.
EDGES = {
    "relu": ("relu(z)", F.relu),
    "abs": ("abs(z)", torch.abs),
    "maximum": ("maximum(z, 0)", lambda z: shared_max(z, torch.zeros_like(z))),
    "minimum": ("minimum(z, 2 * z)", lambda z: shared_min(z, 2 * z)),
    "max": ("max(z, axis: 1)", lambda z: z.amax(1)),
    "min": ("min(z, axis: 0)", lambda z: z.amin(0)),
    "norm": ("norm(z, axis: 1)", lambda z: norm(z, 1)),
    "std": ("std(z, axis: 1)", lambda z: z.std(1, unbiased=False)),
    "l2_normalize": ("l2_normalize(z, eps: 0.01)", lambda z: z / norm(z, 1).clamp_min(0.01)[:, None]),
    "cosine": ("cosine_similarity(z, z + 0.5, eps: 0.5)", lambda z: cosine(z, z + 0.5, 0.5)),
    "cosine_of_zeros": ("cosine_similarity(z, 3 * z, eps: 0.1)", lambda z: cosine(z, 3 * z, 0.1)),
    "standardize": ("standardize(z, axis: 1)", lambda z: standardize(z, 1)),
    "argmax": ("z * one_hot(argmax(z, axis: 1), 5)", lambda z: z * F.one_hot(z.argmax(1), 5)),
}

TABLES = {"elementwise": ELEMENTWISE, "reductions": REDUCTIONS, "shapes": SHAPES, "composite": COMPOSITE, "edges": EDGES}
LABELS = torch.tensor([3, 0, 4, 4, 1, 2])


def spec_of_table(name, table):
    lines = [
        f"# {name}: each function on the output of a linear layer of its own (made by tests/golden/ops/make.py).",
        'data = cifar10("data/cifar-10-batches-bin")',
        'views x1 = random_resized_crop(4) |> normalize("cifar10")',
        "",
        "module head() {",
        "    flat = flatten()",
        "    lin  = linear(5)",
        "    forward(x) = lin(flat(x))",
        "}",
        "",
    ]
    lines += [f"encoder f_{op} = head()" for op in table]
    lines += [""]
    for op, (expr, _) in table.items():
        lines += [f"fn fn_{op}(z) = {expr}", f"let v_{op} = mean((fn_{op}(f_{op}(x1)) + 0.3)^2)"]
    lines += ["", "loss = sum(stack([" + ", ".join(f"v_{op}" for op in table) + "], axis: 0))"]
    lines += ["", "train { steps = 1, batch = 6, optimizer = sgd(lr: 0.1) }", ""]
    return "\n".join(lines)


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(48, 5)

    def forward(self, x):
        return self.lin(x.flatten(1))


def table_case(name, table):
    def loss(n, x1):
        values = {f"v_{op}": ((fn(n[f"f_{op}"](x1)) + 0.3) ** 2).mean() for op, (_, fn) in table.items()}
        return sum(values.values()), values

    return dict(
        networks=lambda: {f"f_{op}": Head() for op in table},
        loss=loss,
        size=4,
        labels=name == "composite",
        zeros=name == "edges",
    )


# --- cases whose specs are written by hand ---------------------------------------------------------------------------


class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5, stride=2, padding=2)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1, groups=2, bias=False)
        self.conv3 = nn.Conv2d(8, 4, 2, stride=2, padding=1)
        self.conv4 = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.conv5 = nn.Conv2d(4, 5, 1, stride=2, bias=False)
        self.conv6 = nn.Conv2d(5, 3, 3, padding=0)

    def forward(self, x):
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            x = torch.tanh(conv(x))
        return self.conv6(x).mean((2, 3))


class Norms(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4, momentum=0.3, eps=1e-3)
        self.bn2 = nn.BatchNorm2d(4, affine=False)
        self.linear1 = nn.Linear(4, 6)
        self.ln1 = nn.LayerNorm(6)
        self.linear2 = nn.Linear(6, 5)
        self.bn3 = nn.BatchNorm1d(5)
        self.bn3.register_parameter("bias", None)
        self.bn4 = nn.BatchNorm1d(5)
        self.bn4.register_parameter("weight", None)
        self.ln2 = nn.LayerNorm(5, eps=0.1)

    def forward(self, x):
        x = self.bn2(torch.tanh(self.bn1(torch.sin(self.conv(x)))))
        x = F.gelu(self.ln1(self.linear1(torch.abs(x).mean((2, 3)))))
        x = torch.tanh(self.bn3(self.linear2(x)))
        return self.ln2(torch.sin(2 * self.bn4(x * x)))


class Pool(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.conv3 = nn.Conv2d(4, 4, 1)
        self.lin = nn.Linear(4 * 2 * 2, 5)

    def forward(self, x):
        x = F.max_pool2d(torch.tanh(self.conv1(x)), 3, stride=2, padding=1)
        x = F.avg_pool2d(torch.tanh(self.conv2(x)), 2, stride=1)
        x = F.avg_pool2d(F.max_pool2d(torch.tanh(self.conv3(x)), 2, stride=1, padding=1), 3, stride=2, padding=1)
        return self.lin(x.flatten(1))


class Mlps(nn.Module):
    """Three of `mlp`'s forms one after another."""

    def __init__(self):
        super().__init__()
        self.a = nn.Module()
        self.a.layers = nn.Sequential(nn.Linear(48, 7, bias=False), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 6))
        self.b = nn.Module()
        self.b.layers = nn.Sequential(
            nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6, bias=False), nn.BatchNorm1d(6, affine=False)
        )
        self.c = nn.Module()
        self.c.layers = nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 7), nn.ReLU(), nn.Linear(7, 4))

    def forward(self, x):
        return self.c.layers(self.b.layers(self.a.layers(x.flatten(1))))


class Shared(nn.Module):
    """One convolution and one batch norm applied twice within a network."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.bn = nn.BatchNorm2d(3)

    def forward(self, x):
        once = self.bn(self.conv(x))
        return self.bn(self.conv(torch.tanh(once)) + once).abs().mean((2, 3))


def loss_conv(n, x1):
    z = n["f"](x1)
    return (z**2).mean(), {"z": z}


def loss_norms(n, x1):
    z = n["f"](x1)
    return torch.exp(z / 2).mean(), {"z": z}


def loss_shared(n, x1, x2):
    # One application of f to x1, though it is written twice; then one of g to each value.
    z1 = n["f"](x1)
    a, b = n["g"](z1), n["g"](n["f"](x2))
    return (torch.sin(3 * a) * b.detach()).mean() + (z1.mean(1) * b.sum(1)).mean(), {"z1": z1, "a": a, "b": b}


def nt_xent(z1, z2, temperature):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    n = len(z)
    logits = (z @ z.T / temperature).masked_fill(torch.eye(n, dtype=torch.bool), float("-inf"))
    return F.cross_entropy(logits, torch.arange(n).roll(n // 2))


def barlow_twins(z1, z2, lam):
    c = standardize(z1).T @ standardize(z2) / len(z1)
    return ((torch.diag(c) - 1) ** 2).sum() + lam * (off_diagonal(c) ** 2).sum()


def vicreg(x, y, sim, var, cov):
    """As facebookresearch/vicreg's main_vicreg.py (MIT licence) has it, on one device."""
    repr_loss = F.mse_loss(x, y)
    x, y = x - x.mean(0), y - y.mean(0)
    std_x, std_y = torch.sqrt(x.var(0) + 0.0001), torch.sqrt(y.var(0) + 0.0001)
    std_loss = F.relu(1 - std_x).mean() / 2 + F.relu(1 - std_y).mean() / 2
    cov_x, cov_y = x.T @ x / (len(x) - 1), y.T @ y / (len(x) - 1)
    d = x.shape[1]
    cov_loss = off_diagonal(cov_x).pow(2).sum() / d + off_diagonal(cov_y).pow(2).sum() / d
    return sim * repr_loss + var * std_loss + cov * cov_loss


def loss_losses(n, x1, x2):
    def on(name, fn):
        return fn(n[f"f_{name}"](x1), n[f"f_{name}"](x2))

    values = {
        "v_nt_xent": on("nt_xent", lambda a, b: nt_xent(a, b, 0.2)),
        "v_barlow_twins": on("barlow_twins", lambda a, b: barlow_twins(a, b, 0.05)),
        "v_negative_cosine": on("negative_cosine", lambda a, b: -cosine(a, b).mean()),
        "v_byol_regression": on("byol_regression", lambda a, b: (2 - 2 * cosine(a, b)).mean()),
        "v_vicreg": on("vicreg", lambda a, b: vicreg(a, b, 25, 25, 1)),
        "v_vicreg_other": on("vicreg_other", lambda a, b: vicreg(0.5 * a, b, 10, 5, 2)),
    }
    return sum(values.values()), values


def loss_average(n, x1, x2):
    a, b = n["f"](x1), n["f_t"](x2).detach()
    return ((a - b) ** 2).mean(), {"a": a, "b": b}


def flat(*layers):
    return nn.Sequential(nn.Flatten(), *layers)


LOSSES = ["nt_xent", "barlow_twins", "negative_cosine", "byol_regression", "vicreg", "vicreg_other"]
CASES = {
    "conv": dict(networks=lambda: {"f": Conv()}, loss=loss_conv, size=15),
    "norms": dict(networks=lambda: {"f": Norms()}, loss=loss_norms, size=5),
    "pool": dict(networks=lambda: {"f": Pool()}, loss=loss_conv, size=7),
    "mlp": dict(networks=lambda: {"f": Mlps()}, loss=loss_conv, size=4),
    "sharing": dict(networks=lambda: {"f": Shared(), "g": nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))}, loss=loss_shared, size=5, views=2),
    "losses": dict(networks=lambda: {f"f_{name}": Head() for name in LOSSES}, loss=loss_losses, size=4, views=2),
    "average": dict(networks=lambda: {"f": flat(nn.Linear(48, 4), nn.BatchNorm1d(4))}, loss=loss_average, size=4, views=2, target=True),
} | {name: table_case(name, table) for name, table in TABLES.items()}


# --- running ---------------------------------------------------------------------------------------------------------


def pick(name, case, dtype):
    """The case's networks filled, its views and its f32 inputs by name."""
    nets = {key: net.to(dtype) for key, net in case["networks"]().items()}
    if case.get("target"):
        nets["f_t"] = case["networks"]()["f"].to(dtype).requires_grad_(False)
    inputs = {}
    recipe = golden.initial(nets)
    for path, t in [(p, t) for p, t, *_ in golden.parameters(nets)] + list(golden.buffers(nets)):
        zero = case.get("zeros") and path.endswith("bias")
        inputs[path] = golden.tensor(f"{name}/{path}", list(t.shape), *((0.0, 0.0) if zero else recipe[path]))
    golden.fill(nets, inputs)
    names = ["x1", "x2"][: case.get("views", 1)]
    for view in names:
        x = golden.images(f"{name}/image", f"{name}/{view}", (BATCH, 3, case["size"], case["size"]))
        if case.get("zeros"):
            x[1] = x[4] = 0
        inputs[view] = x
    if case.get("labels"):
        inputs["labels"] = LABELS
    return nets, [inputs[view].to(dtype) for view in names], inputs


def check_by_differences(name, case, nets, views, grads):
    """Each weight's gradient along a direction, by central differences (in training mode, on a copy of the running statistics)."""
    for path, p, what, network in golden.parameters(nets):
        if f"grad/{path}" not in grads or name == "edges" or path in ("f_stop.lin.weight", "f_stop.lin.bias"):
            continue
        if name == "sharing" and network in ("f", "g"):
            continue  # a stop-gradient hides part of the change
        found, direction = golden.directional(lambda: case["loss"](nets, *views)[0].item(), p, "direction", h=1e-6)
        wanted = (grads[f"grad/{path}"] * direction).sum().item()
        if abs(found - wanted) > 2e-5 * max(grads[f"grad/{path}"].norm().item(), 1e-2):
            raise SystemExit(f"{name}: the gradient of {path} along a direction is {wanted}, by differences {found}")


def main():
    torch.manual_seed(0)
    for name, table in TABLES.items():
        with open(os.path.join(SPECS, f"{name}.ssl"), "w") as f:
            f.write(spec_of_table(name, table))
    tensors = {}
    for name, case in CASES.items():
        nets, views, inputs = pick(name, case, torch.float64)
        loss, values = case["loss"](nets, *views)
        loss.backward()
        want = {"loss": loss.detach()} | {f"value/{key}": v.detach() for key, v in values.items()}
        want |= {f"grad/{path}": p.grad for path, p, *_ in golden.parameters(nets) if p.requires_grad}
        want |= {f"buffer/{path}": b.clone() for path, b in golden.buffers(nets)}
        for key, t in want.items():
            if not torch.isfinite(t).all():
                raise SystemExit(f"{name}: {key} is not finite")
        if case.get("target"):
            # After a step of SGD with rate 0.1: parameters are averaged, and so are running statistics in place of own ones; decay 0.75.
            for path, p, *_ in golden.parameters({"f": nets["f"]}):
                new = p.detach() - 0.1 * p.grad
                want[f"param/{path}"] = new
                target = path.replace("f.", "f_t.", 1)
                want[f"param/{target}"] = 0.75 * inputs[target] + 0.25 * new
            for path, b in golden.buffers({"f": nets["f"]}):
                target = path.replace("f.", "f_t.", 1)
                want[f"buffer/{target}"] = 0.75 * inputs[target] + 0.25 * b
        check_by_differences(name, case, nets, views, want)
        tensors |= {f"{name}/in/{key}": t for key, t in inputs.items()}
        tensors |= {f"{name}/want/{key}": t.to(torch.float64) if t.dim() == 0 else t.to(torch.float32) for key, t in want.items()}
    size = golden.save(os.path.join(HERE, "ops.safetensors"), tensors, {"torch": torch.__version__.split("+")[0]})
    print(f"{len(CASES)} cases, {len(tensors)} tensors, {size} bytes")


if __name__ == "__main__":
    main()

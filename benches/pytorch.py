"""The training step of a spec in PyTorch, for `sslc bench --compare pytorch`.

Standard input: one line of JSON that describes the step, then the initial values of all parameters and the views as
raw little-endian f32 in the order of the description, then one command a line: `steps N` runs N steps and answers with
their seconds and the peak memory; `quit` ends. Answers are one JSON object a line on standard output.

The forward pass is the spec's `core`, op by op, in eager mode. Images stay channels-last in memory, as PyTorch
recommends on CPUs; batch norm and linear layers, which `core` spells out, are recognised and run as
`torch.nn.functional.batch_norm` and `linear`, as a PyTorch program would.
"""

import json
import resource
import sys
import time

try:
    import torch
    import torch.nn.functional as F
except ImportError as error:
    print(json.dumps({"error": str(error)}), flush=True)
    sys.exit(1)


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


def peak_resident():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def along(x, dims, shape):
    """Broadcasts x so that its axis i becomes axis dims[i] of the shape."""
    sizes = [1] * len(shape)
    for axis, dim in enumerate(dims):
        sizes[dim] = x.shape[axis]
    return x.reshape(sizes).expand(shape)


def images(x):
    """[B, H, W, C] as PyTorch's [B, C, H, W], channels-last, without a copy."""
    return x.permute(0, 3, 1, 2)


def rows(x):
    return x.permute(0, 2, 3, 1)


def filters(w):
    """[k, k, in, out] as PyTorch's [out, in, k, k]."""
    return w.permute(3, 2, 0, 1)


DTYPES = {"f32": torch.float32, "i32": torch.int64, "bool": torch.bool, "mask": torch.bool}


def pad(x, low, high):
    flat = []
    for a, b in zip(reversed(low), reversed(high)):
        flat += [a, b]
    return F.pad(x, flat)


def take(x, index, axis):
    return torch.index_select(x, axis, index.long())


OPS = {
    "add": lambda a, x, y: x + y,
    "sub": lambda a, x, y: x - y,
    "mul": lambda a, x, y: x * y,
    "div": lambda a, x, y: x / y,
    "pow": lambda a, x, y: x**y,
    "maximum": lambda a, x, y: torch.maximum(x, y),
    "minimum": lambda a, x, y: torch.minimum(x, y),
    "eq": lambda a, x, y: x == y,
    "ne": lambda a, x, y: x != y,
    "lt": lambda a, x, y: x < y,
    "le": lambda a, x, y: x <= y,
    "gt": lambda a, x, y: x > y,
    "ge": lambda a, x, y: x >= y,
    "not": lambda a, x: ~x,
    "and": lambda a, x, y: x & y,
    "or": lambda a, x, y: x | y,
    "select": lambda a, m, x, y: torch.where(m, x, y),
    "neg": lambda a, x: -x,
    "exp": lambda a, x: torch.exp(x),
    "log": lambda a, x: torch.log(x),
    "sqrt": lambda a, x: torch.sqrt(x),
    "sqrt_safe": lambda a, x: torch.sqrt(x),
    "abs": lambda a, x: torch.abs(x),
    "relu": lambda a, x: F.relu(x),
    "gelu": lambda a, x: F.gelu(x),
    "erf": lambda a, x: torch.erf(x),
    "sigmoid": lambda a, x: torch.sigmoid(x),
    "tanh": lambda a, x: torch.tanh(x),
    "softplus": lambda a, x: F.softplus(x),
    "sin": lambda a, x: torch.sin(x),
    "cos": lambda a, x: torch.cos(x),
    "cast": lambda a, x: x.to(DTYPES[a["dtype"]]),
    "stop_gradient": lambda a, x: x.detach(),
    "matmul": lambda a, x, y: torch.matmul(x.mT if a["ta"] else x, y.mT if a["tb"] else y),
    "conv2d": lambda a, x, w: rows(
        F.conv2d(images(x), filters(w), None, a["stride"], a["padding"], 1, a["groups"])
    ),
    "convolution": lambda a, x, w: rows(
        F.conv2d(images(x), w, None, a["stride"], a["padding"], 1, a["groups"])
    ),
    "max_pool": lambda a, x: rows(F.max_pool2d(images(x), a["kernel"], a["stride"], a["padding"])),
    "avg_pool": lambda a, x: rows(F.avg_pool2d(images(x), a["kernel"], a["stride"], a["padding"])),
    "sum": lambda a, x: x.sum(a["axes"]) if a["axes"] else x,
    "max": lambda a, x: torch.amax(x, a["axes"]),
    "min": lambda a, x: torch.amin(x, a["axes"]),
    "argmax": lambda a, x: torch.argmax(x, a["axis"]),
    "variance": lambda a, x, mean: x.var(a["axes"], unbiased=False),
    "reshape": lambda a, x: x.reshape(a["shape"]),
    "transpose": lambda a, x: x.permute(a["perm"]),
    "broadcast": lambda a, x: along(x, a["dims"], a["shape"]),
    "concat": lambda a, *xs: torch.cat(xs, a["axis"]),
    "slice": lambda a, x: x[tuple(slice(s, e) for s, e in zip(a["start"], a["end"]))],
    "pad": lambda a, x: pad(x, a["low"], a["high"]),
    "take": lambda a, x, index: take(x, index, a["axis"]),
    "constant": lambda a: torch.full(a["shape"], a["value"], dtype=DTYPES[a["dtype"]]),
    "iota": lambda a: along(torch.arange(a["shape"][a["axis"]]), [a["axis"]], a["shape"]),
    "uniform": lambda a: torch.rand(a["shape"]),
    "batch_norm": lambda a, x, *wb: batch_norm(a, x, *wb),
    "linear": lambda a, x, w, *b: F.linear(x, w, *b),
}


def batch_norm(a, x, weight=None, bias=None):
    four = x.dim() == 4
    mean, var = a["statistics"]
    y = F.batch_norm(images(x) if four else x, mean, var, weight, bias, True, 0.1, a["eps"])
    return rows(y) if four else y


class Forward:
    """The graph up to the loss, with what `core` spells out made one op again, and constants computed once."""

    def __init__(self, nodes, loss):
        # Autocast rounds by rules of its own.
        rounded = {}
        for i, node in enumerate(nodes):
            node["args"] = [rounded.get(arg, arg) for arg in node["args"]]
            if node["op"] == "to_bf16":
                rounded[i] = node["args"][0]
        self.nodes = [dict(n) for n in nodes]
        self.statistics = {}
        self.uses = [0] * len(nodes)
        for node in nodes:
            for arg in node["args"]:
                self.uses[arg] += 1
        self.other_uses = {
            arg
            for n in nodes
            for place, arg in enumerate(n["args"])
            if n["op"] != "conv2d" or place != 1
        }
        for i in range(len(self.nodes)):
            self.recognise(i)
        needed, open_ = set(), [loss]
        while open_:
            i = open_.pop()
            if i not in needed:
                needed.add(i)
                open_ += self.nodes[i]["args"]
        self.order = sorted(needed)
        self.loss = loss
        self.constants = {}
        varying = {"view", "labels", "param", "buffer", "uniform"}
        moving = set()
        for i in self.order:
            node = self.nodes[i]
            if node["op"] in varying or any(arg in moving for arg in node["args"]):
                moving.add(i)
            elif node["op"] not in OPS:
                unknown(node["op"])
            else:
                args = [self.constants[arg] for arg in node["args"]]
                self.constants[i] = OPS[node["op"]](node["attrs"], *args)
        self.order = [i for i in self.order if i in moving]
        last = {arg: i for i in self.order for arg in self.nodes[i]["args"]}
        self.dies = {}
        for arg, i in last.items():
            if arg != loss and arg in moving:
                self.dies.setdefault(i, []).append(arg)
        for i in self.order:
            if self.nodes[i]["op"] not in OPS and self.nodes[i]["op"] not in varying:
                unknown(self.nodes[i]["op"])

    def is_op(self, i, op):
        return self.nodes[i]["op"] == op

    def broadcast_of(self, i):
        return self.nodes[i]["args"][0] if self.is_op(i, "broadcast") else None

    def recognise(self, i):
        node = self.nodes[i]
        if node["op"] == "mul":
            self.recognise_norm(i)
        elif node["op"] == "conv2d":
            # A filter that only convolutions read stays in PyTorch's order.
            if self.is_op(node["args"][1], "param") and node["args"][1] not in self.other_uses:
                self.nodes[i] = {**node, "op": "convolution"}
        elif node["op"] == "add":
            x, shift = node["args"]
            bias = self.broadcast_of(shift)
            if bias is None or not self.is_op(bias, "param") or self.uses[x] != 1:
                return
            before = self.nodes[x]
            if before["op"] == "batch_norm" and len(before["args"]) == 2:
                self.nodes[i] = {**before, "args": [*before["args"], bias]}
            elif before["op"] == "matmul" and before["attrs"]["tb"] and not before["attrs"]["ta"]:
                if self.is_op(before["args"][1], "param"):
                    self.nodes[i] = {"op": "linear", "attrs": {}, "args": [*before["args"], bias]}

    def recognise_norm(self, i):
        """(x − mean)·(scale / sqrt(variance + eps)) over all axes but the last."""
        centred, factor = self.nodes[i]["args"]
        factor = self.broadcast_of(factor)
        if factor is None or not self.is_op(centred, "sub") or not self.is_op(factor, "div"):
            return
        x, mean = self.nodes[centred]["args"]
        mean = self.broadcast_of(mean)
        scale, root = self.nodes[factor]["args"]
        if mean is None or not self.is_op(root, "sqrt"):
            return
        variance = self.nodes[root]["args"][0]
        if not self.is_op(variance, "add"):
            return
        variance, eps = self.nodes[variance]["args"]
        eps = self.broadcast_of(eps)
        if eps is None or not self.is_op(variance, "variance"):
            return
        if self.nodes[variance]["args"] != [x, mean]:
            return
        rank = len(self.nodes[x]["type"]["shape"])
        if rank not in (2, 4) or self.nodes[variance]["attrs"]["axes"] != list(range(rank - 1)):
            return
        args = [x]
        if self.is_op(scale, "param"):
            args.append(scale)
        elif self.broadcast_of(scale) is None:
            return
        key = scale if self.is_op(scale, "param") else i
        if key not in self.statistics:
            size = self.nodes[x]["type"]["shape"][-1]
            self.statistics[key] = (torch.zeros(size), torch.ones(size))
        attrs = {
            "eps": self.nodes[eps]["attrs"]["value"],
            "statistics": self.statistics[key],
        }
        self.nodes[i] = {"op": "batch_norm", "attrs": attrs, "args": args, "type": self.nodes[i]["type"]}

    def run(self, sources):
        values = dict(self.constants)
        for i in self.order:
            node = self.nodes[i]
            op = node["op"]
            if op == "param":
                value = sources[op, node["attrs"]["path"]]
                inside = value.dim() == 4 and i in self.other_uses
                values[i] = value.permute(2, 3, 1, 0) if inside else value
            elif op in ("view", "labels", "buffer"):
                values[i] = sources[op, node["attrs"].get("path", node["attrs"].get("name"))]
            else:
                values[i] = OPS[op](node["attrs"], *[values[arg] for arg in node["args"]])
            for dead in self.dies.get(i, ()):
                del values[dead]
        return values[self.loss]


def unknown(op):
    print(json.dumps({"error": f"the comparison has no PyTorch form of the op '{op}'"}), flush=True)
    sys.exit(1)


class Lars(torch.optim.Optimizer):
    """You et al. 2017, as in the papers' code: no decay and no adaptation for excluded parameters."""

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                g = p.grad
                if not group["excluded"]:
                    g = g.add(p, alpha=group["weight_decay"])
                    w, n = torch.norm(p), torch.norm(g)
                    ratio = torch.where((w > 0) & (n > 0), group["eta"] * w / n, torch.ones(()))
                    g = g * ratio
                if group["lr_in_momentum"]:
                    g = g * group["lr"]
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.mul_(group["momentum"]).add_(g)
                p.add_(buffer, alpha=-1.0 if group["lr_in_momentum"] else -group["lr"])


def optimizer(job, parameters):
    rule = job["rule"]
    groups = {}
    for p in job["parameters"]:
        if p["trained"]:
            key = (p["lr"], p["momentum"], p["weight_decay"], p["excluded"])
            groups.setdefault(key, []).append(parameters[p["path"]])
    if "sgd" in rule:
        return torch.optim.SGD(
            [
                {"params": ps, "lr": lr, "momentum": m, "weight_decay": wd, "nesterov": rule["sgd"]["nesterov"]}
                for (lr, m, wd, _), ps in groups.items()
            ],
            lr=0.1,
            foreach=True,
        )
    if "lars" in rule:
        return Lars(
            [
                {"params": ps, "lr": lr, "momentum": m, "weight_decay": wd, "excluded": out, **rule["lars"]}
                for (lr, m, wd, out), ps in groups.items()
            ],
            {},
        )
    adam = rule["adamw"]
    return torch.optim.AdamW(
        [{"params": ps, "lr": lr, "weight_decay": wd} for (lr, _, wd, _), ps in groups.items()],
        lr=1e-3,
        betas=(adam["beta1"], adam["beta2"]),
        eps=adam["eps"],
        foreach=True,
    )


def main():
    job = json.loads(sys.stdin.buffer.readline())
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    idle = resident()

    def tensor(shape):
        count = 1
        for n in shape:
            count *= n
        data = sys.stdin.buffer.read(4 * count)
        return torch.frombuffer(bytearray(data), dtype=torch.float32).reshape(shape)

    sources = {}
    parameters = {}
    for p in job["parameters"]:
        value = tensor(p["shape"])
        if len(p["shape"]) == 4:
            value = value.contiguous(memory_format=torch.channels_last)
        value = torch.nn.Parameter(value, requires_grad=p["trained"])
        parameters[p["path"]] = value
    for v in job["views"]:
        sources["view", v["name"]] = tensor(v["shape"])
    sources["labels", None] = torch.zeros(job["batch"], dtype=torch.int64)
    for b in job["buffers"]:
        sources["buffer", b["path"]] = torch.zeros(b["shape"])
    for p in job["parameters"]:
        value = parameters[p["path"]]
        sources["param", p["path"]] = value.t() if p["transposed"] else value
    forward = Forward(job["nodes"], job["loss"])
    opt = optimizer(job, parameters)
    targets = [(parameters[t["target"]], parameters[t["source"]]) for t in job["targets"]]
    decay = job["decay"]

    def step():
        opt.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=job["bf16"]):
            loss = forward.run(sources)
        loss.backward()
        if job["update"]:
            if job["clip_norm"] is not None:
                torch.nn.utils.clip_grad_norm_(parameters.values(), job["clip_norm"])
            opt.step()
            if targets:
                with torch.no_grad():
                    torch._foreach_lerp_([t for t, _ in targets], [s for _, s in targets], 1.0 - decay)
        return loss.item()

    answer = {"ready": True, "version": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability()}
    print(json.dumps(answer), flush=True)
    for line in sys.stdin.buffer:
        words = line.split()
        if not words or words[0] == b"quit":
            break
        seconds, losses = [], []
        for _ in range(int(words[1])):
            start = time.perf_counter()
            losses.append(step())
            seconds.append(time.perf_counter() - start)
        memory = peak_resident() - idle
        print(json.dumps({"seconds": seconds, "losses": losses, "memory": memory}), flush=True)


main()

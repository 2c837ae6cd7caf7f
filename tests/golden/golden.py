"""What the golden scripts share: safetensors files, portable numbers, optimizers and schedules as `docs/language.md` words them.

Needs PyTorch only.
"""

import json
import math
import struct

import torch

# --- safetensors -----------------------------------------------------------------------------------------------------

DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64"}


def save(path, tensors, metadata):
    """Writes `tensors` (name -> tensor) in the order of their names, with `metadata` (str -> str)."""
    header = {"__metadata__": {key: metadata[key] for key in sorted(metadata)}}
    body = b""
    for name in sorted(tensors):
        t = tensors[name].detach().contiguous()
        raw = bytes(t.reshape(-1).view(torch.uint8).tolist()) if t.numel() else b""
        header[name] = {"dtype": DTYPES[t.dtype], "shape": list(t.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + body)
    return 8 + len(text) + len(body)


# --- numbers that any language makes alike ---------------------------------------------------------------------------

GAMMA = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def signed(x):
    return x - (1 << 64) if x >> 63 else x


def fnv1a(name):
    """The 64-bit FNV-1a hash of a name."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def shift_right(x, n):
    """Logical shift of 64-bit patterns held in int64."""
    return (x >> n) & ((1 << (64 - n)) - 1)


def bits(name, count, start=0):
    """64 bits for each element of a named sequence, from `start`: output i+1 of splitmix64 seeded with the name's FNV-1a hash."""
    z = torch.arange(start + 1, start + count + 1, dtype=torch.int64) * signed(GAMMA) + signed(fnv1a(name))
    z = (z ^ shift_right(z, 30)) * signed(0xBF58476D1CE4E5B9)
    z = (z ^ shift_right(z, 27)) * signed(0x94D049BB133111EB)
    return z ^ shift_right(z, 31)


# The deviation of a sum of four uniform 16-bit integers: sqrt(4 (65536^2 - 1) / 12).
SUM_STD = 37837.22723720648


def normal(name, count):
    """Near-normal numbers (mean 0, variance 1, |x| < 3.47), exact in f64: four uniform 16-bit integers added and scaled."""
    b = bits(name, count)
    total = sum(shift_right(b, 16 * i) & 0xFFFF for i in range(4))
    return (total - 131070).to(torch.float64) / SUM_STD


def tensor(name, shape, offset=0.0, scale=1.0, swing=0.0):
    """A named f32 tensor in the row-major order of the file's layout: offset + scale * normal, then + swing at even, - swing at odd places."""
    count = math.prod(shape)
    values = offset + scale * normal(name, count)
    values += swing * (1 - 2 * (torch.arange(count) % 2))
    return values.to(torch.float32).reshape(shape)


COARSE = 4  # side of the squares of one colour in `images`


def images(image_name, view_name, shape):
    """Images [B, C, H, W] with something to tell them apart: squares of one colour, the same for all views of an image, and noise."""
    b, c, h, w = shape
    gh, gw = -(-h // COARSE), -(-w // COARSE)
    coarse = normal(image_name, b * c * gh * gw).reshape(b, c, gh, gw)
    coarse = coarse.repeat_interleave(COARSE, 2).repeat_interleave(COARSE, 3)[:, :, :h, :w]
    fine = normal(view_name, b * c * h * w).reshape(shape)
    return (coarse * 0.75 + fine * 0.5).to(torch.float32)


SIGNS = 24


CHUNK = 1 << 16
sign_chunks = []  # [SIGNS, CHUNK] of -1 and 1, made as they are needed


def signs(chunk):
    """The signs of the chunk of this number."""
    while len(sign_chunks) <= chunk:
        b = bits("signs", CHUNK, len(sign_chunks) * CHUNK)
        sign_chunks.append(torch.stack([(1 - 2 * (shift_right(b, j) & 1)).to(torch.int8) for j in range(SIGNS)]))
    return sign_chunks[chunk]


def sketch(t):
    """[1 + SIGNS] numbers for a tensor: its norm, and its products with SIGNS vectors of -1 and 1 (bit j of element i's hash)."""
    flat = t.detach().reshape(-1).to(torch.float64)
    products = torch.zeros(SIGNS, dtype=torch.float64)
    for chunk, part in enumerate(flat.split(CHUNK)):
        products += signs(chunk)[:, : len(part)].to(torch.float64) @ part
    return torch.cat([flat.norm()[None], products])


# --- networks --------------------------------------------------------------------------------------------------------


def kind(module, name):
    """`weight`, `bias` or `norm`: what `exclude` and `group` speak of."""
    norm = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.LayerNorm)
    if isinstance(module, norm):
        return "norm"
    return "bias" if name == "bias" else "weight"


def parameters(networks):
    """(path, parameter, kind, network) of every parameter, networks in order."""
    for network, module in networks.items():
        for prefix, child in module.named_modules():
            for name, p in child.named_parameters(recurse=False):
                path = ".".join(part for part in (network, prefix, name) if part)
                yield path, p, kind(child, name), network


def buffers(networks):
    """(path, buffer) of every running statistic, networks in order."""
    for network, module in networks.items():
        for path, b in module.named_buffers():
            if not path.endswith("num_batches_tracked"):
                yield f"{network}.{path}", b


def initial(networks, style="general"):
    """path -> (offset, scale, swing) of `tensor`, for every parameter and buffer.

    `general`: nothing is at a value that hides a mistake. `usual`: norms as training starts, the last norm of a basic block at 0.
    """
    out = {}
    for path, p, what, _ in parameters(networks):
        weight = path.endswith("weight")
        if what == "weight":
            fan_in = math.prod(p.shape[1:])
            out[path] = (0.0, math.sqrt((2.0 if p.dim() == 4 else 1.0) / fan_in), 0.0)
        elif what == "bias":
            out[path] = (0.0, 0.2, 0.0)
        elif style == "general":
            out[path] = (1.0 if weight else 0.0, 0.2, 0.0)
        else:
            out[path] = (1.0 if weight and not path.endswith("bn2.weight") else 0.0, 0.0, 0.0)
    for path, b in buffers(networks):
        out[path] = (0.0 if path.endswith("running_mean") else 1.0, 0.0 if style == "usual" else 0.2, 0.0)
    return out


def fill(networks, values):
    """Copies path -> tensor into the networks."""
    with torch.no_grad():
        for path, p, _, _ in parameters(networks):
            p.copy_(values[path])
        for path, b in buffers(networks):
            b.copy_(values[path])


# --- schedules and optimizers ----------------------------------------------------------------------------------------


def cosine(start, end, k, total, warmup=0):
    if k < warmup:
        return start * k / warmup
    return end + (start - end) * (1 + math.cos(math.pi * (k - warmup) / (total - warmup))) / 2


class Lars:
    """Layer-wise adaptive rates: trust ratio eta |w| / |g + decay w|, 1 where a norm is 0; none and no decay for excluded parameters."""

    def __init__(self, groups, momentum, weight_decay, eta, lr_in_momentum):
        self.param_groups = groups  # dicts: params, lr, excluded
        self.momentum, self.weight_decay, self.eta, self.inside = momentum, weight_decay, eta, lr_in_momentum
        self.buffers = {}

    def step(self):
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    g = p.grad
                    if not group["excluded"]:
                        g = g + self.weight_decay * p
                        wn, gn = p.norm(), g.norm()
                        if wn > 0 and gn > 0:
                            g = g * (self.eta * wn / gn)
                    if self.inside:
                        g = g * group["lr"]
                    buffer = self.buffers.get(p, torch.zeros_like(p)) * self.momentum + g
                    self.buffers[p] = buffer
                    p -= buffer if self.inside else buffer * group["lr"]


def directional(loss, parameter, seed_name, h=1e-6):
    """The derivative of `loss()` along a direction in the space of `parameter`, by central differences, and that direction."""
    direction = tensor(seed_name, parameter.shape).to(torch.float64)
    with torch.no_grad():
        start = parameter.clone()
        parameter.copy_(start + h * direction)
        up = loss()
        parameter.copy_(start - h * direction)
        down = loss()
        parameter.copy_(start)
    return (up - down) / (2 * h), direction

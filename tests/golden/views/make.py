"""Golden images of every view operation, by torchvision.

    pip install torch torchvision safetensors
    python make.py

writes views.safetensors beside this file: `image/NAME`, small images as bytes [H, W, C], and `case/NAME`, what torchvision's
functional operations on float tensors make of them [H, W, C]. The metadata hold under `case/NAME` the image and the operations
with their parameters as JSON, and under `made_by` the versions. Made with torch 2.15.0 and torchvision 0.29.2.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torchvision
from safetensors.torch import save_file
from torchvision.transforms.v2 import functional as F


def photo(height, width, seed):
    """Smooth colour, an edge, a disc and a little noise: what a photograph is made of."""
    rng = np.random.RandomState(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    u, v = y / height, x / width
    planes = [
        0.55 + 0.4 * np.sin(5 * u + 3 * v),
        0.5 + 0.45 * np.cos(4 * v - 2 * u),
        0.3 + 0.6 * u * v,
    ]
    image = np.stack(planes, -1)
    disc = (u - 0.45) ** 2 + (v - 0.6) ** 2 < 0.06
    image[disc] = [0.9, 0.2, 0.1]
    image[y > 0.8 * height] *= 0.35
    image += rng.normal(0, 0.03, image.shape)
    return (image.clip(0, 1) * 255).round().astype(np.uint8)


def noise(height, width, channels, seed):
    return np.random.RandomState(seed).randint(0, 256, (height, width, channels)).astype(np.uint8)


IMAGES = {
    "photo": photo(61, 47, 1),
    "square": photo(32, 32, 2),
    "noise": noise(37, 29, 3, 3),
    "gray": photo(28, 28, 4)[..., :1].copy(),
    "gray_noise": noise(28, 28, 1, 5),
}


def apply(x, op):
    name, a = op["op"], {k: v for k, v in op.items() if k != "op"}
    if name == "resized_crop":
        return F.resized_crop(
            x, a["top"], a["left"], a["height"], a["width"], a["size"],
            interpolation=a["interpolation"], antialias=a["antialias"],
        )
    if name == "resize":
        return F.resize(x, a["size"], interpolation=a["interpolation"], antialias=a["antialias"])
    if name == "center_crop":
        return F.center_crop(x, a["size"])
    if name == "crop":
        x = F.pad(x, [a["padding"]] * 4)
        return F.crop(x, a["top"] + a["padding"], a["left"] + a["padding"], *a["size"])
    if name == "horizontal_flip":
        return F.horizontal_flip(x)
    if name == "vertical_flip":
        return F.vertical_flip(x)
    if name == "jitter":
        parts = {
            "brightness": F.adjust_brightness,
            "contrast": F.adjust_contrast,
            "saturation": F.adjust_saturation,
            "hue": F.adjust_hue,
        }
        for part, factor in a["parts"]:
            x = parts[part](x, factor)
        return x
    if name == "grayscale":
        return F.rgb_to_grayscale(x, num_output_channels=x.shape[0])
    if name == "gaussian_blur":
        return F.gaussian_blur(x, [a["kernel"]] * 2, [a["sigma"]] * 2)
    if name == "solarize":
        return F.solarize(x, a["threshold"])
    if name == "rotate":
        return F.rotate(x, a["degrees"], fill=0)
    if name == "erase":
        return F.erase(x, a["top"], a["left"], a["height"], a["width"], torch.zeros(1, 1, 1))
    if name == "normalize":
        return F.normalize(x, a["mean"], a["std"])
    raise ValueError(name)


def cases():
    crops = [
        ("photo", (0, 0, 61, 47), (32, 32)),  # the whole image, shrunk
        ("photo", (5, 7, 40, 31), (24, 24)),
        ("photo", (10, 3, 9, 11), (32, 28)),  # enlarged
        ("photo", (1, 2, 50, 44), (7, 5)),  # shrunk a lot
        ("photo", (3, 4, 1, 1), (6, 6)),  # a single pixel
        ("photo", (20, 0, 17, 47), (17, 20)),  # one axis as it is
        ("noise", (2, 1, 33, 27), (16, 31)),
        ("noise", (0, 0, 37, 29), (37, 29)),  # the same size
        ("gray", (2, 3, 20, 22), (28, 28)),
        ("gray_noise", (0, 5, 28, 23), (12, 12)),
    ]
    how = [(i, a) for i in ("bilinear", "bicubic") for a in (True, False)]
    for n, (image, (top, left, height, width), size) in enumerate(crops):
        for interpolation, antialias in how:
            op = dict(
                op="resized_crop", top=top, left=left, height=height, width=width,
                size=size, interpolation=interpolation, antialias=antialias,
            )
            mode = f"{interpolation}{'_antialias' if antialias else ''}"
            yield f"crop_{n}_{mode}", image, [op]
            if n == 1:
                yield f"flip_then_crop_{mode}", image, [dict(op="horizontal_flip"), op]
    for interpolation, antialias in how:
        mode = dict(interpolation=interpolation, antialias=antialias)
        suffix = f"{interpolation}{'_antialias' if antialias else ''}"
        yield f"resize_short_{suffix}", "photo", [dict(op="resize", size=[20], **mode)]
        yield f"resize_exact_{suffix}", "noise", [dict(op="resize", size=[24, 40], **mode)]
        yield f"resize_gray_{suffix}", "gray", [dict(op="resize", size=[32], **mode)]
    for n, size in enumerate([(32, 32), (24, 30), (70, 20), (20, 60), (64, 50)]):
        yield f"center_crop_{n}", "photo", [dict(op="center_crop", size=size)]
    for n, (top, left, size) in enumerate([(-4, -4, (32, 32)), (3, -1, (32, 32)), (4, 4, (32, 32)), (0, 2, (20, 10))]):
        yield f"random_crop_{n}", "square", [dict(op="crop", top=top, left=left, padding=4, size=size)]
    for op in ("horizontal_flip", "vertical_flip", "grayscale"):
        yield op, "noise", [dict(op=op)]
        yield f"{op}_gray", "gray_noise", [dict(op=op)]
    factors = {
        "brightness": [0.0, 0.4, 1.0, 1.7],
        "contrast": [0.0, 0.4, 1.0, 1.7],
        "saturation": [0.0, 0.4, 1.0, 1.7],
        "hue": [-0.5, -0.2, 0.0, 0.07, 0.1, 0.5],
    }
    for part, values in factors.items():
        for value in values:
            yield f"{part}_{value}", "noise", [dict(op="jitter", parts=[(part, value)])]
        yield f"{part}_square", "square", [dict(op="jitter", parts=[(part, values[-1])])]
        yield f"{part}_gray", "gray_noise", [dict(op="jitter", parts=[(part, values[1])])]
    yield "jitter_in_order", "square", [
        dict(op="jitter", parts=[("brightness", 1.3), ("contrast", 0.7), ("saturation", 1.6), ("hue", -0.08)])
    ]
    yield "jitter_other_order", "square", [
        dict(op="jitter", parts=[("hue", 0.15), ("saturation", 0.5), ("contrast", 1.8), ("brightness", 0.9)])
    ]
    for sigma, kernel in [(0.1, 1), (0.3, 3), (0.8, 5), (1.0, 7), (1.5, 9), (2.0, 13), (1.2, 23), (0.1, 23)]:
        op = dict(op="gaussian_blur", sigma=sigma, kernel=kernel)
        yield f"blur_{sigma}_{kernel}", "noise", [op]
        yield f"blur_{sigma}_{kernel}_gray", "gray_noise", [op]
    for threshold in (0.0, 0.5, 1.0):
        yield f"solarize_{threshold}", "noise", [dict(op="solarize", threshold=threshold)]
    for degrees in (-90, -30, -5, 0, 7.5, 15, 45, 90, 135, 180, 250, 270):
        yield f"rotate_{degrees}", "noise", [dict(op="rotate", degrees=degrees)]
        yield f"rotate_{degrees}_square", "gray_noise", [dict(op="rotate", degrees=degrees)]
    yield "erase", "noise", [dict(op="erase", top=4, left=7, height=20, width=9)]
    yield "normalize", "noise", [dict(op="normalize", mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])]
    yield "normalize_gray", "gray", [dict(op="normalize", mean=[0.286], std=[0.353])]
    for interpolation in ("bilinear", "bicubic"):
        yield f"pipeline_{interpolation}", "photo", [
            dict(
                op="resized_crop", top=8, left=5, height=41, width=36, size=(32, 32),
                interpolation=interpolation, antialias=True,
            ),
            dict(op="horizontal_flip"),
            dict(op="jitter", parts=[("brightness", 1.2), ("contrast", 0.8), ("saturation", 1.4), ("hue", 0.06)]),
            dict(op="gaussian_blur", sigma=0.9, kernel=7),
            dict(op="solarize", threshold=0.5),
            dict(op="normalize", mean=[0.4914, 0.4822, 0.4465], std=[0.2470, 0.2435, 0.2616]),
        ]


def main():
    torch.set_num_threads(1)
    tensors = {f"image/{n}": torch.from_numpy(i) for n, i in IMAGES.items()}
    metadata = {"made_by": f"torch {torch.__version__}, torchvision {torchvision.__version__}"}
    for name, image, ops in cases():
        x = torch.from_numpy(IMAGES[image]).permute(2, 0, 1).contiguous()
        x = F.to_dtype(x, torch.float32, scale=True)
        for op in ops:
            x = apply(x, op)
        key = f"case/{name}"
        assert key not in tensors
        tensors[key] = x.permute(1, 2, 0).contiguous().clone()
        metadata[key] = json.dumps({"image": image, "ops": ops})
    save_file(tensors, Path(__file__).parent / "views.safetensors", metadata=metadata)
    print(len(metadata) - 1, "cases")


if __name__ == "__main__":
    main()

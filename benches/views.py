"""The view pipeline of a spec in torchvision v2, for `sslc bench --views --compare pytorch`.

Standard input: one line of JSON that describes the pipeline and the image, then the image's bytes [H, W, C], then those of its
JPEG file, if there is one. Then one command a line: `KIND N` makes N views on one thread and answers with the seconds they took,
where KIND is `tensor` (uint8 tensors) or `pil`, or `tensor_jpeg` or `pil_jpeg`, which decode the file for each view; `quit`
ends. Answers are one JSON object a line on standard output.
"""

import io
import json
import math
import sys
import time

try:
    import torch
    import torchvision
    from PIL import Image
    from torchvision.transforms import v2
except ImportError as error:
    print(json.dumps({"error": str(error)}), flush=True)
    sys.exit(1)


def say(**answer):
    print(json.dumps(answer), flush=True)


def span(a):
    return (a["lo"], a["hi"])


def sometimes(p, transform):
    return transform if p >= 1 else v2.RandomApply([transform], p=p)


def blur_taps(a, notes):
    if a["kernel"] is not None:
        return a["kernel"]
    taps = math.ceil(6 * a["sigma"]["hi"]) | 1
    notes.append(f"gaussian_blur: torchvision's kernel does not follow sigma: {taps} taps")
    return taps


def transform(name, p, a, pil, notes):
    """The transform of an operation; the image is uint8 up to `normalize`."""
    if name == "random_resized_crop":
        t = v2.RandomResizedCrop(
            (a["height"], a["width"]), span(a["scale"]), span(a["ratio"]),
            interpolation=v2.InterpolationMode(a["interpolation"]), antialias=a["antialias"],
        )
    elif name == "resize":
        size = a["height"] if a["width"] is None else (a["height"], a["width"])
        t = v2.Resize(size, v2.InterpolationMode(a["interpolation"]), antialias=a["antialias"])
    elif name == "center_crop":
        t = v2.CenterCrop((a["height"], a["width"]))
    elif name == "random_crop":
        t = v2.RandomCrop((a["height"], a["width"]), padding=a["padding"])
    elif name == "horizontal_flip":
        return v2.RandomHorizontalFlip(p)
    elif name == "vertical_flip":
        return v2.RandomVerticalFlip(p)
    elif name == "color_jitter":
        parts = ("brightness", "contrast", "saturation", "hue")
        t = v2.ColorJitter(**{part: span(a[part]) for part in parts if a[part]})
        if not a["random_order"]:
            notes.append("color_jitter: torchvision's order is random")
    elif name == "grayscale":
        return v2.RandomGrayscale(p)
    elif name == "gaussian_blur":
        t = v2.GaussianBlur(blur_taps(a, notes), span(a["sigma"]))
    elif name == "solarize":
        return v2.RandomSolarize(a["threshold"] * 255, p)
    elif name == "random_rotation":
        t = v2.RandomRotation(span(a["degrees"]))
    elif name == "random_erasing":
        if pil:
            notes.append("random_erasing: torchvision has it for tensors only")
            return v2.Identity()
        return v2.RandomErasing(p, span(a["scale"]), span(a["ratio"]))
    elif name == "normalize":
        to_float = [v2.ToImage()] if pil else []
        t = v2.Compose(to_float + [v2.ToDtype(torch.float32, scale=True), v2.Normalize(a["mean"], a["std"])])
    else:
        raise ValueError(f"torchvision has no {name}")
    return sometimes(p, t)


def pipeline(ops, pil, notes):
    transforms = []
    for op in ops:
        kind = op["kind"]
        name, arguments = (kind, {}) if isinstance(kind, str) else next(iter(kind.items()))
        transforms.append(transform(name, op["p"], arguments, pil, notes))
    return v2.Compose(transforms + ([v2.ToImage()] if pil else []) + [v2.ToDtype(torch.float32, scale=True)])


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    job = json.loads(sys.stdin.buffer.readline())
    height, width, channels = job["size"]
    raw = sys.stdin.buffer.read(height * width * channels)
    jpeg = sys.stdin.buffer.read(job["jpeg"])
    notes = []
    try:
        on_tensor = pipeline(job["ops"], False, notes)
        on_pil = pipeline(job["ops"], True, notes)
    except (ValueError, TypeError) as error:
        say(error=str(error))
        return
    mode = "L" if channels == 1 else "RGB"
    picture = Image.frombytes(mode, (width, height), raw)
    tensor = v2.functional.pil_to_tensor(picture)
    file = torch.frombuffer(bytearray(jpeg), dtype=torch.uint8) if jpeg else None
    read = torchvision.io.ImageReadMode.GRAY if channels == 1 else torchvision.io.ImageReadMode.RGB
    makers = {
        "tensor": lambda: on_tensor(tensor),
        "pil": lambda: on_pil(picture),
        "tensor_jpeg": lambda: on_tensor(torchvision.io.decode_jpeg(file, mode=read)),
        "pil_jpeg": lambda: on_pil(Image.open(io.BytesIO(jpeg)).convert(mode)),
    }
    say(version=torchvision.__version__, notes=sorted(set(notes)))
    for line in sys.stdin.buffer:
        command = line.decode().split()
        if command[0] == "quit":
            return
        make, count = makers[command[0]], int(command[1])
        try:
            begin = time.perf_counter()
            for _ in range(count):
                make()
            say(seconds=time.perf_counter() - begin)
        except (RuntimeError, ValueError, TypeError, OSError) as error:
            say(error=f"{command[0]}: {error}")
            return


if __name__ == "__main__":
    main()

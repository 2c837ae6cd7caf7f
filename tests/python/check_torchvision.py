"""Loads exported weights into torchvision's network and compares its features with what they should be.

    python tests/python/check_torchvision.py ARCHITECTURE STEM WEIGHTS.safetensors CASE.safetensors

CASE holds `images` [N, C, H, W] and the features `expected`.
"""

import sys

import torch
import torchvision
from safetensors import safe_open


def load(path):
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def main():
    architecture, stem, weights, case = sys.argv[1:]
    model = getattr(torchvision.models, architecture)()
    if stem == "cifar":
        model.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
        model.maxpool = torch.nn.Identity()
    missing, unexpected = model.load_state_dict(load(weights), strict=False)
    assert missing == ["fc.weight", "fc.bias"] and unexpected == [], (missing, unexpected)
    model.fc = torch.nn.Identity()
    case = load(case)
    with torch.no_grad():
        got = model.eval()(case["images"])
    expected = case["expected"]
    assert got.shape == expected.shape, (got.shape, expected.shape)
    error = (got - expected).abs().max() / expected.abs().max()
    assert error <= 1e-5, f"relative error {error:.2e}"
    print(f"{architecture} agrees; error {error:.1e}")


main()

"""Saves the state of torchvision's ResNet-18 with random statistics, its classifier and a prefix, and its features.

    python tests/python/save_resnet.py WEIGHTS.safetensors PREFIXED.safetensors CASE.safetensors
"""

import sys

import torch
import torchvision
from safetensors.torch import save_file


def main():
    weights, prefixed, case = sys.argv[1:]
    torch.manual_seed(0)
    model = torchvision.models.resnet18()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    state = model.state_dict()
    save_file({name: t.contiguous() for name, t in state.items()}, weights)
    save_file({"backbone." + name: t.contiguous() for name, t in state.items()}, prefixed)
    model.fc = torch.nn.Identity()
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        expected = model.eval()(images)
    save_file({"images": images, "expected": expected}, case)


main()

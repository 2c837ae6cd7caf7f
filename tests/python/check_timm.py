"""Loads an export for timm as the command says, and compares its features with what they should be.

    python tests/python/check_timm.py "CODE" CASE.safetensors

CODE makes `model`, or is an expression that is it; CASE holds `images` and the features `expected`.
"""

import sys

import safetensors.torch
import timm
import torch


def main():
    code, case = sys.argv[1:]
    names = {"timm": timm, "torch": torch, "safetensors": safetensors}
    *lines, last = code.splitlines()
    if lines:
        exec(code, names)
        model = names["model"]
    else:
        model = eval(last, names)
    case = safetensors.torch.load_file(case)
    with torch.no_grad():
        got = model.eval()(case["images"])
    error = (got - case["expected"]).abs().max() / case["expected"].abs().max()
    assert error <= 1e-5, f"relative error {error:.2e}"
    if not lines:
        print(timm.data.resolve_model_data_config(model))


main()

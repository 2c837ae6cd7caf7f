"""Runs ONNX models in onnxruntime and compares their outputs with what they should be.

    python tests/python/check_onnx.py FOLDER

For each NAME.onnx in FOLDER there is a NAME.safetensors with the inputs by name and one tensor `expected`. Where the model takes
batches of any size, it also gets the first image alone, and two batches in one.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from safetensors.numpy import load_file

try:
    import onnx
except ImportError:
    onnx = None


def compare(name, got, expected):
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape, f"{name}: {got.shape}, not {expected.shape}"
    error = np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-3)
    assert error <= 1e-5, f"{name}: relative error {error:.2e}"
    return error


def check(path):
    if onnx is not None:
        onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    tensors = load_file(path.with_suffix(".safetensors"))
    expected = tensors.pop("expected")
    worst = compare(path.stem, session.run(None, tensors)[0], expected)
    inputs = session.get_inputs()
    assert {i.name for i in inputs} == set(tensors), path.stem
    if inputs and inputs[0].shape and inputs[0].shape[0] == "N":
        x = tensors[inputs[0].name]
        one = session.run(None, {inputs[0].name: x[:1]})[0]
        compare(f"{path.stem}, one image", one, expected[:1])
        two = session.run(None, {inputs[0].name: np.concatenate([x, x])})[0]
        compare(f"{path.stem}, two batches", two, np.concatenate([expected, expected]))
    return worst


def main():
    paths = sorted(Path(sys.argv[1]).glob("*.onnx"))
    worst = {path.stem: check(path) for path in paths}
    print(f"{len(worst)} models agree; largest error {max(worst.values()):.1e}")


main()

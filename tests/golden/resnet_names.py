"""Names and shapes of torchvision's ResNets without `fc`, for the standard library's to be compared with.

    python tests/golden/resnet_names.py      needs torchvision
"""

import os

import torch
import torchvision

HERE = os.path.dirname(os.path.abspath(__file__))

with open(os.path.join(HERE, "resnet_names.txt"), "w") as f:
    for name in ("resnet18", "resnet34", "resnet50", "resnet101"):
        with torch.device("meta"):
            state = getattr(torchvision.models, name)().state_dict()
        for path, t in state.items():
            if not path.startswith("fc.") and not path.endswith("num_batches_tracked"):
                f.write(f"{name} {path} {'x'.join(str(d) for d in t.shape)}\n")

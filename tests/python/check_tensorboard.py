"""Reads a run directory as TensorBoard does and prints what it finds, as JSON.

    python tests/python/check_tensorboard.py RUN
"""

import json
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from google.protobuf import text_format

run = Path(sys.argv[1])
multiplexer = EventMultiplexer(
    size_guidance={"scalars": 0, "images": 0, "tensors": 0}
).AddRunsFromDirectory(str(run))
multiplexer.Reload()
[name] = multiplexer.Runs()
events = multiplexer.GetAccumulator(name)
scalars = {
    tag: [[e.step, e.value] for e in events.Scalars(tag)]
    for tag in events.Tags()["scalars"]
}
images = [
    [e.step, e.width, e.height, e.encoded_image_string[:8].hex()]
    for tag in events.Tags()["images"]
    for e in events.Images(tag)
]

folder = run / name
config = text_format.Parse(
    (folder / "projector_config.pbtxt").read_text(), ProjectorConfig()
)
[embedding] = config.embeddings
vectors = (folder / embedding.tensor_path).read_text().splitlines()
labels = (folder / embedding.metadata_path).read_text().splitlines()
sprite = (folder / embedding.sprite.image_path).read_bytes()
print(
    json.dumps(
        {
            "run": name,
            "scalars": scalars,
            "images": images,
            "vectors": len(vectors),
            "dim": len(vectors[0].split("\t")),
            "labels": labels[:2],
            "label_lines": len(labels),
            "cell": list(embedding.sprite.single_image_dim),
            "sprite": sprite[:8].hex(),
        }
    )
)

"""A SavedModel's variables, written to an .npz file by TensorFlow, in a process of its own.

TensorFlow cannot share a process with PyTorch (PROTOCOLS.md, section 5), so nothing imports it but this program:
    python -m molebench.yamnet_saved_model FOLDER TARGET.npz
Only the checkpoint is read; no function of the model runs. Arrays are named as the model named its variables, such as
layer1/conv/kernel, and come in the order of the model's layers, which its keys count:
_yamnet/layer_with_weights-12/kernel/.ATTRIBUTES/VARIABLE_VALUE.
"""

import re
import sys
from pathlib import Path

import numpy as np

from molebench.types import Array

GRAPH, VARIABLE = "_CHECKPOINTABLE_OBJECT_GRAPH", "/.ATTRIBUTES/VARIABLE_VALUE"


def variables(folder: str) -> dict[str, Array]:
    """Name to value of every variable of a TF-Hub, Kaggle or Keras SavedModel."""
    import tensorflow as tf
    import tensorflow_hub as hub
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    reader = tf.train.load_checkpoint(str(Path(hub.resolve(folder)) / "variables" / "variables"))
    objects = TrackableObjectGraph.FromString(reader.get_tensor(GRAPH)).nodes
    names = {a.checkpoint_key: a.full_name for node in objects for a in node.attributes}
    keys = sorted((k for k in names if k.endswith(VARIABLE)), key=counted)
    return {names[key] or key.removesuffix(VARIABLE): reader.get_tensor(key) for key in keys}


def counted(key: str) -> list[tuple[int, str]]:
    """For sorting: layer-2 comes before layer-10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", key)]


if __name__ == "__main__":
    np.savez(sys.argv[2], **variables(sys.argv[1]))  # type: ignore[arg-type]

"""A small CLIP, trained on the spot in two seconds and saved as open_clip saves one: a folder of two files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from molebench.types import Array

PX = 16
MODEL: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": PX, "patch_size": 8, "width": 48, "layers": 2, "head_width": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
PROMPT = "a photo of a {}"
STEPS, BATCH, LR = 150, 128, 1e-3


def trained(
    folder: Path, images: UInt8[Array, "n h w c"], labels: Int[Array, " n"], class_names: Sequence[str]
) -> Path:
    """The folder, with a CLIP that tells these classes apart by their names: CE of cosines between image and prompts.

    Use it with --set scorer.model=FOLDER --set scorer.pretrained=FOLDER. The table of tokens stays random.
    """
    import open_clip

    x, y = prepared(images), torch.from_numpy(labels.copy())
    tokens = open_clip.SimpleTokenizer(context_length=12)([PROMPT.format(n.replace("_", " ")) for n in class_names])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.CLIP(**MODEL)
        model.token_embedding.requires_grad_(False)
        adam = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LR)
        for _ in range(STEPS):
            batch = torch.randint(len(x), (BATCH,))
            loss = F.cross_entropy(model.get_logits(x[batch], tokens)[0], y[batch])
            adam.zero_grad()
            loss.backward()
            adam.step()
    return saved(folder, model.state_dict())


def prepared(images: UInt8[Array, "n h w c"]) -> Tensor:
    """Images as open_clip prepares them by default, [n, 3, PX, PX]."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    transform = image_transform_v2(PreprocessCfg(size=PX), is_train=False)
    return torch.stack([transform(Image.fromarray(i[:, :, 0] if i.shape[2] == 1 else i)) for i in images])


def saved(folder: Path, state: Mapping[str, Tensor], model: Mapping[str, Any] = MODEL) -> Path:
    """The folder, with this state dict and the configuration beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {}}), "utf-8")
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "open_clip_model.safetensors")
    return folder

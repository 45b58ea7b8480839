"""CLIP models as open_clip defines them: an architecture by name or file, its weights by tag or file.

open_clip's own loading is not used. It fetches through other libraries, resamples the positions of a checkpoint for
another size of image, and only warns where a tag's weights want another activation than the model's configuration says
(OpenAI's want QuickGELU). Here a tag decides that, weights come as molebench.weights has them come, and fit exactly.
Models whose text half is of Hugging Face transformers are refused: their tokenizers would be fetched unchecked.

Reference: Ilharco et al., "OpenCLIP", doi:10.5281/zenodo.5143773.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from molebench.cards import Names
from molebench.errors import MolebenchError, first_line, listed, unknown
from molebench.hub import HubFile
from molebench.tensor_files import tensors
from molebench.weights import Recipe, State, Unreadable, Weights
from molebench.workspace import Workspace

CONFIG = "open_clip_config.json"
CHECKPOINTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")  # in a folder or repository of one model
PARTS = ("embed_dim", "vision_cfg", "text_cfg")  # that every configuration has


@dataclass(frozen=True)
class Architecture:
    """model: what open_clip makes the network from. images: how they are prepared, where not as OpenAI's are."""

    name: str
    model: Mapping[str, Any]
    images: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Clip:
    """A network for inference, and what makes its inputs of an image and of texts."""

    network: Any
    prepared: Callable[[Any], Tensor]
    tokens: Callable[[list[str]], Tensor]


def loaded(model: str, pretrained: str, workspace: Workspace) -> tuple[Clip, Weights]:
    """The model with its weights, or MolebenchError where one of them cannot be had or they do not fit."""
    found, sources = architecture(model), tuple[HubFile, ...]()
    if pretrained in Names() and pretrained != "random":
        published = tag(model, pretrained)
        found = replace(
            found, images=published, model={**found.model, "quick_gelu": published.get("quick_gelu", False)}
        )
        sources = hub_files(published["hf_hub"])
    elif pretrained != "random":
        agree(found, Path(pretrained).expanduser())
    with torch.device("cpu" if pretrained == "random" else "meta"):
        shapes = built(found).network  # all that is asked of it, where there are weights
    weights = recipe(found.name, pretrained, sources, shapes).get(pretrained, shapes, workspace)
    weights.into((clip := built(found)).network)
    return clip, weights


def architecture(model: str) -> Architecture:
    """What a name of open_clip's, or a file of one's own, says."""
    import open_clip

    if model not in Names():
        return configured(Path(model).expanduser())
    if (found := open_clip.get_model_config(model)) is None:
        raise unknown("model of open_clip", model, open_clip.list_models())
    return Architecture(model, found, {})


def configured(path: Path) -> Architecture:
    """The architecture in a JSON file, or in that of a folder as open_clip saves it."""
    file = path / CONFIG if path.is_dir() else path
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise unbuilt(path.name, f"{file.name} is no JSON that can be read ({first_line(error)})") from error
    model = content.get("model_cfg", content) if isinstance(content, dict) else {}
    if not isinstance(model, dict) or not all(part in model for part in PARTS):
        raise unbuilt(path.name, f"{file.name} has not {', '.join(PARTS)}")
    return Architecture(path.name, model, content.get("preprocess_cfg") or {})


def agree(found: Architecture, weights: Path) -> None:
    """Refuses weights whose own configuration, beside them, says another activation: no shape would tell."""
    folder = weights if weights.is_dir() else weights.parent
    if (folder / CONFIG).is_file():
        ours, theirs = (bool(a.model.get("quick_gelu", False)) for a in (found, configured(folder)))
        if ours != theirs:
            raise unbuilt(
                found.name,
                f"its quick_gelu is {ours}, that of {weights.name} {theirs}: try --set scorer.model={folder}",
            )


def tag(model: str, pretrained: str) -> Mapping[str, Any]:
    """What open_clip knows of published weights."""
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    if found := get_pretrained_cfg(model, pretrained):
        return dict(found)
    if tags := list_pretrained_tags_by_model(model):
        raise unknown(f"weights of {model}", pretrained, [*tags, "random"])
    name = Path(model).name
    raise MolebenchError(
        f"scorer clip: open_clip has no published weights of {name}, so none that are named {pretrained}: "
        f"--set scorer.pretrained=PATH to a checkpoint of {name}, or to a folder with one"
    )


def hub_files(address: str) -> tuple[HubFile, ...]:
    """Where a tag's weights are, safetensors first; of `owner/name/file`, the file may be left out."""
    repository, _, file = address.rpartition("/")
    names = (file.replace(".bin", ".safetensors"), file) if file else CHECKPOINTS
    return tuple(HubFile(repository, name) for name in dict.fromkeys(names))


def built(found: Architecture) -> Clip:
    """The network, its weights still random, and open_clip's own preparation of images and texts for it."""
    text, vision = found.model["text_cfg"], dict(found.model["vision_cfg"])
    if any(key.startswith("hf_") for key in text) or ":" in vision.get("timm_model_name", ""):
        raise unbuilt(found.name, "a part of it is a model or tokenizer of the hub, which is not fetched: try ViT-B-32")
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    try:
        return assembled(replace(found, model={**found.model, "vision_cfg": vision}))
    except Exception as error:  # whatever open_clip stumbles over in a configuration of the user's
        raise unbuilt(found.name, f"open_clip cannot make it ({type(error).__name__}: {first_line(error)})") from error


def assembled(found: Architecture) -> Clip:
    """The parts of a model by open_clip's classes."""
    from open_clip import CLIP, CoCa, CustomTextCLIP
    from open_clip.tokenizer import SimpleTokenizer
    from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict

    model = deepcopy(dict(found.model))
    kind = (CoCa if "multimodal_cfg" in model else CustomTextCLIP) if model.pop("custom_text", False) else CLIP
    with torch.random.fork_rng(devices=[]):  # initial values are drawn, and overwritten
        network = kind(**model).eval().requires_grad_(False)
    tokens = SimpleTokenizer(context_length=model["text_cfg"].get("context_length", 77))
    if (room := model["text_cfg"].get("vocab_size", tokens.vocab_size)) < tokens.vocab_size:
        raise ValueError(f"vocab_size {room}; open_clip's tokenizer has {tokens.vocab_size} tokens")
    images = merge_preprocess_dict(PreprocessCfg(), {**found.images, "size": network.visual.image_size})
    return Clip(network, image_transform_v2(PreprocessCfg(**images), is_train=False), tokens)


def recipe(model: str, pretrained: str, sources: Sequence[HubFile], network: nn.Module) -> Recipe:
    """Where the weights of a model are found: a tag's at its sources, all others where the user says."""
    name, files = f"clip-{model}", (f"{model}-{pretrained}.safetensors",)
    hint = "Give weights: --set scorer.pretrained=PATH to an open_clip checkpoint, or to a folder with one"
    if not sources:
        return Recipe(name, (), (), partial(read, network), hint, published="", folders=True, kind="scorer")
    hint += (
        f", such as {sources[0].file} of huggingface.co/{sources[0].repository}, or put that into MOLEBENCH_DATA as "
    )
    hint += f"{files[0]}; --set attack.scorer=surrogate needs no hub"
    return Recipe(name, files, sources, partial(read, network), hint, published=pretrained, kind="scorer")


def read(network: nn.Module, path: Path) -> State:
    """A network's state dict from a checkpoint, or from the folder of one, in float32."""
    from open_clip.model import convert_to_custom_text_state_dict

    ours = network.state_dict()
    state = {name.removeprefix("module."): value for name, value in tensors(checkpoint(path)).items()}
    if "positional_embedding" in state and "text.positional_embedding" in ours:
        state = convert_to_custom_text_state_dict(state)
    for name in ("logit_scale", "logit_bias"):  # numbers to some, lists of one to others
        if name in ours and name in state and state[name].numel() == 1:
            state[name] = state[name].reshape(ours[name].shape)
    counted = (name for name in state if not name.endswith("num_batches_tracked"))
    return {name: state[name].detach().float().numpy() for name in counted}


def checkpoint(path: Path) -> Path:
    """The file itself, or the one in a folder."""
    if not path.is_dir():
        return path
    if there := [path / name for name in CHECKPOINTS if (path / name).is_file()]:
        return there[0]
    raise Unreadable(f"the folder has no {' and no '.join(CHECKPOINTS)}")


def unbuilt(model: str, why: str) -> MolebenchError:
    """Why a model cannot be used, and what one could say."""
    expected = f"a name of open_clip's, a JSON file with {listed(PARTS)}, or a folder with {CONFIG}"
    return MolebenchError(f"scorer clip: model {model}: {why}; scorer.model is {expected}")

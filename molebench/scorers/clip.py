"""Zero-shot CLIP: how well an image fits the name of each class, without any training or sight of the victim.

    P(y = a | x) = softmax_a(100 cos(f(x), g("a photo of a {a}"))),   over the whole label set
f and g are CLIP's image and text encoders. Images are prepared as the model wants them: in colour, resized bicubically
to its size, normalised. 100 is the published models' own scale, and stays where a checkpoint has another.

Reference: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", arXiv:2103.00020.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from molebench.cards import Count, Names, UserPath, scorer
from molebench.clip_files import Clip, loaded
from molebench.errors import MolebenchError
from molebench.provenance import device
from molebench.scoring import Score, ScoringView
from molebench.types import Array
from molebench.weights import Weights
from molebench.workspace import Workspace

BIBTEX = """
@inproceedings{radford2021learning,
  title = {Learning Transferable Visual Models From Natural Language Supervision},
  author = {Radford, Alec and Kim, Jong Wook and Hallacy, Chris and Ramesh, Aditya and Goh, Gabriel and
            Agarwal, Sandhini and Sastry, Girish and Askell, Amanda and Mishkin, Pamela and Clark, Jack and
            Krueger, Gretchen and Sutskever, Ilya},
  booktitle = {ICML}, pages = {8748--8763}, year = {2021}
}
@software{ilharco2021openclip,
  title = {{OpenCLIP}}, author = {Ilharco, Gabriel and Wortsman, Mitchell and Wightman, Ross and others},
  year = {2021}, doi = {10.5281/zenodo.5143773}
}
"""

SCALE = 100.0
PLACE = "{class}"


@scorer(
    paper="Radford et al., arXiv:2103.00020; models of open_clip",
    needs=("CLIP weights: 605 MB for ViT-B-32, or an open_clip checkpoint of your own",),
    licence="that of the weights",
    cost="0.15 s an image with ViT-B-32 on one core, and 3 GB",
)
@dataclass(frozen=True)
class ZeroShotCLIP:
    """model: a name that open_clip knows, or the path of a configuration (a JSON file, or a folder as open_clip saves
    it); ViT-B-32-quickgelu where OpenAI's weights are given by path. pretrained: a tag of open_clip's for that model,
    the path of a checkpoint or of a folder with one, or random (never ranked). prompt: what stands for a class, with
    its name in place of {class}. batch: images, or prompts, at once.
    """

    model: Annotated[str, UserPath(Names(("ViT-B-32",)))] = "ViT-B-32"
    pretrained: Annotated[str, UserPath(Names(("openai", "random")))] = "openai"
    prompt: str = f"a photo of a {PLACE}"
    batch: Count = 256

    def load(self, workspace: Workspace) -> tuple[Score, Weights]:
        """The scores by this model, and its weights."""
        if PLACE not in self.prompt:
            raise MolebenchError(
                f"scorer clip: prompt = {self.prompt!r} has no place for the name of a class; write {PLACE} in it, "
                f"such as 'a photo of a {PLACE}'"
            )
        clip, weights = loaded(self.model, self.pretrained, workspace)
        clip.network.to(device())
        return partial(scored, clip, self.prompt, self.batch), weights


def scored(clip: Clip, prompt: str, batch: int, view: ScoringView) -> Float[Array, "n k"]:
    """P(y | x) of every image of the view."""
    x, found = view.samples.x, []
    with torch.inference_mode(), view.progress("scores by CLIP", len(x)) as advance:
        classes = torch.cat([normalised(clip.network.encode_text(t)) for t in tokens(clip, prompt, view, batch)])
        for start in range(0, len(x), batch):
            images = torch.stack([clip.prepared(image) for image in pictures(x[start : start + batch])])
            features = normalised(clip.network.encode_image(images.to(classes.device)))
            found.append((SCALE * features @ classes.T).softmax(dim=1))
            advance(len(images))
    return torch.cat(found).cpu().numpy()


def tokens(clip: Clip, prompt: str, view: ScoringView, batch: int) -> Sequence[Tensor]:
    """The prompt of every class, in batches; two classes that read alike could not be told apart."""
    found = clip.tokens([text(prompt, name) for name in view.classes])
    for i, row in enumerate(found):
        if same := [view.classes[j] for j in range(i) if torch.equal(found[j], row)]:
            raise MolebenchError(
                f"scorer clip: classes {same[0]} and {view.classes[i]} have one and the same prompt "
                f"{text(prompt, view.classes[i])!r} in CLIP's tokens; rename one, or shorten the prompt"
            )
    return torch.split(found.to(next(clip.network.parameters()).device), batch)


def text(prompt: str, name: str) -> str:
    """The prompt of a class; underscores of its name are spaces."""
    return prompt.replace(PLACE, name.replace("_", " "))


def pictures(x: UInt8[Array, "n h w c"]) -> Iterator[Image.Image]:
    """Stored images, grey or in colour, as open_clip's preparation takes them."""
    return (Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image) for image in x)


def normalised(features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Features at length 1."""
    return F.normalize(features, dim=1)

"""The scorer `clip`, by a small CLIP that is trained here: what it says of digits, and which models it refuses."""

import copy
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from molebench import registry
from molebench.cards import Names
from molebench.clip_files import architecture, assembled, hub_files, loaded, tag
from molebench.errors import MolebenchError
from molebench.grid import published
from molebench.rng import stream
from molebench.scorers.clip import ZeroShotCLIP
from molebench.scoring import ScoringView
from molebench.types import Array, Dataset, Samples
from molebench.weights import Weights
from molebench.workspace import Workspace
from tests import small_clip
from tests.commands import one_line, typed
from tests.small_clip import MODEL

PROMPT = "a photo of a {class}"


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return registry.find("datasets", "digits").build({}).load(Workspace(Path(), Path(), Path()))


@pytest.fixture(scope="module")
def folder(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP that has learnt the names of the digits."""
    train = digits.splits["train"]
    return small_clip.trained(tmp_path_factory.mktemp("clip") / "small", train.x, train.y, digits.classes)


@pytest.fixture
def bare(tmp_path: Path) -> Workspace:
    """No data, no cache, no connection."""
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)


def scores(
    workspace: Workspace, model: Path | str, samples: Samples, classes: tuple[str, ...], **more: Any
) -> tuple[Array, Weights]:
    score, weights = ZeroShotCLIP(str(model), **{"pretrained": str(model), **more}).load(workspace)
    return score(ScoringView(samples, classes, stream(0, "test"))), weights


# ------------------------------------------------------------------ scores


def test_digits_that_it_has_not_seen_are_told_apart_by_their_names(
    folder: Path, digits: Dataset, bare: Workspace
) -> None:
    test = digits.splits["test"]
    p, _ = scores(bare, folder, test, digits.classes)
    assert p.shape == (359, 10)
    assert p.dtype == np.float32
    assert np.abs(p.sum(axis=1) - 1).max() < 1e-5
    assert (p.argmax(axis=1) == test.y).mean() > 0.8  # of ten classes


def test_the_names_say_which_column_is_whose(folder: Path, digits: Dataset, bare: Workspace) -> None:
    test, turned = digits.splits["test"][:50], tuple(reversed(digits.classes))
    p, _ = scores(bare, folder, test, digits.classes)
    assert np.allclose(scores(bare, folder, test, turned)[0], p[:, ::-1], atol=1e-6)


def test_every_score_is_what_open_clip_itself_computes(folder: Path, digits: Dataset, bare: Workspace) -> None:
    """open_clip's own loading, preparation of each image, tokens, and 100 cos."""
    model, prepare = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")([PROMPT.format(**{"class": c}) for c in digits.classes])
    test = digits.splits["test"][:40]
    images = torch.stack([prepare(Image.fromarray(i[:, :, 0])) for i in test.x])
    with torch.no_grad():
        f, g = model.encode_image(images), model.encode_text(tokens)
        cosines = torch.nn.functional.cosine_similarity(f[:, None], g[None], dim=2)
    ours, _ = scores(bare, folder, test, digits.classes, batch=7)
    assert np.allclose(ours, (100 * cosines).softmax(dim=1).numpy(), atol=1e-5)


def test_a_grey_image_is_the_colour_image_of_three_equal_channels(
    folder: Path, digits: Dataset, bare: Workspace
) -> None:
    grey = digits.splits["test"][:20]
    colour = Samples(np.repeat(grey.x, 3, axis=3), grey.y)
    p, q = (scores(bare, folder, samples, digits.classes)[0] for samples in (grey, colour))
    assert np.allclose(p, q, atol=1e-6)


def test_scores_repeat_themselves_and_touch_no_global_generator(folder: Path, digits: Dataset, bare: Workspace) -> None:
    test, before = digits.splits["test"][:30], torch.get_rng_state()
    first, again = (scores(bare, folder, test, digits.classes)[0] for _ in range(2))
    assert first.tobytes() == again.tobytes()
    assert torch.equal(torch.get_rng_state(), before)


def test_underscores_of_a_name_are_read_as_spaces(folder: Path, digits: Dataset, bare: Workspace) -> None:
    test = digits.splits["test"][:5]
    spaced = scores(bare, folder, test, ("ice cream", "9"))[0]
    assert np.array_equal(scores(bare, folder, test, ("ice_cream", "9"))[0], spaced)
    assert not np.allclose(scores(bare, folder, test, ("icecream", "9"))[0], spaced)


def test_the_prompt_counts(folder: Path, digits: Dataset, bare: Workspace) -> None:
    test = digits.splits["test"][:5]
    p, q = (scores(bare, folder, test, digits.classes, prompt=text)[0] for text in (PROMPT, "{class}"))
    assert not np.allclose(p, q)


def test_two_names_that_read_alike_are_refused(folder: Path, digits: Dataset, bare: Workspace) -> None:
    with pytest.raises(MolebenchError, match="classes ice_cream and Ice cream have one and the same prompt"):
        scores(bare, folder, digits.splits["test"][:2], ("ice_cream", "9", "Ice cream"))


def test_a_prompt_without_a_place_for_the_name_is_refused(folder: Path, bare: Workspace) -> None:
    with pytest.raises(MolebenchError, match=r"prompt = 'a photo' has no place for the name.*\{class\}"):
        ZeroShotCLIP(str(folder), str(folder), prompt="a photo").load(bare)


# ------------------------------------------------------------------ weights


def state(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "open_clip_model.safetensors")


def test_the_same_weights_have_one_sha256_in_whatever_file_they_come(
    folder: Path, bare: Workspace, tmp_path: Path
) -> None:
    """What cached scores are keyed by."""
    torch.save(state(folder), tmp_path / "plain.pt")
    of_training = {"epoch": 3, "name": "mine", "state_dict": {f"module.{k}": v for k, v in state(folder).items()}}
    torch.save(of_training, tmp_path / "training.pt")
    there = (folder, folder / "open_clip_model.safetensors", tmp_path / "plain.pt", tmp_path / "training.pt")
    found = [ZeroShotCLIP(str(folder), str(path)).load(bare)[1] for path in there]
    assert len({weights.sha256 for weights in found}) == 1
    assert [weights.source for weights in found] == [f"file {path.name}" for path in there]
    assert all(weights.rankable and weights.name == "clip-small" for weights in found)


def test_other_weights_have_another_sha256(folder: Path, bare: Workspace, tmp_path: Path) -> None:
    changed = state(folder)
    changed["logit_scale"] += 1
    other = small_clip.saved(tmp_path / "small", changed)
    mine, theirs = (ZeroShotCLIP(str(f), str(f)).load(bare)[1] for f in (folder, other))
    assert mine.sha256 != theirs.sha256


def test_half_precision_is_read_as_float32(folder: Path, bare: Workspace, tmp_path: Path) -> None:
    half = small_clip.saved(tmp_path / "half", {name: value.half() for name, value in state(folder).items()})
    _, weights = ZeroShotCLIP(str(half), str(half)).load(bare)
    assert {value.dtype for value in weights.state.values()} == {np.dtype(np.float32)}


def test_random_weights_come_only_when_asked_for_and_say_so(folder: Path, bare: Workspace) -> None:
    assert not ZeroShotCLIP(str(folder), "random").load(bare)[1].rankable


def test_a_text_half_of_its_own_takes_the_weights_of_a_plain_model(
    folder: Path, digits: Dataset, bare: Workspace, tmp_path: Path
) -> None:
    """open_clip's CustomTextCLIP has the same weights by other names."""
    (tmp_path / "custom.json").write_text(json.dumps({**MODEL, "custom_text": True}))
    test = digits.splits["test"][:10]
    p = scores(bare, tmp_path / "custom.json", test, digits.classes, pretrained=str(folder))[0]
    assert np.allclose(p, scores(bare, folder, test, digits.classes)[0], atol=1e-6)


def wider(part: str, **changes: int) -> dict[str, Any]:
    other = copy.deepcopy(MODEL)
    other[part].update(changes)
    return other


OTHERS = {
    "another width": (wider("vision_cfg", width=64), r"visual\.class_embedding is \(48,\), expected \(64,\)"),
    "another size of image": (wider("vision_cfg", image_size=32), r"visual.positional_embedding is \(5, 48\)"),
    "more layers": (wider("text_cfg", layers=2), r"transformer\.resblocks\.1\.attn\.in_proj_bias is missing"),
    "a longer context": (wider("text_cfg", context_length=77), r"positional_embedding is \(12, 32\), expected \(77"),
}


@pytest.mark.parametrize(("model", "says"), OTHERS.values(), ids=OTHERS)
def test_a_checkpoint_of_another_architecture_names_the_model_and_the_first_weight_that_does_not_fit(
    model: dict[str, Any], says: str, folder: Path, bare: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "other.json").write_text(json.dumps(model))
    with pytest.raises(
        MolebenchError, match=rf"weights from file small are unusable: {says}.*is it a clip-other\.json"
    ):
        ZeroShotCLIP(str(tmp_path / "other.json"), str(folder)).load(bare)
    assert not list(bare.cache.rglob("*.safetensors"))


class Trap:
    """Would write a file where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.file,))


def broken(kind: str, folder: Path, file: Path) -> Path:
    """A checkpoint that is none."""
    if kind == "cut":
        file.write_bytes((folder / "open_clip_model.safetensors").read_bytes()[:1000])
    elif kind == "code":
        torch.save({"weight": Trap(file.with_name("sprung"))}, file)
    elif kind == "script":
        with pytest.warns(FutureWarning, match="deprecated"):
            torch.jit.save(torch.jit.script(torch.nn.Linear(2, 1)), str(file))
    elif kind == "list":
        torch.save([torch.zeros(1)], file)
    else:
        file.mkdir()
    return file


BROKEN = {
    "cut": "not a readable safetensors file",
    "code": "not a readable PyTorch state dict .UnpicklingError",
    "script": "it is a TorchScript program; give its state dict, as safetensors",
    "list": "it holds more than a state dict's tensors",
    "empty folder": r"the folder has no open_clip_model\.safetensors and no",
}


@pytest.mark.parametrize(("kind", "says"), BROKEN.items(), ids=BROKEN)
def test_a_broken_checkpoint_is_named_and_nothing_in_it_runs(
    kind: str, says: str, folder: Path, bare: Workspace, tmp_path: Path
) -> None:
    file = broken(kind, folder, tmp_path / "mine.pt")
    with pytest.raises(MolebenchError, match=f"weights from file mine.pt are unusable: {says}") as refusal:
        ZeroShotCLIP(str(folder), str(file)).load(bare)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "sprung").exists()


# ------------------------------------------------------------------ names and paths


def test_a_bare_name_is_a_name_and_whatever_has_a_dot_or_a_slash_a_path() -> None:
    names = Names(("openai",))
    assert all(word in names for word in ("openai", "ViT-B-32", "laion2b_s34b_b79k"))
    assert all(word not in names for word in ("mine.pt", "./openai", "/data/clip", "~/clip", ""))
    for model, pretrained in open_clip.list_pretrained():
        assert model in names
        assert pretrained in names


def test_a_record_holds_a_path_s_name_and_sha256_and_a_tag_as_it_is(folder: Path) -> None:
    parameters = registry.find("scorers", "clip").parameters
    shown = published("scorer clip", parameters["pretrained"], str(folder))
    assert re.fullmatch(r"small@sha256:[0-9a-f]{64}", shown)
    assert published("scorer clip", parameters["pretrained"], "laion2b_s34b_b79k") == "laion2b_s34b_b79k"
    assert published("scorer clip", parameters["model"], "ViT-L-14") == "ViT-L-14"
    with pytest.raises(MolebenchError, match=r"pretrained = '\./gone': there is no such file or folder"):
        published("scorer clip", parameters["pretrained"], "./gone")


def config(folder: Path, content: str) -> str:
    (folder / "mine.json").write_text(content)
    return str(folder / "mine.json")


WRONG = {
    "no such model": (("ViT-B32", "openai"), "no model of open_clip named 'ViT-B32'; did you mean 'ViT-B-32'?"),
    "no such tag": (("ViT-B-32", "openaj"), "no weights of ViT-B-32 named 'openaj'; did you mean 'openai'?"),
    "a model without weights": (("ViT-M-32", "openai"), "open_clip has no published weights of ViT-M-32"),
    "a text half of the hub": (("roberta-ViT-B-32", "random"), "is a model or tokenizer of the hub"),
    "a tokenizer of the hub": (("ViT-B-16-SigLIP", "webli"), "is a model or tokenizer of the hub"),
    "no file": (("./gone.json", "random"), "model gone.json: gone.json is no JSON that can be read"),
}


@pytest.mark.parametrize(("given", "says"), WRONG.values(), ids=WRONG)
def test_a_model_that_cannot_be_had_is_one_clear_line(given: tuple[str, str], says: str, bare: Workspace) -> None:
    with pytest.raises(MolebenchError) as refusal:
        loaded(*given, bare)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


CONFIGS = {
    "no JSON": ("{", "is no JSON that can be read"),
    "a list": ("[]", "has not embed_dim, vision_cfg, text_cfg"),
    "half of it": ('{"embed_dim": 3, "text_cfg": {}}', "has not embed_dim, vision_cfg, text_cfg"),
    "an unknown word": (json.dumps(wider("text_cfg", tokens=3)), "open_clip cannot make it (TypeError: "),
    "too few tokens": (json.dumps(wider("text_cfg", vocab_size=9)), "vocab_size 9; open_clip's tokenizer has 49408"),
}


@pytest.mark.parametrize(("content", "says"), CONFIGS.values(), ids=CONFIGS)
def test_a_configuration_that_is_none_is_one_clear_line(
    content: str, says: str, bare: Workspace, tmp_path: Path
) -> None:
    with pytest.raises(MolebenchError, match=re.escape(says)) as refusal:
        loaded(config(tmp_path, content), "random", bare)
    assert "scorer.model is a name of open_clip's" in str(refusal.value)


def test_a_tag_with_a_model_of_one_s_own_asks_for_its_checkpoint(folder: Path, bare: Workspace) -> None:
    with pytest.raises(
        MolebenchError, match=r"no published weights of small, .*scorer\.pretrained=PATH to a checkpoint"
    ):
        ZeroShotCLIP(str(folder)).load(bare)


def test_a_tag_says_which_activation_its_weights_were_trained_with() -> None:
    """open_clip 3 would run OpenAI's ViT-B-32 with GELU, and warn."""
    assert not architecture("ViT-B-32").model.get("quick_gelu", False)
    assert tag("ViT-B-32", "openai")["quick_gelu"]
    assert "quick_gelu" not in tag("ViT-B-32", "laion2b_s34b_b79k")
    small = replace(architecture("ViT-B-32"), model={**MODEL, "quick_gelu": True}, images=tag("ViT-B-32", "openai"))
    assert {type(m).__name__ for m in assembled(small).network.modules()} >= {"QuickGELU"}


def test_weights_beside_a_configuration_with_another_activation_are_refused(
    folder: Path, bare: Workspace, tmp_path: Path
) -> None:
    """OpenAI's, downloaded by hand and given to plain ViT-B-32: every shape fits, and the scores are wrong."""
    theirs = small_clip.saved(tmp_path / "theirs", state(folder), {**MODEL, "quick_gelu": True})
    for given in (theirs, theirs / "open_clip_model.safetensors"):
        with pytest.raises(MolebenchError, match=r"model small: its quick_gelu is False, that of .* True: .*/theirs"):
            ZeroShotCLIP(str(folder), str(given)).load(bare)
    assert ZeroShotCLIP(str(theirs), str(theirs)).load(bare)[1].rankable


# ------------------------------------------------------------------ the hub


def test_safetensors_are_asked_for_before_what_pytorch_saved() -> None:
    assert [(f.repository, f.file) for f in hub_files("timm/some_clip/")] == [
        ("timm/some_clip", "open_clip_model.safetensors"),
        ("timm/some_clip", "open_clip_pytorch_model.bin"),
    ]
    assert [f.file for f in hub_files("a/b/pytorch_model.bin")] == ["pytorch_model.safetensors", "pytorch_model.bin"]


class Hub(http.server.BaseHTTPRequestHandler):
    """Has one file, whose sha256 HEAD states."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        body = self.files.get(self.path)
        self.asked.append(f"HEAD {self.path}")
        self.send_response(404 if body is None else 200)
        if body is not None:
            self.send_header("X-Linked-ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.end_headers()

    def do_GET(self) -> None:
        self.asked.append(f"GET {self.path}")
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.files[self.path])))
        self.end_headers()
        self.wfile.write(self.files[self.path])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        pass


PLACE = "/somebody/tiny/resolve/main"


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """A hub on this machine, with the weights of a model `tiny` that open_clip knows, tagged `here`."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", MODEL)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", {"here": {"hf_hub": "somebody/tiny/"}})
    file = (folder / "open_clip_model.safetensors").read_bytes()
    Hub.files, Hub.asked = {f"{PLACE}/open_clip_model.safetensors": file}, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield Hub
        server.shutdown()


def test_published_weights_are_fetched_once_checked_and_kept(hub: type[Hub], folder: Path, bare: Workspace) -> None:
    found = ZeroShotCLIP("tiny", "here").load(replace(bare, offline=False))[1]
    assert found.source == "Hugging Face somebody/tiny"
    assert found.sha256 == ZeroShotCLIP(str(folder), str(folder)).load(bare)[1].sha256
    assert hub.asked == [f"{verb} {PLACE}/open_clip_model.safetensors" for verb in ("HEAD", "GET")]
    again = ZeroShotCLIP("tiny", "here").load(bare)[1]  # offline now, from what was kept
    assert (again.sha256, again.source, len(hub.asked)) == (found.sha256, found.source, 2)
    assert [f.name for f in (bare.cache / "weights").glob("clip-tiny*.safetensors")] == ["clip-tiny-here.safetensors"]


def test_a_file_in_the_data_folder_comes_before_any_download(hub: type[Hub], bare: Workspace, folder: Path) -> None:
    bare.data.mkdir()
    (bare.data / "tiny-here.safetensors").write_bytes((folder / "open_clip_model.safetensors").read_bytes())
    found = ZeroShotCLIP("tiny", "here").load(replace(bare, offline=False))[1]
    assert found.source == "MOLEBENCH_DATA/tiny-here.safetensors"
    assert hub.asked == []


def test_offline_no_connection_is_made_and_one_line_says_what_to_do(hub: type[Hub], bare: Workspace) -> None:
    with pytest.raises(MolebenchError) as refusal:
        ZeroShotCLIP("tiny", "here").load(bare)
    assert hub.asked == []
    said = str(refusal.value)
    assert "\n" not in said
    for part in ("not asked (offline)", "--set scorer.pretrained=PATH", "as tiny-here.safetensors", "surrogate"):
        assert part in said


# ------------------------------------------------------------------ commands


def test_the_scorers_are_listed_and_described(bare: Workspace) -> None:
    assert {row["name"] for row in json.loads(typed(bare, "list", "scorers", "--json").stdout)} >= {"clip", "surrogate"}
    (card,) = json.loads(typed(bare, "describe", "clip", "--json").stdout)
    defaults = {p["name"]: p["default"] for p in card["parameters"]}
    assert defaults == {"model": "ViT-B-32", "pretrained": "openai", "prompt": PROMPT, "batch": 256}
    assert "radford2021learning" in typed(bare, "cite", "clip").stdout


def test_clip_s_weights_are_fetched_verified_and_found_by_the_doctor(
    hub: type[Hub], bare: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a small model in place of ViT-B-32."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-32", MODEL)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "ViT-B-32", {"openai": {"hf_hub": "somebody/tiny/"}})
    line = one_line(typed(bare, "data", "fetch", "clip", "--offline"))
    assert "no source has the weights of clip-ViT-B-32. Tried Hugging Face somebody/tiny: not asked (offline)" in line
    assert "note   clip weights: fetched on first use" in typed(bare, "doctor", "--offline").stdout
    assert typed(bare, "data", "verify", "clip").stdout == "absent  clip weights: molebench data fetch clip\n"
    assert "clip: weights from Hugging Face somebody/tiny, sha256 " in typed(bare, "data", "fetch", "clip").stdout
    assert "ok     clip weights: in the cache" in typed(bare, "doctor", "--offline").stdout
    verified = "ok      clip converted clip-ViT-B-32-openai.safetensors: as it was written\n"
    assert typed(bare, "data", "verify", "clip").stdout == verified


def test_a_scorer_without_weights_of_its_own_has_nothing_to_fetch_or_verify(bare: Workspace) -> None:
    assert typed(bare, "data", "fetch", "victim", "--offline").stdout == "victim: has no weights to get\n"
    for name in ("victim", "surrogate"):
        assert typed(bare, "data", "verify", name).stdout.startswith(f"note    {name}: nothing to check")
        assert f"{name} weights" not in typed(bare, "doctor", "--offline").stdout

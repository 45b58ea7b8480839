"""Offline transformers: a small one from scratch, and pretrained ones with weights from a file, the hub, or chance."""

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from torch import Tensor

from molebench import places, registry
from molebench.classifiers import Classifier, Shape, initialised
from molebench.errors import MolebenchError
from molebench.offline_learners import TransformerLearner
from molebench.pretrained_learner import FILE, PretrainedTransformer, pretrained, published
from molebench.rng import torch_stream
from molebench.scenarios.trained import ready
from molebench.victims.offline_vit_tiny import patch_of, small_transformer
from molebench.weights import random_state
from molebench.workspace import Workspace
from tests.commands import one_line, typed

MODEL = "vit_tiny_patch16_224"  # 5.5 million weights: the victim's own has 86
DIGITS = Shape(8, 8, 1, 10)
learner = partial(PretrainedTransformer, MODEL)


def networks(made: Any, shape: Shape = DIGITS, seed: int = 0) -> torch.nn.Module:
    """A network as the scenario makes it."""
    return initialised(lambda: made.network(shape), torch_stream(seed, "init"))


# ------------------------------------------------------------------ from scratch


def test_a_patch_is_the_largest_power_of_two_of_which_seven_fit_but_never_a_pixel() -> None:
    assert [patch_of(side) for side in (8, 14, 27, 28, 32, 55, 56, 64, 224)] == [2, 2, 2, 4, 4, 4, 8, 8, 32]


@pytest.mark.parametrize(
    ("height", "width", "channels"), [(8, 8, 1), (28, 28, 1), (32, 32, 3), (30, 47, 3), (64, 64, 3)]
)
def test_a_small_transformer_takes_images_of_any_side(height: int, width: int, channels: int) -> None:
    network = initialised(lambda: small_transformer(Shape(height, width, channels, 5)), torch_stream(0, "init"))
    x = torch.randn(2, channels, height, width, generator=torch_stream(0, "x"), requires_grad=True)
    y = network(x)
    y.sum().backward()
    assert y.shape == (2, 5)
    assert x.grad is not None
    assert (x.grad != 0).flatten(1).float().mean() > 0.9  # no pixel is cut off


def test_the_paper_s_schedule_is_that_of_both_transformers() -> None:
    for name in ("offline_vit", "offline_vit_tiny"):
        plugin = registry.find("victims", name)
        made = plugin.build(plugin.resolve({}, "paper"))
        assert (made.lr, made.batch, made.epochs) == (2e-4, 16, 4)
    recipe = TransformerLearner(small_transformer).training(DIGITS)
    assert (recipe.optimiser, recipe.schedule) == ("adamw", "linear")


def test_the_paper_s_transformer_is_a_base_one_of_224_pixels_pretrained_on_the_larger_imagenet() -> None:
    plugin = registry.find("victims", "offline_vit")
    made = plugin.build(plugin.resolve({}, "paper"))
    assert (made.model, made.px, made.weights) == ("vit_base_patch16_224.augreg_in21k", 224, "imagenet")
    (source,) = published(made.model).sources
    assert source.label == "Hugging Face timm/vit_base_patch16_224.augreg_in21k"


# ------------------------------------------------------------------ weights from a file


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Weights that are nobody else's, with the classifier of the pretraining."""
    with torch.random.fork_rng(devices=[]):
        found = random_state(pretrained(MODEL))
    found = {name: value + 0.01 for name, value in found.items()}
    return {**found, "head.weight": torch.ones(21843, 192), "head.bias": torch.ones(21843)}


@pytest.fixture(scope="module")
def file(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file of the user's."""
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    save_file(state, path)
    return path


@pytest.fixture
def bare(tmp_path: Path) -> Workspace:
    """Folders that do not exist yet, and no connection."""
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)


def test_a_file_s_weights_are_the_network_s_and_its_classifier_is_new(
    file: Path, state: dict[str, Tensor], bare: Workspace
) -> None:
    made, weights = learner(str(file)).load(bare)
    assert (weights.source, weights.rankable) == ("file mine.safetensors", True)
    found = {name.removeprefix("body."): value for name, value in networks(made).state_dict().items()}
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state if not name.startswith("head"))
    assert found["head.weight"].shape == (10, 192)


def test_at_another_size_the_position_embeddings_alone_are_others(
    file: Path, state: dict[str, Tensor], bare: Workspace
) -> None:
    found = networks(learner(str(file), px=64).load(bare)[0]).state_dict()
    place = found["body.pos_embed"]
    assert place.shape == (1, 1 + 4 * 4, 192)
    assert torch.equal(place[:, 0], state["pos_embed"][:, 0])  # of the class token
    assert torch.allclose(place[:, 1:].mean(dim=1), state["pos_embed"][:, 1:].mean(dim=1), atol=0.05)
    assert torch.equal(found["body.blocks.3.mlp.fc1.weight"], state["blocks.3.mlp.fc1.weight"])


def test_grey_images_are_coloured_ones_with_equal_channels_at_the_network_s_size(file: Path, bare: Workspace) -> None:
    network = networks(learner(str(file), px=32).load(bare)[0]).eval()
    grey = torch.randn(3, 1, 8, 8, generator=torch_stream(0, "x"))
    with torch.inference_mode():
        assert torch.equal(network(grey), network(grey.expand(-1, 3, -1, -1)))
        large = torch.nn.functional.interpolate(grey, size=(32, 32), mode="bilinear", antialias=True)
        assert torch.allclose(network(grey), network(large), atol=1e-5)
        assert network(grey).shape == (3, 10)


def test_many_images_are_asked_for_in_parts_with_the_same_answers(file: Path, bare: Workspace) -> None:
    network = networks(learner(str(file), px=16).load(bare)[0]).eval()
    x = torch.randn(120, 1, 8, 8, generator=torch_stream(0, "x"))
    with torch.inference_mode():
        parts = torch.cat([network(part) for part in torch.split(x, 7)])
        assert torch.allclose(network(x), parts, atol=1e-4)


def test_a_network_that_is_ready_predicts_in_either_arithmetic(file: Path, bare: Workspace) -> None:
    body = networks(learner(str(file), px=16).load(bare)[0])
    network = Classifier(body, np.array([100.0]), np.array([50.0]))
    x = torch.randint(256, (20, 8, 8, 1), generator=torch_stream(0, "x")).to(torch.uint8)
    with torch.inference_mode():
        whole, rough = (ready(network, kind)(x).softmax(dim=1) for kind in ("float32", "bfloat16"))
    assert whole.dtype == rough.dtype == torch.float32
    assert (whole - rough).abs().max() < 0.1


def test_the_same_generator_gives_the_same_network_and_no_other_is_touched(file: Path, bare: Workspace) -> None:
    before = torch.get_rng_state()
    made, weights = learner(str(file), px=16).load(bare)
    again = learner(str(file), px=16).load(bare)[1]
    one, same, other = (networks(made, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["body.head.weight"], other["body.head.weight"])
    assert weights.sha256 == again.sha256  # converted once, and kept


def test_what_a_learner_was_given_is_how_it_is_trained(bare: Workspace) -> None:
    given: dict[str, Any] = {"epochs": 2, "batch": 8, "lr": 1e-3, "weight_decay": 0.1, "augment": "crop_flip"}
    given |= {"pool": 50, "evaluation": "bfloat16", "seed": 3}
    made, _ = learner("random", px=16, **given).load(bare)
    assert isinstance(made, TransformerLearner)
    assert {name: getattr(made, name) for name in given} == given


def test_random_weights_are_always_the_same_and_never_ranked(bare: Workspace) -> None:
    found = [learner("random").load(bare)[1] for _ in range(2)]
    assert found[0].sha256 == found[1].sha256
    assert not found[0].rankable
    assert not bare.cache.exists()


BROKEN = {
    "no safetensors": (b"weights", "not a readable safetensors file"),
    "nothing": (b"", "not a readable safetensors file"),
    "another network's": (save({"conv1.weight": torch.zeros(3)}), "is it a vit_tiny_patch16_224?"),
    "too few": (save({"cls_token": torch.zeros(1, 1, 192)}), "blocks.0.attn.proj.bias is missing"),
}


@pytest.mark.parametrize(("content", "says"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_broken_or_another_network_s_is_named(
    content: bytes, says: str, bare: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "mine.safetensors").write_bytes(content)
    with pytest.raises(MolebenchError) as refusal:
        learner(str(tmp_path / "mine.safetensors")).load(bare)
    assert "weights from file mine.safetensors are unusable: " in str(refusal.value)
    assert says in str(refusal.value)
    assert list(bare.cache.rglob("*.safetensors")) == []


def test_the_user_s_own_file_in_the_data_folder_is_converted_and_kept(file: Path, bare: Workspace) -> None:
    bare.data.mkdir()
    (bare.data / f"{MODEL}.safetensors").write_bytes(file.read_bytes())
    first = learner().load(bare)[1]
    (bare.data / f"{MODEL}.safetensors").unlink()
    again = learner().load(bare)[1]
    assert first.source == again.source == f"MOLEBENCH_DATA/{MODEL}.safetensors"
    assert first.sha256 == again.sha256 == learner(str(file)).load(bare)[1].sha256


# ------------------------------------------------------------------ weights from the hub


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers as a hub does: HEAD states the sha256 of a large file, GET sends it."""

    body: ClassVar[bytes] = b""
    stated: ClassVar[str] = ""
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.asked.append(f"HEAD {self.path}")
        self.send_response(200 if self.stated else 404)
        self.send_header("X-Linked-ETag", f'"{self.stated}"')
        self.end_headers()

    def do_GET(self) -> None:
        self.asked.append(f"GET {self.path}")
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        pass


@pytest.fixture
def hub(file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """A hub on this machine that has the file."""
    Hub.body, Hub.asked = file.read_bytes(), []
    Hub.stated = hashlib.sha256(Hub.body).hexdigest()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr("molebench.downloads.PAUSE", 0.0)
        yield Hub
        server.shutdown()


def online(workspace: Workspace) -> Workspace:
    return Workspace(workspace.data, workspace.cache, workspace.store)


def test_published_weights_are_fetched_once_and_kept(hub: type[Hub], file: Path, bare: Workspace) -> None:
    found = learner().load(online(bare))[1]
    assert found.source == f"Hugging Face timm/{MODEL}"
    assert found.sha256 == learner(str(file)).load(bare)[1].sha256
    path = f"/timm/{MODEL}/resolve/main/{FILE}"
    assert hub.asked == [f"HEAD {path}", f"GET {path}"]
    assert learner().load(bare)[1].sha256 == found.sha256  # offline now, from what was kept
    assert len(hub.asked) == 2


def test_a_file_that_is_not_what_the_hub_states_is_not_taken(hub: type[Hub], bare: Workspace) -> None:
    hub.stated = "0" * 64
    with pytest.raises(MolebenchError, match="has not the known sha256"):
        learner().load(online(bare))
    assert list(bare.cache.rglob("*.safetensors")) == []


def test_a_hub_without_the_file_is_said_to_have_none(hub: type[Hub], bare: Workspace) -> None:
    hub.stated = ""
    with pytest.raises(MolebenchError, match=f"Tried Hugging Face timm/{MODEL}: 404 Not Found, and no sha256"):
        learner().load(online(bare))


def test_offline_no_connection_is_made_and_the_way_out_is_named(hub: type[Hub], bare: Workspace) -> None:
    with pytest.raises(MolebenchError) as refusal:
        learner().load(bare)
    assert hub.asked == []
    for part in ("not asked (offline)", "--set victim.weights=PATH", f"MOLEBENCH_DATA as {MODEL}.safetensors"):
        assert part in str(refusal.value)


# ------------------------------------------------------------------ whole cells

VICTIM = f'''"""Little: a pretrained transformer of a test."""

from functools import partial

from molebench.cards import victim
from molebench.pretrained_learner import PretrainedTransformer

little = victim(paper="a test", scenario="offline", dataset="digits")(partial(PretrainedTransformer, model="{MODEL}"))
'''
RUN = ("run", "--attack", "mole_recruitment", "--profile", "tiny", "--dataset", "digits", "--offline", "--no-plots")
SMALL = ("victim.px=16", "victim.pool=60", "victim.epochs=1", "attack.n=3", "attack.pairs=3<5")


def test_without_its_weights_the_victim_says_what_to_do_and_writes_nothing(bare: Workspace) -> None:
    line = one_line(typed(bare, *RUN, "--victim", "offline_vit"))
    assert "no source has the weights of vit_base_patch16_224.augreg_in21k" in line
    assert "--set victim.weights=PATH to model.safetensors of huggingface.co/timm/vit_base_patch16_224" in line
    assert not list(bare.store.rglob("*.json"))
    assert not list(bare.cache.rglob("*.safetensors"))


@pytest.mark.parametrize("kind", ["file", "random"])
def test_a_cell_s_record_names_the_weights_that_its_victim_began_with(
    kind: str, file: Path, bare: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(places.VARIABLE, "")
    (tmp_path / "little.py").write_text(VICTIM, "utf-8")
    given = str(file) if kind == "file" else "random"
    words = [word for size in (*SMALL, f"victim.weights={given}") for word in ("--set", size)]
    done = typed(bare, *RUN, "--victim", "little", "--plugin", str(tmp_path / "little.py"), *words, "--json")
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)
    assert 0 <= record["metrics"]["accuracy_clean"]["value"] <= 1
    assert str(file.parent) not in done.stdout  # no path of this machine
    (weights,) = record["weights"]
    assert weights["name"] == MODEL
    assert weights["source"] == ("file mine.safetensors" if kind == "file" else "random")
    assert weights["sha256"] == learner(given).load(bare)[1].sha256
    assert any("never ranked" in warning for warning in record["warnings"]) == (kind == "random")

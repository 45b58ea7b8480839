"""Sounds end to end: what a cell of YAMNet leaves, what fits its victim, and step sizes in the units of a modality."""

import wave
from pathlib import Path

import numpy as np
import pytest

from molebench import registry
from molebench.errors import MolebenchError
from molebench.grid import Cell, resolve
from molebench.pictures import of_cell
from molebench.record import Record
from molebench.runner import run
from molebench.scenarios.active import ActiveLearner, split
from molebench.stages import load_arrays
from molebench.store import Store
from molebench.types import AUDIO, Array, Dataset, Samples
from molebench.workspace import Workspace
from tests.commands import one_line, typed

QUICK = {"attack.n_poison": 20, "attack.steps": 40, "victim.queries": 20, "victim.pool": 400}
IMAGES, SOUNDS = "al_efficientnet_lite0", "al_yamnet"


def played(attack: str, home: Workspace, *defenses: str, **more: object) -> Record:
    """A tiny cell on spoken digits."""
    sizes = {n: v for n, v in QUICK.items() if attack == "feature_collision" or n != "attack.steps"}
    parameters = sizes | {name.replace("__", "."): value for name, value in more.items()}
    cell = {"attack": attack, "victim": SOUNDS, "dataset": "fsdd", "profile": "tiny", "defenses": defenses}
    return run(Cell.model_validate(cell | {"parameters": parameters}), home)


@pytest.fixture(scope="module")
def home(fetched: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The session's data and weights, and a store that the cells of this file share."""
    if not all((fetched.data / name).is_file() for name in ("fsdd.zip", "yamnet.tflite")):
        pytest.skip("no fsdd.zip or yamnet.tflite in MOLEBENCH_DATA")
    return Workspace(fetched.data, fetched.cache, tmp_path_factory.mktemp("sounds"))


@pytest.fixture(scope="module")
def collided(home: Workspace) -> Record:
    return played("feature_collision", home)


def test_collided_sounds_are_asked_for_though_they_are_much_quieter_than_what_is_said(collided: Record) -> None:
    found = {name: metric.value for name, metric in collided.metrics.items()}
    assert found["success_rate"] > 3 * found["random_success_rate"]
    assert found["collision_ratio"] < 0.5
    assert found["snr"] > 15.0


def test_poisoned_sounds_are_pcm16_of_the_length_of_their_bases(home: Workspace, collided: Record) -> None:
    arrays = stored(home, collided)
    assert arrays["x"].dtype == np.int16
    assert arrays["x"].shape == (20, 15_600)
    assert sorted(np.bincount(arrays["y"]).tolist()) == [2] * 10  # as many of every digit


def test_the_snr_in_the_record_is_that_of_the_stored_samples(home: Workspace, collided: Record) -> None:
    """From the WAVs that a listener gets: 20 log10 of the norms' ratio."""
    of_cell(collided, Store(home.store))
    folder = home.store / "cells" / collided.key
    shown = load_arrays(folder / "illustration.safetensors")
    assert shown is not None
    files = sorted((folder / "sounds").glob("*_original.wav"))
    assert len(files) == 10
    for file, expected in zip(files, shown[0]["fact.snr"], strict=True):
        original, poison = (samples(f) for f in (file, file.with_name(file.name.replace("original", "poison"))))
        noise = np.linalg.norm(poison - original)
        assert 20 * np.log10(np.linalg.norm(original) / noise) == pytest.approx(expected, abs=1e-3)


def test_noise_and_untouched_recordings_collide_with_nothing(home: Workspace, collided: Record) -> None:
    noisy = played("noise", home, attack__psnr=60.0)
    assert noisy.metrics["psnr"].value == pytest.approx(60.0, abs=0.2)
    assert noisy.metrics["collision_ratio"].value > 2 * collided.metrics["collision_ratio"].value


def test_a_defense_of_features_acts_on_sounds_too(home: Workspace) -> None:
    kept = played("feature_collision", home, "feature_norm")
    assert kept.metrics["success_rate_defended"].value < kept.metrics["success_rate"].value


def stored(home: Workspace, record: Record) -> dict[str, Array]:
    found = load_arrays(home.store / "poisons" / f"{record.poison.sha256}.safetensors")
    assert found is not None
    return found[0]


def samples(file: Path) -> Array:
    """A WAV's samples in [-1, 1), float64."""
    with wave.open(str(file)) as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, 16_000)
        return np.frombuffer(sound.readframes(sound.getnframes()), "<i2") * AUDIO.step


# ------------------------------------------------------------------ few clips


def recordings(*counts: int) -> Dataset:
    """So many short clips of each class."""
    y = np.repeat(np.arange(len(counts)), counts)
    names = tuple(f"word{c}" for c in range(len(counts)))
    return Dataset("few", {"train": Samples(np.zeros((len(y), 4), np.int16), y)}, names, AUDIO)


def test_of_a_class_with_three_clips_one_is_in_the_pool_one_the_attackers_and_one_judges() -> None:
    data = recordings(3, 100)
    found = split(data, ActiveLearner("yamnet", seed_size=2, queries=2), seed=0)
    kept = [data.splits["train"].y[part].tolist().count(0) for part in (found.pool, found.test1, found.test2)]
    assert kept == [1, 1, 1]


def test_a_class_with_two_clips_cannot_be_split_and_is_named() -> None:
    with pytest.raises(MolebenchError, match="dataset few: of class word1 2 of 2 training samples would be used; pool"):
        split(recordings(50, 2), ActiveLearner("yamnet", seed_size=2, queries=2), seed=0)


# ------------------------------------------------------------------ what fits what


@pytest.mark.parametrize(
    ("victim", "dataset", "says"),
    [
        (SOUNDS, "photo_patches", "victim al_yamnet takes audio; dataset photo_patches is image: try "),
        (IMAGES, "spoken_commands", f"victim {IMAGES} takes image; dataset spoken_commands is audio: try "),
        ("offline_resnet18", "fsdd", "victim offline_resnet18 takes image; dataset fsdd is audio: try "),
    ],
)
def test_a_dataset_of_another_modality_is_refused_before_anything_is_read(
    victim: str, dataset: str, says: str, fresh: Workspace
) -> None:
    attack = "mole_recruitment" if victim.startswith("offline") else "feature_collision"
    line = one_line(typed(fresh, "run", "--attack", attack, "--victim", victim, "--dataset", dataset))
    assert says in line
    assert "folder" in line  # whose files say what they are
    assert not (fresh.store / "cells").exists()


def test_a_folder_of_images_is_refused_by_a_victim_of_sounds_once_it_is_read(fresh: Workspace, tmp_path: Path) -> None:
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (8, 8), (i, i, i)).save(tmp_path / "pets" / name / f"{i}.png")
    with pytest.raises(MolebenchError, match="victim al_yamnet takes audio; dataset folder is image"):
        run(
            Cell(
                attack="feature_collision",
                victim=SOUNDS,
                dataset="folder",
                parameters={"dataset.path": str(tmp_path / "pets")},
            ),
            fresh,
        )


def test_step_size_and_weight_of_the_noise_are_in_the_units_of_what_is_perturbed() -> None:
    def attack(victim: str, **more: float) -> dict[str, object]:
        parameters = {f"attack.{name}": value for name, value in more.items()}
        return resolve(Cell(attack="feature_collision", victim=victim, parameters=parameters)).parts["attack"].values

    image, audio = attack(IMAGES), attack(SOUNDS)
    assert (image["lr"], image["beta"], image["dither"]) == (1.5, 1e-6, 0.0)
    assert (audio["lr"], audio["beta"], audio["dither"]) == (2.5e-4, 1_000.0, 2.0)
    assert attack(SOUNDS, lr=0.001)["lr"] == 0.001  # what is given comes first
    assert {name for name in audio if audio[name] != image[name]} == {"lr", "beta", "dither"}


def test_the_head_learns_faster_on_the_smaller_features_of_sounds() -> None:
    steps = [resolve(Cell(attack="none", victim=v)).parts["victim"].values["lr"] for v in (IMAGES, SOUNDS)]
    assert steps == [1e-3, 4e-3]


def test_every_dataset_and_victim_says_what_it_deals_with() -> None:
    audio = {n for n in registry.files("datasets") if registry.find("datasets", n).card.modality == "audio"}
    assert audio == {"fsdd", "speech_commands", "spoken_commands"}
    assert registry.find("datasets", "folder").card.modality == "any"


def test_the_default_dataset_of_the_audio_victim_needs_no_file(fresh: Workspace) -> None:
    assert resolve(Cell(attack="feature_collision", victim=SOUNDS)).parts["dataset"].name == "spoken_commands"


def test_without_weights_one_line_says_where_they_can_come_from(fetched: Workspace, tmp_path: Path) -> None:
    bare = Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store")
    words = ("run", "--attack", "feature_collision", "--victim", SOUNDS, "--profile", "tiny", "--offline")
    done = typed(bare, *words)
    line = done.stderr.splitlines()[-1]  # behind the progress of making the default dataset
    assert done.returncode == 2
    assert all(said in line for said in ("yamnet.tflite", "yamnet.h5", "SavedModel", "MOLEBENCH_DATA", "not asked"))

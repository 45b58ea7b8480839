"""The scorer `surrogate`: a probe that has not seen what it scores, on real features of a few digits."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from molebench import registry
from molebench.errors import MolebenchError
from molebench.nets import FrozenExtractor
from molebench.rng import stream
from molebench.scorers.surrogate import Surrogate, cross_fitted, features, resized
from molebench.scoring import ScoringView
from molebench.types import Array, Dataset, Samples
from molebench.workspace import Workspace

PX = 32
EACH = 15


@pytest.fixture(scope="module")
def digits(fetched: Workspace) -> Dataset:
    return registry.find("datasets", "digits").build({}).load(fetched)


@pytest.fixture(scope="module")
def some(digits: Dataset) -> Samples:
    """Fifteen of each digit, in the dataset's order."""
    train = digits.splits["train"]
    return train[np.sort(np.concatenate([np.flatnonzero(train.y == c)[:EACH] for c in range(10)]))]


@pytest.fixture(scope="module")
def p(some: Samples, digits: Dataset, fetched: Workspace, lite0: FrozenExtractor) -> Array:
    """What the surrogate says of them."""
    return said(some, digits.classes, fetched)


def said(samples: Samples, classes: tuple[str, ...], workspace: Workspace, seed: int = 0, folds: int = 5) -> Array:
    score, _ = Surrogate(px=PX, folds=folds).load(workspace)
    return score(ScoringView(samples, classes, stream(seed, "test")))


def test_most_digits_are_told_apart_from_fifteen_of_each(p: Array, some: Samples) -> None:
    assert p.shape == (150, 10)
    assert p.dtype == np.float32
    assert np.abs(p.sum(axis=1) - 1).max() < 1e-5
    assert (p.argmax(axis=1) == some.y).mean() > 0.5  # chance is a tenth


def test_the_same_generator_gives_the_same_scores_and_another_other_folds(
    p: Array, some: Samples, digits: Dataset, fetched: Workspace
) -> None:
    before = torch.get_rng_state()
    assert said(some, digits.classes, fetched).tobytes() == p.tobytes()
    assert said(some, digits.classes, fetched, seed=1).tobytes() != p.tobytes()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_weights_are_the_extractor_s(fetched: Workspace, lite0: FrozenExtractor) -> None:
    _, weights = Surrogate().load(fetched)
    plugin = registry.find("extractors", "efficientnet_lite0")
    assert weights.sha256 == plugin.build(plugin.resolve({}, "small")).load(fetched)[1].sha256
    assert weights.name == "efficientnet_lite0"


def test_features_are_the_extractor_s_of_each_image_whatever_the_batch(some: Samples, lite0: FrozenExtractor) -> None:
    seen: list[int] = []
    z = features(lite0, some.x, PX, seen.append)
    assert z.shape == (150, 1280)
    assert seen == [64, 64, 22]
    with torch.no_grad():
        alone = lite0(resized(torch.from_numpy(some.x[70:71].copy()), PX))
    assert np.allclose(z[70], alone.numpy()[0], atol=1e-3)


def test_an_image_made_smaller_is_as_pillow_makes_it(some: Samples) -> None:
    """Bilinear, and antialiased: Pillow rounds to whole grey levels."""
    x = np.random.default_rng(0).integers(0, 256, (1, 40, 40, 3), dtype=np.uint8)
    theirs = np.asarray(Image.fromarray(x[0]).resize((16, 16), Image.Resampling.BILINEAR))
    assert np.abs(resized(torch.from_numpy(x), 16)[0].numpy() - theirs).max() <= 1


# ------------------------------------------------------------------ cross-fitting


def test_no_item_is_scored_by_a_probe_that_has_seen_it() -> None:
    """Labels are noise: a probe that had seen them would know most, one that has not knows none."""
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(120, 200)).astype(np.float32), rng.integers(0, 2, 120)
    own = LogisticRegression(C=1.0, max_iter=1000).fit(z, y).predict_proba(z)
    assert (own.argmax(axis=1) == y).mean() == 1.0
    found = cross_fitted(z, y, 2, 5, 1.0, np.random.default_rng(1))
    assert 0.3 < (found.argmax(axis=1) == y).mean() < 0.7


def test_a_changed_item_changes_every_score_but_those_of_its_own_fold() -> None:
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(40, 5)).astype(np.float32), np.arange(40) % 2
    before = cross_fitted(z, y, 2, 4, 1.0, np.random.default_rng(1))
    z[0] += 3.0
    after = cross_fitted(z, y, 2, 4, 1.0, np.random.default_rng(1))
    same = (before == after).all(axis=1)
    assert same.sum() == 9  # its fold of ten, less itself
    assert not same[0]


def test_scores_are_those_of_scikit_learn_s_probe_on_standardised_features() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    z = (rng.normal(size=(60, 4)) * [1, 10, 100, 1000] + y[:, None]).astype(np.float32)
    word = int(np.random.default_rng(7).integers(2**31))
    train, test = next(StratifiedKFold(3, shuffle=True, random_state=word).split(z, y))
    mean, std = z[train].mean(axis=0), z[train].std(axis=0)
    theirs = LogisticRegression(C=0.5, max_iter=1000).fit((z[train] - mean) / std, y[train])
    expected = theirs.predict_proba((z[test] - mean) / std)
    assert np.allclose(cross_fitted(z, y, 3, 3, 0.5, np.random.default_rng(7))[test], expected, atol=1e-3)


def test_a_class_without_images_is_never_believed(some: Samples, digits: Dataset, fetched: Workspace) -> None:
    p = said(some[some.y < 3], digits.classes, fetched, folds=3)
    assert p[:, 3:].max() == 0
    assert np.abs(p.sum(axis=1) - 1).max() < 1e-5


def test_a_class_with_fewer_images_than_folds_is_named(some: Samples, digits: Dataset, fetched: Workspace) -> None:
    few = some[np.concatenate([np.flatnonzero(some.y != 7), np.flatnonzero(some.y == 7)[:4]])]
    with pytest.raises(MolebenchError, match=re.escape("class 7 has 4 images, fewer than folds=5: choose fewer")):
        said(few, digits.classes, fetched)
    assert said(few, digits.classes, fetched, folds=4).shape == (139, 10)


def test_one_class_alone_is_refused(some: Samples, digits: Dataset, fetched: Workspace) -> None:
    with pytest.raises(MolebenchError, match="a probe needs images of two classes or more"):
        said(some[some.y == 3], digits.classes, fetched)

"""Filters of training data: their maths beside slower twins, what they find, what they leave, and what they bear."""

from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import FastICA
from sklearn.metrics import adjusted_rand_score

from molebench.defenses.activation_clustering import ActivationClustering, clusters, reduction
from molebench.defenses.deep_knn import DeepKnn, neighbours, outvoted
from molebench.defenses.margin_filter import MarginFilter
from molebench.defenses.spectral_signatures import SpectralSignatures, main_direction, rank
from molebench.errors import MolebenchError
from molebench.hooks import View
from molebench.metrics import auroc
from molebench.moles import wrongly
from molebench.types import Array

FILTERS = [DeepKnn(), ActivationClustering(), SpectralSignatures(), MarginFilter()]
RNG = np.random.default_rng(0)
K, EACH, D = 5, 100, 16


def numbered(n: int, first: int = 0) -> Array:
    """n images, each unlike any other."""
    number = np.arange(first, first + n)
    return np.stack([number // 256, number % 256], axis=1).astype(np.uint8).reshape(-1, 1, 2, 1)


def seen(z: Array, y: Array, k: int = K, own: bool = True, **more: Any) -> View:
    """Items with these features and labels, which are all that is labelled, as in the active scenario."""
    x, z = numbered(len(y)), z.astype(np.float32)
    labelled: dict[str, Any] = {"labelled_x": x, "labelled_z": z, "labelled_y": y} if own else {}
    return View(x, z, k, y=y, **labelled, **more)


def blobs(seed: int = 0, apart: float = 8.0) -> tuple[Array, Array]:
    """A hundred items of each of five classes, spheres around their centres."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(K), EACH)
    return apart * np.eye(K, D)[y] + rng.normal(size=(len(y), D)), y


def update(z: Array, y: Array, which: Array) -> View:
    """Some of what is labelled is judged, as in the offline and the continual scenario; its features come from another
    batch of the network, and differ in the last digit."""
    x, near = numbered(len(y)), (z[which] * (1 + 1e-6)).astype(np.float32)
    return View(x[which], near, K, y=y[which], labelled_x=x, labelled_z=z.astype(np.float32), labelled_y=y)


# ------------------------------------------------------------------ deep_knn


def test_an_item_among_another_class_is_outvoted_and_a_tie_is_not() -> None:
    z = np.array([[0.0], [1.0], [2.0], [2.1], [10.0], [11.0], [12.0]])
    y = np.array([0, 0, 0, 1, 1, 1, 1])
    near = neighbours(z, 7, 2)
    assert near[3].tolist() == [2, 1]
    votes = outvoted(near, y, np.full(7, 2))
    assert votes.tolist() == [-1, -1, 0, 1, -1, -1, -1]  # item 2 has one neighbour of each class
    assert DeepKnn(share=0.5).filter_train(seen(z, y, 2), RNG).tolist() == [True] * 3 + [False] + [True] * 3


def test_votes_are_those_of_a_slow_twin() -> None:
    rng = np.random.default_rng(1)
    z, y = rng.normal(size=(60, 3)), rng.integers(0, 4, 60)
    k = rng.integers(1, 12, 40)
    found = outvoted(neighbours(z, 40, 12), y, k)
    for i in range(40):
        others = sorted((j for j in range(60) if j != i), key=lambda j: float(np.square(z[j] - z[i]).sum()))
        labels = [int(y[j]) for j in others[: k[i]]]
        most = max(labels.count(c) for c in range(4) if c != y[i])
        assert found[i] == pytest.approx((most - labels.count(int(y[i]))) / k[i])


def test_an_item_is_never_its_own_neighbour_whatever_lies_in_the_same_place() -> None:
    near = neighbours(np.zeros((9, 2)), 9, 3)
    assert near.shape == (9, 3)
    assert all(i not in near[i] for i in range(9))


def test_deep_knn_finds_a_collision_and_leaves_the_rest() -> None:
    z, y = blobs()
    z, y = np.concatenate([z, z[:12] + 0.01]), np.concatenate([y, np.tile([1, 2, 3], 4)])  # in class 0's place
    keep = DeepKnn().filter_train(seen(z, y), RNG)
    assert not keep[-12:].any()
    assert keep[:-12].all()
    assert DeepKnn().suspicion(seen(z, y), RNG)[-12:].min() > DeepKnn().suspicion(seen(z, y), RNG)[:-12].max()


def test_deep_knn_leaves_nearly_all_of_classes_that_overlap_a_little() -> None:
    z, y = blobs(apart=4.0)
    assert DeepKnn().filter_train(seen(z, y), RNG).mean() > 0.97


def test_a_copy_of_an_item_among_the_labelled_has_no_vote() -> None:
    z, y = blobs()
    z[100:110] = z[:10] + 0.01  # ten items of class 1 in the place of ten of class 0, and one copy of each
    judged = update(z, y, np.arange(95, 115))
    assert DeepKnn(share=0.01).filter_train(judged, RNG).tolist() == [True] * 5 + [False] * 10 + [True] * 5


def test_deep_knn_may_take_a_class_away_from_an_update_but_not_from_what_is_labelled() -> None:
    z, y = blobs()
    z[100:110] = z[:10] + 0.01
    assert not DeepKnn().filter_train(update(z, y, np.arange(100, 110)), RNG).any()
    few = np.concatenate([np.arange(100), np.arange(100, 110)])
    assert DeepKnn().filter_train(seen(z[few], y[few]), RNG).all()


# ------------------------------------------------------------------ spectral_signatures


def test_the_main_direction_is_the_first_right_singular_vector_of_wide_and_tall_matrices() -> None:
    rng = np.random.default_rng(2)
    for shape in ((40, 7), (7, 40), (9, 9), (1, 3), (3, 1)):
        z = rng.normal(size=shape) * np.linspace(1, 3, shape[1])
        expected = np.linalg.svd(z)[2][0]
        assert abs(float(main_direction(z) @ expected)) == pytest.approx(1.0)


def test_ranks_are_shares_of_the_class_that_stick_out_less() -> None:
    z = np.array([[-3.0, 0], [-1, 0], [0, 0], [0.5, 0], [3.5, 0]])  # mean 0
    assert rank(z, z).tolist() == [0.6, 0.4, 0.0, 0.2, 0.8]
    assert rank(np.array([[100.0, 5.0], [0.4, 9.0]]), z).tolist() == [1.0, 0.2]


def test_a_backdoors_direction_is_found() -> None:
    z, y = blobs()
    z[:10] += 6 * np.eye(D)[D - 1]
    view, poison = seen(z, y), np.arange(len(y)) < 10
    keep = SpectralSignatures(share=0.15).filter_train(view, RNG)
    assert not keep[poison].any()
    assert auroc(SpectralSignatures().suspicion(view, RNG), poison) > 0.9


@pytest.mark.parametrize("share", [0.0, 0.05, 0.15, 0.5])
def test_of_an_all_clean_set_spectral_signatures_take_their_share_of_each_class_and_no_more(share: float) -> None:
    z, y = blobs()
    keep = SpectralSignatures(share=share).filter_train(seen(z, y), RNG)
    assert np.bincount(y[~keep], minlength=K).tolist() == [round(EACH * share)] * K


@pytest.mark.parametrize("n", range(1, 12))
def test_spectral_signatures_round_their_share_down_in_small_classes(n: int) -> None:
    z = np.random.default_rng(n).normal(size=(n, 4))
    gone = ~SpectralSignatures(share=0.3).filter_train(seen(z, np.zeros(n, np.int64)), RNG)
    assert gone.sum() == np.floor(0.3 * n + 1e-9)


def test_an_update_is_judged_by_all_that_is_labelled_of_a_class() -> None:
    z, y = blobs()
    far = z[:, 0] * 0
    z[:10] += 6 * np.eye(D)[D - 1]
    far[:10] = 1
    keep = SpectralSignatures().filter_train(update(z, y, np.arange(10)), RNG)
    assert not keep.any()  # on their own they would be a class without any outlier
    honest = SpectralSignatures().filter_train(update(z, y, np.arange(100, 200)), RNG)
    assert 0.8 < honest.mean() < 0.9


# ------------------------------------------------------------------ activation_clustering


def test_clusters_of_whitened_components_are_those_of_independent_ones() -> None:
    z = blobs()[0][:EACH]
    z[:25] += 6.0
    w = reduction(z, 4, True, 0)(z)
    ica = FastICA(4, random_state=0, max_iter=1000, tol=1e-3, whiten="unit-variance").fit_transform(z)
    distances = [np.linalg.norm(a[:, None] - a[None], axis=2) for a in (w, ica)]
    scale = distances[0].sum() / distances[1].sum()  # one divides by n, the other by n - 1
    assert np.allclose(distances[0], scale * distances[1], atol=1e-6 * distances[0].max())
    there = KMeans(2, n_init=10, random_state=0).fit(ica).labels_
    assert adjusted_rand_score(clusters(w, 0), there) == 1.0


def test_components_beyond_the_rank_of_the_features_are_left_out() -> None:
    line = np.arange(20.0)[:, None] * np.array([[1.0, 2.0, 3.0]])
    assert reduction(line, 3, False, 0)(line).std(ddof=1) == pytest.approx(line.std(axis=0, ddof=1)[0] * np.sqrt(14))
    w = reduction(line, 3, True, 0)(line)
    assert w.shape == (20, 1)
    assert w.std(ddof=1) == pytest.approx(1.0)


@pytest.mark.parametrize("made", [ActivationClustering(), ActivationClustering(silhouette=0.25, dims=3, reduce="ica")])
def test_a_second_cluster_goes_and_one_cloud_stays(made: ActivationClustering) -> None:
    z, y = blobs()
    z[:20] += 8.0
    keep, score = (ask(seen(z, y), np.random.default_rng(0)) for ask in (made.filter_train, made.suspicion))
    assert not keep[:20].any()
    assert keep[20:].all()
    assert score[:20].min() > 0 > score[20:].max()
    assert score[EACH:].max() < -1  # of classes that are left whole


def test_a_large_cluster_stays_and_without_the_silhouette_size_alone_decides() -> None:
    z, y = blobs()
    z[:40] += 8.0
    view = seen(z, y)
    assert ActivationClustering().filter_train(view, np.random.default_rng(0)).all()
    keep = ActivationClustering(share=0.5).filter_train(view, np.random.default_rng(0))
    assert np.flatnonzero(~keep).tolist() == list(range(40))
    size = ActivationClustering(share=0.5, silhouette=-1.0).filter_train(view, np.random.default_rng(0))
    assert min(1 - size[y == c].mean() for c in range(K)) > 0.2


def test_an_update_goes_to_the_cluster_that_it_is_nearer_to() -> None:
    z, y = blobs()
    z[:20] += 8.0
    found = ActivationClustering().filter_train(update(z, y, np.arange(10, 30)), np.random.default_rng(0))
    assert found.tolist() == [False] * 10 + [True] * 10


# ------------------------------------------------------------------ margin_filter


def test_what_the_model_takes_for_something_else_goes_even_all_of_a_class() -> None:
    p = np.array([[0.95, 0.03, 0.02], [0.6, 0.4, 0.0], [0.8, 0.1, 0.1], [0.3, 0.3, 0.4]], dtype=np.float32)
    y = np.array([0, 0, 0, 2])
    assert wrongly(p, y) == pytest.approx([0.03, 0.4, 0.1, 0.3])
    assert wrongly(p, 2 - y) == pytest.approx([0.95, 0.6, 0.8, 0.4])
    view = seen(np.zeros((4, 1)), y, 3, p=p)
    assert MarginFilter(most=0.15).filter_train(view, RNG).tolist() == [True, False, True, False]
    assert MarginFilter(most=0.5).filter_train(view, RNG).all()


def test_the_margin_filter_needs_beliefs() -> None:
    with pytest.raises(MolebenchError, match="margin_filter needs the model's beliefs"):
        MarginFilter().filter_train(seen(np.zeros((2, 1)), np.zeros(2, np.int64)), RNG)


# ------------------------------------------------------------------ what all of them must bear

Z, Y = blobs(3)
EDGES = {
    "one item": (Z[:1], Y[:1]),
    "one item of each class": (Z[::EACH], Y[::EACH]),
    "two items": (Z[:2], Y[:2]),
    "one class": (Z[:EACH], Y[:EACH]),
    "a class of one": (Z[: EACH + 1], Y[: EACH + 1]),
    "a class of two": (Z[: EACH + 2], Y[: EACH + 2]),
    "identical rows": (np.ones((40, 3)), np.arange(40) % K),
    "two places": (np.repeat([[0.0, 0], [1, 1]], 20, axis=0), np.arange(40) % K),
    "constant features but one": (np.concatenate([Z[:, :1], np.ones((len(Z), 4))], axis=1), Y),
    "random labels": (Z, np.random.default_rng(0).permutation(Y)),
    "huge features": (1e12 * Z, Y),
}


@pytest.mark.parametrize("made", FILTERS, ids=lambda made: type(made).__name__)
@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.filterwarnings("error")
def test_no_filter_loses_a_class_of_what_is_labelled_and_every_score_is_finite(made: Any, edge: str) -> None:
    z, y = EDGES[edge]
    p = np.full((len(y), K), 0.02, np.float32)
    p[np.arange(len(y)), y] = 0.92
    for own in (True, False):
        view = seen(z, y, own=own, p=p)
        keep, score = made.filter_train(view, np.random.default_rng(0)), made.suspicion(view, np.random.default_rng(0))
        assert (keep.dtype, keep.shape, score.shape) == (bool, y.shape, y.shape)
        assert np.isfinite(score).all()
        assert set(y[keep]) == set(y)
        again = made.suspicion(view, np.random.default_rng(0))
        assert np.array_equal(score, again)


@pytest.mark.parametrize("made", [DeepKnn(), ActivationClustering(), SpectralSignatures()])
@pytest.mark.parametrize("edge", ["identical rows", "one item", "one class"])
def test_where_nothing_stands_out_nothing_goes_but_a_spectral_share(made: Any, edge: str) -> None:
    z, y = EDGES[edge]
    if edge == "identical rows":
        y = np.zeros(len(z), np.int64)
    gone = 1 - made.filter_train(seen(z, y), np.random.default_rng(0)).mean()
    spectral = isinstance(made, SpectralSignatures) and edge == "one class"
    assert gone == pytest.approx(0.15 if spectral else 0.0)


@pytest.mark.parametrize("made", FILTERS, ids=lambda made: type(made).__name__)
def test_sounds_are_judged_as_images_are(made: Any) -> None:
    z, y = blobs()
    z[100:105] = z[:5] + 0.01
    p = np.full((len(y), K), 0.2, np.float32)
    picture = seen(z, y, p=p)
    sound = np.arange(len(y), dtype=np.int16)[:, None].repeat(4, axis=1)
    heard = View(sound, picture.z, K, y=y, labelled_x=sound, labelled_z=picture.z, labelled_y=y, p=p)
    views = (picture, heard)
    here, there = (made.filter_train(view, np.random.default_rng(0)).tolist() for view in views)
    assert here == there

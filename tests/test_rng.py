"""Named random streams: independent by every part of their name, the same everywhere, and nobody else's."""

import hashlib
import random

import numpy as np
import pytest
import torch

from molebench.rng import digest, stream, torch_stream


def test_a_digest_is_blake2b_over_the_json_of_its_parts() -> None:
    expected = hashlib.blake2b(b'[7, "query", 3, "defense"]', digest_size=32).digest()
    assert digest(7, "query", 3, "defense") == expected


def test_the_same_name_gives_the_same_draws() -> None:
    assert stream(1, "a", 2).random(5).tolist() == stream(1, "a", 2).random(5).tolist()
    assert torch.equal(
        torch.rand(5, generator=torch_stream(1, "a", 2)), torch.rand(5, generator=torch_stream(1, "a", 2))
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((0, "a"), (1, "a")),
        ((0, "a"), (0, "b")),
        ((0, "a", "x"), (0, "a", "y")),
        ((0, "a", 1), (0, "a", 2)),
        ((0, "a", 1), (0, "a", "1")),
        ((0, "a", "bc"), (0, "ab", "c")),
        ((0, "a", "b", "c"), (0, "a", "bc")),
        ((0, "a"), (0, "a", "")),
        ((1, "1", 1), (11, "1")),
    ],
)
def test_another_seed_name_or_label_gives_other_draws(
    one: tuple[int, str, *tuple[int | str, ...]], other: tuple[int, str, *tuple[int | str, ...]]
) -> None:
    assert digest(*one) != digest(*other)
    assert not np.isin(stream(*one).random(50), stream(*other).random(50)).any()
    assert not torch.equal(torch.rand(50, generator=torch_stream(*one)), torch.rand(50, generator=torch_stream(*other)))


def test_streams_of_neighbouring_seeds_are_uncorrelated() -> None:
    drawn = np.stack([stream(seed, "data split").standard_normal(2000) for seed in range(8)])
    correlation = np.corrcoef(drawn) - np.eye(8)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(2000)


def test_the_draws_of_a_stream_are_fixed_for_good() -> None:
    assert digest(0, "data split").hex() == "89d84f5173f16c25e9c84c8efc1f2ce7e0e3505200c6a944591befcb543b5951"
    assert stream(0, "data split").integers(0, 1000, 5).tolist() == [743, 196, 524, 381, 65]
    assert torch.randint(0, 1000, (3,), generator=torch_stream(0, "victim init", 0)).tolist() == [482, 859, 317]


def test_draws_from_one_stream_change_no_other() -> None:
    one, other = stream(0, "one"), stream(0, "other")
    one.random(1000)
    assert other.random() == stream(0, "other").random()


def test_making_and_using_streams_touches_no_global_generator() -> None:
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002 - the generator that must not be touched
    torch.manual_seed(5)
    before = (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist())  # noqa: NPY002
    stream(0, "a").random(10)
    torch.rand(10, generator=torch_stream(0, "a"))
    assert before == (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist())  # noqa: NPY002

"""The stage cache: computed once, found again by what it was computed from, and never believed when damaged."""

import json
import multiprocessing
import os
import signal
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molebench.errors import MolebenchError
from molebench.stages import Arrays, Stages, canonical, key, load_arrays, save_arrays

SPAWN = multiprocessing.get_context("spawn")
ARRAYS = {"z": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array([True, False])}


def refuse() -> Arrays:
    raise AssertionError("computed although it was there")


def same(found: Arrays, expected: Arrays) -> bool:
    """Whether names, types, shapes and values are the same."""
    return set(found) == set(expected) and all(
        found[n].dtype == v.dtype and found[n].shape == v.shape and np.array_equal(found[n], v)
        for n, v in expected.items()
    )


# Canonical JSON


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN)
def test_canonical_text_says_the_value_and_nothing_else(value: Any) -> None:
    assert json.loads(canonical(value)) == value


def test_canonical_text_does_not_depend_on_the_order_of_a_mapping() -> None:
    assert canonical({"b": 1, "a": [2, {"d": 3, "c": "é"}]}) == '{"a":[2,{"c":"é","d":3}],"b":1}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, {"a": float("-inf")}]])
def test_canonical_text_of_a_number_that_is_not_finite_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(value)


def test_keys_tell_types_apart() -> None:
    assert len({key(value) for value in (1, "1", 1.5, True, None, [1])}) == 6


# Arrays in files


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 4, 4, 3), np.uint8),
        np.arange(12).reshape(3, 4).T,
        np.arange(10)[::2],
        np.array(["é"]).view(np.uint32),
        np.array(1.5),
    ],
    ids=["empty", "transposed", "strided", "text", "scalar"],
)
def test_what_was_saved_is_what_is_loaded(array: np.ndarray, tmp_path: Path) -> None:
    save_arrays(tmp_path / "a.safetensors", {"x": array}, note="ünit")
    found = load_arrays(tmp_path / "a.safetensors")
    assert found
    assert found[1] == "ünit"
    assert np.array_equal(found[0]["x"], array)
    assert found[0]["x"].dtype == array.dtype


def _save(path: str) -> None:
    save_arrays(Path(path), ARRAYS, note="n")


def test_every_process_writes_the_same_bytes(tmp_path: Path) -> None:
    for i in range(6):
        process = SPAWN.Process(target=_save, args=(str(tmp_path / f"{i}.safetensors"),))
        process.start()
        process.join(60)
    written = [f.read_bytes() for f in sorted(tmp_path.glob("*.safetensors"))]
    assert len(written) == 6
    assert len(set(written)) == 1  # a record names its predictions by the sha256 of the file


def test_a_flipped_bit_anywhere_never_gives_other_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_arrays(path, ARRAYS, note="from here")
    whole, believed = path.read_bytes(), []
    for i in range(len(whole)):
        for bit in (0, 3, 6):
            path.write_bytes(whole[:i] + bytes([whole[i] ^ 1 << bit]) + whole[i + 1 :])
            found = load_arrays(path)
            if found and not (same(found[0], ARRAYS) and found[1] == "from here"):
                believed.append((i, bit, sorted(found[0]), found[1]))
    assert believed == []


def test_a_file_cut_anywhere_counts_as_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_arrays(path, ARRAYS)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert load_arrays(path) is None


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_arrays(path, ARRAYS)
    before = path.read_bytes()
    with pytest.raises(Exception, match=r".+"):
        save_arrays(path, {"x": np.array(["no", "such", "type"])})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# Stages


def test_a_stage_is_computed_once_and_then_found(tmp_path: Path) -> None:
    first, second = Stages(tmp_path), Stages(tmp_path)
    assert same(first.get("features", {"x": 1}, lambda: ARRAYS, "features of pool"), ARRAYS)
    assert same(second.get("features", {"x": 1}, refuse, "features of pool"), ARRAYS)
    assert (list(first.seconds), first.reused) == (["features of pool"], [])
    assert (second.seconds, second.reused) == ({}, ["features of pool"])


@pytest.mark.parametrize(
    ("name", "inputs"),
    [("features", {"x": 2}), ("features", {"x": 1, "y": None}), ("features", {"y": 1}), ("arms", {"x": 1})],
)
def test_another_input_or_stage_is_another_key(name: str, inputs: dict[str, Any], tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    stages.get("features", {"x": 1}, lambda: ARRAYS)
    assert same(stages.get(name, inputs, lambda: {"other": np.ones(1)}), {"other": np.ones(1)})
    assert same(stages.get("features", {"x": 1}, refuse), ARRAYS)


@pytest.mark.parametrize("damage", [b"", b"cut", b"flip"])
def test_a_damaged_stage_is_computed_again_and_kept(damage: bytes, tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    stages.get("features", {"x": 1}, lambda: ARRAYS)
    (path,) = tmp_path.rglob("*.safetensors")
    whole = path.read_bytes()
    path.write_bytes({b"": b"", b"cut": whole[:-3], b"flip": whole[:-1] + bytes([whole[-1] ^ 1])}[damage])
    assert same(stages.get("features", {"x": 1}, lambda: ARRAYS), ARRAYS)
    assert path.read_bytes()[-6:] == whole[-6:]
    assert same(stages.get("features", {"x": 1}, refuse), ARRAYS)


def test_a_computation_that_fails_leaves_nothing_and_frees_the_way(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    with pytest.raises(AssertionError):
        stages.get("features", {"x": 1}, refuse)
    assert list(tmp_path.rglob("*.safetensors")) == []
    assert stages.seconds == {}
    assert same(stages.get("features", {"x": 1}, lambda: ARRAYS), ARRAYS)


def test_a_cache_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "stages").write_text("")
    with pytest.raises(MolebenchError, match=r"cannot write below .*stages.*MOLEBENCH_CACHE"):
        Stages(tmp_path / "stages").get("features", {"x": 1}, lambda: ARRAYS)


def _slow(folder: str, log: str, barrier: Barrier, seconds: float) -> None:
    """Asks for one stage together with the others, and notes it where this process computes it."""

    def compute() -> Arrays:
        with Path(log).open("a", encoding="utf-8") as handle:
            handle.write(f"{os.getpid()}\n")
        time.sleep(seconds)
        return ARRAYS

    barrier.wait(60)
    found = Stages(Path(folder)).get("features", {"x": 1}, compute)
    raise SystemExit(0 if same(found, ARRAYS) else 1)


def test_processes_that_want_a_stage_at_one_moment_compute_it_once(tmp_path: Path) -> None:
    log, barrier = tmp_path / "log", SPAWN.Barrier(3)
    all_ = [SPAWN.Process(target=_slow, args=(str(tmp_path / "c"), str(log), barrier, 0.5)) for _ in range(3)]
    for process in all_:
        process.start()
    for process in all_:
        process.join(60)
    assert [process.exitcode for process in all_] == [0, 0, 0]
    assert len(log.read_text("utf-8").splitlines()) == 1


def test_a_process_killed_while_it_computes_holds_up_nobody(tmp_path: Path) -> None:
    log, barrier = tmp_path / "log", SPAWN.Barrier(1)
    process = SPAWN.Process(target=_slow, args=(str(tmp_path / "c"), str(log), barrier, 600.0))
    process.start()
    while not log.exists():
        assert process.is_alive()
        time.sleep(0.02)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(60)
    assert same(Stages(tmp_path / "c").get("features", {"x": 1}, lambda: ARRAYS), ARRAYS)

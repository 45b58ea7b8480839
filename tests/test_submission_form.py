"""The form of a submission: what it takes, what it refuses and in which words, and the scaffold to start from."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from molebench.errors import MolebenchError
from molebench.submission import scope
from molebench.submission.check import accepted, checked
from molebench.submission.form import LICENCES, Faulty, read
from molebench.submission.scaffold import scaffold
from tests.conftest import ROOT, molebench
from tests.submitted import BREAK, SLUG, claim, faults, fill, filled, form

OURS = ("lid_screen", "prob_cover", "sphere_slab")
EXAMPLES = sorted((ROOT / "leaderboard" / "submissions").glob("*/submission.yaml"))


@pytest.mark.parametrize("kind", ["defense", "attack"])
def test_a_scaffold_lacks_only_what_its_author_alone_knows(kind: str, tmp_path: Path) -> None:
    found = faults(scaffold(SLUG, kind, tmp_path))
    places = ["authors 1", *(f"disclosure, {w}" for w in ("trusted_data", "extra_data", "pretrained"))]
    places += [f"claims 1, {word}" for word in ("value", "low", "high")]
    assert found == [f"submission.yaml: {place} is still to be filled in" for place in places]


@pytest.mark.parametrize("kind", ["defense", "attack"])
def test_a_scaffold_that_is_filled_in_has_no_fault(kind: str, tmp_path: Path) -> None:
    report = checked(filled(tmp_path, kind=kind))
    assert report.faults == []
    assert report.form
    assert report.form.slug == SLUG
    assert [line.partition(":")[0] for line in report.well] == ["submission.yaml", f"{kind}.py", "1 claim"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_every_submission_that_is_here_has_no_fault(path: Path) -> None:
    assert accepted(path.parent).slug == path.parent.name


def test_our_own_examples_keep_the_houses_style() -> None:
    files = [str(path.with_name("defense.py")) for path in EXAMPLES if path.parent.name in OURS]
    assert len(files) == len(OURS)
    words = ["ruff", "check", "--no-cache", "--config", "extend-exclude = []", *files]
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_examples_are_a_screen_a_filter_and_a_query_strategy() -> None:
    acting = {path.parent.name: read(path.parent).card.moments for path in EXAMPLES}
    assert acting["lid_screen"] == ("screen_pool", "suspicion")
    assert acting["sphere_slab"] == ("filter_train", "suspicion")
    assert acting["prob_cover"] == ("select",)


def test_the_form_reads_as_it_was_written(tmp_path: Path) -> None:
    found = read(filled(tmp_path))
    assert found.claims[0].seeds == (0, 1, 2)
    assert (found.claims[0].low, found.claims[0].value, found.claims[0].high) == (-6.0, -3.2, -1.0)
    assert dict(found.params) == {"share": 0.05}


# Words, one fault each

HELD = [
    ("title", "\u1160", "title holds the character U+1160, which cannot be seen"),
    ("title", "a\u202etxt.exe", "title holds the character U+202E, which cannot be seen"),
    ("title", "two\nlines", "title holds the character U+000A"),
    ("title", "", "title is empty"),
    ("title", "\ufb01lter", "title is not in Unicode's NFKC form; write 'filter'"),
    ("title", "x" * 201, "should have at most 200 characters"),
    ("authors", [], "authors is []; tuple should have at least 1 item"),
    ("authors", "A. Author", "authors is 'A. Author'"),
    ("contact", "a b <script>", "contact is 'a b <script>'; string should match pattern"),
    ("licence", "Proprietary", "licence is 'Proprietary'; allowed: 0BSD, AGPL-3.0-only"),
    ("kind", "victim", "kind is 'victim'; input should be 'defense' or 'attack'"),
    (
        "schema",
        "molebench.submission/2",
        "schema is 'molebench.submission/2'; input should be 'molebench.submission/1'",
    ),
    ("params", {"share": [1]}, "params, share is [1]"),
    ("params", {"share": float("nan")}, "params, share is nan"),
    ("params", {"two words": 1}, "params 'two words' is no name of a parameter"),
    (
        "card",
        {"scenarios": ["activ"], "moments": []},
        "card, scenarios 1 is 'activ'; allowed: active, continual, offline",
    ),
    ("card", {"scenarios": ["active"], "sees": ["ground_truth"]}, "card, sees 1 is 'ground_truth'; allowed: extractor"),
    ("card", {"scenarios": ["active", "active"]}, "card, scenarios names one twice"),
    ("tittle", "x", "tittle is no key of this form; did you mean 'title'?"),
]


@pytest.mark.parametrize(("key", "value", "words"), HELD)
def test_what_the_form_does_not_take_is_named_with_what_it_takes(
    key: str, value: Any, words: str, tmp_path: Path
) -> None:
    found = faults(fill(filled(tmp_path), **{key: value}))
    assert [fault for fault in found if words in fault], found


LINKS = [
    "javascript:alert(1)",
    "http://example.org/",
    "https://user:pass@example.org/",
    "https://127.0.0.1/x",
    "https://[::1]/x",
    "https://example.org:8443/",
    "https://example.org/\u202e",
    "https://example.org/a b",
    "https://ex\u0430mple.org/",
    'https://example.org/"><script>',
    "data:text/html,x",
    "//example.org/x",
    "HTTPS://example.org/",
]


@pytest.mark.parametrize("link", LINKS)
def test_an_address_is_plain_https_or_refused(link: str, tmp_path: Path) -> None:
    folder = filled(tmp_path)
    assert faults(fill(folder, paper="https://arxiv.org/abs/1801.02613")) == []
    found = faults(fill(folder, paper=link))
    assert [one for one in found if "paper is no plain address; expected https://" in one], found


def test_every_licence_of_the_list_is_taken(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    assert [licence for licence in LICENCES if faults(fill(folder, licence=licence))] == []


@pytest.mark.parametrize("key", ["slug", "title", "authors", "licence", "card", "params", "disclosure", "claims"])
def test_what_is_missing_is_named(key: str, tmp_path: Path) -> None:
    folder = filled(tmp_path)
    text = "".join(f"{k}: {v!r}\n" for k, v in form(folder).items() if k != key)
    (folder / "submission.yaml").write_text(text, "utf-8")
    assert f"submission.yaml: {key} is missing" in faults(folder)


# Claims

CLAIMS = [
    ({"metric": "delta_totel_defended"}, "no record has delta_totel_defended; did you mean 'delta_total_defended'?"),
    ({"attack": "feature_colision"}, "there is no attack feature_colision; did you mean 'feature_collision'?"),
    ({"victim": "al_resnet5"}, "there is no victim al_resnet5; did you mean 'al_resnet50'?"),
    ({"dataset": "nowhere"}, "there is no dataset nowhere"),
    ({"victim": "offline_vit"}, "victim: offline_vit belongs to offline; the card has active"),
    (
        {"attack": "mole_recruitment"},
        "mole_recruitment acts in offline; victim al_efficientnet_lite0 belongs to active",
    ),
    ({"attack": None}, "attack is missing: which attack does the defense meet?"),
    ({"defenses": ["deep_knn"]}, "a defense's claim is of the defense alone"),
    ({"low": -1.0, "high": -6.0}, "low -1, value -3.2, high -6 are not in order"),
    ({"value": 0.0}, "low -6, value 0, high -1 are not in order"),
    ({"value": float("nan")}, "claims 1, value is nan; input should be a finite number"),
    ({"high": float("inf")}, "claims 1, high is inf; input should be a finite number"),
    ({"value": "-3.2"}, "claims 1, value is '-3.2'; input should be a valid number"),
    ({"seeds": [0, 0]}, "claims 1, seeds names one twice"),
    ({"seeds": [-1]}, "claims 1, seeds 1 is -1; input should be greater than or equal to 0"),
    ({"seeds": list(range(21))}, "at most 20 items"),
    ({"seeds": [True]}, "claims 1, seeds 1 is True; input should be a valid integer"),
    ({"profile": "huge"}, "claims 1, profile is 'huge'; input should be 'tiny', 'small' or 'paper'"),
    ({"set": {"attck.steps": 1}}, "set: attck.steps: expected part.parameter"),
    ({"set": {f"{SLUG}.share": 1}}, f"set: {SLUG}.share is a parameter of the submission; say it in params"),
    ({"valu": 1.0}, "claims 1, valu is no key of this form; did you mean 'value'?"),
]


@pytest.mark.parametrize(("words", "fault"), CLAIMS)
def test_a_claim_that_cannot_be_is_refused(words: dict[str, Any], fault: str, tmp_path: Path) -> None:
    folder = filled(tmp_path)
    found = faults(fill(folder, claims=[claim(folder), claim(folder, **words)]))
    assert [one for one in found if fault.replace("claims 1", "claims 2") in one], found
    assert [one for one in found if not one.removeprefix("submission.yaml: ").startswith(("claim 2", "claims 2"))] == []


def test_a_break_names_the_defenses_that_it_is_against_and_no_attack(tmp_path: Path) -> None:
    folder = filled(tmp_path, BREAK, "attack")
    against = claim(folder, defenses=["feature_norm"], metric="delta_total_defended")
    assert faults(fill(folder, claims=[against])) == []
    (fault,) = faults(fill(folder, claims=[{**against, "attack": "noise", "defenses": ["margin_filter"]}]))[:1]
    assert fault == "claim 1, attack is this submission itself; leave that out"
    assert "margin_filter acts in offline, continual" in " ".join(faults(folder))


CARDS = [
    ({"moments": ["suspicion"]}, "moments names none at which the defense acts"),
    ({"moments": ["screen_pool", "admit"]}, "admit is a moment of continual alone; the card has active"),
    ({"scenarios": ["active", "offline"]}, "in offline none of its moments is called"),
    ({"sees": ["trusted"]}, "a parameter `trusted` says how many"),
    ({"may": ["inject"]}, "card, may: an attack has it"),
]


@pytest.mark.parametrize(("words", "fault"), CARDS)
def test_a_card_that_does_not_fit_together_is_refused(words: dict[str, Any], fault: str, tmp_path: Path) -> None:
    folder = filled(tmp_path)
    found = faults(fill(folder, card={**form(folder)["card"], **words}))
    assert [one for one in found if fault in one], found


# Versions


def test_a_new_version_is_a_new_folder_that_names_the_old_one(tmp_path: Path) -> None:
    filled(tmp_path)
    filled(tmp_path, BREAK, "attack")
    second = filled(tmp_path, f"{SLUG}_2")
    assert faults(fill(second, supersedes=SLUG)) == []
    assert faults(fill(second, supersedes="nobody_at_all")) == [
        "supersedes: there is no submission nobody_at_all beside this one"
    ]
    assert faults(fill(second, supersedes=BREAK)) == [
        f"supersedes: {BREAK} is attack, this one is defense; it takes one of its kind"
    ]
    assert faults(fill(second, supersedes=second.name)) == [
        f"supersedes: {second.name} is this submission itself; name the older one"
    ]


# What a pull request touches

OWN = f"{scope.HOME}/{SLUG}"


def test_a_pull_request_that_adds_one_folder_is_told_which() -> None:
    assert scope.submitted([f"{OWN}/submission.yaml", f"{OWN}/records/ab/record.json"], ["lid_screen"]) == OWN


TOUCHED = [
    ([f"{OWN}/defense.py", "molebench/runner.py"], "it touches molebench/runner.py"),
    ([f"{OWN}/defense.py", ".github/workflows/submission.yml"], "it touches .github/workflows/submission.yml"),
    ([f"{OWN}/defense.py", "leaderboard/results/attested.json"], "it touches leaderboard/results/attested.json"),
    ([f"{OWN}/defense.py", f"{scope.HOME}/README.md"], f"it touches {scope.HOME}/README.md"),
    ([f"{OWN}/../other/defense.py", f"{OWN}/defense.py"], "a submission touches its own folder alone"),
    ([f"{OWN}/defense.py", f"{scope.HOME}/lid_screen/defense.py"], "several submissions are touched"),
    ([f"{scope.HOME}/lid_screen/defense.py"], "lid_screen is merged and stays as it is"),
    ([f"{scope.HOME}/\u0441alm_screen/defense.py"], "there is no submission in it"),
    ([], "there is no submission in it"),
]


@pytest.mark.parametrize(("paths", "fault"), TOUCHED)
def test_a_pull_request_that_touches_anything_else_is_refused(paths: list[str], fault: str) -> None:
    with pytest.raises(Faulty) as error:
        scope.submitted(paths, ["lid_screen"])
    assert fault in str(error.value)


def test_the_paths_of_a_difference_come_apart_at_nul_whatever_they_hold() -> None:
    assert scope.changed(b"a b\0c\nd\0\xff\0") == ["a b", "c\nd", "\udcff"]


def test_what_is_moved_away_from_elsewhere_is_touched_there(tmp_path: Path) -> None:
    def git(*words: str) -> bytes:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main")
        return subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True).stdout

    other = tmp_path / scope.HOME / "lid_screen"
    other.mkdir(parents=True)
    (other / "defense.py").write_text("x = 1\n" * 50, "utf-8")
    git("init")
    git("add", "-A")
    git("commit", "-m", "base")
    git("checkout", "-b", "theirs")
    (other / "defense.py").rename(tmp_path / "moved")
    (tmp_path / OWN).mkdir()
    (tmp_path / "moved").rename(tmp_path / OWN / "defense.py")
    git("add", "-A")
    git("commit", "-m", "mine")
    seen = scope.changed(git("diff", "--name-only", "--no-renames", "-z", "main...HEAD"))
    with pytest.raises(Faulty, match="several submissions are touched"):
        scope.submitted(seen, ["lid_screen"])


# As typed


def test_a_new_user_writes_fills_in_and_checks(tmp_path: Path) -> None:
    made = molebench("submit", "new", SLUG, "--kind", "defense", "--out", str(tmp_path))
    assert made.returncode == 0, made.stderr
    assert f"molebench submit check {tmp_path / SLUG}" in made.stdout
    first = molebench("submit", "check", str(tmp_path / SLUG))
    assert first.returncode == 2
    assert {line.partition(": ")[0] for line in first.stderr.splitlines()} == {"fault"}
    assert len(first.stderr.splitlines()) == 7
    filled(tmp_path / "again")
    then = molebench("submit", "check", str(tmp_path / "again" / SLUG))
    assert (then.returncode, then.stderr) == (0, "")
    assert then.stdout.startswith(f"ok: submission.yaml: defense {SLUG}, MIT\n")


def test_what_is_there_is_not_overwritten_and_a_kind_is_one_of_two(tmp_path: Path) -> None:
    scaffold(SLUG, "defense", tmp_path)
    with pytest.raises(MolebenchError, match="is there already and is not overwritten"):
        scaffold(SLUG, "defense", tmp_path)
    with pytest.raises(MolebenchError, match="no kind of submission named 'victim'"):
        scaffold("other_one", "victim", tmp_path)


def test_the_command_says_the_folder_of_a_pull_request(tmp_path: Path) -> None:
    (tmp_path / "changed").write_bytes(f"{OWN}/defense.py\0{OWN}/submission.yaml\0".encode())
    done = molebench("submit", "scope", str(tmp_path / "changed"))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{OWN}\n", "")
    (tmp_path / "changed").write_bytes(b"setup.cfg\0")
    done = molebench("submit", "scope", str(tmp_path / "changed"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "fault: it touches setup.cfg" in done.stderr

"""Who has run what again stands beside the records, and ends with the record that it was said of."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from molebench import attesting
from molebench.attesting import FILE, attest, attestations
from molebench.errors import MolebenchError
from molebench.leaderboard.build import build
from molebench.leaderboard.loading import load
from molebench.leaderboard.placing import standings
from molebench.store import load_records
from molebench.workspace import Workspace
from tests.board_records import Content, add
from tests.commands import one_line, typed
from tests.stored import KEY, copied
from tests.submitted import fill, filled, with_records


def test_what_is_said_of_a_record_reaches_the_board(tmp_path: Path) -> None:
    store = copied(tmp_path / "store")
    assert load(store.root).tiers == {}
    assert attest(store.root, load_records(store.root), "reproduced", "a maintainer") == 1
    assert load(store.root).tiers == {KEY: "reproduced"}


def test_a_changed_record_is_no_longer_vouched_for(tmp_path: Path) -> None:
    store = copied(tmp_path / "store")
    attest(store.root, load_records(store.root), "reproduced", "a maintainer")
    [record] = load_records(store.root)
    changed = record.model_copy(update={"warnings": ["another"]}).sealed()
    (store.cell(KEY) / "record.json").write_text(changed.text(), "utf-8")
    assert load(store.root).tiers == {}


def test_of_two_who_speak_at_once_both_are_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = copied(tmp_path / "store")
    [record] = load_records(store.root)
    read = attesting.attestations

    def slowly(root: Path) -> Mapping[str, attesting.Attestation]:
        found = read(root)
        time.sleep(0.3)
        return found

    monkeypatch.setattr(attesting, "attestations", slowly)
    said = [record.model_copy(update={"record_sha256": digit * 64}) for digit in "ab"]
    speakers = [threading.Thread(target=attest, args=(store.root, [one], "reproduced", "me")) for one in said]
    for each in speakers:
        each.start()
    for each in speakers:
        each.join()
    assert sorted(read(store.root)) == ["a" * 64, "b" * 64]


def test_an_invalid_record_stays_so_and_the_board_says_why(tmp_path: Path) -> None:
    store = copied(tmp_path / "store")
    records = load_records(store.root)
    home = Workspace(tmp_path / "data", tmp_path / "cache", store.root)
    done = typed(home, "store", "invalidate", KEY[:8], "--by", "a maintainer", "--reason", "trained on the test set")
    assert done.returncode == 0, done.stderr
    assert load(store.root).tiers == {KEY: "claimed"}
    attest(store.root, records, "reproduced", "another maintainer")
    loaded = load(store.root)
    assert (loaded.tiers, loaded.invalid) == ({KEY: "reproduced"}, {KEY: "trained on the test set"})
    [board] = standings(loaded, own=True)
    assert [entry.why for entry in board.entries] == ["invalid: trained on the test set"]
    build(store.root, tmp_path / "site")
    page = (tmp_path / "site" / "cell" / f"{KEY}.html").read_text("utf-8")
    assert "reproduced, and found invalid: trained on the test set" in page


def test_a_reason_is_asked_for_and_a_record_is_named(tmp_path: Path) -> None:
    store = copied(tmp_path / "store")
    home = Workspace(tmp_path / "data", tmp_path / "cache", store.root)
    for words, said in (
        ((KEY[:8], "--by", "me", "--reason", " "), "--reason is empty"),
        (("f00d", "--by", "me", "--reason", "wrong"), "0 records have a key that begins with 'f00d'"),
        ((KEY[:8], "--by", "me", "--reason", "x" * 501), "--reason: "),
    ):
        assert said in one_line(typed(home, "store", "invalidate", *words))
    assert not (store.root / FILE).exists()


def test_what_is_superseded_is_shown_and_no_longer_ranked(tmp_path: Path) -> None:
    store = copied(tmp_path / "results")
    defended = add(store.root, 1, behind("calm_screen"))
    home = tmp_path / "submissions"
    filled(home)
    assert "superseded" not in " ".join(entry.why for each in standings(load(store.root)) for entry in each.entries)
    fill(filled(home, "calm_screen_2"), supersedes="calm_screen")
    [board] = standings(load(store.root), own=True)
    assert {e.defense: e.why for e in board.entries}["calm_screen"] == "superseded by calm_screen_2"
    assert load(store.root).folders[defended.key].is_dir()


def behind(slug: str) -> Callable[[Content], None]:
    """A change of a record to one of a defense."""

    def change(content: Content) -> None:
        content["cell"]["defenses"] = [{"name": slug, "parameters": {}}]
        for name in ("clean", "poisoned"):
            content["arms"][f"{name}_defended"] = content["arms"][f"{name}_undefended"]
        kept = content["metrics"]
        content["metrics"] = {"delta_total_defended": kept["delta_total"], "accuracy_clean": kept["accuracy_clean"]}

    return change


def test_what_comes_with_a_submission_is_its_author_s_word(tmp_path: Path) -> None:
    store = copied(tmp_path / "results")
    folder = with_records(tmp_path / "submissions")
    loaded = load(store.root)
    assert len(loaded.records) == 2
    [mine] = [record for record in loaded.records if record.cell["attack"]["name"] == folder.name]
    assert mine.key not in loaded.tiers
    shutil.copytree(folder / "records" / mine.key, store.cell(mine.key))
    assert load(store.root).folders[mine.key] == store.cell(mine.key)


def test_a_submission_that_cannot_be_read_stops_the_board_by_name(tmp_path: Path) -> None:
    store = copied(tmp_path / "results")
    folder = filled(tmp_path / "submissions")
    fill(folder, licence="mine")
    with pytest.raises(MolebenchError, match=r"submission calm_screen: .*licence"):
        load(store.root)
    folder.rename(folder.with_name("other_screen"))
    fill(folder.with_name("other_screen"), licence="MIT")
    with pytest.raises(MolebenchError, match="submission other_screen calls itself calm_screen"):
        load(store.root)


def test_a_record_s_own_word_counts_for_nothing(tmp_path: Path) -> None:
    store = copied(tmp_path / "store")
    [record] = load_records(store.root)
    own = record.verification.model_copy(update={"tier": "reproduced"})
    (store.cell(KEY) / "record.json").write_text(
        record.model_copy(update={"verification": own}).sealed().text(), "utf-8"
    )
    assert load(store.root).tiers == {}


@pytest.mark.parametrize(
    "text", ["", "{}", '{"schema": "molebench.attested/1", "records": {"x": {"tier": "gold", "by": "me"}}}']
)
def test_a_file_that_says_nothing_of_the_kind_is_one_line(tmp_path: Path, text: str) -> None:
    store = copied(tmp_path / "store")
    (store.root / FILE).write_text(text, "utf-8")
    with pytest.raises(MolebenchError, match="does not say who has checked which record"):
        attestations(store.root)
    with pytest.raises(MolebenchError):
        load(store.root)


def test_the_command_names_what_it_attests_and_refuses_what_it_cannot(tmp_path: Path) -> None:
    store = copied(tmp_path / "store")
    home = Workspace(tmp_path / "data", tmp_path / "cache", store.root)
    options = ("store", "attest", "--by", "a maintainer")
    done = typed(home, *options, KEY[:8])
    assert done.returncode == 0, done.stderr
    assert json.loads((store.root / FILE).read_text("utf-8"))["records"]
    for more, said in ((("f00d",), "0 records have a key that begins with 'f00d'"), (("--tier", "gold"), "--tier: ")):
        refused = typed(home, *options, *more)
        assert refused.returncode == 2
        assert said in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1

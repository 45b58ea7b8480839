"""Who has run what again stands beside the records, and ends with the record that it was said of."""

import json
from pathlib import Path

import pytest

from molebench.attesting import FILE, attest, attestations
from molebench.errors import MolebenchError
from molebench.leaderboard.loading import load
from molebench.store import load_records
from molebench.workspace import Workspace
from tests.commands import typed
from tests.stored import KEY, copied


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

"""What other versions wrote: older records are read as today's, their files stay; newer ones are refused."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from molebench import migrations
from molebench.errors import MolebenchError
from molebench.migrations import Plain, check, migrated, version
from molebench.record import SCHEMA, Damaged, as_written, parsed
from molebench.stages import canonical, key
from molebench.store import Store, load_predictions, read_record
from tests.conftest import ROOT
from tests.stored import ARMS, FIRST, KEY, content

PATH = FIRST / "cells" / KEY / "record.json"
SHA256 = "3b3e6f73d209d5bea6ededc92ad7c551ee58b80e30cd32451a50d3276a21fe51"  # of the file that the first version wrote


def test_the_first_record_is_the_file_that_old_code_wrote() -> None:
    assert hashlib.sha256(PATH.read_bytes()).hexdigest() == SHA256
    assert content()["schema"] == "molebench.result/1"
    assert "updates" not in content()  # which today's records of trained victims have


def test_the_first_record_is_read_and_its_file_left_as_it_was() -> None:
    before = {path: path.read_bytes() for path in FIRST.rglob("*") if path.is_file()}
    store = Store(FIRST)
    (found,) = store.records()
    assert found == store.get(KEY) == read_record(PATH)
    assert (found.schema_, found.updates, found.seeds["cell"]) == (SCHEMA, [], 0)
    assert found.text().encode() == PATH.read_bytes()
    assert [len(load_predictions(PATH.parent, found.arms[arm])["y"]) for arm in ARMS] == [20, 20, 20]
    assert {path: path.read_bytes() for path in FIRST.rglob("*") if path.is_file()} == before


def test_every_committed_record_is_read() -> None:
    root = Path(__file__).parents[1] / "leaderboard" / "results"
    files = list(root.glob("cells/*/record.json"))
    assert len(files) > 30
    assert all(read_record(path).text().encode() == path.read_bytes() for path in files)


# The chain


def renamed(content: Plain) -> Plain:
    """A step of a chain that might be: what was called `peak` is called `peak_memory_mib`."""
    kept = {name: value for name, value in content.items() if name != "peak"}
    return {**kept, "peak_memory_mib": content["peak"], "schema": "molebench.result/1"}


def shortened(content: Plain) -> Plain:
    """A step before that one."""
    return {**content, "schema": "molebench.result/0", "seeds": {"cell": content["seed"], "model": content["seed"]}}


STEPS = {"molebench.result/00": shortened, "molebench.result/0": renamed}


def older(schema: str, **changes: Any) -> dict[str, Any]:
    """The first record as a version before it might have written it, sealed."""
    kept = {name: value for name, value in content().items() if name not in ("peak_memory_mib", "record_sha256")}
    plain = {**kept, "peak": 7.0, "schema": schema, **changes}
    return {**plain, "record_sha256": key(plain)}


def test_an_older_record_goes_through_every_step_and_is_sealed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "STEPS", STEPS)
    old = older("molebench.result/0")
    found = parsed("it", canonical(old).encode())
    assert (found.schema_, found.peak_memory_mib, found.key) == (SCHEMA, 7.0, KEY)
    assert found.record_sha256 == found.digest() != old["record_sha256"]
    assert migrated({"schema": "molebench.result/00", "peak": 1, "seed": 3}, SCHEMA, STEPS) == {
        "schema": SCHEMA,
        "peak_memory_mib": 1,
        "seed": 3,
        "seeds": {"cell": 3, "model": 3},
    }


def test_an_older_record_that_was_changed_is_not_migrated_into_a_sound_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "STEPS", STEPS)
    text = canonical(older("molebench.result/0"))
    with pytest.raises(Damaged, match="it was changed after it was written"):
        parsed("it", text.replace('"peak":7.0', '"peak":8.0').encode())
    with pytest.raises(Damaged, match=r"it is damaged \('peak'\)"):
        parsed("it", text.replace('"peak":', '"pique":').encode())


def test_a_schema_that_no_step_knows_is_named_and_a_chain_that_goes_round_ends() -> None:
    with pytest.raises(Damaged, match=r"no step leads from schema molebench\.result/0 to molebench\.result/1"):
        parsed("it", canonical(older("molebench.result/0")).encode())
    with pytest.raises(ValueError, match="no step leads from schema a/1 to a/2"):
        migrated({"schema": "a/1"}, "a/2", {"a/1": lambda content: content})


# Numbers


def test_bytes_as_they_were_sealed_and_the_same_record_written_otherwise_are_one() -> None:
    for path in sorted((ROOT / "leaderboard" / "results" / "cells").glob("*/record.json"))[:5]:
        data = path.read_bytes()
        otherwise = json.dumps(json.loads(data), indent=1).encode()
        assert as_written(data) is not None
        assert as_written(otherwise) is None
        assert as_written(data) == parsed("it", data) == parsed("it", otherwise)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"scenario":"active"', b'"scenario":"offline"'),
        (b'"record_sha256":"', b'"record_sha256":"0'),
        (b'"record_sha256"', b'"record_sha265"'),
        (b'"started":"', b'"started":"NaN'),
    ],
)
def test_bytes_that_are_not_what_was_sealed_are_damage(old: bytes, new: bytes) -> None:
    data = (FIRST / "cells" / KEY / "record.json").read_bytes()
    assert as_written(data) or parsed("it", data)
    changed = data.replace(old, new, 1)
    assert changed != data
    assert as_written(changed) is None
    with pytest.raises(Damaged):
        parsed("it", changed)


def test_a_schema_is_a_family_and_a_number() -> None:
    assert version("molebench.result/12", SCHEMA) == 12
    for other in (None, 3, "", "molebench.store/1", "molebench.result/", "molebench.result/x", "molebench.result/1/2"):
        with pytest.raises(ValueError, match=r"expected molebench\.result/1"):
            version(other, SCHEMA)


def test_only_a_newer_one_is_refused() -> None:
    check("it", "molebench.result/0", SCHEMA)
    check("it", "molebench.result/1", SCHEMA)
    with pytest.raises(MolebenchError, match=r"^it was written by a newer molebench \(schema molebench\.result/2; "):
        check("it", "molebench.result/2", SCHEMA)


def test_bytes_that_are_no_record_are_damage_whatever_they_are() -> None:
    whole = PATH.read_bytes()
    for data in (b"", b"[]", b"1", b"\xff\xfe", b"[" * 100_000, b'{"schema": 1}', whole[:100], whole + b"}"):
        with pytest.raises(Damaged, match=r"^it is damaged"):
            parsed("it", data)
    assert json.loads(whole)["record_sha256"] == parsed("it", whole).record_sha256

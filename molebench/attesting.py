"""Who has run which records again: kept beside a store's records, for a record cannot vouch for itself.

    <store>/attested.json      {"schema": "molebench.attested/1", "records": {record_sha256: {"tier": ..., "by": ...}}}

A record is named by its seal: whatever changes in it ends what is said of it. One that turns out to be wrong is not
deleted but marked invalid, with the reason, for good. In the project's own store only those who
may merge can change the file; a submission that touches it is refused.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from molebench.errors import MolebenchError, first_line
from molebench.locks import held
from molebench.record import Record
from molebench.workspace import writing

FILE = "attested.json"
LOCKED = "locks/attested.lock"  # held from reading the file to writing it: who speaks meanwhile is not forgotten
SCHEMA = "molebench.attested/1"
Tier = Literal["claimed", "local-trusted", "reproduced-tiny", "reproduced"]


class Attestation(BaseModel):
    """How far somebody has checked a record, and who. invalid: why it counts no more, where it does not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tier: Tier
    by: str = Field(min_length=1, max_length=100)
    invalid: str = Field(default="", max_length=500)


class Attested(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_: Literal["molebench.attested/1"] = Field(alias="schema")
    records: dict[str, Attestation]


def attestations(store: Path) -> Mapping[str, Attestation]:
    """By record_sha256; nothing where there is no file."""
    path = store / FILE
    if not path.exists():
        return {}
    try:
        return Attested.model_validate_json(path.read_bytes()).records
    except (OSError, ValidationError) as error:
        raise MolebenchError(f"{path} does not say who has checked which record: {first_line(error)}") from error


def chosen(records: Sequence[Record], beginnings: Sequence[str]) -> list[Record]:
    """The records whose keys begin so, or all; MolebenchError for a beginning that is not one record's alone."""
    if not beginnings:
        return list(records)
    found = [[r for r in records if r.key.startswith(each)] for each in beginnings]
    for each, some in zip(beginnings, found, strict=True):
        if len(some) != 1:
            raise MolebenchError(
                f"{len(some)} records have a key that begins with {each!r}; molebench report names them"
            )
    return [one for some in found for one in some]


def attest(store: Path, records: Sequence[Record], tier: str, by: str) -> int:
    """Adds what somebody says of records; returns of how many. What is invalid stays so."""
    one = attestation(tier=tier, by=by)
    with held(store / LOCKED):
        known = attestations(store)
        invalid = {sha: said.invalid for sha, said in known.items()}
        new = {sha: one.model_copy(update={"invalid": invalid.get(sha, "")}) for sha in seals(records)}
        write(store, {**known, **new})
    return len(records)


def invalidate(store: Path, records: Sequence[Record], by: str, reason: str) -> int:
    """Marks records as invalid, of whatever tier; returns how many."""
    if not reason.strip():
        raise MolebenchError("--reason is empty; say in one line what is wrong with the records")
    with held(store / LOCKED):
        known = attestations(store)
        tiers = {sha: known[sha].tier if sha in known else "claimed" for sha in seals(records)}
        write(store, {**known, **{sha: attestation(tier=tier, by=by, invalid=reason) for sha, tier in tiers.items()}})
    return len(records)


def seals(records: Sequence[Record]) -> list[str]:
    """What names records here."""
    return [record.record_sha256 for record in records]


def attestation(**said: str) -> Attestation:
    """What is said of a record; MolebenchError where it cannot be."""
    try:
        return Attestation.model_validate(said)
    except ValidationError as error:
        option = {"by": "--by", "invalid": "--reason"}.get(str(error.errors()[0]["loc"][0]), "--tier")
        raise MolebenchError(f"{option}: {error.errors()[0]['msg'].lower()}") from error


def write(store: Path, said: Mapping[str, Attestation]) -> None:
    """Writes the file."""
    plain = {"schema": SCHEMA, "records": {k: said[k].model_dump(exclude_defaults=True) for k in sorted(said)}}
    with writing(store / FILE) as temporary:
        temporary.write_text(json.dumps(plain, indent=0) + "\n", "utf-8", newline="\n")

"""The record of a cell: everything a number needs to be trusted, in one JSON file of schema molebench.result/1.

Unknown fields and non-finite numbers are refused. The last field is the sha256 over the canonical JSON of all
the others, so a changed record names itself.
"""

import hashlib
import json
import re
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from molebench import migrations
from molebench.cards import UNRANKED
from molebench.errors import MolebenchError, first_line
from molebench.stages import canonical, key

SCHEMA: Final = "molebench.result/1"
SEAL: Final = re.compile(rb'"record_sha256":"([0-9a-f]{64})",')  # where it stands among sorted names
Status = Literal["ok", "failed", "invalid", "unhealthy", "timeout"]


class Strict(BaseModel):
    """Refuses what it does not know, and NaN."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class MetricValue(Strict):
    """A figure, its interval over test items (None where it is a plain count), and what it means."""

    value: float
    low: float | None
    high: float | None
    definition: str


class Component(Strict):
    """One plug-in that took part, with the hash of its code and of the helpers it imports."""

    kind: str
    name: str
    version: str
    origin: str
    code_sha256: str


class PoisonRecord(Strict):
    """sha256 names the poison's bytes; facts are summaries over poisons: mean, median, worst."""

    sha256: str
    n: int
    violations: list[str]
    unmet: list[str]
    facts: dict[str, dict[str, float]]


class FileFact(Strict):
    """A file that was read."""

    sha256: str
    bytes: int


class DataRecord(Strict):
    """The files a dataset was read from, and the fingerprint of each split as used."""

    files: dict[str, FileFact]
    splits: dict[str, str]
    sizes: dict[str, int]
    classes: list[str]


class WeightsRecord(Strict):
    """Pretrained weights: sha256 over the converted arrays."""

    name: str
    source: str
    sha256: str


class ArmRecord(Strict):
    """n, correct: test items by class. confusion: true class (row) by predicted class. trace: by training."""

    n: list[int]
    correct: list[int]
    confusion: list[list[int]]
    predictions: str
    predictions_sha256: str
    trace: dict[str, list[float]]


class PairRecord(Strict):
    """An attacked and a confounding class, by name. rho: percentile of the confounding class's scores; n: the moles
    that the attack would choose for this pair alone; mean_score: of the moles that it took (None: not known)."""

    attacked: str
    confounding: str
    rho: float | None
    n: int
    mean_score: float | None


class UpdateRecord(Strict):
    """One update of a trained victim. moles, size: images that are moles, and all. arms: what became of the test items.

    An arm's predictions are the row of this update in a file that the arm's updates share.
    """

    pairs: list[PairRecord]
    moles: int
    size: int
    arms: dict[str, ArmRecord]


class Verification(Strict):
    """How far somebody else has checked this."""

    tier: Literal["claimed", "local-trusted", "reproduced-tiny", "reproduced"] = "claimed"
    by: str | None = None
    reproduces: str | None = None


class Record(Strict):
    """What came out of one cell."""

    schema_: Literal["molebench.result/1"] = Field(alias="schema")  # BaseModel has a method named schema
    key: str
    group: str
    cell: dict[str, Any]
    scenario: str
    status: Status
    started: str
    durations: dict[str, float]
    reused: list[str]
    peak_memory_mib: float
    components: list[Component]
    threat_model: dict[str, Any]
    poison: PoisonRecord
    data: DataRecord
    weights: list[WeightsRecord]
    seeds: dict[str, int]
    environment: dict[str, Any]
    code: dict[str, Any]
    arms: dict[str, ArmRecord]
    updates: list[UpdateRecord] = Field(default_factory=list)
    metrics: dict[str, MetricValue]
    trusted_data: dict[str, int] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    error: dict[str, str] | None = None
    verification: Verification = Verification()
    record_sha256: str = ""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    @property
    def rankable(self) -> bool:
        """Fit for a board: finished, healthy, on real weights, and no defense shown what none could know."""
        real = all(w.source != "random" for w in self.weights)
        return self.status == "ok" and real and not UNRANKED & self.trusted_data.keys()

    def plain(self) -> dict[str, Any]:
        """As JSON types; without updates where there are none, so that older records keep their digest."""
        found = self.model_dump(mode="json", by_alias=True)
        return found if self.updates else {name: value for name, value in found.items() if name != "updates"}

    def digest(self) -> str:
        """sha256 over everything but the digest itself."""
        return key({k: v for k, v in self.plain().items() if k != "record_sha256"})

    def sealed(self) -> "Record":
        """The same record with its digest."""
        return self.model_copy(update={"record_sha256": self.digest()})

    def text(self) -> str:
        """Its file's content: canonical JSON, one line."""
        return canonical(self.plain()) + "\n"


class Damaged(MolebenchError):
    """A record that is not what was written. fault: which, and what is wrong with it."""

    def __init__(self, fault: str) -> None:
        super().__init__(f"{fault}; move it away, or run its cell again")
        self.fault = fault


def as_written(data: bytes) -> Record | None:
    """The record of a file whose bytes are what was sealed, at half the cost of reading them as any JSON; None where
    they are not: written by other hands, of another schema, or damaged."""
    found = SEAL.search(data)
    if found is None or b"NaN" in data or b"Infinity" in data:  # numbers that no seal is over
        return None
    if hashlib.sha256(data[: found.start()] + data[found.end() :].rstrip()).hexdigest().encode() != found[1]:
        return None
    try:
        return Record.model_validate_json(data)
    except ValidationError:
        return None


def parsed(what: str, data: bytes) -> Record:
    """The record of a file's bytes; one of an older schema is made today's and sealed anew.

    Raises Damaged, and MolebenchError where a newer molebench wrote it. what: how to call it.
    """
    if whole := as_written(data):
        return whole
    try:
        content = json.loads(data.decode())
        schema, said = content.get("schema"), content.get("record_sha256")
        migrations.check(what, schema, SCHEMA)
        digest = key({name: value for name, value in content.items() if name != "record_sha256"})
        record = Record.model_validate(migrations.migrated(content, SCHEMA, migrations.STEPS))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ValidationError) as error:
        raise Damaged(f"{what} is damaged ({first_line(error)})") from error
    if digest != said:
        raise Damaged(f"{what} was changed after it was written")
    return record if schema == SCHEMA else record.sealed()

"""What the cells of a plan share: a victim is trained, features are extracted and poisons are crafted once for all of
them that ask for the same.

This is the plan's view, from names and parameters alone: what is in the cache already counts as still to do, and two
poisons that come out alike count as two.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from molebench.grid import Resolved
from molebench.stages import key

WORDS = {"victim": "trainings", "features": "extractions", "poison": "poisons"}
JUDGED_ONLY = ("seed", "evaluation")  # parameters of a victim on which its training does not depend


@dataclass(frozen=True)
class Foundation:
    """What the cells of a combination rest on, but for their seeds. digests: by stage. model: the victim's own seed."""

    digests: dict[str, str]
    model: int | None
    offline: bool

    @classmethod
    def of(cls, resolved: Resolved) -> "Foundation":
        """The foundation of a cell."""
        canonical = resolved.canonical
        named = {role: canonical.get(role) for role in ("dataset", "extractor", "attack", "scorer")}
        parameters = canonical["victim"]["parameters"]
        trained = {name: value for name, value in parameters.items() if name not in JUDGED_ONLY}
        victim = [named["dataset"], named["extractor"], canonical["victim"]["name"], trained]
        images = [named["dataset"], named["extractor"], parameters.get("pool")]
        crafted = [named["attack"], named["scorer"], images if resolved.scenario == "active" else victim]
        stages: dict[str, Any] = {"victim": victim, "poison": crafted} | (
            {"features": images} if named["extractor"] else {}
        )
        return cls(
            {name: key(inputs) for name, inputs in stages.items()},
            parameters.get("seed"),
            resolved.scenario == "offline",
        )

    def at(self, seed: int) -> dict[str, Hashable]:
        """By stage, what is one for all cells that share it."""
        model = seed if self.model is None else self.model
        seeds = {"victim": (model,) if self.offline else (model, seed), "features": (seed,), "poison": (model, seed)}
        return {stage: (digest, *seeds[stage]) for stage, digest in self.digests.items()}

    def names(self, seed: int) -> tuple[str, ...]:
        """What `at` gives, each as a short name."""
        return tuple(key([stage, one])[:16] for stage, one in self.at(seed).items())


@dataclass(frozen=True)
class Shared:
    """How often a stage is computed for how many cells."""

    stage: str
    times: int
    cells: int

    def __str__(self) -> str:
        return f"{self.stage}: {self.times} {WORDS[self.stage]} for {self.cells} cells"


@dataclass(frozen=True)
class Tally:
    """Counts what cells share."""

    seen: dict[str, set[Hashable]] = field(default_factory=lambda: {stage: set() for stage in WORDS})
    cells: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WORDS, 0))

    def add(self, foundation: Foundation, seed: int) -> None:
        """One more cell."""
        for stage, one in foundation.at(seed).items():
            self.seen[stage].add(one)
            self.cells[stage] += 1

    @property
    def shared(self) -> tuple[Shared, ...]:
        """The stages that any cell has."""
        return tuple(Shared(stage, len(self.seen[stage]), n) for stage, n in self.cells.items() if n)

"""What a paper reports, as data in a sweep file: each number beside the cell of ours that it is about.

published:
  source: the paper    arxiv: "2101.10792"    table: Table 1    decimals: 3    attack: feature_collision
  rows:
    - dataset: CIFAR-10                # as the paper calls it
      ours: {cifar10: , cifar10_jpeg: re-encoded}    # stand for it, and how they differ
      victim: al_resnet50
      set: {victim.head: nn1}
      figures: {accuracy_clean: 0.432, accuracy_poisoned: 0.267}
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from molebench import metrics

FACTS = {
    "noise_norm": "L2 norm of what was added to a poison, in input units, mean over poisons",
    "input_norm": "L2 norm of the images; records do not hold it",
    "n_poison": "poisons",
    "seconds_per_sample": "seconds that one poison takes to craft, on the machine at hand",
}
Scalar = bool | int | float | str | None
Text = Annotated[str, Field(min_length=1)]


class Strict(BaseModel):
    """Refuses what it does not know, and NaN."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class PublishedRow(Strict):
    """One set of published numbers. ours: datasets that stand for the paper's, each with how it differs."""

    dataset: Text
    ours: Annotated[dict[str, str | None], Field(min_length=1)]
    victim: Text
    set: dict[str, Scalar] = {}
    figures: Annotated[dict[str, float], Field(min_length=1)]
    note: str = ""

    @field_validator("figures")
    @classmethod
    def _known(cls, figures: dict[str, float]) -> dict[str, float]:
        for name in figures:
            meaning(name)
        return figures

    @property
    def title(self) -> str:
        """The row in words: 'CIFAR-10, head nn1'."""
        return ", ".join([self.dataset, *(f"{name.split('.')[-1]} {value}" for name, value in self.set.items())])


class Published(Strict):
    """A table of a paper. decimals: to how many its numbers are rounded. attack: what its poisoned columns are of."""

    source: Text
    arxiv: str = ""
    table: Text
    decimals: Annotated[int, Field(ge=0, le=9)]
    attack: Text
    rows: Annotated[list[PublishedRow], Field(min_length=1)]


def meaning(name: str) -> str:
    """What a published figure is; one that nothing of ours corresponds to is refused."""
    if name in FACTS:
        return FACTS[name]
    try:
        return metrics.definition(name)
    except KeyError:
        raise ValueError(f"no figure named {name!r}; there is: {', '.join([*FACTS, *metrics.DEFINITIONS])}") from None

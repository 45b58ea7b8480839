"""What a paper reports, as data in a sweep file: each number beside the cell of ours that it is about.

published:
  source: the paper    arxiv: "2101.10792"    table: Table 1    decimals: 3    attack: feature_collision
  rows:
    - dataset: CIFAR-10                # as the paper calls it
      ours: {cifar10: , cifar10_jpeg: re-encoded}    # stand for it, and how they differ
      victim: al_resnet50
      set: {victim.head: nn1}
      figures: {accuracy_clean: 0.432, accuracy_poisoned: 0.267}
      spread: {accuracy_clean: 0.01}   # the paper's own standard deviation, where it gives one
    - dataset: CIFAR-10
      ours: {cifar10: }
      victim: offline_resnet18
      attack: optimized_moles          # another than the table's
      pair: dog<cat                    # attacked<confounding: the figures are of this pair
      figures: {rho: 0.99, n: 276, delta_a: -61.8}
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, field_validator, model_validator

from molebench import metrics
from molebench.classnames import ARROW

OF_PAIRS_ALONE = {
    "rho": "percentile of P(y = attacked | x) over the confounding class's pool",
    "n": "moles that the attack would take of this pair alone (the paper's N)",
    "mean_score": "mean of P(y = attacked | x) over the moles",
}
OF_A_PAIR = (*OF_PAIRS_ALONE, "delta_a", "delta_confounding", "delta_total")
MOST_PAIRS = 5  # of one update whose rho can be published
FACTS = {
    "noise_norm": "L2 norm of what was added to a poison, in input units, mean over poisons",
    "input_norm": "L2 norm of the images; records do not hold it",
    "n_poison": "poisons",
    "seconds_per_sample": "seconds that one poison takes to craft, on the machine at hand",
    "n_moles": "moles of each pair in an update of several",
    **OF_PAIRS_ALONE,
    **{f"rho_{i}": f"rho of the pair that is chosen as number {i}" for i in range(1, MOST_PAIRS + 1)},
}
EXPLAINED = (*FACTS, "delta_a_rel", "delta_total_rel", "n_attacked", "n_pairs")  # in a report's legend
Scalar = bool | int | float | str | None
Text = Annotated[str, Field(min_length=1)]
Digits = Annotated[int, Field(ge=0, le=9)]


class Strict(BaseModel):
    """Refuses what it does not know, and NaN."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class PublishedRow(Strict):
    """One set of published numbers. ours: datasets that stand for the paper's, each with how it differs. model: the
    victim as the paper calls it. attack: the table's where not given. pair: attacked<confounding, where the figures are
    of one pair. spread: standard deviations that the paper gives."""

    dataset: Text
    model: str = ""
    ours: Annotated[dict[str, str | None], Field(min_length=1)]
    victim: Text
    attack: str = ""
    set: dict[str, Scalar] = {}
    pair: str = ""
    figures: Annotated[dict[str, float], Field(min_length=1)]
    spread: dict[str, NonNegativeFloat] = {}
    note: str = ""

    @field_validator("figures")
    @classmethod
    def _known(cls, figures: dict[str, float]) -> dict[str, float]:
        for name in figures:
            meaning(name)
        return figures

    @field_validator("pair")
    @classmethod
    def _two_classes(cls, pair: str) -> str:
        if pair and not all(pair.partition(ARROW)):
            raise ValueError(f"expected attacked{ARROW}confounding, such as dog{ARROW}cat")
        return pair

    @model_validator(mode="after")
    def _fits_together(self) -> "PublishedRow":
        if self.pair and (wrong := self.figures.keys() - set(OF_A_PAIR)):
            raise ValueError(f"{self.title}: no {min(wrong)} of one pair; there is: {', '.join(OF_A_PAIR)}")
        if not self.pair and (wrong := self.figures.keys() & OF_PAIRS_ALONE.keys()):
            raise ValueError(f"{self.title}: {min(wrong)} is of one pair; say which, such as pair: dog{ARROW}cat")
        if wrong := self.spread.keys() - self.figures.keys():
            raise ValueError(f"{self.title}: a spread of {min(wrong)}, which is none of its figures")
        return self

    @property
    def title(self) -> str:
        """The row in words: 'CIFAR-10, head nn1'."""
        sets = (f"{name.split('.')[-1]} {value}" for name, value in self.set.items())
        return ", ".join(word for word in (self.dataset, self.model, *sets, self.attack, self.pair) if word)


class Published(Strict):
    """A table of a paper. decimals: to how many its numbers are rounded; decimals_of: those that are rounded otherwise.
    attack: what its poisoned columns are of, where a row says nothing else."""

    source: Text
    arxiv: str = ""
    table: Text
    decimals: Digits
    decimals_of: dict[str, Digits] = {}
    attack: Text
    rows: Annotated[list[PublishedRow], Field(min_length=1)]

    @property
    def attacks(self) -> list[str]:
        """The attacks that its rows are about; others of a sweep are controls."""
        return list(dict.fromkeys(self.attack_of(row) for row in self.rows))

    def attack_of(self, row: PublishedRow) -> str:
        """What a row's numbers are of."""
        return row.attack or self.attack

    def rounded(self, name: str) -> int:
        """To how many decimals a figure is rounded."""
        return self.decimals_of.get(name, self.decimals)


def meaning(name: str) -> str:
    """What a published figure is; one that nothing of ours corresponds to is refused."""
    if name in FACTS:
        return FACTS[name]
    try:
        return metrics.definition(name)
    except KeyError:
        raise ValueError(f"no figure named {name!r}; there is: {', '.join([*FACTS, *metrics.DEFINITIONS])}") from None

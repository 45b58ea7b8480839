"""A victim that guesses at random, and can be told to go wrong in the ways in which cells do. It needs no PyTorch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import molebench.scenarios
from molebench.cards import victim

molebench.scenarios.__path__.append(str(Path(__file__).parent / "scenarios"))  # `null`, which is no scenario of ours


@victim(paper="none", scenario="null", dataset="null_data")
@dataclass(frozen=True)
class NullVictim:
    """seconds: that a cell takes. works: spends them computing, not asleep. behaves: what happens at one of `seeds`;
    fine elsewhere. seeds: at which ones, such as 1,3. once: goes wrong at the first try only, which it knows by a file
    in this folder."""

    seconds: float = 0.0
    works: bool = False
    behaves: Literal["fine", "raises", "crashes", "hangs", "eats", "exits", "full", "wavers"] = "fine"
    seeds: str = ""
    once: str = ""

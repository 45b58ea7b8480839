"""No defense: gives the undefended arms. It acts at no moment."""

from dataclasses import dataclass

from molebench.cards import defense


@defense(paper="molebench", scenarios=("active", "offline", "continual"))
@dataclass(frozen=True)
class NoDefense:
    """No parameters."""

"""What several cells have in common is computed once: counted, in a real sweep of one attack and ten defenses."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from molebench.attacks.feature_collision import FeatureCollision
from molebench.attacks.unperturbed import Unperturbed
from molebench.scenarios import query_loop
from molebench.store import load_records
from molebench.workspace import Workspace
from tests.commands import SIZES, VICTIM, typed

FILTERS = ("feature_norm", "label_conflict_quarantine", "collision_screen", "deep_knn", "spectral_signatures")
OTHERS = ("random_query", "oracle_filter", "epsilon_mix", "knn_head", "canary_rollback")
DEFENSES = ("none", *FILTERS, *OTHERS)


def sweep_file(folder: Path) -> Path:
    """One attack behind each of the defenses, as small as can be."""
    sizes = "".join(f"  {size.replace('=', ': ')}\n" for size in SIZES)
    text = (
        f"attack: feature_collision\nvictim: {VICTIM}\nprofile: tiny\ndefense: [{', '.join(DEFENSES)}]\nset:\n{sizes}"
    )
    path = folder / "ten.yaml"
    path.write_text(text, "utf-8")
    return path


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often poisons were crafted, by attack, and arms were played, by what acted in them."""
    counts: Counter[str] = Counter()
    for attack in (FeatureCollision, Unperturbed):
        monkeypatch.setattr(attack, "craft", tallied(attack.craft, lambda made: type(made).__name__, counts))
    monkeypatch.setattr(query_loop.Loop, "play", tallied(query_loop.Loop.play, played_arm, counts))
    return counts


def tallied(method: Callable[..., Any], name: Callable[[Any], str], counts: Counter[str]) -> Callable[..., Any]:
    """The method, counting its calls under the name that its object goes by."""

    def counting(self: object, *args: object) -> object:
        counts[name(self)] += 1
        return method(self, *args)

    return counting


def played_arm(loop: query_loop.Loop) -> str:
    """'clean, none' or 'injected, feature_norm'."""
    names = [name for name, _ in loop.defenses.defenses]
    return f"{'injected' if loop.pool.poison.any() else 'clean'}, {' '.join(names) or 'none'}"


def test_one_attack_behind_ten_defenses_crafts_its_poison_once_and_trains_the_clean_arm_once(
    fresh: Workspace, counted: Counter[str], tmp_path: Path
) -> None:
    words = ("--offline", "--no-plots", "--executor", "serial")  # what is counted is counted in this process
    done = typed(fresh, "sweep", str(sweep_file(tmp_path)), *words)
    assert done.returncode == 0, done.stderr
    records = load_records(fresh.store)
    assert len(records) == 11
    assert len({r.poison.sha256 for r in records}) == 1
    assert len({tuple(r.arms["clean_undefended"].correct) for r in records}) == 1
    acting = {f"{arm}, {name}": 1 for name in DEFENSES[1:] for arm in ("clean", "injected")}
    matched = {f"injected, {name} random_filter": 1 for name in FILTERS}
    once = {"FeatureCollision": 1, "Unperturbed": 1, "clean, none": 1, "injected, none": 2}
    assert counted == once | acting | matched

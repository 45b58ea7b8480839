"""Who goes with a victim: attacks and defenses of its scenario, data of its kind, split where it learns in tasks."""

from molebench import registry
from molebench.cards import ANY
from molebench.errors import MolebenchError, listed
from molebench.places import SPLIT, plain
from molebench.registry import Plugin


def check_scenario(plugin: Plugin, victim: Plugin) -> None:
    """Refuses an attack or a defense that does not act in the victim's scenario."""
    (scenario,), acts = victim.card.scenarios, plugin.card.scenarios
    if scenario not in acts:
        fit = [v for v in registry.files("victims") if registry.find("victims", v).card.scenarios[0] in acts]
        raise MolebenchError(
            f"{plugin.kind} {plugin.name} acts in {' and '.join(acts)}; victim {victim.name} belongs to {scenario}: "
            f"try {listed(fit) or 'another victim'}"
        )


def check_dataset(victim: Plugin, dataset: Plugin) -> None:
    """Refuses a dataset of another modality, and a whole one where a split one is needed or the other way round."""
    check_modality(victim, dataset, dataset.card.modality)
    if dataset.name != (right := suited(victim, dataset.name)):
        learns, comes = ("learns", "not split") if right.startswith(SPLIT) else ("does not learn", "split")
        raise MolebenchError(
            f"victim {victim.name} {learns} in tasks; dataset {dataset.name} is {comes}: try --dataset {right}"
        )


def check_modality(victim: Plugin, dataset: Plugin, modality: str) -> None:
    """Refuses a dataset of another modality than the victim's; one that takes its kind from files is asked later."""
    if modality not in (ANY, wanted := victim.card.modality):
        there = [registry.find("datasets", name) for name in registry.files("datasets")]
        fit = [suited(victim, d.name) for d in there if d.card.modality in (ANY, wanted)]
        raise MolebenchError(
            f"victim {victim.name} takes {wanted}; dataset {dataset.name} is {modality}: try {listed(fit)}"
        )


def suited(victim: Plugin, dataset: str) -> str:
    """A dataset's name as this victim takes it: split where it learns in tasks."""
    whole = plain("datasets", dataset)
    return f"{SPLIT}{whole}" if victim.card.scenarios == ("continual",) else whole

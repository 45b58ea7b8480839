"""From a resolved cell to a trial: every component built and loaded, with what each cached stage depends on."""

from dataclasses import replace
from typing import Any

from molebench import provenance, registry
from molebench.commissioning import Commissioned, commissioned
from molebench.errors import MolebenchError, blamed
from molebench.grid import Part, Resolved
from molebench.hooks import Pipeline
from molebench.isolating import isolated
from molebench.released import Faults
from molebench.stages import Stages
from molebench.trial import Actor, Trial
from molebench.types import Dataset
from molebench.weights import Weights
from molebench.workspace import Workspace

MATCH = "random_filter"  # the control beside every filter


def equipped(resolved: Resolved, workspace: Workspace) -> tuple[Any, Any, Weights | None]:
    """The victim, its extractor where it has one, and the weights that either of them begins with."""
    victim = made(resolved.parts["victim"])
    if part := resolved.parts.get("extractor"):
        extractor, weights = loaded(part, workspace)
        placed = extractor.to(provenance.device()) if hasattr(extractor, "to") else extractor
        return victim, placed, weights
    if hasattr(victim, "load"):
        with blamed(f"victim {resolved.parts['victim'].name}"):
            learner, weights = victim.load(workspace)
        return learner, None, weights
    return victim, None, None


def loaded(part: Part, workspace: Workspace) -> Any:
    """What a dataset or an extractor loads."""
    with blamed(f"{part.plugin.kind} {part.name}"):
        return part.build().load(workspace)


def made(part: Part) -> Any:
    """A component, built; what its class raises is its failure, by name."""
    with blamed(f"{part.plugin.kind} {part.name}"):
        return part.build()


def prepared(
    resolved: Resolved,
    workspace: Workspace,
    stages: Stages,
    dataset: Dataset,
    victim: Any,
    extractor: Any,
    weights: Weights | None,
) -> Trial:
    """The trial of a cell: everything built, with what each cached stage depends on."""
    attack = resolved.parts["attack"]
    scenario = f"molebench.scenarios.{resolved.scenario}"
    trial = Trial(
        dataset=dataset,
        attack=actor(attack, of_its_own(attack, resolved, workspace)),
        control=control_of(attack, resolved.cell.profile, resolved.modality),
        victim=victim,
        victim_identity=identity(resolved.parts["victim"]) | ({"weights": weights.sha256} if weights else {}),
        extractor=extractor,
        extractor_identity={
            "extractor": identity(resolved.parts["extractor"]),
            "weights": weights.sha256,
            "extraction": registry.code_sha256("molebench.collision"),
            **provenance.where(),
        }
        if extractor and weights
        else {},
        **behind(resolved, resolved.defenses, workspace),
        seed=resolved.cell.seed,
        stages=stages,
        progress=workspace.progress,
        code=registry.code_sha256(scenario) + registry.code_sha256(resolved.parts["victim"].plugin.module.__name__),
        versions=provenance.versions(),
        **scored(resolved.parts.get("scorer"), workspace),
    )
    return replace(trial, matched=matched(trial, resolved, workspace))


def behind(resolved: Resolved, defenses: tuple[Part, ...], workspace: Workspace) -> dict[str, Any]:
    """Defenses at work, and what they depend on: fields of a trial."""
    alone = "screen_pool" if resolved.scenario == "active" else "filter_train"
    extractor, seconds = resolved.parts.get("extractor"), provenance.hook_seconds()
    acting = tuple(
        (part.name, isolated(part, extractor, workspace, seconds) if workspace.sets_apart(part.name) else made(part))
        for part in defenses
    )
    pipeline = Pipeline(acting, resolved.cell.seed, seconds, alone)
    return {"defenses": pipeline, "defense_identity": tuple(identity(part) for part in defenses)}


def matched(trial: Trial, resolved: Resolved, workspace: Workspace) -> Trial | None:
    """The trial with a random filter after its filters, which takes their place; None where there are none."""
    if not trial.defenses.filters:
        return None
    plugin = registry.find("defenses", MATCH)
    values = plugin.resolve({}, resolved.cell.profile, resolved.modality)
    return replace(trial, **behind(resolved, (*resolved.defenses, Part(plugin, values, values)), workspace))


def scored(part: Part | None, workspace: Workspace) -> dict[str, Any]:
    """Who says P(y = a | x), where the attack asks a scorer, and what its scores depend on."""
    if part is None:
        return {}
    score, weights = loaded(part, workspace)
    threat = part.plugin.card.threat
    knows = threat is not None and "victim" in threat.knows
    extractor = part.values.get("extractor")  # loaded by name: its code is no import of the scorer's
    depends = {
        "scorer": identity(part),
        "weights": weights.sha256 if weights else "",
        "knows_victim": knows,
        **({"extractor": registry.code_sha256(f"molebench.extractors.{extractor}")} if extractor else {}),
        **provenance.where(),
    }
    return {"scorer": score, "scorer_identity": depends, "scorer_weights": weights}


def identity(part: Part) -> dict[str, Any]:
    """What a stage that uses this component depends on."""
    return {"name": part.name, "parameters": part.public, "code": registry.code_sha256(part.plugin.module.__name__)}


def of_its_own(part: Part, resolved: Resolved, workspace: Workspace) -> Commissioned | None:
    """What stands for an attack that runs in a jail; None for one that runs here."""
    if workspace.jail is None or part.name not in workspace.jail.names:
        return None
    return commissioned(part, resolved.parts.get("extractor"), workspace, provenance.hook_seconds())


def actor(part: Part, stand_in: Commissioned | None = None) -> Actor:
    """An attack ready to craft, or what stands for it."""
    threat = part.plugin.card.threat
    if threat is None:
        raise MolebenchError(f"attack {part.name} states no threat model; add threat=ThreatModel(...) to its card")
    attack = stand_in or made(part)
    check, faults = getattr(attack, "check", None), getattr(attack, "faults", Faults())
    return Actor(part.name, attack.craft, threat, {"attack": identity(part)}, check, faults)


def control_of(attack: Part, profile: str, modality: str) -> Actor | None:
    """The control that an attack's card names, with those of the attack's parameters that it shares."""
    name = attack.plugin.card.control
    if name is None:
        return None
    plugin = registry.find("attacks", name)
    shared = {k: v for k, v in attack.values.items() if k in plugin.parameters}
    values = plugin.resolve(shared, profile, modality)
    return actor(Part(plugin, values, values))

"""Active transfer learning: a dense head on frozen features, labels bought where it is least certain.

The dataset's training images split into pool, test1 (the attacker's) and test2 (the judge's), 80/10/10.
A head is trained on a few random labelled pool items; then, until `queries` labels are bought: the
unlabelled items of highest softmax entropy are labelled truthfully and the head is retrained from scratch.
Poisons join the unlabelled pool. Accuracy is measured on test2.

Each arm plays the same loop on the same splits, seed set, initialisations and batch orders. Where a defense filters,
another arm, poisoned_matched, is behind a random filter that removes as many of each class.

Reference: Mueller, Boettinger, "Adversarial Vulnerability of Active Transfer Learning", IDA 2021,
arXiv:2101.10792, section IV; what it leaves open is fixed as parameters of `ActiveLearner`.
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from molebench.cards import Count, Positive, Share, Whole
from molebench.collision import distances, extracted
from molebench.errors import CellFailed, MolebenchError, blamed
from molebench.filtering import columns
from molebench.heads import HeadSpec
from molebench.hooks import Pipeline, sees
from molebench.provenance import device as computing_device
from molebench.provenance import metered, where
from molebench.rng import stream
from molebench.scenarios.active_figures import figures
from molebench.scenarios.illustration import illustration
from molebench.scenarios.query_loop import Arm, Budget, Items, Loop, items
from molebench.stages import Arrays
from molebench.trial import Actor, ArmOutcome, Outcome, Trial
from molebench.types import Array, AttackView, Dataset, Poison, Samples, fingerprint, malformed, violations

SIZES = {
    "tiny": {"pool": 800, "queries": 40, "query_batch": 10},
    "small": {"pool": 4_800},
    "paper": {"pool": 40_000},
}


@dataclass(frozen=True)
class ActiveLearner:
    """extractor: name of f. head: nn1 (linear) or nn2 (one hidden layer). queries: labels bought.
    query_batch: labels bought between two trainings (the paper: 1). seed_size: labelled items at the start.
    pool: most pool items (80 % of the images used). hidden: units of nn2. dropout: share dropped before each
    layer. lr: Adam's step. epochs: most epochs of a training. batch: mini-batch. patience: epochs without a
    better training loss before it stops. seed: fixes the model alone; the cell's seed where not given.
    """

    extractor: str
    head: Literal["nn1", "nn2"] = "nn1"
    queries: Count = 500
    query_batch: Count = 20
    seed_size: Count = 20
    pool: Count = 4_800
    hidden: Count = 64
    dropout: Share = 0.5
    lr: Positive = 1e-3
    epochs: Count = 60
    batch: Count = 64
    patience: Count = 5
    seed: Whole | None = None

    @property
    def spec(self) -> HeadSpec:
        """How the head is made and trained."""
        return HeadSpec(self.head, self.hidden, self.dropout, self.lr, self.epochs, self.batch, self.patience)

    @property
    def budget(self) -> Budget:
        """How many labels are bought, and how."""
        return Budget(self.queries, self.query_batch, self.seed_size)


@dataclass(frozen=True, eq=False)
class Splits:
    """Indices into the dataset's training images: no image is in two of them."""

    pool: Int[Array, " p"]
    test1: Int[Array, " a"]
    test2: Int[Array, " b"]


def split(dataset: Dataset, victim: ActiveLearner, seed: int) -> Splits:
    """80/10/10 of the training images within each class, of at most pool / 0.8 images in all."""
    y = dataset.splits["train"].y
    rng = stream(seed, "data split")
    total = min(len(y), victim.pool * 10 // 8)
    parts: tuple[list[Array], ...] = ([], [], [])
    for c, count in enumerate(shares(np.bincount(y, minlength=len(dataset.classes)), total)):
        mine = rng.permutation(np.flatnonzero(y == c))[:count]
        if len(mine) < 3:
            raise MolebenchError(
                f"dataset {dataset.name}: of class {dataset.classes[c]} {len(mine)} of {np.sum(y == c)} training "
                "samples would be used; pool, test1 and test2 need one each: add samples, or choose a larger pool"
            )
        tenth = max(1, len(mine) // 10)
        for part, chosen in zip(parts, np.split(mine, [len(mine) - 2 * tenth, len(mine) - tenth]), strict=True):
            part.append(chosen)
    splits = Splits(*(np.sort(np.concatenate(part)) for part in parts))
    if not len(splits.test1) or len(splits.pool) < victim.seed_size + victim.queries:
        raise MolebenchError(
            f"dataset {dataset.name} gives a pool of {len(splits.pool)} and {len(splits.test1)} attacker's images; "
            f"victim needs a pool of {victim.seed_size + victim.queries} (seed_size + queries) and test images of "
            "some class: choose fewer queries, a larger pool, or a larger dataset"
        )
    return splits


def shares(available: Int[Array, " k"], total: int) -> Int[Array, " k"]:
    """How many of each class make `total`, in proportion to what is available (largest remainders)."""
    exact = available * (total / max(available.sum(), 1))
    counts: Array = np.floor(exact).astype(np.int64)
    short = np.argsort(counts - exact, kind="stable")[: total - counts.sum()]
    counts[short] += 1
    found: Array = np.minimum(counts, available)
    return found


def play(trial: Trial) -> Outcome:
    """One cell: split, features, poison and its control's, every arm, and the figures that follow from them."""
    train, splits = trial.dataset.splits["train"], split(trial.dataset, trial.victim, trial.seed)
    parts = {name: train[getattr(splits, name)] for name in ("pool", "test1", "test2")}
    z = {name: features(trial, part.x, f"features of {name}") for name, part in parts.items()}
    device = computing_device()
    pool, test = parts["pool"], items(parts["test2"], z["test2"], device=device)
    view = AttackView(
        parts["test1"], trial.dataset.classes, trial.dataset.modality, len(parts["test1"]), progress=trial.progress
    )
    poison = crafted(trial, trial.attack, view)
    injected = {"clean": pool[:0], "poisoned": poison.samples}
    if trial.control:
        injected["control"] = crafted(trial, trial.control, view).samples
    arms = {}
    for name, extra in injected.items():
        mixed = joined(pool, extra)
        z_extra = features(trial, extra.x, "features of poison") if len(extra) else z["pool"][:0]
        z[name], z_mixed = z_extra, np.concatenate([z["pool"], z_extra])
        here = items(mixed, z_mixed, len(extra), device)
        arms[f"{name}_undefended"] = played(trial, here, test, Pipeline(), (), name)
        if trial.defenses.acts and name != "control":
            arms[f"{name}_defended"] = defended(trial, here, test, f"{name}, defended")
        if trial.matched and name == "poisoned":
            arms["poisoned_matched"] = defended(trial.matched, here, test, f"{name}, matched")
    facts = {**poison.facts, **distances(poison.samples.x, view.base[poison.base].x, view.modality)}
    shown = {"pool": (z["pool"], pool.y), **{name: (z[name], extra.y) for name, extra in injected.items()}}
    return Outcome(
        y=test.y,
        arms={name: outcome(arm) for name, arm in arms.items()},
        metrics=figures(trial, test.y, arms, poison, facts, len(pool)),
        poison=poison,
        violations=violations(poison, view, trial.attack.threat),
        splits={name: part.fingerprint for name, part in parts.items()},
        sizes={name: len(part) for name, part in parts.items()},
        poison_facts=facts,
        illustration=illustration(view.base, poison, facts, shown, trial.seed, view.modality.rate),
    )


def features(trial: Trial, x: Array, label: str) -> Array:
    """f(x), from the cache where these very inputs have been extracted before."""
    modality = trial.dataset.modality
    inputs = {"x": fingerprint(x), "modality": str(modality), **trial.extractor_identity}
    inputs["versions"] = dict(trial.versions)
    return trial.stages.get(
        "features", inputs, lambda: {"z": extracted(trial.extractor, x, modality, trial.progress, label)}, label
    )["z"]


def crafted(trial: Trial, actor: Actor, view: AttackView) -> Poison:
    """An attack's poison, made once for these bases, parameters and seed whatever the victim and defense."""
    if "extractor" in actor.threat.knows:
        view = replace(view, extractor=copy.deepcopy(trial.extractor))  # what it does to its copy harms nobody
    bases = trial.attack.name  # the control draws from the attack's stream: random bases are the same images
    inputs = {
        **actor.identity,
        "stream": bases,
        **(trial.extractor_identity if view.extractor else {}),
        "base": view.base.fingerprint,
        "seed": trial.seed,
        "versions": dict(trial.versions),
    }

    def compute() -> Arrays:
        with blamed(f"attack {actor.name}"):
            poison: Any = actor.craft(view, stream(trial.seed, "attack", bases))
            if not isinstance(poison, Poison):
                raise CellFailed(f"attack {actor.name} returned {type(poison).__name__}; expected a Poison")
            if wrong := malformed(poison, view):
                raise CellFailed(f"attack {actor.name} returned what cannot be applied: {wrong}")
        unmet = np.frombuffer("\n".join(poison.unmet).encode(), np.uint8)
        facts = {f"fact.{name}": value for name, value in poison.facts.items()}
        return {"x": poison.samples.x, "y": poison.samples.y, "base": poison.base, "unmet": unmet, **facts}

    found = trial.stages.get("poison", inputs, compute, f"poison {actor.name}")
    facts = {name.removeprefix("fact."): value for name, value in found.items() if name.startswith("fact.")}
    unmet = tuple(found["unmet"].tobytes().decode().split("\n")) if len(found["unmet"]) else ()
    return Poison(Samples(found["x"], found["y"]), found["base"], facts, unmet)


def joined(clean: Samples, extra: Samples) -> Samples:
    """Clean samples, and the injected ones after them."""
    return Samples(np.concatenate([clean.x, extra.x]), np.concatenate([clean.y, extra.y])) if len(extra) else clean


def played(
    trial: Trial,
    pool: Items,
    test: Items,
    defenses: Pipeline,
    defense_identity: tuple[Mapping[str, object], ...],
    name: str,
) -> Arm:
    """One arm, from the cache where the same learner has met the same items before."""
    victim: ActiveLearner = trial.victim
    extractor = trial.extractor if any("extractor" in sees(d) for _, d in defenses.defenses) else None
    inputs = {
        "pool": fingerprint(pool.z, pool.y, pool.poison),
        "test": fingerprint(test.z, test.y),
        "victim": asdict(victim),
        "classes": len(trial.dataset.classes),
        "seed": trial.seed,
        "defenses": list(defense_identity),
        "x": fingerprint(pool.x, test.x) if defense_identity else "",
        "extractor": trial.extractor_identity if extractor else {},
        "code": trial.code,
        "versions": dict(trial.versions),
        **where(),
    }
    model_seed = trial.seed if victim.seed is None else victim.seed

    def compute() -> Arrays:
        k = len(trial.dataset.classes)
        with trial.progress(f"queries ({name})", victim.queries) as advance, metered() as cost:
            loop = Loop(victim.spec, victim.budget, pool, test, k, trial.seed, model_seed, defenses, extractor)
            arm = loop.play(advance)
        return {**vars(arm), "seconds": np.array(cost.seconds), "mib": np.array(cost.peak_mib)}

    found = trial.stages.get("arms", inputs, compute, f"arm {name}")
    seconds, mib = float(found.pop("seconds")), float(found.pop("mib"))
    return Arm(**found, seconds=seconds, mib=mib)


def defended(trial: Trial, pool: Items, test: Items, name: str) -> Arm:
    """An arm behind the defenses: where they transform inputs, features are extracted from what is left of them."""
    if trial.defenses.has("transform"):
        k = len(trial.dataset.classes)
        x = {when: transformed(trial, each.x, when, k) for when, each in (("pool", pool), ("test", test))}
        z = {when: features(trial, each, f"features of defended {when}") for when, each in x.items()}
        pool, test = replace(pool, x=x["pool"], z=z["pool"]), replace(test, x=x["test"], z=z["test"])
    return played(trial, pool, test, trial.defenses, trial.defense_identity, name)


def transformed(trial: Trial, x: Array, when: str, k: int) -> Array:
    """Inputs behind the defenses' transforms, which see them shuffled: poisons must not stand out by place."""
    secret = fingerprint(trial.dataset.splits["train"].y)  # as in Loop.secret
    order = stream(trial.seed, "transform order", when, secret).permutation(len(x))
    changed = np.empty_like(x)
    changed[order] = trial.defenses.transformed(x[order], when, k)
    return changed


def outcome(arm: Arm) -> ArmOutcome:
    """An arm as the record keeps it: predictions, and by training labels, poisons and accuracy."""
    bought = np.cumsum(np.concatenate([[0], arm.poisoned]))[arm.spent]
    share = np.diff(bought, prepend=0) / np.maximum(np.diff(arm.spent, prepend=0), 1)  # of each round's labels
    trace = {"queries": arm.spent, "labels": arm.labels, "poisons": bought, "poison_share": share}
    cost = {"seconds": np.array([arm.seconds]), "mib": np.array([arm.mib])}
    return ArmOutcome(arm.predicted, {**trace, "accuracy": arm.accuracy, **cost, **columns(arm.filtered)})

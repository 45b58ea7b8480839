"""Offline recruitment: a trained victim, one more epoch on images that an attacker picked from its own pool, and after.

The victim is trained on the dataset's training images, once, and cached. It scores its pool; the attack recruits one
update or many from it (one a pair of classes); each update alone is trained on for one more epoch, from the same
victim, and judged on the whole test split. Delta = accuracy after - before.

    clean_undefended      the victim before any update
    poisoned_undefended   after each update of the attack
    control_undefended    after each update of its control: as many random images, in the same order
    clean_defended        the control's updates, behind the defenses
    poisoned_defended     the attack's updates, behind the defenses
    poisoned_matched      the attack's updates, behind a random filter that removes as many of each class as theirs

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment", arXiv:2303.17080, sections 3 and 4.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from molebench.classifiers import Shape
from molebench.codehash import code_sha256
from molebench.errors import MolebenchError, blamed, listed
from molebench.offline_learners import OfflineLearner
from molebench.provenance import device as computing_device
from molebench.provenance import metered
from molebench.scenarios.gallery import gallery
from molebench.scenarios.offline_defended import Behind
from molebench.scenarios.offline_figures import figures
from molebench.scenarios.recruited import checked, facts, mean_scores, recruited
from molebench.scenarios.together import Together
from molebench.scenarios.trained import Trained, after, device_of, predictions, tensors, trained
from molebench.splits import share_of
from molebench.stages import Arrays
from molebench.trial import Actor, ArmOutcome, Outcome, Trial, UpdateArm
from molebench.types import Array, Samples, frozen
from molebench.updates import Recruitment, RecruitView, order_of, violations

MOST_FIT = 0.99  # train accuracy above which a victim is said to know its pool by heart


def play(trial: Trial) -> Outcome:
    """One cell: the victim, what the attack and its control recruit from its pool, every arm, and the figures."""
    ground = prepared(trial)
    view = RecruitView(ground.pool, trial.dataset.classes, ground.batch, progress=trial.progress)
    checked(trial.attack, view)
    victim = victim_of(trial, ground)
    before = judged_before(victim, ground.test, trial.victim.evaluation)
    recruitment = crafted(trial, trial.attack, view, victim, None)
    arms = every_arm(trial, victim, ground, proposals(trial, view, victim, recruitment))
    pool, test, updates = ground.pool, ground.test, recruitment.updates
    fit = float((victim.scores.argmax(axis=1) == pool.y).mean())
    scored = [mean_scores(update, victim.scores, pool.y) for update in updates]
    return Outcome(
        y=test.y,
        arms={"clean_undefended": ArmOutcome(before.astype(np.int64), {})},
        metrics=figures(trial, test.y, before, arms, updates, scored, fit),
        poison=recruitment,
        violations=list(violations(recruitment, view, trial.attack.threat)),
        splits={"pool": pool.fingerprint, "test": test.fingerprint},
        sizes={"pool": len(pool), "test": len(test)},
        poison_facts=facts(updates, scored),
        illustration=gallery(updates, arms, victim.scores, pool, test.y, before),
        warnings=cautions(fit, test, trial.dataset.classes),
        updates=updates,
        update_arms=arms,
        update_scores=scored,
    )


def cautions(fit: float, test: Samples, classes: Sequence[str]) -> list[str]:
    """What a reader should know: a victim that interpolates its pool, classes that nothing is judged on."""
    unseen = [name for c, name in enumerate(classes) if not (test.y == c).any()]
    return [
        *[f"the victim knows {fit:.2%} of its pool by heart: it cannot be confounded"] * (fit > MOST_FIT),
        *[f"no test item of class {listed(unseen)}: no Delta of it is known"] * bool(unseen),
    ]


@dataclass(frozen=True, eq=False)
class Ground:
    """What a victim is trained and judged on, of what shape, in which batches, from which seed."""

    pool: Samples
    test: Samples
    shape: Shape
    batch: int
    seed: int


def prepared(trial: Trial) -> Ground:
    """The pool and test split of a trial's victim."""
    learner: OfflineLearner = trial.victim
    if "test" not in trial.dataset.splits:
        raise MolebenchError(f"dataset {trial.dataset.name} has no test split to judge a victim on; choose another one")
    seed = trial.seed if learner.seed is None else learner.seed
    pool = share_of(trial.dataset.splits["train"], learner.pool, seed, "pool")
    height, width, channels = pool.x.shape[1:]
    shape = Shape(height, width, channels, len(trial.dataset.classes))
    return Ground(pool, trial.dataset.splits["test"], shape, learner.training(shape).batch, seed)


def victim_of(trial: Trial, ground: Ground) -> Trained:
    """The trained victim."""
    identity = {"victim": as_trained(trial.victim_identity), "versions": dict(trial.versions)}
    where = (ground.pool, ground.test, ground.shape, ground.seed, identity)
    with blamed(f"victim {trial.victim_identity['name']}"):
        return trained(trial.victim, *where, trial.stages, trial.progress, computing_device())


def judged_before(victim: Trained, test: Samples, evaluation: str) -> Array:
    """The victim's class of each test item before any update, in the arithmetic that is used after."""
    if evaluation == "float32":
        return victim.predicted
    return predictions(victim.network, tensors(test, device_of(victim.network))[0], evaluation)


def proposals(trial: Trial, view: RecruitView, victim: Trained, attack: Recruitment) -> dict[str, Recruitment]:
    """The attack's updates, and its control's where it has one."""
    control = {"control": crafted(trial, trial.control, view, victim, attack)} if trial.control else {}
    return {"poisoned": attack, **control}


def every_arm(
    trial: Trial, victim: Trained, ground: Ground, proposed: Mapping[str, Recruitment]
) -> dict[str, UpdateArm]:
    """Every arm of updates: without defenses, and behind them where there are any."""
    pool, test = ground.pool, ground.test
    arms = {f"{name}_undefended": played(trial, victim, pool, test, each, name) for name, each in proposed.items()}
    if trial.defenses.acts and proposed["poisoned"].updates:
        behind = Behind(trial, victim, pool, test)
        for name, each in proposed.items():
            label = "clean" if name == "control" else name
            arms[f"{label}_defended"] = behind.played(each, f"{label}, defended")
    if trial.matched and proposed["poisoned"].updates:
        behind = Behind(trial.matched, victim, pool, test)
        arms["poisoned_matched"] = behind.played(proposed["poisoned"], "poisoned, matched")
    return arms


def as_trained(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What the training of a victim depends on: not how it is judged later, and its seed is given apart."""
    parameters = {name: v for name, v in identity["parameters"].items() if name not in ("seed", "evaluation")}
    return {**identity, "parameters": parameters}


def crafted(trial: Trial, actor: Actor, view: RecruitView, victim: Trained, like: Recruitment | None) -> Recruitment:
    """What an attack recruits; it sees scores where its threat model knows the victim."""
    scores = frozen(victim.scores) if "victim" in actor.threat.knows else None
    return recruited(trial, actor, replace(view, scores=scores, like=like))


def played(trial: Trial, victim: Trained, pool: Samples, test: Samples, proposed: Recruitment, name: str) -> UpdateArm:
    """One arm without defenses: every update, each from the cache where it has been tried before."""
    device = device_of(victim.network)
    images, _ = tensors(test, device)
    together = Together(victim, pool, images, proposed.updates, trial.seed)
    found = []
    with trial.progress(f"updates ({name})", len(proposed.updates)) as advance:
        for number, update in enumerate(proposed.updates):
            samples, order = pool[update.index], order_of(update)
            if device.type == "cpu" or not len(update) or trial.victim.evaluation != "float32":
                predict = partial(after, victim, samples, images, trial.seed, order, trial.victim.evaluation)
            else:
                predict = partial(together.predicted, number)
            found.append(one(trial, victim, samples, order, predict, name))
            advance(1)
    return UpdateArm.of(found, len(test), len(trial.dataset.classes))


def one(
    trial: Trial, victim: Trained, update: Samples, order: tuple[int, ...], predict: Callable[[], Array], name: str
) -> Arrays:
    """The predictions after one update, and what it cost."""
    inputs = {
        "victim": victim.key,
        "update": update.fingerprint,
        "order": list(order),
        "seed": trial.seed,
        "evaluation": trial.victim.evaluation,
        "code": code_sha256("molebench.scenarios.trained"),
    }

    def compute() -> Arrays:
        with metered() as cost:
            predicted = predict()
        return costed(predicted, cost)

    return trial.stages.get("updates", inputs, compute, f"updates ({name})")


def costed(predicted: Array, cost: Any) -> Arrays:
    """Predictions with the seconds and memory that they took."""
    return {"predicted": predicted.astype(np.int64), "seconds": np.array(cost.seconds), "mib": np.array(cost.peak_mib)}

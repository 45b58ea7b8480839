"""Class-incremental learning: tasks of new classes one after another, and what an attacker adds to each.

The classes are split into tasks in an order drawn from the cell's seed. No task is named at the exam, and the head
grows with every task. After each task but the first the attack may have the learner train for one more epoch on images
that it recruits from the task's own pool; molebench/scenarios/lessons.py says in which order. Figures compare final
accuracies of all classes.

    clean_undefended      the learner without any extra epoch
    poisoned_undefended   with the attack's updates
    control_undefended    with those of its control: as many random images of the same classes, in the same order
    clean_defended        the control's updates, behind the defenses
    poisoned_defended     the attack's updates, behind the defenses
    poisoned_matched      the attack's updates, behind a random filter that removes as many of each class as theirs

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment", arXiv:2303.17080, section 5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

import numpy as np
from jaxtyping import Float

from molebench.classifiers import Shape
from molebench.codehash import code_sha256
from molebench.continual_learners import ContinualLearner, over_batches
from molebench.errors import CellFailed, MolebenchError, blamed, listed
from molebench.exemplars import share
from molebench.filtering import columns, of_a_defense
from molebench.incremental import frozen as ready
from molebench.metrics import Metric
from molebench.provenance import device as computing_device
from molebench.released import Faults
from molebench.rng import stream
from molebench.scenarios.continual_defended import Behind, transformed
from molebench.scenarios.continual_figures import figures, trace
from molebench.scenarios.gallery import most_confusable
from molebench.scenarios.lessons import Course, Exams
from molebench.scenarios.recruited import checked, facts, mean_scores, recruited
from molebench.scenarios.school import School, identity
from molebench.scoring import ScoringView
from molebench.splits import share_of
from molebench.tasks import Tasks, split
from molebench.trial import ArmOutcome, Outcome, Trial
from molebench.types import Array, Samples, frozen
from molebench.updates import Recruitment, RecruitView, Update, violations

IN_EVERY_ARM = ("attention_grad", "reset_confusion")


def play(trial: Trial) -> Outcome:
    """One cell: what the attack and its control recruit, the course of every arm, and the figures."""
    with blamed(f"victim {trial.victim_identity['name']}"):
        school = prepared(trial)
    faults = concerning(trial.attack.faults, trial.victim)
    clean = Course(school, "clean", faults=Faults(attention_grad=faults.attention_grad))
    tasks, batch = school.tasks, school.learner.training.batch
    view = RecruitView(school.pool, trial.dataset.classes, batch, progress=trial.progress, tasks=tasks)
    checked(trial.attack, view)
    view = replace(view, scores=scores_of(trial, school, clean))
    attack = recruited(trial, trial.attack, view)
    wrong = [*violations(attack, view, trial.attack.threat), *misplaced(attack.updates, view.base.y, tasks)]
    proposed = {"poisoned": attack}
    if trial.control and attack.updates:
        proposed["control"] = recruited(trial, trial.control, replace(view, scores=None, like=attack))
    with blamed(f"victim {trial.victim_identity['name']}"):
        arms = every_arm(trial, school, clean, proposed, faults)
    return outcome(trial, school, attack, wrong, arms, view, faults)


def outcome(
    trial: Trial,
    school: School,
    attack: Recruitment,
    wrong: list[str],
    arms: Mapping[str, Exams],
    view: RecruitView,
    faults: Faults,
) -> Outcome:
    """Everything that the record holds."""
    y, tasks, train = school.test.y, school.tasks, school.pool[: school.own]
    unscored = [[float("nan")] * len(u.pairs) for u in attack.updates]
    scored = unscored if view.scores is None else [mean_scores(u, view.scores, view.base.y) for u in attack.updates]
    exams = {name: each.predicted for name, each in arms.items()}
    leaked = sum(int((u.index >= school.own).sum()) for u in attack.updates)
    return Outcome(
        y=y,
        arms={name: arm_outcome(y, each, tasks, len(trial.dataset.classes)) for name, each in arms.items()},
        metrics=figures(
            y, exams, tasks, attack.updates, stream(trial.seed, "bootstrap"), reset=not faults.reset_confusion
        )
        | defense_figures(arms, trial.trusted),
        poison=attack,
        violations=wrong,
        splits={"pool": train.fingerprint, "test": school.test.fingerprint},
        sizes={"pool": len(train), "test": len(school.test)},
        poison_facts=facts(attack.updates, scored),
        illustration=most_confusable(attack.updates, view.scores, view.base),
        warnings=cautions(trial, faults, leaked),
        updates=attack.updates,
        update_scores=scored,
        trusted={"test_images": leaked} if leaked else {},
    )


def defense_figures(arms: Mapping[str, Exams], trusted: int) -> dict[str, Metric]:
    """What a defense costs and how its filters judge; nothing where there is none."""
    if "poisoned_defended" not in arms:
        return {}
    behind, plain = arms["poisoned_defended"], arms["poisoned_undefended"]
    return of_a_defense((behind.seconds, plain.seconds), (behind.mib, plain.mib), behind.filtered, trusted)


def arm_outcome(y: Array, exams: Exams, tasks: Tasks, k: int) -> ArmOutcome:
    """An arm as the record keeps it: final predictions, accuracies after every task, cost."""
    cost = {"seconds": np.array([exams.seconds]), "mib": np.array([exams.mib])}
    return ArmOutcome(exams.predicted[-1], {**trace(y, exams.predicted, tasks, k), **cost, **columns(exams.filtered)})


def cautions(trial: Trial, faults: Faults, leaked: int) -> list[str]:
    """What a reader should know: faults of the released code that are on or have no effect here, a leak."""
    asked = {f.name for f in fields(Faults) if getattr(trial.attack.faults, f.name)}
    on = sorted(name for name in asked if getattr(faults, name))
    idle = sorted(asked - set(on))
    return [
        *[f"reproduces faults of the released code: {listed(on, 9)}"] * bool(on),
        *[f"faults that do not concern {trial.victim_identity['name']}: {listed(idle, 9)}"] * bool(idle),
        *[f"{leaked} recruits are test images: never ranked"] * bool(leaked),
    ]


def concerning(faults: Faults, learner: ContinualLearner) -> Faults:
    """The faults that a learner can have; where moles are sought concerns every one."""
    own = {"pool", *getattr(learner, "released", ())}
    return Faults(**{f.name: getattr(faults, f.name) and f.name in own for f in fields(Faults)})


def prepared(trial: Trial) -> School:
    """The learner, its pool and tasks; refused where they do not fit."""
    learner: ContinualLearner = trial.victim
    training, splits, k = learner.training, trial.dataset.splits, len(trial.dataset.classes)
    if "test" not in splits:
        raise MolebenchError(f"dataset {trial.dataset.name} has no test split to judge a victim on; choose another one")
    seed = trial.seed if training.seed is None else training.seed
    own = share_of(splits["train"], training.pool, seed, "pool")
    test = share_of(splits["test"], training.exam, seed, "exam")
    tasks = split(k, training.tasks, training.base, stream(trial.seed, "class order"))
    if lacking := [trial.dataset.classes[c] for c in range(k) if (own.y == c).sum() < 2]:
        raise MolebenchError(f"class {listed(lacking)} has fewer than 2 training images; choose a larger victim.pool")
    if training.search and training.optimiser != "sgd":
        raise MolebenchError(f"victim.search=True tries rates of SGD; with {training.optimiser} set victim.lr instead")
    if (memory := getattr(learner, "memory", None)) is not None:
        share(memory, k)
    leak = trial.attack.faults.pool
    height, width, channels = own.x.shape[1:]
    device = computing_device()
    school = School(
        learner,
        Samples(np.concatenate([own.x, test.x]), np.concatenate([own.y, test.y])) if leak else own,
        len(own),
        test,
        tasks,
        Shape(height, width, channels, k),
        seed,
        identity(trial.victim_identity, trial.versions, device),
        trial.stages,
        trial.progress,
        device,
    )
    school.skeleton(0)  # a learner refuses tasks that it cannot learn before anything is computed
    return school


def scores_of(trial: Trial, school: School, clean: Course) -> Float[Array, "n k"] | None:
    """P(y = a | x) over the pool by the attack's scorer; None where it has none."""
    if trial.scorer is None:
        return None
    pool, classes = school.pool, trial.dataset.classes
    knows = bool(trial.scorer_identity["knows_victim"])
    inputs = {
        "scorer": dict(trial.scorer_identity),
        "pool": pool.fingerprint,
        "classes": list(classes),
        "seed": trial.seed,
        "versions": dict(trial.versions),
        "code": code_sha256("molebench.scoring"),
        "victim": clean.last_key if knows else "",
    }
    view = ScoringView(
        pool, classes, stream(trial.seed, "scorer"), trial.progress, (lambda: believed(clean)) if knows else None
    )
    score, name = trial.scorer, trial.scorer_identity["scorer"]["name"]

    def compute() -> dict[str, Array]:
        with blamed(f"scorer {name}"):
            return {"scores": np.asarray(score(view), dtype=np.float32)}

    found = trial.stages.get("scores", inputs, compute, "scores")["scores"]
    if found.shape != (len(pool), len(classes)):
        raise MolebenchError(
            f"scorer {name} scores {found.shape[-1]} labels for {len(found)} images; dataset {trial.dataset.name} has "
            f"{len(classes)} classes and {len(pool)} images: choose a scorer of this dataset's labels"
        )
    if not np.isfinite(found).all():
        raise CellFailed(f"scorer {name} returned NaN or infinity; scores must be finite")
    return frozen(found)


def believed(clean: Course) -> Float[Array, "n k"]:
    """What the learner of the clean arm believes of each task's images once that task is closed: 0 of later classes."""
    school = clean.school
    found, task = np.zeros((len(school.pool), len(school.tasks.order)), np.float32), school.tasks.of(school.pool.y)
    for t in range(len(school.tasks)):
        index, network = np.flatnonzero(task == t), ready(clean.known(t).network)
        p = over_batches(network, school.x, index).softmax(dim=1).cpu().numpy()
        found[index[:, None], school.tasks.order[None, : school.tasks.seen(t)]] = p
    return found


def misplaced(updates: Sequence[Update], labels: Array, tasks: Tasks) -> list[str]:
    """What a learner could not have been sent: updates of other numbers, or of images of another task's classes."""
    if not updates:
        return []
    if len(updates) != len(tasks):
        return [f"{len(updates)} updates for {len(tasks)} tasks; expected one a task"]
    strange = [t for t, u in enumerate(updates) if (tasks.of(labels[u.index]) != t).any()]
    first = ["an update in the first task, where nothing can have been learnt"] if len(updates[0]) else []
    return [*first, *(f"update {t} holds images of another task's classes" for t in strange)]


def every_arm(
    trial: Trial, school: School, clean: Course, proposed: Mapping[str, Recruitment], faults: Faults
) -> dict[str, Exams]:
    """The exams of every arm: without defenses, and behind them where there are any."""
    found = {"clean_undefended": clean.exams()}
    attacked = {name: each.updates for name, each in proposed.items() if any(len(u) for u in each.updates)}
    for name, updates in attacked.items():
        found[f"{name}_undefended"] = Course(school, name, updates, faults).exams()
    if trial.defenses.acts:
        behind = transformed(trial, school)
        guard = Behind(trial, behind)
        for name, updates in attacked.items():
            label = "clean" if name == "control" else name
            found[f"{label}_defended"] = Course(behind, f"{label}, defended", updates, faults, guard).exams()
    if trial.matched and "poisoned" in attacked:
        behind = transformed(trial.matched, school)
        guard = Behind(trial.matched, behind)
        course = Course(behind, "poisoned, matched", attacked["poisoned"], faults, guard)
        found["poisoned_matched"] = course.exams()
    return found

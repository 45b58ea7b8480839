"""Conformance: everything that our own plug-ins are asked by the tests, asked of anybody's.

A question is a function of a subject that yields what is wrong; its name is the sentence that holds when it
yields nothing. There is one list for each kind, and the contract tests read the same ones.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from molebench import places, registry
from molebench.errors import MolebenchError, unknown
from molebench.questions import attacks, cards, datasets, defenses, runs, scorers
from molebench.questions.bench import Bench, NotAsked, Subject
from molebench.registry import Plugin
from molebench.workspace import Workspace

Question = Callable[[Subject], Iterator[str]]

EVERY: tuple[Question, ...] = (
    cards.its_first_line_is_a_short_sentence,
    cards.it_says_where_it_is_from,
    cards.it_is_a_frozen_dataclass,
    cards.every_parameter_says_what_it_means_and_what_is_allowed,
    cards.every_default_and_profile_value_passes_its_own_check,
    cards.profiles_are_known_and_set_only_parameters_that_there_are,
    cards.a_parameter_without_a_default_is_asked_for_by_name,
    cards.a_value_of_the_wrong_type_is_refused_and_its_parameter_named,
    cards.an_unknown_parameter_is_refused,
)
OF: dict[str, tuple[Question, ...]] = {
    "scorer": (
        scorers.its_scores_are_probabilities_over_the_whole_label_set,
        scorers.it_repeats_itself,
        scorers.it_draws_from_its_own_generator_alone,
    ),
    "attack": (
        attacks.it_states_a_threat_model,
        attacks.its_control_is_an_attack_that_may_do_no_more,
        attacks.its_poison_keeps_to_its_threat_model_and_budget,
        attacks.it_makes_as_many_poisons_as_it_is_asked_for,
        attacks.it_repeats_itself,
        attacks.it_changes_nothing_that_it_is_shown,
        attacks.it_draws_from_its_own_generator_alone,
        attacks.it_keeps_nothing_that_it_has_seen,
        runs.a_tiny_run_with_it_gives_a_valid_record,
    ),
    "victim": (
        runs.its_dataset_and_extractor_are_there,
        runs.a_tiny_run_with_it_gives_a_valid_record,
    ),
    "defense": (
        defenses.it_acts_at_moments_that_there_are,
        defenses.its_answers_have_the_shape_and_type_that_each_moment_asks_for,
        defenses.it_repeats_itself,
        defenses.it_changes_nothing_that_it_is_shown,
        defenses.it_draws_from_its_own_generator_alone,
        defenses.it_keeps_nothing_that_it_has_seen,
        runs.a_tiny_run_with_it_gives_a_valid_record,
    ),
    "dataset": (
        datasets.it_loads_with_its_own_name_and_a_train_split,
        datasets.its_arrays_are_stored_samples_and_its_labels_name_classes,
        datasets.it_is_the_same_whenever_it_is_loaded,
        datasets.loading_it_touches_no_global_generator,
    ),
    "extractor": (datasets.loading_it_touches_no_global_generator,),
}


class Finding(NamedTuple):
    """A question and its answer: faults, or why it was not asked; neither where all is well."""

    question: str
    faults: tuple[str, ...] = ()
    not_asked: str = ""


def questions(kind: str) -> tuple[Question, ...]:
    """Everything that a plug-in of this kind (singular) is asked."""
    return (*EVERY, *OF.get(kind, ()))


def sentence(question: Question) -> str:
    """A question in words."""
    return question.__name__.replace("_", " ")


def ask(question: Question, subject: Subject) -> Finding:
    """One question; whatever a plug-in raises is a fault of it."""
    try:
        return Finding(sentence(question), tuple(question(subject)))
    except NotAsked as why:
        return Finding(sentence(question), not_asked=str(why))
    except MolebenchError as error:
        return Finding(sentence(question), (str(error),))
    except (Exception, SystemExit) as error:
        return Finding(sentence(question), (f"{type(error).__name__}: {error}",))


def asked(plugin: Plugin, bench: Bench) -> Iterator[Finding]:
    """Every question of its kind, one after the other."""
    subject = Subject(plugin, bench)
    return (ask(question, subject) for question in questions(plugin.kind))


def line(finding: Finding) -> str:
    """A finding for people."""
    if finding.faults:
        return f"FAULT  {finding.question}: {'; '.join(' '.join(fault.split()) for fault in finding.faults)}"
    why = f": not asked: {' '.join(finding.not_asked.split())}" if finding.not_asked else ""
    return f"{'-' if why else 'ok':<6} {finding.question}{why}"


def named(word: str) -> list[Plugin]:
    """The plug-ins that a path or a name means."""
    path = Path(word).expanduser()
    if path.suffix == ".py" or path.exists():
        places.use([path])
        return [registry.find(places.kind_of(path), path.stem)]
    if kinds := registry.kinds_of(word):
        return [registry.find(kind, word) for kind in kinds]
    raise unknown("plug-in", word, {n for kind in registry.KINDS for n in registry.alike(kind, word)})


def faults(path: Path | str, workspace: Workspace | None = None) -> list[str]:
    """What is wrong with a plug-in, by its file or name; empty where all is well. For tests of one's own."""
    bench = Bench(workspace or Workspace.from_environment())
    findings = (finding for plugin in named(str(path)) for finding in asked(plugin, bench))
    return [f"{finding.question}: {fault}" for finding in findings for fault in finding.faults]

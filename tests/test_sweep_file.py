"""Sweep files: what they say in cells, what they refuse and in which words, and the schema that editors read."""

import json
import re
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from molebench.errors import MolebenchError
from molebench.grid import Cell, Lookup, resolve
from molebench.sweep_file import Sweep, load_sweep, schema, size
from tests.commands import VICTIM
from tests.conftest import ROOT

Write = Callable[[str], Path]
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.yaml"))


@pytest.fixture
def written(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(text, "utf-8")
        return path

    return write


@pytest.fixture
def small(written: Write) -> Write:
    """A sweep of the small victim."""
    return lambda text: written(f"victim: {VICTIM}\n{text}")


def cells(path: Path) -> list[Cell]:
    return list(load_sweep(path).cells())


def keys(path: Path) -> list[str]:
    """The keys of a sweep's cells."""
    lookup = Lookup()
    return [resolve(cell, lookup).key for cell in load_sweep(path).cells()]


def said(path: Path) -> str:
    """The one line in which a file is refused, when it is read or when its cells are made."""
    with pytest.raises(MolebenchError) as refused:
        keys(path)
    (line,) = str(refused.value).splitlines()
    return line


# What they say


def test_a_sweep_is_the_product_of_its_lists_with_seeds_slowest(written: Write) -> None:
    found = cells(written(f"victim: [{VICTIM}]\nattack: [none, noise]\nseed: [0, 1]\nset: {{victim.head: [nn1, nn2]}}"))
    assert [(c.seed, c.attack, c.parameters["victim.head"]) for c in found] == [
        (0, "none", "nn1"),
        (0, "none", "nn2"),
        (0, "noise", "nn1"),
        (0, "noise", "nn2"),
        (1, "none", "nn1"),
        (1, "none", "nn2"),
        (1, "noise", "nn1"),
        (1, "noise", "nn2"),
    ]


def test_a_scalar_stands_for_a_list_of_one_and_the_file_s_name_for_a_name(written: Write) -> None:
    path = written(
        f"victim: {VICTIM}\nattack: noise\nseed: 3\ndataset: digits\ndefense: none\nset: {{attack.psnr: 20}}"
    )
    assert load_sweep(path).name == "mine"
    assert cells(path) == [
        Cell(attack="noise", victim=VICTIM, dataset="digits", parameters={"attack.psnr": 20}, seed=3)
    ]


def test_a_parameter_reaches_only_the_attacks_that_have_it(written: Write) -> None:
    found = cells(written(f"victim: {VICTIM}\nattack: [none, noise]\nset: {{attack.psnr: [20, 30]}}"))
    assert [(c.attack, c.parameters) for c in found] == [
        ("none", {}),
        ("noise", {"attack.psnr": 20}),
        ("noise", {"attack.psnr": 30}),
    ]


def test_the_sweeps_that_come_with_the_house_resolve() -> None:
    for path in BENCHMARKS:
        found = keys(path)
        assert len(found) == len(set(found)) > 1


# Zipped, excluded, inline


def test_lists_that_are_zipped_vary_together(small: Write) -> None:
    found = cells(small("attack: [none, noise]\nzip: {seed: [0, 1], victim.seed: [10, 11]}"))
    assert [(c.seed, c.parameters["victim.seed"], c.attack) for c in found] == [
        (0, 10, "none"),
        (0, 10, "noise"),
        (1, 11, "none"),
        (1, 11, "noise"),
    ]


def test_plug_ins_may_be_zipped_with_their_parameters(written: Write) -> None:
    text = f"zip: {{attack: [none, noise], victim: [{VICTIM}, al_resnet50], victim.head: [nn1, nn2]}}\nseed: [0, 1]"
    found = cells(written(text))
    assert [(c.seed, c.attack, c.victim, c.parameters["victim.head"]) for c in found] == [
        (seed, *row) for seed in (0, 1) for row in (("none", VICTIM, "nn1"), ("noise", "al_resnet50", "nn2"))
    ]


def test_an_entry_s_own_parameters_reach_its_own_cells_only(small: Write) -> None:
    found = cells(small("attack: [none, {noise: {psnr: [20, 30], n_poison: 5}}]"))
    assert [(c.attack, c.parameters) for c in found] == [
        ("none", {}),
        ("noise", {"attack.psnr": 20, "attack.n_poison": 5}),
        ("noise", {"attack.psnr": 30, "attack.n_poison": 5}),
    ]


def test_victims_datasets_and_defenses_have_parameters_of_their_own_too(written: Write) -> None:
    text = (
        f"attack: none\nvictim: {{{VICTIM}: {{head: nn2}}}}\ndataset: {{digits: }}\n"
        "defense: [none, {random_filter: {share: [0.1, 0.2]}}]"
    )
    assert [(c.dataset, c.defenses, c.parameters) for c in cells(written(text))] == [
        ("digits", (), {"victim.head": "nn2"}),
        ("digits", ("random_filter",), {"victim.head": "nn2", "random_filter.share": 0.1}),
        ("digits", ("random_filter",), {"victim.head": "nn2", "random_filter.share": 0.2}),
    ]


def test_a_defense_s_parameter_reaches_the_cells_that_have_the_defense(small: Write) -> None:
    found = cells(small("attack: none\ndefense: [none, random_filter]\nset: {random_filter.share: [0.1, 0.2]}"))
    assert [c.parameters for c in found] == [{}, {"random_filter.share": 0.1}, {"random_filter.share": 0.2}]


def test_what_matches_a_whole_exclusion_is_left_out(small: Write) -> None:
    text = "attack: [none, noise]\nseed: [0, 1]\nset: {victim.head: [nn1, nn2]}\n"
    found = cells(small(f"{text}exclude: [{{attack: noise, victim.head: nn2}}, {{attack: none, seed: 1}}]"))
    assert [(c.seed, c.attack, c.parameters["victim.head"]) for c in found] == [
        (0, "none", "nn1"),
        (0, "none", "nn2"),
        (0, "noise", "nn1"),
        (1, "noise", "nn1"),
    ]


def test_an_exclusion_knows_values_however_they_are_written_and_a_victim_s_own_dataset(small: Write) -> None:
    text = "attack: noise\nset: {attack.psnr: [20, 30]}\ndataset: [null, digits]\n"
    left = cells(small(f"{text}exclude: [{{attack.psnr: ['20', 20.5], dataset: [photo_patches, digits]}}]"))
    assert [(c.dataset, c.parameters["attack.psnr"]) for c in left] == [(None, 30), ("digits", 30)]


def test_an_exclusion_of_defenses_means_all_that_act_together(small: Write) -> None:
    text = "attack: none\ndefense: [none, random_filter, [unfreeze, random_filter]]\n"
    assert [c.defenses for c in cells(small(f"{text}exclude: {{defense: random_filter}}"))] == [
        (),
        ("unfreeze", "random_filter"),
    ]
    assert [c.defenses for c in cells(small(f"{text}exclude: [{{defense: none}}]"))] == [
        ("random_filter",),
        ("unfreeze", "random_filter"),
    ]
    both = cells(small(f"{text}exclude: [{{defense: [[unfreeze, random_filter], none]}}]"))
    assert [c.defenses for c in both] == [("random_filter",)]


def test_what_does_not_go_together_is_skipped_once_with_its_reason(written: Write) -> None:
    text = (
        f"victim: [{VICTIM}, cl_finetune]\nattack: [none, noise]\ndataset: [digits, split:digits]\n"
        "seed: [0, 1, 2]\nset: {victim.epochs: [1, 2]}"
    )
    crossing = load_sweep(written(text)).crossed()
    cells = [(c.cell.attack, c.cell.victim, c.cell.dataset, c.seeds) for c in crossing.combinations]
    assert cells[::2] == [
        ("none", VICTIM, "digits", (0, 1, 2)),
        ("noise", VICTIM, "digits", (0, 1, 2)),
        ("none", "cl_finetune", "split:digits", (0, 1, 2)),
    ]
    assert [(s.names.attack, s.names.victim, s.names.dataset) for s in crossing.skipped] == [
        ("none", VICTIM, "split:digits"),
        ("noise", VICTIM, "split:digits"),
        ("none", "cl_finetune", "digits"),
        ("noise", "cl_finetune", "digits"),
        ("noise", "cl_finetune", "split:digits"),
    ]
    assert crossing.skipped[0].reason == (
        "victim al_efficientnet_lite0 does not learn in tasks; dataset split:digits is split"
    )
    assert crossing.skipped[-1].reason == "attack noise acts in active; victim cl_finetune belongs to continual"


def test_the_count_of_a_sweep_is_that_of_its_cells_where_every_parameter_applies(small: Write) -> None:
    text = "attack: [unperturbed, {noise: {psnr: [20, 30]}}]\nset: {victim.head: [nn1, nn2]}\n"
    for more in ("seed: [0, 1, 2]", "zip: {seed: [0, 1, 2], victim.seed: [4, 5, 6]}"):
        path = small(text + more)
        assert size(load_sweep(path)) == len(cells(path)) == 18


# Beside published numbers


PAPER = f"""
victim: {VICTIM}
attack: noise
set: {{attack.psnr: [20, 30]}}
published:
  {{source: A paper, table: Table 1, decimals: 3, attack: noise, rows: [{{dataset: Photos, ours: {{photo_patches: }},
  victim: {VICTIM}, set: {{attack.psnr: 20}}, figures: {{accuracy_clean: 0.5}}}}]}}
"""


def test_a_published_row_names_the_cell_that_the_sweep_runs(written: Write) -> None:
    sweep = load_sweep(written(PAPER))
    assert sweep.published
    cell = sweep.published_cell(sweep.published.rows[0], "noise", "photo_patches", 0)
    assert resolve(cell).key in {resolve(c).key for c in sweep.cells()}
    assert cell.parameters == {"attack.psnr": 20}


def test_a_control_has_no_parameter_of_the_attack_alone(written: Write) -> None:
    sweep = load_sweep(written(PAPER.replace("attack: noise\n", "attack: [noise, unperturbed]\n", 1)))
    assert sweep.published
    assert sweep.published_cell(sweep.published.rows[0], "unperturbed", "photo_patches", 0).parameters == {}


def with_more(more: str) -> str:
    """The same with more in its row."""
    return PAPER.replace("figures:", f"{more}figures:")


def test_a_published_row_is_about_every_model_and_draw_of_the_sweep(written: Write) -> None:
    text = """
victim: offline_resnet18
dataset: [digits, fashion_mnist_mini]
attack: [mole_recruitment, optimized_moles]
set: {victim.seed: [5, 6], attack.rho_min: [0.1, 0.5], victim.epochs: 3}
seed: [0, 1]
published:
  {source: A paper, table: Table 1, decimals: 1, attack: optimized_moles, rows: [
  {dataset: Digits, ours: {digits: }, victim: offline_resnet18, set: {attack.rho_min: 0.5}, figures: {delta_total: -5}},
  {dataset: Digits, ours: {digits: }, victim: offline_resnet18, set: {victim.seed: 6, attack.rho_min: 0.1},
   attack: mole_recruitment, pair: 3<8, figures: {delta_a: -5}}]}
"""
    sweep = load_sweep(written(text))
    assert sweep.published
    first, second = sweep.published.rows
    mine = list(sweep.published_cells(first, "optimized_moles", "digits"))
    assert [(c.seed, c.parameters["victim.seed"], c.parameters["attack.rho_min"]) for c in mine] == [
        (0, 5, 0.5),
        (0, 6, 0.5),
        (1, 5, 0.5),
        (1, 6, 0.5),
    ]
    assert {resolve(c).key for c in mine} < {resolve(c).key for c in sweep.cells()}
    only = list(sweep.published_cells(second, "mole_recruitment", "digits"))
    assert [(c.seed, c.parameters) for c in only] == [
        (0, {"victim.seed": 6, "victim.epochs": 3}),
        (1, {"victim.seed": 6, "victim.epochs": 3}),
    ]
    assert (sweep.published.attacks, second.title) == (
        ["optimized_moles", "mole_recruitment"],
        "Digits, seed 6, rho_min 0.1, mole_recruitment, 3<8",
    )


def test_one_trial_of_everything_comes_before_the_next_model_and_that_before_the_next_draw(
    written: Write,
) -> None:
    found = cells(
        written(
            "victim: offline_resnet18\ndataset: [digits, fashion_mnist_mini]\nattack: mole_recruitment\n"
            "set: {victim.epochs: [2, 3], victim.seed: [5, 6]}\nseed: [0, 1]"
        )
    )
    assert [(c.seed, c.parameters["victim.seed"]) for c in found] == [
        trial for trial in ((0, 5), (0, 6), (1, 5), (1, 6)) for _ in range(4)
    ]
    assert [(c.dataset, c.parameters["victim.epochs"]) for c in found[:4]] == [
        (dataset, epochs) for dataset in ("digits", "fashion_mnist_mini") for epochs in (2, 3)
    ]


def test_a_published_row_is_about_the_trials_that_are_zipped_and_an_entry_s_own_parameters(written: Write) -> None:
    text = PAPER.replace("attack: noise\n", "attack: {noise: {n_poison: 7}}\n", 1)
    sweep = load_sweep(written(f"{text}zip: {{seed: [0, 1], victim.seed: [5, 6]}}"))
    assert sweep.published
    found = list(sweep.published_cells(sweep.published.rows[0], "noise", "photo_patches"))
    assert [(c.seed, c.parameters["victim.seed"], c.parameters["attack.n_poison"]) for c in found] == [
        (0, 5, 7),
        (1, 6, 7),
    ]
    assert {resolve(c).key for c in found} < {resolve(c).key for c in sweep.cells()}


# What they refuse


BAD = {
    "empty": ("", "holds no mapping"),
    "a list": ("- noise\n- none", "holds no mapping"),
    "a tab": (f"victim: {VICTIM}\nattack:\n\t- noise", "cannot be read as YAML"),
    "an open bracket": (f"victim: [{VICTIM}\nattack: noise", "cannot be read as YAML"),
    "an object": ("!!python/object/apply:os.getcwd []", "cannot be read as YAML"),
    "two documents": ("attack: noise\n---\nattack: none", "cannot be read as YAML"),
    "unknown key": (f"victim: {VICTIM}\nattack: noise\natack: none", "no key named 'atack'; did you mean 'attack'?"),
    "no attack": (f"victim: {VICTIM}", "attack: it is missing"),
    "no victim": ("attack: noise", "victim: it is missing"),
    "an empty list": (f"victim: {VICTIM}\nattack: []", "attack: expected one item or more"),
    "a key twice": (
        f"victim: {VICTIM}\nattack: [none]\nattack: [noise]",
        "line 3, column 1: the key attack comes twice",
    ),
    "profile": (f"victim: {VICTIM}\nattack: noise\nprofile: huge", "'tiny', 'small' or 'paper'"),
    "seed in words": (f"victim: {VICTIM}\nattack: noise\nseed: [one]", "seed.0: "),
    "negative seed": (f"victim: {VICTIM}\nattack: noise\nseed: [0, -1]", "seed.1: "),
    "set as a list": (f"victim: {VICTIM}\nattack: noise\nset: [attack.psnr]", "set: expected a mapping"),
    "a parameter nobody has": (
        f"victim: {VICTIM}\nattack: noise\nset: {{attack.psrn: [20]}}",
        "did you mean 'attack.psnr'?",
    ),
    "a part nobody has": (f"victim: {VICTIM}\nattack: noise\nset: {{atack.psnr: [20]}}", "did you mean 'attack.psnr'?"),
    "no part": (
        f"victim: {VICTIM}\nattack: noise\nset: {{psnr: [20]}}",
        "set: psnr: expected part.parameter, such as attack.psnr",
    ),
    "unknown attack": (f"victim: {VICTIM}\nattack: [none, noize]", "did you mean 'noise'?"),
    "unknown attack with a parameter": (
        f"victim: {VICTIM}\nattack: noize\nset: {{attack.psnr: 20}}",
        "did you mean 'noise'?",
    ),
    "a value out of range": (f"victim: {VICTIM}\nattack: noise\nset: {{attack.psnr: [30, -1]}}", "float > 0"),
    "not a number": (
        f"victim: {VICTIM}\nattack: noise\nset: {{attack.psnr: .nan}}",
        "set.attack.psnr.0: expected a finite number (got nan)",
    ),
    "a nested value": (
        f"victim: {VICTIM}\nattack: noise\nset: {{attack.psnr: [[20]]}}",
        "set.attack.psnr.0: expected a number, a word",
    ),
    "a published figure nobody knows": (PAPER.replace("accuracy_clean", "acc_clean"), "no figure named 'acc_clean'"),
    "a published key nobody knows": (
        PAPER.replace("decimals: 3", "decimals: 3, decimal: 3"),
        "published: no key named 'decimal'; did you mean 'decimals'?",
    ),
    "a row's key nobody knows": (
        PAPER.replace("victim: al", "vctim: al").replace("vctim", "victim", 1),
        "rows.0.victim: it is missing",
    ),
    "a published number in words": (PAPER.replace("0.5", "half"), "figures.accuracy_clean"),
    "a published number that is none": (PAPER.replace("0.5", ".nan"), "figures.accuracy_clean"),
    "no published rows": (PAPER.split("[{dataset")[0] + "[]}", "published.rows"),
    "published as a list": (f"victim: {VICTIM}\nattack: noise\npublished: [0.5]", "published"),
    "a published attack that is not swept": (PAPER.replace("attack: noise, rows", "attack: none, rows"), "none of"),
    "a published row about two cells": (PAPER.replace(" set: {attack.psnr: 20},", ""), "which attack.psnr"),
    "a row of another attack that is not swept": (with_more("attack: none, "), "none of this sweep's (noise)"),
    "a pair of one class": (with_more("pair: dog, "), "attacked<confounding, such as dog<cat"),
    "a figure that no pair has": (with_more("pair: dog<cat, "), "no accuracy_clean of one pair; there is: rho, n"),
    "a figure of a pair without one": (PAPER.replace("accuracy_clean", "rho"), "rho is of one pair; say which"),
    "a spread of no figure": (
        with_more("spread: {accuracy: 1}, "),
        "a spread of accuracy, which is none of its figures",
    ),
    "a negative spread": (with_more("spread: {accuracy_clean: -1}, "), "spread.accuracy_clean"),
    "no text": ("\x00\x01", "cannot be read as YAML"),
    "an anchor": (f"victim: &v {VICTIM}\nattack: none", "line 1, column 9: not allowed here is the anchor &v"),
    "an alias": (f"victim: {VICTIM}\nattack: *v", "not allowed here is the alias *v"),
    "a bomb": ("a: &a [x, x]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]", "not allowed here is the anchor &a"),
    "a tag": (f"victim: {VICTIM}\nattack: !!binary aGk=", "not allowed here is the tag !!binary"),
    "deep nesting": ("[" * 20_000, "more than 20 levels"),
    "a key twice below": (f"victim: {VICTIM}\nset: {{attack.psnr: 1, attack.psnr: 2}}", "attack.psnr comes twice"),
    "a key that is a list": ("? [attack, victim]\n: none", "a key that is a list"),
    "two empty keys": ("{[]: 1, []: 2}", "a key that is a list"),
    "a key that is a number": ("3: none", "the key 3, which is no word"),
    "a key that is yes": ("yes: none", "the key yes, which is no word"),
    "a merge": ("<<: {attack: none}", "the key <<"),
    "a date that is none": (f"victim: {VICTIM}\nattack: none\nset: {{attack.psnr: 2020-13-45}}", "month must be"),
    "a date": (f"victim: {VICTIM}\nattack: none\nset: {{attack.psnr: 2020-12-31}}", "expected a number, a word"),
    "a number beyond all size": (f"victim: {VICTIM}\nattack: none\nseed: {'9' * 5000}", "Exceeds the limit"),
    "a seed twice": (f"victim: {VICTIM}\nattack: none\nseed: [4, 7, 1, 7]", "seed 7 comes twice in 4, 7, 1, 7"),
    "a seed that is true": (f"victim: {VICTIM}\nattack: none\nseed: [true]", "seed.0: "),
    "infinity": (f"victim: {VICTIM}\nattack: noise\nset: {{attack.psnr: .inf}}", "a finite number (got inf)"),
    "no values": (f"victim: {VICTIM}\nattack: noise\nset: {{attack.psnr: []}}", "set.attack.psnr: expected one item"),
    "an attack that is a number": (f"victim: {VICTIM}\nattack: [3]", "attack.0: expected a name, or one name with"),
    "an entry of two names": (f"victim: {VICTIM}\nattack: [{{noise: , none: }}]", "attack.0: expected a name, or one"),
    "an entry's parameter that it has not": (
        f"victim: {VICTIM}\nattack: [{{noise: {{psrn: 20}}}}]",
        "no parameter of attack noise named 'psrn'; did you mean 'psnr'?",
    ),
    "an entry's parameter that is set": (
        f"victim: {VICTIM}\nattack: [{{noise: {{psnr: 20}}}}]\nset: {{attack.psnr: 30}}",
        "attack.psnr is given with an entry of attack and for every cell",
    ),
    "an unknown defense": (
        f"victim: {VICTIM}\nattack: none\ndefense: [random_filtre]",
        "did you mean 'random_filter'?",
    ),
    "lists of two lengths": (
        f"victim: {VICTIM}\nattack: none\nzip: {{seed: [0, 1], victim.seed: [5]}}",
        "seed has 2, victim.seed has 1",
    ),
    "an axis given and zipped": (f"victim: {VICTIM}\nattack: none\nseed: 0\nzip: {{seed: [0, 1]}}", "give it once"),
    "a parameter set and zipped": (
        f"victim: {VICTIM}\nattack: noise\nset: {{attack.psnr: 20}}\nzip: {{attack.psnr: [20, 30]}}",
        "attack.psnr is given in zip and in set",
    ),
    "an axis that is none": (f"victim: {VICTIM}\nattack: none\nzip: {{seeds: [0, 1]}}", "did you mean 'seed'?"),
    "a row twice": (f"victim: {VICTIM}\nattack: none\nzip: {{seed: [3, 3]}}", "one of its rows comes twice"),
    "an exclusion of nothing": (
        f"victim: {VICTIM}\nattack: [none, noise]\nexclude: [{{attack: noise}}, {{attack: noize}}]",
        "exclude {attack: noize} matches no cell",
    ),
    "an exclusion of no parameter of the sweep": (
        f"victim: {VICTIM}\nattack: noise\nset: {{attack.psnr: [20, 30]}}\nexclude: [{{attack.pnsr: 20}}]",
        "did you mean 'attack.psnr'?",
    ),
    "an exclusion of everything": (f"victim: {VICTIM}\nattack: none\nexclude: {{attack: none}}", "leaves no cell"),
    "an empty exclusion": (f"victim: {VICTIM}\nattack: none\nexclude: [{{}}]", "one of its mappings is empty"),
    "nothing that goes together": (
        f"victim: {VICTIM}\nattack: none\ndataset: [fsdd, split:digits]",
        "has no cell: victim al_efficientnet_lite0 takes image; dataset fsdd is audio: try",
    ),
}


@pytest.mark.parametrize(("text", "says"), BAD.values(), ids=BAD)
def test_a_wrong_sweep_is_one_line_that_says_what_is_wrong(text: str, says: str, written: Write) -> None:
    assert says in said(written(text))


def test_a_file_that_is_missing_a_folder_or_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xff")
    assert "cannot read sweep" in said(tmp_path / "none.yaml")
    assert "cannot read sweep" in said(tmp_path)
    assert "binary.yaml cannot be read as YAML" in said(tmp_path / "binary.yaml")


def test_a_file_of_more_than_a_mebibyte_is_not_even_parsed(written: Write) -> None:
    start = time.process_time()
    assert "larger than 1 MiB" in said(written("attack: none\n#" + "x" * (1 << 20)))
    assert time.process_time() - start < 1


def test_a_product_beyond_all_measure_is_counted_and_not_enumerated(small: Write) -> None:
    many = list(range(1, 1002))
    text = f"attack: [none, {{noise: {{psnr: {many}}}}}]\nset: {{victim.epochs: {many}, victim.batch: {many}}}"
    start = time.process_time()
    assert f"{1002 * 1001 * 1001} cells; at most 1000000" in said(small(text))
    assert time.process_time() - start < 1


def test_a_sweep_made_in_python_forbids_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="extra_forbidden"):
        Sweep.model_validate({"name": "x", "attack": ["none"], "victim": [VICTIM], "workers": 3})


# The schema


def test_the_schema_that_comes_with_the_sweeps_is_today_s() -> None:
    kept = json.loads((ROOT / "benchmarks" / "sweep.schema.json").read_text("utf-8"))
    assert kept == schema()  # molebench sweep --schema > benchmarks/sweep.schema.json


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_every_sweep_that_comes_with_the_house_names_the_schema_and_keeps_to_it(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.splitlines()[0] == "# yaml-language-server: $schema=sweep.schema.json"
    assert faults(yaml.safe_load(text)) == []


def faults(content: dict[str, Any]) -> list[str]:
    """What the schema holds against a sweep; only its keys are looked at where no validator is installed."""
    if not find_spec("jsonschema"):
        return sorted(content.keys() - schema()["properties"].keys())
    validator = import_module("jsonschema").Draft202012Validator(schema())
    return [error.message for error in validator.iter_errors(content)]


def test_the_schema_takes_what_the_reader_takes_and_refuses_what_it_refuses() -> None:
    pytest.importorskip("jsonschema")
    both = {"attack": "a", "victim": "v"}
    assert faults({"zip": {"attack": ["a", "b"], "victim": ["v", "w"]}}) == []
    assert faults({"attack": ["none", {"a": {"n": [1, 2], "m": 3}}], "victim": {"v": None}, "dataset": None}) == []
    assert faults({**both, "defense": ["none", ["d", {"e": {"n": 1}}]], "exclude": {"attack": "none"}}) == []
    wrong: list[dict[str, Any]] = [{"seed": -1}, {"attak": 1}, {"attack": []}, {"set": {"a.b": [[1]]}}, {"zip": 1}]
    assert all(faults({**both, **each}) for each in wrong)
    assert faults({"attack": "a"})


def test_the_page_on_the_format_shows_sweeps_that_are_read(written: Write) -> None:
    page = (ROOT / "docs" / "sweeps.md").read_text("utf-8")
    whole, own, zipped, exclude = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    seeds, pairs = zipped.split("\n", 1)
    assert len(cells(written(whole))) == 72
    assert len(cells(written(f"victim: al_resnet50\n{own}"))) == 9
    assert len(cells(written(f"victim: al_resnet50\nattack: none\n{seeds}"))) == 2
    assert len(cells(written(pairs))) == 2
    lists = "attack: [none, noise]\nvictim: al_resnet50\ndataset: [cifar10_jpeg, digits]\nseed: [0, 1, 2]\n"
    assert len(cells(written(f"{lists}set: {{victim.head: [nn1, nn2]}}\n{exclude}"))) == 12

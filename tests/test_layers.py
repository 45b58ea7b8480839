"""The arrows point one way: who may import whom, read from the source with ast, and a few habits of the house."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from molebench import codehash
from tests.conftest import ROOT

# Each module imports only from those that stand after it (HOUSE.md, section 2). A new module gets a place here.
ORDER = [
    "__init__",
    "__main__",
    "cli",
    "commands.verify",
    "submission.verifying",
    "submission.packages",
    "commands.sweeping",
    "commands.running",
    "recalling",
    "commands.results",
    "commands.plugins",
    "commands.board",
    "commands.submit",
    "leaderboard.serve",
    "leaderboard.live",
    "commands.data",
    "commands.upkeep",
    "commands.shared",
    "submission.scaffold",
    "submission.check",
    "submission.standing_in",
    "submission.evidence",
    "leaderboard.build",
    "leaderboard.rendering",
    "leaderboard.placing",
    "leaderboard.loading",
    "contributions",
    "attesting",
    "leaderboard.pages",
    "leaderboard.threats",
    "leaderboard.papers",
    "leaderboard.overview",
    "leaderboard.method",
    "leaderboard.glossary",
    "leaderboard.coverage",
    "leaderboard.boards",
    "leaderboard.cell",
    "leaderboard.subjects",
    "leaderboard.entered",
    "leaderboard.failures",
    "leaderboard.downloads",
    "leaderboard.cells",
    "leaderboard.site",
    "leaderboard.figures",
    "leaderboard.tables",
    "leaderboard.plugins",
    "leaderboard.many",
    "leaderboard.charted",
    "leaderboard.charts.collisions",
    "leaderboard.charts.courses",
    "leaderboard.charts.heatmap",
    "leaderboard.charts.pareto",
    "leaderboard.charts.forest",
    "leaderboard.charts.dose",
    "leaderboard.charts.rho",
    "leaderboard.charts.shares",
    "leaderboard.charts.sizes",
    "leaderboard.charts.lines",
    "leaderboard.charts.vega",
    "leaderboard.charts.looks",
    "leaderboard.charts.drawing",
    "leaderboard.charts.chart",
    "leaderboard.charts.groups",
    "leaderboard.rows",
    "leaderboard.charts.words",
    "leaderboard.naming",
    "leaderboard.standings",
    "submission.scope",
    "submission.claims",
    "submission.slugs",
    "submission.folder",
    "submission.wheel",
    "submission.source",
    "submission.salvage",
    "submission.form",
    "submission.wording",
    "submission.texts",
    "doctor",
    "drafts",
    "conformance",
    "questions.attacks",
    "questions.cards",
    "questions.datasets",
    "questions.defenses",
    "questions.runs",
    "questions.scorers",
    "questions.bench",
    "describing",
    "holdings",
    "sweeping",
    "executors.ray",
    "executors.serial",
    "executors.processes",
    "worker",
    "crafting",
    "defending",
    "serving",
    "repeating",
    "scheduling",
    "turns",
    "coverage",
    "watching",
    "planning",
    "sharing",
    "standing",
    "beside",
    "not_run",
    "verdicts",
    "models_table",
    "pairs_table",
    "pictures",
    "sound_pictures",
    "tradeoff",
    "fit_curve",
    "mole_pictures",
    "continual_pictures",
    "continual_effects",
    "mole_effects",
    "mole_drawing",
    "matrices",
    "drawing",
    "curves",
    "worst_case",
    "ranking",
    "labels",
    "report",
    "pair_deltas",
    "runner",
    "preparing",
    "commissioning",
    "isolating",
    "predictions",
    "upkeep",
    "verifying",
    "recomputed",
    "index",
    "store",
    "record",
    "migrations",
    "sweep_file",
    "crossing",
    "grid",
    "compatible",
    "axes",
    "published",
    "scenarios.continual",
    "scenarios.continual_defended",
    "scenarios.continual_figures",
    "scenarios.lessons",
    "scenarios.rate_search",
    "scenarios.school",
    "scenarios.offline",
    "scenarios.offline_defended",
    "scenarios.offline_figures",
    "scenarios.gallery",
    "scenarios.recruited",
    "scenarios.blended",
    "scenarios.screening",
    "scenarios.together",
    "scenarios.trained",
    "scenarios.active",
    "scenarios.active_figures",
    "scenarios.query_loop",
    "fitting",
    "packed_heads",
    "scenarios.illustration",
    "trial",
    "recruiting",
    "views",
    "updates",
    "moles",
    "classnames",
    "filtering",
    "metrics",
    "stats",
    "pretrained_learner",
    "scorers.clip",
    "scorers.surrogate",
    "scorers.victim",
    "clip_files",
    "tensor_files",
    "hub",
    "rehearsal",
    "recall",
    "expandable",
    "continual_learners",
    "winograd",
    "teams",
    "winograd_shares",
    "winograd_kernels",
    "winograd_tiles",
    "lanes",
    "head_kernels",
    "compiling",
    "head_training",
    "extractors.efficientnet_lite0",
    "extractors.resnet50",
    "extractors.yamnet",
    "frozen",
    "yamnet_files",
    "yamnet_saved_model",
    "log_mel",
    "weights",
    "originals",
    "sources",
    "downloads",
    "descent",
    "expectation",
    "squeezing",
    "offline_learners",
    "variants",
    "plateau",
    "incremental",
    "adapters",
    "backbones",
    "classifiers",
    "training",
    "finetuning",
    "collision",
    "aims",
    "heads",
    "aside",
    "exemplars",
    "distillation",
    "hooks",
    "messages",
    "nets",
    "small_maps",
    "images",
    "sounds",
    "espeak",
    "archives",
    "splits",
    "released",
    "tasks",
    "scoring",
    "stages",
    "sandbox.jailing",
    "provenance",
    "allocating",
    "trees",
    "workspace",
    "sandbox.choosing",
    "sandbox.selftest",
    "sandbox.probes",
    "sandbox.bwrap",
    "sandbox.docker",
    "sandbox.installation",
    "sandbox.quoting",
    "sandbox.box",
    "progress",
    "registry",
    "places",
    "codehash",
    "jobs",
    "cards",
    "limits",
    "rng",
    "types",
    "locks",
    "strict_yaml",
    "errors",
]
ABOVE_PLUGINS = set(ORDER[: ORDER.index("scenarios.offline")])
PLUGINS = ("attacks", "victims", "defenses", "datasets", "extractors", "scorers")
SUBMITTED = ROOT / "leaderboard" / "submissions"  # other people's code, in their own style
BOARD = [f for f in (ROOT / "leaderboard").rglob("*.py") if SUBMITTED not in f.parents]
CORE = sorted([*(ROOT / "molebench").rglob("*.py"), *BOARD])
SOURCES = sorted({*CORE, *(f for k in PLUGINS for f in (ROOT / k).glob("*.py"))})


def name(path: Path) -> str:
    """A file's module below molebench: grid, scenarios.active, attacks.noise."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[1:] if parts[0] == "molebench" else parts)


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imported(path: Path) -> set[str]:
    """The molebench modules that a file imports anywhere in it, for types only included."""
    found = (m for m in codehash.imports(tree(path)) if codehash.module_file(m))
    return {m.removeprefix("molebench.") for m in found}


def nodes(kind: type[ast.AST]) -> Iterator[tuple[Path, ast.AST]]:
    for path in SOURCES:
        yield from ((path, node) for node in ast.walk(tree(path)) if isinstance(node, kind))


def test_every_module_of_the_core_has_its_place_in_the_order() -> None:
    assert {name(f) for f in CORE} == set(ORDER)
    assert len(ORDER) == len(set(ORDER))


@pytest.mark.parametrize("path", CORE, ids=name)
def test_imports_inside_the_core_point_down(path: Path) -> None:
    upward = [m for m in imported(path) if ORDER.index(m) <= ORDER.index(name(path))]
    assert upward == []


@pytest.mark.parametrize("path", [f for f in SOURCES if name(f).split(".")[0] in PLUGINS], ids=name)
def test_a_plug_in_imports_no_other_and_nothing_above_the_scenarios(path: Path) -> None:
    for module in imported(path):
        assert module.split(".")[0] not in PLUGINS
        assert module not in ABOVE_PLUGINS


def test_the_board_reads_records_and_runs_nothing() -> None:
    runs = {"runner", "trial", "preparing", "nets", "training", "sweeping", "scheduling", "worker"}
    found = {m for f in BOARD for m in imported(f)}
    assert not found & runs
    assert not {m for m in found if m.split(".")[0] in (*PLUGINS, "scenarios", "executors", "commands")}


def test_the_reading_of_imports_sees_every_spelling() -> None:
    text = (
        "import molebench.store\nfrom molebench import runner\ndef f():\n    from molebench.attacks.noise import Noise"
    )
    assert set(codehash.imports(ast.parse(text))) >= {"molebench.store", "molebench.runner", "molebench.attacks.noise"}


@pytest.mark.parametrize(
    "folder", ["attacks", "victims", "defenses", "datasets", "benchmarks", "leaderboard", "molebench/extractors"]
)
def test_a_plug_in_folder_is_no_package_of_its_own(folder: str) -> None:
    assert (ROOT / folder).is_dir()
    assert not (ROOT / folder / "__init__.py").exists()


def test_what_starts_quickly_imports_nothing_heavy() -> None:
    commands = tuple(m for m in ORDER if m.startswith("commands."))
    lower = ("registry", "errors", "progress", "workspace", "grid", "store", "report", "cards", "record")
    light = ("cli", *commands, *lower)
    program = (
        f"import importlib, sys; [importlib.import_module('molebench.' + m) for m in {light!r}]\n"
        "heavy = {'torch', 'torchvision', 'timm', 'tensorflow', 'sklearn', 'skimage', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_nobody_prints() -> None:
    calls = [(p, n) for p, n in nodes(ast.Call) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    assert calls
    assert [name(p) for p, n in calls if isinstance(n, ast.Call) and ast.unparse(n.func) == "print"] == []


def test_no_exception_is_caught_blindly() -> None:
    handlers = [(p, n) for p, n in nodes(ast.ExceptHandler) if isinstance(n, ast.ExceptHandler)]
    assert handlers
    blind = ("None", "BaseException")
    assert [name(p) for p, n in handlers if (ast.unparse(n.type) if n.type else "None") in blind] == []


def test_pickle_is_named_only_for_the_exception_of_a_weights_only_load() -> None:
    imports = {
        name(p) for p, n in nodes(ast.Import) if isinstance(n, ast.Import) for a in n.names if a.name == "pickle"
    }
    imports |= {name(p) for p, n in nodes(ast.ImportFrom) if isinstance(n, ast.ImportFrom) and n.module == "pickle"}
    assert imports <= {"extractors.efficientnet_lite0"}
    uses = [ast.unparse(n) for p, n in nodes(ast.Attribute) if ast.unparse(n).startswith("pickle.")]
    assert set(uses) <= {"pickle.UnpicklingError"}


def test_nothing_is_loaded_that_could_run_code() -> None:
    calls = {ast.unparse(n) for _, n in nodes(ast.Call)}
    loads = [c for c in calls if c.startswith("torch.load(")]
    assert loads
    assert [c for c in loads if "weights_only=True" not in c] == []
    assert [c for c in calls if c.startswith(("eval(", "exec(", "yaml.load("))] == []
    assert [c for c in calls if c.startswith("np.load(") and "allow_pickle=False" not in c] == []


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_file_is_one_idea_of_at_most_350_lines(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 350

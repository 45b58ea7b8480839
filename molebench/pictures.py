"""Pictures of a cell in its folder, drawn after its record is committed, from that folder and record alone.

    collisions.png               poisons beside their originals (images only)
    spectrograms.png             the same of sounds; sounds/ holds them as WAV files, by the same numbers
    features.png                 the clean pool and what was injected, in feature space
    queries.png, queries.pdf     accuracy and poisons by labels bought
    heatmaps, sizes, quality     of an offline cell: Delta by pair, by N and by score (.png and .pdf)
    confusion.png, moles.png     of its worst update: confusions before and after, and its moles (images only)
    tasks, task_matrix, classes  of a continual cell: accuracy after each task, and attacked classes (.png and .pdf);
                                 moles.png too, of its most confusable pair

What several seeds show together is in <store>/groups/<group>/: queries, heatmaps, sizes, quality, tasks, task_matrix.
What the cells of a sweep show together is in <store>/sweeps/<name>/: fit, and tradeoff where attack.beta varies.

The same record gives the same bytes. A picture names the records it shows (sha256, in the PNG's text), so only what
is missing or shows other records is drawn. No picture is worth a result, and no sound: what cannot be made is one
warning.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from molebench import continual_pictures, curves, drawing, fit_curve, mole_pictures, report, sound_pictures, tradeoff
from molebench.progress import say
from molebench.record import Record
from molebench.stages import Arrays, key
from molebench.store import Store, load_illustration
from molebench.workspace import writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Maker = Callable[[], "Figure | None"]

# pictures for print, also as PDF
VECTORS = ("queries", "heatmaps", "sizes", "quality", "fit", "tradeoff", "tasks", "task_matrix", "classes")


def of_cell(record: Record, store: Store) -> list[Path]:
    """Draws what a cell lacks, and writes its sounds; returns its pictures, and the folder of its sounds."""
    folder = store.cell(record.key)
    return drawn(folder, [record], of_one(record, folder) | of_several([record])) + heard(folder, record)


def of_one(record: Record, folder: Path) -> dict[str, Maker]:
    """The pictures that can be made of a cell alone."""
    if record.scenario == "continual":
        return {
            "classes": lambda: continual_pictures.classes(record, arm_words([record])),
            "moles": lambda: mole_pictures.moles(record, load_illustration(folder)),
        }
    return {
        "collisions": lambda: collisions(record, load_illustration(folder)),
        "spectrograms": lambda: sound_pictures.spectrograms(record, load_illustration(folder)),
        "features": lambda: features(record, load_illustration(folder)),
        "moles": lambda: mole_pictures.moles(record, load_illustration(folder)),
        "confusion": lambda: mole_pictures.confusion(record),
    }


def of_seeds(records: Sequence[Record], store: Store) -> list[Path]:
    """Draws what several seeds of one cell show together; nothing for one."""
    if len(records) < 2:
        return []
    return drawn(store.folder / "groups" / records[0].group, records, of_several(records))


def of_sweep(name: str, records: Sequence[Record], store: Store) -> list[Path]:
    """Draws what the cells of a sweep show together, by how closely victims fit their pools and by attack.beta."""
    title = f"sweep {name}: {len(records)} cells"
    makers: dict[str, Maker] = {
        "fit": lambda: fit_curve.curve(records, title),
        "tradeoff": lambda: tradeoff.curve(records, title),
    }
    return drawn(store.folder / "sweeps" / name, records, makers) if records else []


def of_several(records: Sequence[Record]) -> dict[str, Maker]:
    """The pictures that can be made of a cell alone, and of its seeds together."""
    if records[0].scenario == "continual":
        return {
            "tasks": lambda: continual_pictures.tasks(records, arm_words(records)),
            "task_matrix": lambda: continual_pictures.matrix(records),
        }
    return {
        "queries": lambda: queries(records),
        "heatmaps": lambda: mole_pictures.heatmaps(records),
        "sizes": lambda: mole_pictures.sizes(records),
        "quality": lambda: mole_pictures.quality(records),
    }


def drawn(folder: Path, records: Sequence[Record], makers: Mapping[str, Maker]) -> list[Path]:
    """Makes and writes each picture that is missing; says in one line a reason what could not be."""
    wrong: dict[str, list[str]] = {}
    source = key([r.record_sha256 for r in records])
    for name, make in makers.items():
        files = [folder / f"{name}{ending}" for ending in (".pdf", ".png") if ending == ".png" or name in VECTORS]
        try:
            if not all(current(file, source) for file in files):
                made(files, make, source)
        except Exception as error:  # whatever fails here, the record is committed and stays a result
            wrong.setdefault(f"{type(error).__name__}: {error}".splitlines()[0], []).append(f"{name}.png")
    for reason, names in wrong.items():
        say(f"warning: {', '.join(names)} of {folder.name[:12]} could not be drawn ({reason}); the record is whole")
    return [file for name in makers if (file := folder / f"{name}.png").is_file()]


def heard(folder: Path, record: Record) -> list[Path]:
    """Writes each sound of a cell that is missing or another; the folder that they are in, where there are any."""
    sounds = folder / "sounds"
    try:
        for name, wav in sound_pictures.listening(record, load_illustration(folder)).items():
            if not (sounds / name).is_file() or (sounds / name).read_bytes() != wav:
                with writing(sounds / name) as temporary:
                    temporary.write_bytes(wav)
    except Exception as error:  # as above
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        say(f"warning: sounds of {folder.name[:12]} could not be written ({reason}); the record is whole")
    return [sounds] if any(sounds.glob("*.wav")) else []


def made(files: Sequence[Path], make: Maker, source: str) -> None:
    """Draws one picture into its files, whole or not at all; nothing where it has nothing to show."""
    with drawing.styled():
        if figure := make():
            for file in files:
                write(figure, file, source)


def current(file: Path, source: str) -> bool:
    """Whether a picture is there and, of a PNG, shows these records."""
    from PIL import Image, UnidentifiedImageError

    if file.suffix != ".png":
        return file.is_file()
    try:
        with Image.open(file) as image:
            return image.info.get("molebench") == source
    except (FileNotFoundError, UnidentifiedImageError, SyntaxError):
        return False


def write(figure: "Figure", file: Path, source: str) -> None:
    """One file of a figure, without a date: the same figure gives the same bytes."""
    about = {"Software": None, "molebench": source} if file.suffix == ".png" else {"CreationDate": None}
    with writing(file) as temporary:
        figure.savefig(temporary, format=file.suffix[1:], dpi=drawing.DPI, metadata=about)


def collisions(record: Record, arrays: Arrays) -> "Figure | None":
    """Fig. 1 of the paper, with numbers; None where there are no images."""
    if "original" not in arrays or arrays["original"].ndim != 4 or arrays["original"].dtype != "uint8":
        return None
    names = [record.data.classes[c] for c in arrays["label"]]
    rows = {"psnr": ("PSNR (dB)", ".1f"), "collision_ratio": ("coll. ratio", ".3f")}
    facts = {
        label: [format(float(v), form) for v in arrays[f"fact.{fact}"]]
        for fact, (label, form) in rows.items()
        if f"fact.{fact}" in arrays
    }
    return drawing.collisions(arrays["original"], arrays["poison"], names, facts, report.title([record]))


def features(record: Record, arrays: Arrays) -> "Figure | None":
    """Fig. 2 of the paper, the control beside it; None where the cell kept no map."""
    if "map.pool" not in arrays:
        return None
    words = {"poisoned": f"poisons: {record.cell['attack']['name']}", "control": f"control items: {control(record)}"}
    points = {arm: arrays[f"map.{arm}"] for arm in words if f"map.{arm}" in arrays}
    injected = {f"{len(there)} {words[arm]}": there for arm, there in points.items()}
    shown = (arrays["map.pool"], arrays["map.pool.label"], record.data.classes)
    return drawing.feature_map(*shown, injected, arrays["map.share"], report.title([record]))


def queries(records: Sequence[Record]) -> "Figure | None":
    """Curves of a cell, or of its seeds; None where its scenario traces none."""
    if not curves.arms(records):
        return None
    items = f"{sum(records[0].arms['clean_undefended'].n)} test items"
    over = f"mean of {len(records)} seeds with Student's 95 % interval"
    band = {"items": items, "band": over if len(records) > 1 else "bands: Wilson's 95 % interval over test items"}
    parts = (curves.accuracy(records), curves.share(records), curves.by_round(records), curves.chance(records))
    return drawing.queries(*parts, arm_words(records) | band, report.title(records))


def arm_words(records: Sequence[Record]) -> dict[str, str]:
    """How each arm is called in a legend: by the attack or the control that makes it."""
    attack = records[0].cell["attack"]["name"]
    defenses = " + ".join(d["name"] for d in records[0].cell["defenses"])
    makers = {"clean": "clean", "poisoned": f"poisoned: {attack}", "control": f"control: {control(records[0])}"}
    plain = {f"{arm}_undefended": word for arm, word in makers.items()}
    behind = {f"{arm}_defended": f"{arm}, {defenses}" for arm in ("clean", "poisoned")}
    return plain | behind | {"poisoned_matched": "poisoned, as many filtered at random"}


def control(record: Record) -> str:
    """The attack's control, by name."""
    attack = record.cell["attack"]["name"]
    return next((c.name for c in record.components if c.kind == "attack" and c.name != attack), "none")

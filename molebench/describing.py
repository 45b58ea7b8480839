"""Cards for people: what `describe` and `cite` say of a plug-in."""

from collections.abc import Iterator
from dataclasses import MISSING
from typing import Any

import molebench
from molebench import registry
from molebench.errors import unknown
from molebench.hooks import MOMENTS
from molebench.registry import Plugin

OURS = f"""@software{{molebench,
  title = {{molebench: a benchmark of poisoning with valid data}},
  author = {{The molebench authors}}, version = {{{molebench.__version__}}}, year = {{2026}}
}}"""


def found(name: str) -> list[Plugin]:
    """The plug-ins of this name, of every kind."""
    if kinds := registry.kinds_of(name):
        return [registry.find(kind, name) for kind in kinds]
    raise unknown("plug-in", name, {n for kind in registry.KINDS for n in registry.alike(kind, name)})


def cards(name: str) -> list[dict[str, Any]]:
    """Every plug-in of this name as JSON."""
    return [card(plugin) for plugin in found(name)]


def card(plugin: Plugin) -> dict[str, Any]:
    """One plug-in's card as JSON."""
    c, threat = plugin.card, plugin.card.threat
    origin, version = registry.provenance(plugin.kind, plugin.name)
    return {
        "kind": plugin.kind,
        "name": plugin.name,
        "summary": plugin.doc,
        "from": f"{origin} {version}",
        "paper": c.paper,
        "scenarios": list(c.scenarios),
        "threat_model": {
            "may": sorted(threat.may),
            "knows": sorted(threat.knows),
            "norm": threat.norm,
            "bound": threat.bound,
        }
        if threat
        else None,
        "control": c.control,
        "moments": moments(plugin),
        "sees": list(c.sees),
        "default_dataset": c.dataset,
        "healthy_accuracy": list(c.band) if plugin.kind == "victim" else None,
        "needs": [*c.needs, *weights(plugin)],
        "licence": c.licence,
        "cost": c.cost,
        "takes": f"{c.resources.cpu} cpu, {c.resources.gpu:g} gpu where there is one, {c.resources.memory:g} GiB",
        "parameters": [
            {
                "name": p.name,
                "allowed": p.allowed,
                "default": None if p.default is MISSING else p.default,
                "meaning": p.meaning,
            }
            for p in plugin.parameters.values()
        ],
        "modality": c.modality if plugin.kind in ("victim", "dataset", "extractor") else None,
        "by_modality": {name: dict(values) for name, values in c.by_modality.items()},
        "profiles": {name: dict(sizes) for name, sizes in c.profiles.items()},
    }


def weights(plugin: Plugin) -> list[str]:
    """What a victim needs besides its dataset: the weights of its extractor."""
    name = getattr(plugin.make, "keywords", {}).get("extractor")
    return [f"weights of {name} (molebench data fetch {name})"] if name else []


def moments(plugin: Plugin) -> list[str]:
    """When a defense acts."""
    return [m for m in MOMENTS if plugin.kind == "defense" and callable(getattr(plugin.make, m, None))]


def text(card: dict[str, Any]) -> str:
    """A card as lines."""
    return "\n".join(_lines(card))


def _lines(card: dict[str, Any]) -> Iterator[str]:
    yield f"{card['kind']} {card['name']}"
    yield from (f"  {line}".rstrip() for line in card["summary"].splitlines())
    for label in ("from", "paper", "licence", "cost", "control", "default_dataset", "modality"):
        if card[label]:
            yield f"{label.replace('_', ' ')}: {card[label]}"
    for label in ("scenarios", "needs", "sees"):
        if card[label]:
            yield f"{label}: {', '.join(card[label])}"
    if threat := card["threat_model"]:
        bound = f"{threat['norm']} <= {threat['bound']}" if threat["norm"] else "unlimited, and reported"
        may, knows = (", ".join(threat[side]) or "nothing" for side in ("may", "knows"))
        yield f"threat model: may {may}; knows {knows}"
        yield f"perturbation: {bound if 'perturb' in threat['may'] else 'none'}"
    if card["kind"] in ("attack", "victim", "defense"):
        yield f"takes: {card['takes']}"
    if card["kind"] == "defense":
        yield f"acts at: {', '.join(card['moments']) or 'no moment'}"
    if card["healthy_accuracy"]:
        yield "healthy clean accuracy: {:g} to {:g}".format(*card["healthy_accuracy"])
    yield from _sizes(card)


def _sizes(card: dict[str, Any]) -> Iterator[str]:
    if card["parameters"]:
        yield f"parameters (--set {card['name'] if card['kind'] == 'defense' else card['kind']}.NAME=VALUE):"
    for p in card["parameters"]:
        yield f"  {p['name']} = {p['default']}   ({p['allowed']})  {p['meaning']}".rstrip()
    for what, of in (("for", card["by_modality"]), ("profile", card["profiles"])):
        for name, values in of.items():
            yield f"{what} {name}: {', '.join(f'{k} {v}' for k, v in values.items())}"


def citations(name: str) -> str:
    """BibTeX of every reference behind a name: its own, what it runs on, and molebench."""
    entries: list[str] = []
    for plugin in found(name):
        parts = [(f"{plugin.kind}s", plugin.name)]
        if extractor := getattr(plugin.make, "keywords", {}).get("extractor"):
            parts += [("extractors", extractor), ("attacks", "feature_collision")]
        if control_of := [a for a in registry.files("attacks") if registry.find("attacks", a).card.control == name]:
            parts.append(("attacks", control_of[0]))
        entries += [text for kind, part in parts if (text := registry.bibtex(kind, part))]
    return "\n\n".join([*dict.fromkeys(entries), OURS])

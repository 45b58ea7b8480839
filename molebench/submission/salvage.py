"""What can still be judged of a form that does not hold: so that all its faults are said at once."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from molebench.submission.form import SCHEMA, Form, validated

CLAIM = {"victim": "none", "profile": "tiny", "seeds": [0], "metric": "none", "value": 0.0, "low": 0.0, "high": 0.0}
NOTHING = {"tuned_on_attacks": [], "trusted_data": "none", "extra_data": "none", "pretrained": "none"}
STAND_INS = {
    "schema": SCHEMA,
    "kind": "defense",
    "slug": "nobody",
    "title": "none",
    "authors": ["none"],
    "licence": "MIT",
    "card": {"scenarios": ["active"]},
    "params": {},
    "disclosure": NOTHING,
    "claims": [CLAIM],
}


class Part(NamedTuple):
    """A form with something else in place of what is broken: keys, and all but the claims of these numbers."""

    form: Form
    broken: frozenset[str]
    numbers: tuple[int, ...]


def whole(form: Form) -> Part:
    """A form that holds."""
    return Part(form, frozenset(), tuple(range(1, len(form.claims) + 1)))


def salvaged(content: Mapping[str, Any], error: ValidationError) -> Part | None:
    """What holds of it; None where nothing is to be made of it."""
    places = [one["loc"] for one in error.errors()]
    broken = frozenset(str(loc[0]) for loc in places)
    patched = {key: value for key, value in content.items() if key not in broken}
    patched |= {key: value for key, value in STAND_INS.items() if key in broken}
    claims = content.get("claims")
    claims = claims if isinstance(claims, list) else []
    sound = [i for i in range(len(claims)) if not any(loc == ("claims",) or loc[:2] == ("claims", i) for loc in places)]
    patched["claims"] = [claims[i] for i in sound] or [CLAIM]
    try:
        form = validated(patched)
    except ValidationError:
        return None
    return Part(form if sound else form.model_copy(update={"claims": ()}), broken, tuple(i + 1 for i in sound))

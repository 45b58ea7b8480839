"""The process of an attack's own: it is sent a view, and sends back a poison or a recruitment.

python -m molebench.crafting         started by molebench.commissioning
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from molebench import messages, views
from molebench.errors import MolebenchError, blamed
from molebench.messages import Message
from molebench.serving import Answer, built, extractor_of, judged, serve


def ready(task: Mapping[str, Any]) -> Answer:
    """What answers for the attack and, where its threat model knows it, the extractor."""
    attack = built("attack", *task["attack"])
    extractor = extractor_of(*task["extractor"]) if task["extractor"] else None
    return lambda request: judged(partial(answered, attack, extractor, request))


def answered(attack: Any, extractor: Any, request: Message) -> Message:
    """What an attack makes of a view."""
    head, view = request.head, views.seen(request.head, request.arrays, extractor)
    with blamed(f"attack {head['name']}"):
        if check := getattr(attack, "check", None):
            check(view)
        found, arrays = views.told(attack.craft(view, messages.drawing(head["rng"])))
    if wrong := [name for name, array in arrays.items() if not messages.numbers(array)]:
        raise MolebenchError(f"returned {arrays[wrong[0]].dtype} as {wrong[0]}; expected numbers")
    return Message(found, arrays)


if __name__ == "__main__":
    serve(ready)

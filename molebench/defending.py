"""The process of a defense's own: it is sent views, and sends back arrays.

python -m molebench.defending         started by molebench.isolating
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from molebench import messages
from molebench.errors import CellFailed, blamed
from molebench.hooks import View
from molebench.messages import Message
from molebench.serving import Answer, built, extractor_of, judged, serve


def ready(task: Mapping[str, Any]) -> Answer:
    """What answers for the defense and, where its card sees it, the extractor."""
    defense = built("defense", *task["defense"])
    extractor = extractor_of(*task["extractor"]) if task["extractor"] else None
    return lambda request: judged(partial(answered, defense, extractor, request))


def answered(defense: Any, extractor: Any, request: Message) -> Message:
    """What a defense says to a view."""
    head, name, moment = request.head, request.head["name"], request.head["moment"]
    shown: dict[str, Any] = {**request.arrays, **head["plain"]}
    view = View(**shown, extractor=extractor if head["extractor"] else None)
    with blamed(f"defense {name} at {moment}"):
        answer = np.array(getattr(defense, moment)(view, messages.drawing(head["rng"])))
        if not messages.numbers(answer) or answer.nbytes > head["most"]:
            most = head["most"] // 8
            words = f"returned {answer.dtype} {answer.shape} at {moment}; expected at most {most} numbers"
            raise CellFailed(f"defense {name} {words}")
        return Message({}, {"answer": answer})


if __name__ == "__main__":
    serve(ready)

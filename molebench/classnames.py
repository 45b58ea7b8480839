"""Class names as people type them: a dataset's own, the papers' short ones, and pairs of them such as dog<cat."""

from collections.abc import Sequence

from molebench.errors import MolebenchError, unknown

ALIASES = {"plane": "airplane", "car": "automobile", "t-shirt": "top", "boot": "ankle_boot"}
ARROW = "<"  # attacked<confounding: the images on the right make the class on the left look wrong


def class_index(name: str, classes: Sequence[str]) -> int:
    """The index of a class; MolebenchError with the nearest name where there is none of this name."""
    wanted = name.strip().lower().replace(" ", "_")
    plain = [known.lower().replace(" ", "_") for known in classes]
    for candidate in (wanted, ALIASES.get(wanted, wanted)):
        if candidate in plain:
            return plain.index(candidate)
    raise unknown("class", name, list(classes))


def pair_list(text: str, classes: Sequence[str]) -> list[tuple[int, int]]:
    """'dog<cat, car<truck' as (attacked, confounding) indices."""
    found = []
    for part in text.split(","):
        attacked, arrow, confounding = part.partition(ARROW)
        if not arrow:
            raise MolebenchError(
                f"pairs={text!r}: expected all, or attacked<confounding pairs such as dog<cat,car<truck"
            )
        pair = different(class_index(attacked, classes), class_index(confounding, classes), classes)
        if pair in found:
            raise MolebenchError(f"pairs={text!r}: {part.strip()} comes twice; a pair counts once")
        found.append(pair)
    return found


def different(attacked: int, confounding: int, classes: Sequence[str]) -> tuple[int, int]:
    """A pair, refused where it is one class twice."""
    if attacked == confounding:
        raise MolebenchError(
            f"the attacked and the confounding class are both {classes[attacked]}; moles of a class for itself are its "
            "own best images: choose two different classes"
        )
    return attacked, confounding

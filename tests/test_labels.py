"""Names of plug-ins say in what they differ from their like, and no more."""

from typing import Any

from molebench.labels import label, labels


def part(name: str, **parameters: Any) -> dict[str, Any]:
    return {"name": name, "parameters": parameters}


def test_what_stands_alone_has_its_name() -> None:
    assert list(labels([part("noise", beta=1.0), part("noise", beta=1.0)]).values()) == ["noise"]


def test_the_usual_value_goes_without_saying() -> None:
    parts = [part("a", n=1, to="x"), part("a", n=1, to="x"), part("a", n=2, to="x")]
    known = labels(parts)
    assert [label(each, known) for each in parts] == ["a", "a", "a n=2"]


def test_where_no_value_is_usual_each_says_its_own() -> None:
    parts = [part("a", n=1), part("a", n=2)]
    assert sorted(labels(parts).values()) == ["a n=1", "a n=2"]


def test_different_parts_have_different_names() -> None:
    parts = [part("a", n=n, m=m) for n in (1, 1, 2) for m in (None, None, "jpeg")] + [part("b", n=1)]
    known = labels(parts)
    assert len(set(known.values())) == len(known) == 5

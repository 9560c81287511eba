"""Dataclasses <-> plain JSON: the same value again, or a `ValueError`."""

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from livecaption.wire import from_plain, to_plain
from tests.support.cases import for_each


@dataclass(frozen=True)
class Point:
    x: int
    y: float = 0.0


@dataclass(frozen=True)
class Shape:
    kind: Literal["line", "area"]
    points: tuple[Point, ...]
    name: str | int | None = None
    closed: bool = False
    middle: Point | None = None


SHAPE = Shape("line", (Point(1, 2.0), Point(3)), "a", True, Point(2))
PLAIN: dict[str, Any] = {
    "kind": "line",
    "points": [{"x": 1, "y": 2.0}, {"x": 3, "y": 0.0}],
    "name": "a",
    "closed": True,
    "middle": {"x": 2, "y": 0.0},
}


def test_a_value_becomes_objects_lists_and_scalars() -> None:
    assert to_plain(SHAPE) == PLAIN


def test_plain_json_becomes_the_value_again() -> None:
    assert from_plain(Shape, PLAIN) == SHAPE


def test_an_optional_field_that_is_none_is_left_out() -> None:
    assert to_plain(Shape("area", ()), {"name", "kind"}) == {
        "kind": "area",
        "points": [],
        "closed": False,
        "middle": None,
    }


@for_each("name", ["a", 5, None])
def test_a_union_takes_each_of_its_types(name: str | int | None) -> None:
    assert from_plain(Shape, PLAIN | {"name": name}).name == name


def test_an_integer_is_a_float_where_a_float_is_declared() -> None:
    y = from_plain(Point, {"x": 1, "y": 2}).y
    assert (y, type(y)) == (2.0, float)


@for_each(
    "wrong",
    [
        {"kind": "dot"},
        {"kind": ["line"]},
        {"points": {"x": 1}},
        {"points": [{"x": 1}]},
        {"points": [{"x": 1, "y": 0.0, "z": 1}]},
        {"points": [None]},
        {"points": [{"x": 1.0, "y": 0.0}]},
        {"points": [{"x": True, "y": 0.0}]},
        {"points": [{"x": 1, "y": float("nan")}]},
        {"points": [{"x": 1, "y": 10**400}]},
        {"name": 1.5},
        {"name": True},
        {"name": "\ud800"},
        {"closed": None},
        {"closed": 1},
        {"middle": "x"},
        {"more": 1},
    ],
)
def test_a_value_that_does_not_fit_its_declaration_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the subject is that nothing else is raised
        from_plain(Shape, PLAIN | wrong)


@for_each("name", PLAIN)
def test_a_missing_field_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"Shape without {name}"):
        from_plain(Shape, {key: value for key, value in PLAIN.items() if key != name})


def test_a_refusal_does_not_hold_the_value() -> None:
    with pytest.raises(ValueError, match="wrong type") as refusal:
        from_plain(Shape, PLAIN | {"closed": "what somebody said"})
    assert "said" not in str(refusal.value)


def test_a_newer_sender_may_add_fields_and_words_and_leave_out_defaults() -> None:
    shape = from_plain(Shape, {"kind": "dot", "points": [{"x": 1, "z": 2}], "color": "red"}, lenient=True)
    assert shape == Shape("dot", (Point(1),))


@for_each("wrong", [{"kind": "line"}, {"kind": 5, "points": []}, {"kind": "line", "points": [{}]}, []])
def test_a_newer_sender_may_not_leave_out_or_change_what_has_no_default(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"without|words|object"):
        from_plain(Shape, wrong, lenient=True)

"""Convert dataclasses to plain JSON and back. Pure.

`to_plain` turns a value into objects, lists and scalars. `from_plain` turns those into the value again and trusts
nothing: it checks each field against its annotation, at every depth. A field can be a `bool`, `int`, `float` or `str`,
a `Literal`, another dataclass, a `tuple[X, ...]`, a `dict[str, X]`, or a union of these and None.
"""

import math
from collections.abc import Mapping, Set
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

_SCALARS = frozenset({bool, int, float, str, NoneType})


def to_plain(value: Any, optional: Set[str] = frozenset()) -> Any:
    """Turn dataclasses into dicts and tuples into lists, at every depth. Other values stay.

    Args:
        value: a dataclass, or a possible value of a field.
        optional: names of fields that are left out if they are None; `Class.name` for a field of one class only.
    """
    kind: Any = type(value)
    if kind in _SCALARS:
        return value
    if isinstance(value, tuple):
        return [to_plain(item, optional) for item in value]
    if not is_dataclass(value):
        return value
    pairs = ((name, getattr(value, name)) for name in _annotations(kind))
    return {
        name: to_plain(item, optional)
        for name, item in pairs
        if item is not None or not (name in optional or f"{kind.__name__}.{name}" in optional)
    }


def from_plain(kind: Any, value: Any, *, lenient: bool = False) -> Any:
    """Turn plain JSON into the declared type.

    Args:
        kind: a dataclass, or the annotation of one of its fields.
        value: result of `json.loads`.
        lenient: True if the sender may be newer than this program. Then unknown fields are ignored, a field that has a
            default may be absent, and words that a `Literal` does not list are accepted.

    Raises:
        ValueError: the value does not have the type. Floats must be finite, and texts must be encodable, because a
            caption with a lone surrogate could not be sent on. The message never contains the value.
    """
    if kind in _SCALARS:
        return _scalar(kind, value)
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass(kind, value, lenient)
    origin, arguments = _parts(kind)
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError("not a list")
        return tuple(from_plain(arguments[0], item, lenient=lenient) for item in value)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError("not an object")
        return {_scalar(str, name): from_plain(arguments[1], item, lenient=lenient) for name, item in value.items()}
    if origin is UnionType:
        return _one_of(arguments, value, lenient)
    if origin is Literal:
        if value not in arguments and not (lenient and type(value) is type(arguments[0])):
            raise ValueError("not one of the allowed words")
        return value
    return _scalar(kind, value)


def _dataclass(kind: Any, value: Any, lenient: bool) -> Any:
    annotations = _annotations(kind)
    if not isinstance(value, Mapping):
        raise ValueError("not an object")
    missing = annotations.keys() - value.keys() - (_with_default(kind) if lenient else set())
    if missing:
        raise ValueError(f"{kind.__name__} without {', '.join(sorted(missing))}")
    if not lenient and len(value) > len(annotations):
        raise ValueError(f"{kind.__name__} with unknown fields")
    return kind(
        **{
            name: from_plain(annotation, value[name], lenient=lenient)
            for name, annotation in annotations.items()
            if name in value
        }
    )


def _one_of(kinds: tuple[Any, ...], value: Any, lenient: bool) -> Any:
    if value is None and NoneType in kinds:
        return None
    *others, last = (kind for kind in kinds if kind is not NoneType)
    for kind in others:
        try:
            return from_plain(kind, value, lenient=lenient)
        except ValueError:
            pass
    return from_plain(last, value, lenient=lenient)


def _scalar(kind: Any, value: Any) -> Any:
    if kind is float and type(value) is int:
        try:
            value = float(value)
        except OverflowError:
            raise ValueError("too large a number") from None
    # `bool` does not count as a number here, although it is an int in Python.
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise ValueError("wrong type")
    if kind is str:
        value.encode()
    return value


@cache
def _parts(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    return get_origin(kind), get_args(kind)


@cache
def _annotations(kind: Any) -> dict[str, Any]:
    """Return the annotation of each field, by name and in order."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


@cache
def _with_default(kind: Any) -> set[str]:
    return {field.name for field in fields(kind) if field.default is not MISSING}

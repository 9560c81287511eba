"""A destination is named by the operator, in a file or in a request. No message and no state has a secret."""

import tomllib
from typing import Any

import pytest

from livecaption.delivery.destination import MAX_SINKS, Destination, parse
from livecaption.errors import ConfigError, InvalidMessage
from tests.support.cases import for_each

SECRET = "5ecret"
URL = f"https://wmcc.zoom.us/closedcaption?signature={SECRET}"
ZOOM = {"service": "zoom", "url": URL}


def destination(**changes: Any) -> Destination:
    return Destination(**ZOOM | changes)


def test_a_destination_shows_its_host_and_no_secret() -> None:
    made = Destination("obs", f"ws://obs.example.org:4455/{SECRET}", SECRET)
    assert made.host == "obs.example.org"
    assert SECRET not in repr(made)


def test_lines_suit_the_service_unless_the_operator_chooses() -> None:
    assert [
        destination().columns,
        Destination("obs", "ws://localhost").columns,
        destination(line_length=42).columns,
    ] == [
        37,
        32,
        42,
    ]


@for_each(
    "wrong",
    [
        {"service": "teams"},
        {"url": ""},
        {"url": f"ftp://example.org/{SECRET}"},
        {"url": f"ws://example.org/{SECRET}"},
        {"url": f"https:///{SECRET}"},
        {"url": f"https://user:{SECRET}@example.org"},
        {"url": f"https://example.org/{SECRET} x"},
        {"url": f"https://example.org/{SECRET}\r\nHost: x"},
        {"url": f"https://example.org:99999/{SECRET}"},
        {"url": f"https://example.org/#{SECRET}"},
        {"url": "https://example.org/" + SECRET * 1000},
        {"url": f"https://[::1/{SECRET}"},
        {"password": SECRET},
        {"language": "en-US&seq=1"},
        {"line_length": 36},
    ],
)
def test_a_wrong_value_is_refused_without_being_shown(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage) as refused:
        destination(**wrong)
    assert SECRET not in refused.value.message


FILE = f"""
[[sink]]
room = "pycon"
service = "zoom"
url = "{URL}"

[[sink]]
room = "pycon"
name = "stage"
service = "obs"
url = "ws://127.0.0.1:4455"
password = "{SECRET}"
language = "de-DE"
line_length = 37
"""


def test_a_file_has_the_sinks_of_rooms() -> None:
    assert parse(tomllib.loads(FILE), "sinks.toml") == {
        ("pycon", "zoom"): Destination("zoom", URL),
        ("pycon", "stage"): Destination("obs", "ws://127.0.0.1:4455", SECRET, "de-DE", 37),
    }
    assert parse({}, "sinks.toml") == {}


SECTION = {"room": "pycon", **ZOOM}


@for_each(
    "wrong",
    [
        {"sinks": []},
        {"sink": SECTION},
        {"sink": ["zoom"]},
        {"sink": [SECTION | {"adress": SECRET}]},
        {"sink": [SECTION | {"url": 1}]},
        {"sink": [SECTION | {"line_length": True}]},
        {"sink": [SECTION | {"url": f"ftp://{SECRET}"}]},
        {"sink": [SECTION | {"room": "a room"}]},
        {"sink": [SECTION | {"name": f"/{SECRET}"}]},
        {"sink": [ZOOM]},
        {"sink": [{"room": "pycon", "service": "zoom"}]},
        {"sink": [SECTION, SECTION]},
        {"sink": [SECTION | {"name": f"n{n}"} for n in range(MAX_SINKS + 1)]},
    ],
)
def test_a_wrong_file_is_refused_with_the_place_and_without_a_secret(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^sinks\.toml") as refused:
        parse(wrong, "sinks.toml")
    assert SECRET not in refused.value.message

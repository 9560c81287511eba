"""Each service gets a text in its own form, at the address that it has given."""

from livecaption.delivery.lines import Text
from livecaption.delivery.services import SERVICES, address_of, counter_of
from tests.support.cases import for_each

TEXT = Text(("Hello & welcome,", "<everybody>"), 1_800_000_000_123)
ZOOM = "https://wmcc.zoom.us/closedcaption?id=1&ns=QQ==&expire=86400&signature=a%2Fb"


def test_zoom_and_streamtext_get_lines_as_they_are() -> None:
    assert SERVICES["zoom"].body(TEXT) == SERVICES["streamtext"].body(TEXT) == "Hello & welcome,\n<everybody>"


def test_youtube_gets_the_time_of_the_speech_in_utc() -> None:
    expected = "2027-01-15T08:00:00.123 region:reg1#cue1\nHello & welcome,<br><everybody>\n"
    assert SERVICES["youtube"].body(TEXT) == expected


def test_streamtext_gets_language_and_time_as_headers() -> None:
    headers = SERVICES["streamtext"].headers(TEXT, "de-DE")
    assert headers == {"Content-Language": "de-DE", "X-Timestamp": "2027-01-15T08:00:00.123Z"}
    assert SERVICES["zoom"].headers(TEXT, "de-DE") == {}


@for_each(
    "case",
    [
        ("zoom", ZOOM, f"{ZOOM}&seq=12&lang=en-US"),
        (
            "youtube",
            "http://upload.youtube.com/closedcaption?cid=x",
            "http://upload.youtube.com/closedcaption?cid=x&seq=12",
        ),
        ("streamtext", "https://example.org/captions", "https://example.org/captions?seq=12&lang=en-US"),
    ],
)
def test_the_number_is_added_to_an_address_that_stays_as_it_is(case: tuple[str, str, str]) -> None:
    service, url, expected = case
    assert address_of(url, 12, SERVICES[service], "en-US") == expected


def test_only_zoom_is_asked_for_the_first_number() -> None:
    assert {name: service.first_seq for name, service in SERVICES.items()} == {
        "zoom": None,
        "youtube": 1,
        "streamtext": 1,
    }
    assert counter_of(ZOOM) == ZOOM.replace("closedcaption?", "closedcaption/seq?")

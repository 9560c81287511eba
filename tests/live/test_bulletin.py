"""Messages about a session arrive at other servers as they were sent, and anything else is ignored."""

from livecaption.events import End, Event, Final, Partial, Snapshot, SpeakerName, SpeakerNamed, SpeechStart, Translation
from livecaption.live.bulletin import Bulletin, Head, decode, encode
from livecaption.messages import encode as encode_event
from tests.support.cases import for_each

HEAD = Head(2, 40, 46, 7, forgotten=False, away_since_ms=None, open_since_ms=1200)
EVENTS: tuple[tuple[int, Event], ...] = (
    (41, SpeechStart(3, 1200)),
    (42, Partial(3, 0, "déjà\nvu", "", 1200, 1500)),
    (43, Final(3, "déjà vu\u2028", 1200, 1900, None, 0.5, 300)),
    (44, Translation(3, "en", "seen")),
    (45, SpeakerNamed(1, "Ada")),
    (46, End(2000, 4, "stop")),
)
STATE = Snapshot("Talk", None, (), EVENTS[1][1], "5e55", names=(SpeakerName(1, "Ada"),), tracks=("en",))


def test_a_bulletin_arrives_as_it_was_sent() -> None:
    texts = [encode_event(event, seq) for seq, event in EVENTS]
    assert decode(encode(HEAD, texts, STATE)) == Bulletin(HEAD, EVENTS, STATE)
    assert decode(encode(HEAD, [], None)) == Bulletin(HEAD)


def test_events_of_a_later_version_are_skipped() -> None:
    assert decode(encode(HEAD, ['{"type":"applause","seq":41}'], None)) == Bulletin(HEAD)


@for_each(
    "text",
    [
        "",
        "garbage",
        "[]",
        "{}",
        "null",
        '{"generation":"0"}',
        "[" * 100_000,
        encode(HEAD, ["[]"], None),
        encode(HEAD, ['{"type":"final","seq":1}'], None),
        encode(HEAD, ['{"type":"pong","id":null}'], None),
        encode(HEAD, ['{"type":"pong","id":null,"seq":"1"}'], None),
        encode(HEAD, [], STATE)[:-1],
    ],
)
def test_anything_else_is_no_bulletin(text: str) -> None:
    assert decode(text) is None

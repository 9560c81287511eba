"""Finals for tests: short to write in a test, or random as a faulty model might produce them."""

from hypothesis import strategies as st

from livecaption.events import CaptionWord, Final, Turn


def final(
    text: str,
    start_ms: int = 0,
    end_ms: int = 4000,
    utterance: int = 0,
    words: list[CaptionWord] | None = None,
    language: str | None = "en",
    channel: int | None = None,
    turns: list[Turn] | None = None,
) -> Final:
    return Final(
        utterance,
        text,
        start_ms,
        end_ms,
        language,
        0.9,
        latency_ms=300,
        words=None if words is None else tuple(words),
        channel=channel,
        turns=None if turns is None else tuple(turns),
    )


TEXTS = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=300)

TIMES_MS = st.sampled_from([-300, 0, 1, 700, 5000]) | st.integers(-1000, 20_000)


@st.composite
def transcripts(draw: st.DrawFn) -> list[Final]:
    """Draw finals in the order of their times that do not overlap: some empty, some with words, some adjacent."""
    finals = []
    at_ms = 0
    for utterance in range(draw(st.integers(0, 6))):
        start_ms = at_ms + draw(st.sampled_from([0, 10, 2000]) | st.integers(0, 3000))
        at_ms = start_ms + draw(st.sampled_from([0, 10, 300]) | st.integers(0, 20_000))
        text = " ".join(draw(TEXTS).split())
        words = None
        if draw(st.booleans()) and text:
            # A model may give any times: out of order and outside of the utterance.
            words = [
                CaptionWord(word, start_ms + draw(TIMES_MS), start_ms + draw(TIMES_MS), 1.0) for word in text.split()
            ]
        finals.append(final(text, start_ms, at_ms, utterance, words))
    return finals

"""What an engine said once about one window of audio."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a hypothesis.

    Attributes:
        text: the word with its punctuation, without surrounding space.
        start_ms, end_ms: from the first sample of the window.
        confidence: mean token probability, 0..1.
    """

    text: str
    start_ms: int
    end_ms: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """The engine's answer for one window.

    Attributes:
        text: what was said, without surrounding space; empty if nothing was said.
        language: ISO 639-1 code, as given or detected.
        confidence: exp of the mean log probability of the tokens, 0..1.
        no_speech_probability: the model's own doubt that anybody spoke, 0..1.
        words: filled only where the window asked for words.
        suspicious: a guard against runaway repetition struck, and the text is not to be trusted.
            Only for partials; a final is redone until it is sound or given up as empty.
        runaway: the first text had no end or repeated itself; counted, whatever became of it.
        redone: the first text was not to be trusted, and the window was decoded once more. Only for finals.
        speech_end_ms: end of the last sound in the window that is speech; 0: none is; None: nobody looked.
    """

    text: str
    language: str
    confidence: float
    no_speech_probability: float
    words: tuple[Word, ...] = ()
    suspicious: bool = False
    runaway: bool = False
    redone: bool = False
    speech_end_ms: int | None = None

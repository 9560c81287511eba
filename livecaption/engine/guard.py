"""One decoding of a window -> whether to believe it.

Whisper's decoder fails in ways that can be seen from the outside: it repeats itself without end,
stops after a heading, says a short sentence twice to fill the silence after it, or invents text
for noise. Knows the figures of a decoding, not the models that made it.

What it is worth: 116 English clips, 18.8 min, tiny.en int8: WER 8.73 % without it, 7.21 % with doubtful
finals decoded once more, for 6 % more computing. Five of the 116 were doubtful.
"""

import math
import re
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.recognition import Task, Window

# Whisper's own thresholds (Radford et al. 2022, section 4.5), save that it has 2.4 for the compression ratio.
# Speech of the test data has a no-speech probability up to 0.49; noise, music and silence mostly above 0.75.
MAX_COMPRESSION_RATIO = 2.2
MIN_MEAN_LOG_PROBABILITY = -1.0
NO_SPEECH_PROBABILITY = 0.6

# Tokens that may come from a window. English read, spoken and commanded has 1.2 to 4.2 a second; a text that stops
# after "Chapter 16." of 14 s has 0.2. Other languages need more tokens for a word, up to three for one character.
MAX_TOKENS_PER_S = 8
MAX_TOKENS_PER_S_BEYOND_ENGLISH = 24
MIN_TOKENS_PER_S = 1
# How much of a window must sound like speech (`speech_detection`) for a text to be believed, and how sure of it
# Whisper must be where less does. Of windows of noise and music most have at most 130 ms, the others up to 740 ms;
# short words that were said have 160 ms and more. What is nearly speech, such as a sneeze, is so at a probability of
# 0.55 to 0.9; speech, if not over a telephone or in noise, always has a moment of 0.95.
NO_SPEECH_MS = 150
MIN_MEAN_LOG_PROBABILITY_WITHOUT_SPEECH = -0.75
LITTLE_SPEECH_MS = 800
CLEAR_SPEECH_PROBABILITY = 0.95
MIN_SPEECH_SHARE = 0.2
"""Of a window. A shout in much noise has 0.14 and is "Whoa!" at a mean log probability of -0.8 or repeats itself; short
words that were said have 0.2 to 0.5."""
HALLUCINATED_PHRASES = {
    "you",
    "thank you",
    "thank you very much",
    "thanks for watching",
    "thank you for watching",
    "bye",
    "bye bye",
}
"""What Whisper has learned to say to the end of a film. People say it too: only little speech makes it suspect."""

CHANT_REPETITIONS = 3
"""People say "no, no, no" too, but clearly; a baby that cries is "Oh, oh, oh" at a probability of speech of 0.8."""

MANY_WORDS = 6
"""That nobody says twice in a row: in 4695 words of the test data four are said so, once ("Tear down the fence!")."""

PAUSES_S = 1.5  # of a window are taken as pauses before and after its speech
MAX_TOKENS = 224  # half of the decoder's 448 places; Whisper keeps the others for previous text


@dataclass(frozen=True, slots=True, eq=False)
class Decoding:
    """What the decoder made of one window.

    Attributes:
        encoded, row: where the encoder's output for the window is; not looked at here.
        tokens: of the text; without prompt, what is before the window, and <|endoftext|>.
        n_prefix: how many of them were given: the words that readers have been promised.
        token_budget: as many tokens mean that the text had no end.
        text: of all tokens.
        compression_ratio: of the text, see `compression_ratio`.
        mean_log_probability: of the tokens that were not given and <|endoftext|>; minus infinity without tokens.
        no_speech_probability: of all that the encoder heard: low where the utterance before was heard too.
        speech_ms: of the window that sound like speech.
        speech_probability: how sure the other network is of that, at its surest.
    """

    window: Window
    encoded: object
    row: int
    language: str
    tokens: list[int]
    n_prefix: int
    token_budget: int
    text: str
    compression_ratio: float
    mean_log_probability: float
    no_speech_probability: float
    speech_ms: int
    speech_probability: float

    @property
    def is_sound(self) -> bool:
        """Whether the text may be shown without a second try."""
        if self.repeats_context:
            return False
        doubtful = self.is_runaway or self.is_cut_short or self.is_doubled or self.is_loop
        return self.is_silent or (not doubtful and self.mean_log_probability >= MIN_MEAN_LOG_PROBABILITY)

    @property
    def repeats_context(self) -> bool:
        """Nothing new after the words of the utterance before: the decoder may take this one's for a part of them. Or
        many of the last words that were said before, again."""
        preceding, words = self.window.preceding, self._words
        if preceding and len(self.tokens) <= self.n_prefix:
            return True
        said = _words(preceding.text if preceding else self.window.context)
        return any(words[:n] == said[-n:] for n in range(MANY_WORDS, len(words) + 1))

    @property
    def is_silent(self) -> bool:
        """Nobody spoke: both networks doubt it, or one is sure. Never where words have been promised: somebody spoke.

        Whisper's own rule comes first, extended to runaway text, which is sure of itself in noise too. Little speech
        that Whisper does not understand is not silence yet: that is tried again (`as_last_try`).
        """
        if self.n_prefix:
            return False
        unsure = self.mean_log_probability < MIN_MEAN_LOG_PROBABILITY or self.is_runaway
        detects_nothing = self.no_speech_probability > NO_SPEECH_PROBABILITY
        is_little = self.speech_ms < LITTLE_SPEECH_MS
        if self.speech_ms < NO_SPEECH_MS or (is_little and self._speech_share < MIN_SPEECH_SHARE):
            improbable = self.mean_log_probability < MIN_MEAN_LOG_PROBABILITY_WITHOUT_SPEECH
            return detects_nothing or improbable or unsure or self.is_phantom
        is_unclear = self.speech_probability < CLEAR_SPEECH_PROBABILITY
        if is_unclear and self.is_repetitive:
            return True
        if is_little and (detects_nothing or (is_unclear and self.is_phantom)):
            return True
        return unsure and (detects_nothing or not self.has_words)

    @property
    def _speech_share(self) -> float:
        return self.speech_ms * SAMPLE_RATE_HZ / 1000 / max(1, len(self.window.samples))

    @property
    def has_words(self) -> bool:
        """A letter or digit of any script: more than dots and notes."""
        return any(character.isalnum() for character in self.text)

    @property
    def is_phantom(self) -> bool:
        """Whether the whole text is one of the phrases that Whisper invents."""
        return " ".join(self._words) in HALLUCINATED_PHRASES

    @property
    def is_repetitive(self) -> bool:
        """Whether nothing is said but one or two words over and over: what Whisper hears in cries and barks."""
        words = self._words
        n_different = len(set(words))
        return n_different in (1, 2) and len(words) >= CHANT_REPETITIONS * n_different

    @property
    def _words(self) -> list[str]:
        return _words(self.text)

    @property
    def is_runaway(self) -> bool:
        return len(self.tokens) >= self.token_budget or self.compression_ratio > MAX_COMPRESSION_RATIO

    @property
    def is_cut_short(self) -> bool:
        speech_s = len(self.window.samples) / SAMPLE_RATE_HZ - PAUSES_S
        return len(self.tokens) < MIN_TOKENS_PER_S * speech_s

    @property
    def is_doubled(self) -> bool:
        """The whole text twice. People do say "come on, come on": of a final from two words on, for that comes again;
        of a partial, which would not be shown, from four on. Text without spaces is one word: there tokens tell."""
        return _is_twice(self._words, 2 if self.window.is_final else 4) or _is_twice(self.tokens, 4)

    @property
    def is_loop(self) -> bool:
        """Nobody says many words twice in a row, if they are not numbers. Fewer words three times, or one word four
        times, count in finals, where what was said in earnest comes again; nothing of a partial would be shown before
        the next pause, if somebody says "no, no, no, no", and what may be a loop in it is not committed."""
        words = self._words
        shortest = 1 if self.window.is_final else MANY_WORDS
        return any(
            _repeats(words, period, 1 if period >= MANY_WORDS else 2 if period > 1 else 3)
            for period in range(shortest, len(words) // 2 + 1)
        )

    def quality(self) -> tuple[bool, bool, bool, float]:
        """For choosing the better one of two decodings of a window."""
        # Words that were copied from before are very probable.
        return self.is_sound, not self.repeats_context, not self.is_runaway, self.mean_log_probability

    @property
    def text_tokens(self) -> list[int]:
        return [] if self.is_silent else self.tokens

    @property
    def confidence(self) -> float:
        return self.no_speech_probability if self.is_silent else math.exp(self.mean_log_probability)

    @property
    def alignment_pass(self) -> tuple[int, str, Task]:
        """Equal for decodings whose words can be aligned together."""
        return id(self.encoded), self.language, self.window.options.task

    def as_last_try(self) -> "Decoding":
        """What is left of a text that is not to be tried again: of one that is improbable still, where little sounded
        like speech and that not clearly, nothing; of a runaway all up to its first repetition; but always all that was
        promised."""
        is_improbable = self.mean_log_probability < MIN_MEAN_LOG_PROBABILITY
        is_unclear = self.speech_ms < LITTLE_SPEECH_MS and self.speech_probability < CLEAR_SPEECH_PROBABILITY
        if is_improbable and is_unclear and not self.n_prefix:
            return replace(self, tokens=[])
        if not self.is_runaway:
            return self
        head = _non_repeating_head(self.tokens)
        return replace(self, tokens=head if len(head) >= self.n_prefix else self.tokens[: self.n_prefix])


def token_budget(window: Window, language: str) -> int:
    """Tokens that nobody can say in a window of this length."""
    rate = MAX_TOKENS_PER_S if language == "en" else MAX_TOKENS_PER_S_BEYOND_ENGLISH
    return min(MAX_TOKENS, math.ceil(rate * (1 + len(window.samples) / SAMPLE_RATE_HZ)))


def compression_ratio(text: str) -> float:
    """Length before and after zlib: high for repetitions (Radford et al. 2022, section 4.5)."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def _words(text: str) -> list[str]:
    # Apostrophes, and the vowel signs of Indian scripts, are within words.
    kept = (c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in re.sub("['’]", "", text.casefold()))
    return "".join(kept).split()


def _is_twice(items: Sequence[object], at_least: int) -> bool:
    half = len(items) // 2
    return half >= at_least and items[:half] == items[half:]


def _repeats(words: list[str], period: int, times: int) -> bool:
    """Whether so many words are said and then `times` times more, anywhere; of many words, not numbers alone."""
    n = period * times
    return any(
        words[start : start + n] == words[start + period : start + period + n]
        and not (period >= MANY_WORDS and all(word.isdigit() for word in words[start : start + period]))
        for start in range(len(words) - period - n + 1)
    )


def _non_repeating_head(tokens: list[int]) -> list[int]:
    """All before the second of three or more repetitions that the tokens end with."""
    for start in range(len(tokens)):
        for period in range(1, (len(tokens) - start) // 3 + 1):
            if tokens[start + period :] == tokens[start:-period]:
                return tokens[: start + period]
    return tokens

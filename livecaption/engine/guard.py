"""Judge whether a decoding of a window can be believed.

The failures of Whisper's decoder can be recognized from its output. It repeats itself without end, stops after a
heading, writes a short sentence twice to fill the silence after it, or invents text for noise. This module uses the
figures of a decoding, not the models that computed it.

Gain and cost: docs/decisions/0004-encoder-context.md.
"""

import math
import re
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.recognition import Task, Window

# Whisper's own thresholds (Radford et al. 2022, section 4.5), except that it uses 2.4 for the compression ratio.
# Figures: docs/decisions/0012-endpoint-recheck.md.
MAX_COMPRESSION_RATIO = 2.2
MIN_MEAN_LOG_PROBABILITY = -1.0

# Tokens for a second of a window, at most. More: the decoder repeats itself. Other languages need more tokens for a
# word, up to three for one character. Figures: docs/decisions/0004-encoder-context.md.
MAX_TOKENS_PER_S = 8
MAX_TOKENS_PER_S_BEYOND_ENGLISH = 24
# Speech in a window (`speech_detection`) below which its text is doubted, and the least probability of such a text.
# Below these limits there is mostly noise or music. Short words are above them. Figures:
# docs/decisions/0012-endpoint-recheck.md.
NO_SPEECH_MS = 150
MIN_MEAN_LOG_PROBABILITY_WITHOUT_SPEECH = -0.75
MIN_MEAN_LOG_PROBABILITY_WITHOUT_LANGUAGE = -0.35
"""The same for doubtful speech in no clear language. Less: sneezes get a text. More: short questions are lost. Figures:
docs/decisions/0039-invented-words.md."""
UNDETECTED_SPEECH_PROBABILITY = 0.1
"""Probability of speech, by the detector, below which language and words are no evidence: multilingual models write a
probable Chinese word for a soft bark. Less: such sounds get a text. More: soft words are lost. Figures:
docs/decisions/0039-invented-words.md."""
LITTLE_SPEECH_MS = 800
MIN_SPEECH_SHARE = 0.2
"""Least share of speech in a window with little speech. Less: shouts in noise get a text. More: short words are lost.
Figures: docs/decisions/0012-endpoint-recheck.md."""
SCATTERED_SPEECH_SHARE = 0.25
"""Share of speech in a window below which unclear speech is doubted, however long it is; a crying baby has 0.24.
See docs/decisions/0039-invented-words.md."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits between speech and what only resembles it, and between a whole text and one that stops early.

    Attributes:
        no_speech_probability: Whisper's own limit (Radford et al. 2022, section 4.5).
        clear_speech_probability: least highest probability of speech, by the detector, of clear speech. Sounds that
            resemble speech, such as a sneeze, have 0.55 to 0.9: docs/decisions/0012-endpoint-recheck.md.
        faint_no_speech_probability: the limit for Whisper's probability where the detector doubts the speech too.
        sure_no_speech_probability: Whisper's probability up to which it is sure of speech where the detector doubts it.
        language_probability: least probability of the likeliest language where the detector doubts the speech, unless
            Whisper is sure of the speech or of its words. The sounds of animals and instruments are of no language:
            docs/decisions/0039-invented-words.md.
        min_tokens_per_s: least tokens for a second of a window. Less: the decoder has stopped early. Figures:
            docs/decisions/0004-encoder-context.md.
    """

    no_speech_probability: float = 0.6
    clear_speech_probability: float = 0.95
    faint_no_speech_probability: float = 0.45
    sure_no_speech_probability: float = 0.1
    language_probability: float = 0.72
    min_tokens_per_s: float = 1


HALLUCINATED_PHRASES = {
    "you",
    "thanks",
    "thank you",
    "thank you very much",
    "thanks for watching",
    "thank you for watching",
    "bye",
    "bye bye",
}
"""Phrases that Whisper has learned from the ends of films. People say them too, so only little speech makes them
suspect."""

MIN_REPETITIONS = 3
"""Repetitions of one or two words that make a text repetitive. People say "no, no, no" too, but clearly. A crying
baby is transcribed as "Oh, oh, oh", at a speech probability of 0.8."""

MANY_WORDS = 6
"""Number of words that nobody says twice in a row. Fewer: repetitions that people really say are dropped. More: loops
pass. Figures: docs/decisions/0007-repetition-guard.md."""

ANNOTATION = re.compile(
    r"\(.*?\)|\[.*?\]|\{.*?\}|<.*?>|（.*?）|［.*?］|【.*?】|〔.*?〕|「?♪.*?♪」?|\*+[^*]+\*+|[♩♪♫♬]", re.DOTALL
)
"""A sound described instead of a word said, such as "[Musik]", "(laughs)", "*coughs*", in any script."""

PAUSES_S = 1.5  # part of a window that counts as pauses before and after its speech
N_POSITIONS = 448  # of the decoder, for its prompt and its text
MAX_TOKENS = N_POSITIONS // 2  # Whisper reserves the others for previous text


@dataclass(frozen=True, slots=True, eq=False)
class Decoding:
    """Result of the decoder for one window.

    Attributes:
        window: the window.
        encoded, row: position of the encoder's output for the window; not used here.
        language: ISO 639-1 code of the text.
        tokens: tokens of the text, without prompt, preceding utterance and <|endoftext|>.
        n_prefix: how many of them were given to the decoder, because the words are committed.
        token_budget: number of tokens from which on the text counts as endless.
        text: text of all tokens.
        compression_ratio: of the text, see `compression_ratio`.
        mean_log_probability: of <|endoftext|> and the tokens that were not given; minus infinity without tokens.
        no_speech_probability: of all the encoder's input; low if that contains the preceding utterance.
        speech_ms: part of the window that sounds like speech.
        speech_probability: highest probability of speech in the window, by the speech detector.
        language_probability: of the likeliest language; None: not detected.
        thresholds: limits for all of these.
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
    language_probability: float | None = None
    thresholds: Thresholds = Thresholds()

    @property
    def is_valid(self) -> bool:
        """True unless the device computed NaN or infinity for it. Minus infinity is the logarithm of 0."""
        return self.mean_log_probability < math.inf and math.isfinite(self.no_speech_probability)

    @property
    def is_sound(self) -> bool:
        """True if the text may be shown without a second decoding."""
        if self.repeats_context:
            return False
        doubtful = self.is_runaway or self.is_cut_short or self.is_doubled or self.is_loop
        return self.is_silent or (not doubtful and self.mean_log_probability >= MIN_MEAN_LOG_PROBABILITY)

    @property
    def repeats_context(self) -> bool:
        """True if the text adds nothing to the preceding utterance, or repeats many of the last words before it.

        If it adds nothing, the decoder has probably absorbed this utterance in the preceding one.
        """
        preceding, words = self.window.preceding, self._words
        if preceding and len(self.tokens) <= self.n_prefix:
            return True
        said = _words(preceding.text if preceding else self.window.context)
        return any(words[:n] == said[-n:] for n in range(MANY_WORDS, len(words) + 1))

    @property
    def is_silent(self) -> bool:
        """True if the window has no speech, because both networks doubt it or one is sure.

        It is never true for a window with committed words, because those were spoken. Whisper's own rule comes first.
        It is extended to runaway text, which has a high probability in noise too. Little speech that Whisper does not
        understand is not silence yet: it is decoded again (`as_last_try`).
        """
        if self.n_prefix:
            return False
        unsure = self.mean_log_probability < MIN_MEAN_LOG_PROBABILITY or self.is_runaway
        detects_nothing = self.no_speech_probability > self.thresholds.no_speech_probability
        if self.speech_ms < NO_SPEECH_MS or (self._has_little_speech and self._speech_share < MIN_SPEECH_SHARE):
            improbable = self.mean_log_probability < MIN_MEAN_LOG_PROBABILITY_WITHOUT_SPEECH
            if detects_nothing or improbable or unsure or self.is_hallucinated_phrase:
                return True
        if self._is_unclear and self.is_repetitive:
            return True
        if self.has_doubtful_speech and self._has_faint_evidence:
            return True
        if self._has_little_speech and (detects_nothing or (self._is_unclear and self.is_hallucinated_phrase)):
            return True
        return self.is_annotation or (unsure and (detects_nothing or not self.has_words))

    @property
    def has_doubtful_speech(self) -> bool:
        """True if the speech detector found no speech, or little or scattered speech and none clearly."""
        if self.speech_ms < NO_SPEECH_MS:
            return True
        return self._is_unclear and (self._has_little_speech or self._speech_share < SCATTERED_SPEECH_SHARE)

    @property
    def may_echo_prompt(self) -> bool:
        """True if the speech is doubtful, and the publisher's prompt or hotwords may have been written for it.

        The decoder writes such words, or others like them, for silence and noise. If words were said, it also finds
        some without them.
        """
        options = self.window.options
        is_prompted = bool(options.prompt or options.hotwords)
        return is_prompted and self.has_doubtful_speech and not self.n_prefix and not self.is_silent

    @property
    def _has_faint_evidence(self) -> bool:
        if self.no_speech_probability > self.thresholds.faint_no_speech_probability:
            return True
        if self.language_probability is None:
            return False
        # With the preceding utterance, the encoder's input always has speech.
        is_sure = self.no_speech_probability <= self.thresholds.sure_no_speech_probability
        is_speech = is_sure and self.window.preceding is None
        if self.speech_probability < UNDETECTED_SPEECH_PROBABILITY:
            return not is_speech
        if self.language_probability >= self.thresholds.language_probability:
            return False
        return not is_speech and self.mean_log_probability < MIN_MEAN_LOG_PROBABILITY_WITHOUT_LANGUAGE

    @property
    def _has_little_speech(self) -> bool:
        return self.speech_ms < LITTLE_SPEECH_MS

    @property
    def _is_unclear(self) -> bool:
        return self.speech_probability < self.thresholds.clear_speech_probability

    @property
    def _speech_share(self) -> float:
        return self.speech_ms * SAMPLE_RATE_HZ / 1000 / max(1, len(self.window.samples))

    @property
    def has_words(self) -> bool:
        """True if the text has a letter or digit of any script, and not only dots and notes."""
        return any(character.isalnum() for character in self.text)

    @property
    def is_annotation(self) -> bool:
        """True if the whole text describes sounds, and has no word that was said."""
        said, n_annotations = ANNOTATION.subn(" ", self.text)
        return n_annotations > 0 and not _words(said)

    @property
    def is_hallucinated_phrase(self) -> bool:
        """True if the whole text is one of the phrases that Whisper invents."""
        return " ".join(self._words) in HALLUCINATED_PHRASES

    @property
    def is_repetitive(self) -> bool:
        """True if one or two words repeat and there is nothing else. Whisper writes that for cries and barks."""
        words = self._words
        n_different = len(set(words))
        return n_different in (1, 2) and len(words) >= MIN_REPETITIONS * n_different

    @property
    def _words(self) -> list[str]:
        return _words(self.text)

    @property
    def is_runaway(self) -> bool:
        return len(self.tokens) >= self.token_budget or self.compression_ratio > MAX_COMPRESSION_RATIO

    @property
    def is_cut_short(self) -> bool:
        speech_s = len(self.window.samples) / SAMPLE_RATE_HZ - PAUSES_S
        return len(self.tokens) < self.thresholds.min_tokens_per_s * speech_s

    @property
    def skips_speech(self) -> bool:
        """True if clear speech has far less text than its length allows for.

        Where an utterance has a long pause, the decoder may write only what follows it.
        """
        if self.n_prefix or self.is_silent or self.has_doubtful_speech:
            return False
        return self.is_cut_short and len(self.tokens) < self.thresholds.min_tokens_per_s * self.speech_ms / 1000

    @property
    def is_doubled(self) -> bool:
        """True if the whole text comes twice, or more often; the last time perhaps only its beginning.

        People do say "come on, come on". A final is decoded again from two words on. A partial would not be shown, so
        it counts from four words on. Text without spaces is one word, so its tokens are compared.
        """
        return _is_periodic(self._words, 2 if self.window.is_final else 4) or _is_periodic(self.tokens, 4)

    @property
    def is_loop(self) -> bool:
        """True if words repeat so often that the decoder probably is in a loop.

        Nobody says many words twice in a row, except numbers. In finals, fewer words three times or one word four times
        count too. If they were really said, the second decoding has them again. In partials they do not count, because
        "no, no, no, no" would hide all captions until the next pause. The stabilizer does not commit such words.
        """
        words = self._words
        shortest = 1 if self.window.is_final else MANY_WORDS
        return any(
            _repeats(words, period, 1 if period >= MANY_WORDS else 2 if period > 1 else 3)
            for period in range(shortest, len(words) // 2 + 1)
        )

    def quality(self) -> tuple[bool, bool, bool, bool, float]:
        """Return a key that is higher for the better of two decodings of a window."""
        # Words that were copied from earlier text are very probable.
        copies = self.repeats_context
        return self.is_valid, self.is_sound, not copies, not self.is_runaway, self.mean_log_probability

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
        """Return the part of the text that is kept if it is not decoded again.

        Nothing is kept of an improbable text with doubtful speech. Of a runaway text, everything before its
        first repetition is kept. Committed words are always kept.
        """
        is_improbable = self.mean_log_probability < MIN_MEAN_LOG_PROBABILITY
        if is_improbable and self.has_doubtful_speech and not self.n_prefix:
            return replace(self, tokens=[])
        if not self.is_runaway:
            return self
        head = _non_repeating_head(self.tokens)
        return replace(self, tokens=head if len(head) >= self.n_prefix else self.tokens[: self.n_prefix])


def better(first: Decoding, second: Decoding) -> Decoding:
    """Return what is kept of two decodings of a window.

    Args:
        first: with all text that goes with the window.
        second: without what may have misled the first.
    """
    kept = second.as_last_try()
    if first.may_echo_prompt and not kept.text_tokens:
        return kept  # there are no words without the prompt
    return max(first, second, key=Decoding.quality).as_last_try()


def token_budget(window: Window, language: str, n_before: int) -> int:
    """Return more tokens than anybody can say in a window of this length, or than the decoder has positions for.

    `n_before` is the number of tokens before the text: the prompt and the preceding utterance.
    """
    rate = MAX_TOKENS_PER_S if language == "en" else MAX_TOKENS_PER_S_BEYOND_ENGLISH
    by_length = math.ceil(rate * (1 + len(window.samples) / SAMPLE_RATE_HZ))
    # A shorter prompt would leave room too, but change the text of every window with a full one.
    return min(MAX_TOKENS, by_length, N_POSITIONS - n_before)


def compression_ratio(text: str) -> float:
    """Return how many times shorter zlib makes a text; high for repetitions (Radford et al. 2022, section 4.5)."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def _words(text: str) -> list[str]:
    # Apostrophes and the vowel signs of Indian scripts are parts of words.
    kept = (c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in re.sub("['’]", "", text.casefold()))
    return "".join(kept).split()


def _is_periodic(items: Sequence[object], at_least: int) -> bool:
    """Return whether all items repeat with a period of at least so many items."""
    return any(items[period:] == items[:-period] for period in range(at_least, len(items) // 2 + 1))


def _repeats(words: list[str], period: int, times: int) -> bool:
    """Return whether `period` words are followed by themselves `times` times. Many numbers in a row do not count."""
    n = period * times
    return any(
        words[start : start + n] == words[start + period : start + period + n]
        and not (period >= MANY_WORDS and all(word.isdigit() for word in words[start : start + period]))
        for start in range(len(words) - period - n + 1)
    )


def _non_repeating_head(tokens: list[int]) -> list[int]:
    """Return all tokens before the second of three or more repetitions at the end."""
    for start in range(len(tokens)):
        for period in range(1, (len(tokens) - start) // 3 + 1):
            if tokens[start + period :] == tokens[start:-period]:
                return tokens[: start + period]
    return tokens

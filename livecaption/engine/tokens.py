"""Convert between text and the tokens of a Whisper model: the decoder's prompts, and its answers."""

from functools import lru_cache

import tokenizers
from faster_whisper.tokenizer import Tokenizer

from livecaption.engine.guard import N_POSITIONS
from livecaption.recognition import MAX_HOTWORD_TOKENS, Task, Window

CONTEXT_TOKENS = 16
"""Tokens of context in the decoder's prompt: this many or none, so that prompts have equal length and can share a pass.
Figures: docs/decisions/0006-context-tokens.md."""
MAX_PREVIOUS_TOKENS = N_POSITIONS // 2 - 1  # the other one is for <|startofprev|>
MAX_PRECEDING_TOKENS = 112
"""Tokens of the preceding utterance, at most; they count among those. With more its audio is not used."""
TIMESTAMP_MS = 20
MAX_KEPT_TEXTS = 1024
"""Texts whose tokens are kept, about those of all batches in the stages. Less: texts are tokenized twice. More: more
memory."""

# Punctuation that `merge_punctuations` joins to the word before it, as in Whisper.
CLOSING_PUNCTUATION = "\"'.。,，!！?？:：”)]}、"

FILLING = """
    In the spring of that year the roads were still bad, so that few people came to the village before the middle of
    May. It was a quiet afternoon, and there was nothing more to be done. They had come a long way, and now they sat
    down together and talked. Some of it was about the weather, some of it about the work of the day, and some of it
    about people whom they both knew. The house stood at the end of the road, behind two old trees, and from its
    windows one could see the river and the hills on the other side. Every now and then somebody passed by and wished
    them a good evening. Nobody was in a hurry. Later they had tea, and she read them a letter which had come that
    morning from her brother in the city. He was well, he wrote, and hoped to see all of them before the end of the
    summer. After a while they went on, and one of them said what he had meant to say from the beginning. The others
    listened, asked a few questions, and agreed in the end that it was so.
"""
"""Text before prompts that are shorter than others in their pass, for texts in English. It causes no errors. The prompt
once more does, so do dots, and so does this text in other languages: docs/decisions/0054-passes-on-a-gpu.md."""

UNSPACED_LANGUAGES = ("ja", "lo", "my", "th", "yue", "zh")
"""Languages without spaces between words. Their texts do not begin with a space either."""


class Vocabulary:
    """Converter between text and the tokens of one model."""

    def __init__(self, vocabulary: tokenizers.Tokenizer, multilingual: bool) -> None:
        self._vocabulary = vocabulary
        self._multilingual = multilingual
        self._special = Tokenizer(vocabulary, multilingual=False)
        # A batch needs each text for its plan and for its prompts, and a stream has one prompt for all of its windows.
        self._tokens = lru_cache(MAX_KEPT_TEXTS)(self._tokenize)
        self._filling = self._encode(" ".join(FILLING.split()))
        self._tokenizers: dict[tuple[str, Task], Tokenizer] = {}
        # The vocabulary is in this order: <|startoftranscript|>, languages, <|translate|>, ...
        codes = range(self._special.sot + 1, self._special.translate)
        self.languages = (
            tuple(language_of(vocabulary.decode([code], skip_special_tokens=False)) for code in codes)
            if multilingual
            else ("en",)
        )

    @property
    def end_of_text(self) -> int:
        """The token with which the decoder ends a text."""
        code: int = self._special.eot
        return code

    def tokenizer(self, language: str, task: Task) -> Tokenizer:
        if (language, task) not in self._tokenizers:
            self._tokenizers[language, task] = Tokenizer(self._vocabulary, self._multilingual, task, language)
        return self._tokenizers[language, task]

    def decode(self, tokens: list[int]) -> str:
        text: str = self._special.decode(tokens)
        return text.strip()

    def prompt(self, window: Window, language: str, n_previous: int | None = None) -> list[int]:
        """Return the prompt: <|startofprev|>, hotwords, the ends of prompt and context, and the decoder's task.

        Args:
            window: the window.
            language: the language of its text.
            n_previous: number of tokens between <|startofprev|> and the task, so that prompts can share a pass. If it
                is 0, context is left out. In English, too few are filled up. None: as many as there are.
        """
        start = list(self.tokenizer(language, window.options.task).sot_sequence)
        if not window.preceding:
            start.append(self._special.no_timestamps)
        given, context = self.previous(window)
        previous = [*given, *context]
        if n_previous == 0:
            previous = given
        elif previous and n_previous is not None and len(previous) < n_previous and language == "en":
            previous = [*self._filling[len(previous) - n_previous :], *previous]
        return [self._special.sot_prev, *previous, *start] if previous else start

    def previous(self, window: Window) -> tuple[list[int], list[int]]:
        """Return the tokens before the window in its prompt: hotwords with the end of the prompt, and the context."""
        options = window.options
        # As many for each window, so that `ready` can report how many hotwords count.
        hotwords = self._encode(", ".join(options.hotwords))[:MAX_HOTWORD_TOKENS]
        max_tokens = MAX_PREVIOUS_TOKENS - len(self.preceding_words(window)) - len(hotwords)
        context = [] if window.preceding else self._encode(window.context)[-CONTEXT_TOKENS:]
        if len(context) < CONTEXT_TOKENS:
            context = []
        prompt = self._encode(options.prompt)
        prompt = prompt[max(0, len(prompt) - max(0, max_tokens - len(context))) :]
        return [*hotwords, *prompt], context

    def preceding(self, window: Window) -> list[int]:
        """Return the decoder's output up to the window: the preceding segment and the beginning of the next one.

        Whisper was trained on segments with their times (Radford et al. 2022, section 2.3). Without times the decoder
        writes the words again, or ends after them.
        """
        preceding = window.preceding
        if preceding is None:
            return []
        begin, end, next_begin = (
            self._special.timestamp_begin + round(at_ms / TIMESTAMP_MS)
            for at_ms in (0, preceding.speech_end_ms, preceding.next_start_ms)
        )
        return [begin, *self.preceding_words(window), end, next_begin]

    def preceding_words(self, window: Window) -> list[int]:
        """Return the tokens of the preceding utterance's words."""
        preceding, options = window.preceding, window.options
        return self._encode(preceding.text, spaced=_is_spaced(options.language, options.task)) if preceding else []

    def without_times(self, tokens: list[int]) -> list[int]:
        """Return the tokens of the text alone."""
        return [token for token in tokens if token < self._special.timestamp_begin]

    def prefix(self, window: Window, language: str) -> list[int]:
        """Return the tokens that the decoder must begin with.

        The last punctuation is left out, because the sentence may go on after all.
        """
        text = window.prefix.rstrip(CLOSING_PUNCTUATION)
        return self._encode(text, spaced=_is_spaced(language, window.options.task))

    def _encode(self, text: str, *, spaced: bool = True) -> list[int]:
        """Return the tokens of plain text. Special tokens such as <|endoftext|> in a client's prompt are left out."""
        return list(self._tokens(" " * spaced + text.strip())) if text.strip() else []

    def _tokenize(self, text: str) -> tuple[int, ...]:
        return tuple(token for token in self._special.encode(text) if token < self._special.eot)


def _is_spaced(language: str | None, task: Task) -> bool:
    return task == "translate" or language not in UNSPACED_LANGUAGES


def language_of(token: str) -> str:
    """Return the language of its token, such as `<|en|>`."""
    return token.removeprefix("<|").removesuffix("|>")

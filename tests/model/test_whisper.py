"""Whisper tiny.en on recorded speech."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tokenizers

from livecaption.engine.device import choose_device
from livecaption.engine.guard import Thresholds
from livecaption.engine.models import ModelFiles, find_model
from livecaption.engine.search import Search
from livecaption.engine.tokens import Vocabulary
from livecaption.engine.whisper import WhisperEngine, load_engine
from livecaption.errors import EngineError, EngineUnusable, OutOfMemory, TranscriptionFailed
from livecaption.evaluation.clips import Clip
from livecaption.evaluation.wer import word_error_rate
from livecaption.pipeline.hotwords import hotword_use
from livecaption.recognition import Effort, PrecedingUtterance, TranscriptionOptions, Window
from tests.support.word_times import median_errors_ms

pytestmark = pytest.mark.model

Samples = dict[str, npt.NDArray[np.float32]]

HALTING_CLIP = "ls-374-180298-0000"
REPEATING_CLIPS = {"ls-211-122425-0000", "ls-1995-1837-0001", "ps-austen-0930", "ps-austen-0880"}
ONE_BEAM: dict[tuple[bool, Effort], int] = dict.fromkeys(Search().beam_sizes, 1)
MISHEARD_CLIP = "ps-austen-0880"


@pytest.fixture
def english(clips: dict[str, Clip]) -> list[Clip]:
    return [clip for clip in clips.values() if clip.language == "en"]


def texts(engine: WhisperEngine, *windows: Window) -> list[str]:
    return [hypothesis.text for hypothesis in engine.transcribe(windows)]


def word_errors(clips: list[Clip], hypotheses: list[str]) -> float:
    rate = word_error_rate([clip.reference or "" for clip in clips], hypotheses).rate
    assert rate is not None
    return rate


def test_finals_of_recorded_speech_are_nearly_right(
    engine: WhisperEngine, english: list[Clip], samples: Samples
) -> None:
    """4.0 % of all recordings when this was written."""
    some = sorted(english, key=lambda clip: len(samples[clip.id]))[:7]  # the others take as long again
    assert word_errors(some, texts(engine, *(Window(samples[clip.id]) for clip in some))) <= 0.06


def test_finals_are_nearly_right_with_a_full_context_too(english: list[Clip], samples: Samples) -> None:
    """2.5 % of all recordings when this was written."""
    engine = load_engine(find_model(), device="cpu", threads=1, full_context=True)
    some = english[::8]  # each takes as long as 30 s of speech
    assert word_errors(some, texts(engine, *(Window(samples[clip.id]) for clip in some))) <= 0.06


def test_a_clip_has_the_same_text_in_a_mixed_batch_as_alone(engine: WhisperEngine, samples: Samples) -> None:
    """Lengths, prompts, words and finality differ; nothing of one window leaks into another."""
    windows = [
        Window(samples["jfk"][8 * 16_000 :], TranscriptionOptions(words=True)),
        Window(samples[MISHEARD_CLIP], TranscriptionOptions(hotwords=("ill-disposed",), words=True)),
        Window(samples[MISHEARD_CLIP], is_final=False),
        Window(samples["ps-austen-0930"], TranscriptionOptions(words=True)),
        Window(samples["read-en-leopard-quilter"], TranscriptionOptions(prompt="At the art exhibition.")),
        Window(np.zeros(8000, np.float32)),
        Window(samples["ls-61-70968-0000"], TranscriptionOptions(words=True), is_final=False),
    ]
    together = engine.transcribe(windows)
    alone = [engine.transcribe([window])[0] for window in windows]
    assert [h.text for h in together] == [h.text for h in alone]
    timed_words = [
        [[(w.text, w.start_ms, w.end_ms) for w in h.words] for h in answers] for answers in (together, alone)
    ]
    assert timed_words[0] == timed_words[1]
    assert [len(h.words) for h in together] == [8, 8, 0, 8, 0, 0, 0]  # a partial has none


def test_a_text_begins_with_its_prefix_and_goes_on_with_the_audio(engine: WhisperEngine, samples: Samples) -> None:
    """In one batch with others: prefixes of different lengths, and none."""
    prefixes = ["", "And so my", "And so, my yellow Americans, ask"]
    answers = texts(engine, *(Window(samples["jfk"], prefix=prefix) for prefix in prefixes))
    assert answers[2].startswith(prefixes[2])
    for prefix, text in zip(prefixes, answers, strict=True):
        assert text.startswith(prefix)
        assert text.endswith("what you can do for your country.")
        assert text.count("Americans") == 1


def test_the_full_stop_of_a_prefix_is_open_again(engine: WhisperEngine, samples: Samples) -> None:
    prefixes = ["And so my fellow Americans.", "And so my fellow Americans"]
    stopped, open_again = texts(engine, *(Window(samples["jfk"], prefix=prefix) for prefix in prefixes))
    assert stopped == open_again


def test_a_prefix_counts_for_nothing_in_the_confidence(engine: WhisperEngine, samples: Samples) -> None:
    [free] = engine.transcribe([Window(samples["jfk"])])
    prefix = " ".join(free.text.split()[:4])
    [prefixed] = engine.transcribe([Window(samples["jfk"], prefix=prefix)])
    assert 0.5 * free.confidence < prefixed.confidence < 1.0


def test_a_prefix_longer_than_the_decoder_has_room_for_is_no_error(engine: WhisperEngine, samples: Samples) -> None:
    window = Window(samples["jfk"][:32_000], TranscriptionOptions(prompt="word " * 400), prefix="and so on " * 200)
    (text,) = texts(engine, window)
    assert text.startswith("and so on and so on")


def test_the_longest_text_fits_behind_the_longest_prompt(engine: WhisperEngine, samples: Samples) -> None:
    """Hotwords, prompt and preceding utterance fill it, and the promised words leave one token to the decoder."""
    window = Window(
        np.resize(samples["jfk"], 27 * 16_000),
        TranscriptionOptions(hotwords=("Kubernetes",) * 100, prompt="word " * 400),
        prefix="and so on " * 200,
        preceding=PrecedingUtterance(samples["jfk"][: 3 * 16_000], "word " * 60, 2_800, 3_200),
        is_final=False,
        effort="reduced",
    )
    (text,) = texts(engine, window)
    assert text.startswith("and so on and so on")


JFK_PARTS = (
    "And so my fellow Americans",
    "ask not what your country can do for you",
    "ask what you can do for your country.",
)
JFK_PAUSE_MS = 3_000
"""In the pause behind the first of them."""


def after_a_pause(samples: Samples, text_before: str, **how: Any) -> Window:
    before, after = np.split(samples["jfk"], [JFK_PAUSE_MS * 16])
    return Window(
        after, preceding=PrecedingUtterance(before, text_before, JFK_PAUSE_MS - 200, JFK_PAUSE_MS + 200), **how
    )


def test_a_window_has_the_text_that_follows_the_words_before_it(engine: WhisperEngine, samples: Samples) -> None:
    """In one batch with others, whether some of its own words were promised or not."""
    window = after_a_pause(samples, JFK_PARTS[0])
    promised = replace(window, prefix="Ask not what your")
    answers = texts(engine, window, Window(samples["jfk"]), promised, replace(window, preceding=None))
    for text in (answers[0], answers[2]):
        assert word_error_rate([" ".join(JFK_PARTS[1:])], [text]).n_errors <= 1
    assert answers[2].startswith("Ask not what your")


def test_words_are_timed_in_their_own_window_also_behind_a_preceding_utterance(
    engine: WhisperEngine, clips: dict[str, Clip], samples: Samples
) -> None:
    window = after_a_pause(samples, JFK_PARTS[0], options=TranscriptionOptions(words=True))
    [hypothesis] = engine.transcribe([window])
    spoken = [word for word in clips["jfk"].words if word.end_ms > JFK_PAUSE_MS]
    assert len(hypothesis.words) == len(spoken)
    errors_ms = [w.end_ms + JFK_PAUSE_MS - s.end_ms for w, s in zip(hypothesis.words, spoken, strict=True)]
    assert abs(float(np.median(errors_ms))) < 100


def test_words_have_the_times_of_their_own_audio_in_any_batch(engine: WhisperEngine, samples: Samples) -> None:
    """The passes have another order than the windows: those without times come first."""
    options = TranscriptionOptions(words=True)
    some = {"jfk": samples["jfk"][: 8 * 16_000]}
    windows = [after_a_pause(some, JFK_PARTS[0], options=options), Window(some["jfk"], options)]
    together = engine.transcribe(windows)
    alone = [engine.transcribe([window])[0] for window in windows]
    assert [[(word.text, word.start_ms, word.end_ms) for word in hypothesis.words] for hypothesis in together] == [
        [(word.text, word.start_ms, word.end_ms) for word in hypothesis.words] for hypothesis in alone
    ]
    assert all(len(hypothesis.words) > 5 for hypothesis in together)


def test_a_window_that_adds_nothing_to_the_words_before_it_is_transcribed_alone(
    engine: WhisperEngine, samples: Samples
) -> None:
    """Here there is no speech. Where there is, it depends on the processor whether the decoder finds it."""
    window = Window(
        np.zeros(16_000, np.float32), preceding=PrecedingUtterance(samples["jfk"], ", ".join(JFK_PARTS), 10_800, 11_200)
    )
    partial, final = engine.transcribe([replace(window, is_final=False), window])
    assert final.redone
    assert (partial.text, final.text) == ("", "")
    assert not partial.suspicious  # as it would be without a second try


def test_a_second_try_gets_more_audio_than_the_first_one_had_with_the_words_before_it(
    engine: WhisperEngine, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one has no words before it."""
    model, encoded_s = engine._decoder.model, []

    class NotingModel:
        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

        def encode(self, features: Any) -> Any:
            encoded_s.append(features.shape[2] // 100)
            return model.encode(features)

    monkeypatch.setattr(engine._decoder, "model", NotingModel())
    preceding = PrecedingUtterance(samples["jfk"], ", ".join(JFK_PARTS), 10_800, 11_200)
    engine.transcribe([Window(np.zeros(16_000, np.float32), preceding=preceding)])
    assert encoded_s == [14, 20]


def test_more_words_before_a_window_than_the_decoder_has_room_for_are_left_out(
    engine: WhisperEngine, samples: Samples
) -> None:
    options = TranscriptionOptions(prompt="word " * 400, hotwords=tuple(f"name{i}" for i in range(300)))
    some = {"jfk": samples["jfk"][: 5 * 16_000]}
    for n in (18, 400):
        window = after_a_pause(some, "and so on and on " * n, options=options)
        assert texts(engine, replace(window, prefix="and so on " * 200))


def test_where_the_words_before_a_window_are_too_many_their_end_is_its_context(
    engine: WhisperEngine, samples: Samples
) -> None:
    said = "Chapter one of a novel. " * 30 + "It is about a man who was known by all of them to be ill-disposed."
    preceding = PrecedingUtterance(np.zeros(16_000, np.float32), said, 900, 1_000)
    (text,) = texts(engine, Window(samples[MISHEARD_CLIP], context=said, preceding=preceding))
    assert "ill-disposed" in text


def test_hotwords_are_recognized(engine: WhisperEngine, samples: Samples) -> None:
    plain, helped = (
        Window(samples[MISHEARD_CLIP], TranscriptionOptions(hotwords=hotwords)) for hotwords in ((), ("ill-disposed",))
    )
    assert ["ill-disposed" in text for text in texts(engine, plain, helped)] == [False, True]


@pytest.mark.parametrize("said", ["", "and so on and on " * 20])
def test_the_hotwords_that_are_certain_to_be_used_are_in_every_prompt(samples: Samples, said: str) -> None:
    tokens = tokenizers.Tokenizer.from_file(str(find_model("tiny.en").directory / "tokenizer.json"))
    hotwords = [f"Name{number}" for number in range(100)]
    use = hotword_use(hotwords)
    assert use is not None
    window = after_a_pause(samples, said, options=TranscriptionOptions(prompt="word " * 400, hotwords=tuple(hotwords)))
    prompt = tokens.decode(Vocabulary(tokens, False).prompt(window if said else replace(window, preceding=None), "en"))
    assert 10 < use.used < 100
    assert ", ".join(hotwords[: use.used]) in prompt


def test_the_end_of_a_prompt_counts_however_long_it_is(engine: WhisperEngine, samples: Samples) -> None:
    prompt = "Chapter one of a novel. " * 500 + "A man who was ill-disposed."
    assert "ill-disposed" in texts(engine, Window(samples[MISHEARD_CLIP], TranscriptionOptions(prompt=prompt)))[0]


def test_the_plan_of_a_window_and_its_prompt_tokenize_each_text_once() -> None:
    tokens = tokenizers.Tokenizer.from_file(str(find_model("tiny.en").directory / "tokenizer.json"))
    encoded: list[str] = []

    class NotingTokenizer:
        def __getattr__(self, name: str) -> Any:
            return getattr(tokens, name)

        def encode(self, text: str, **how: Any) -> Any:
            encoded.append(text)
            return tokens.encode(text, **how)

    vocabulary = Vocabulary(NotingTokenizer(), multilingual=False)
    encoded.clear()
    options = TranscriptionOptions(prompt="A reading from a novel.", hotwords=("Quilter", "Zaphod"))
    window = Window(np.zeros(16_000, np.float32), options, context="It was a quiet afternoon. " * 4)
    given, context = vocabulary.previous(window)
    prompt = vocabulary.prompt(window, "en")
    assert prompt[1 : 1 + len(given) + len(context)] == [*given, *context]
    assert len(encoded) == len(set(encoded)) == 3


def test_hotwords_are_not_crowded_out_by_a_long_prompt(engine: WhisperEngine, samples: Samples) -> None:
    options = TranscriptionOptions(hotwords=("ill-disposed",), prompt="Chapter one of a novel. " * 500)
    assert "ill-disposed" in texts(engine, Window(samples[MISHEARD_CLIP], options))[0]


def test_special_tokens_in_a_prompt_are_nothing_special(engine: WhisperEngine, samples: Samples) -> None:
    """A client cannot upset the batch that its window shares with others."""
    prompts = ["<|startoftranscript|>", "<|endoftext|>", "<|startofprev|><|nospeech|>", " \n"]
    end = samples["jfk"][8 * 16_000 :]
    plain = Window(end)
    odd = [Window(end, TranscriptionOptions(prompt=prompt, hotwords=(prompt,))) for prompt in prompts]
    beside, *answers = texts(engine, plain, *odd)
    assert beside == texts(engine, plain)[0]
    assert [prompt for prompt, text in zip(prompts, answers, strict=True) if "country" not in text] == []


def test_a_special_token_in_a_prompt_does_not_fail_the_batch_of_others(engine: WhisperEngine, samples: Samples) -> None:
    """Both prompts are four tokens long, so they would share a pass in which <|startoftranscript|> must agree."""
    prompts = ("<|startoftranscript|> hello there", "one two hello there")
    odd, plain = (Window(samples["jfk"][8 * 16_000 :], TranscriptionOptions(prompt=prompt)) for prompt in prompts)
    assert texts(engine, odd, plain)[1] == texts(engine, plain)[0]


def test_hotwords_beyond_half_the_room_are_left_out(engine: WhisperEngine, samples: Samples) -> None:
    hotwords = ("ill-disposed", *(f"name{i}" for i in range(300)))
    options = TranscriptionOptions(hotwords=hotwords, prompt="He was not")
    assert "ill-disposed" in texts(engine, Window(samples[MISHEARD_CLIP], options))[0]


def test_words_begin_and_end_when_they_are_said(engine: WhisperEngine, samples: Samples) -> None:
    """Within 100 ms in the median, against forced alignment."""
    names = ("jfk", "ls-61-70968-0000", "ls-1995-1837-0001")
    assert max(median_errors_ms(engine, names, samples)) < 100


# The guard against what the decoder does wrong


def test_a_text_too_short_for_its_window_is_no_partial_and_is_decoded_once_more_as_a_final(
    samples: Samples,
) -> None:
    """Which text stops too early depends on the processor; the bound makes every text too short on all of them."""
    engine = load_engine(find_model(), device="cpu", threads=1, thresholds=Thresholds(min_tokens_per_s=7))
    phrase = samples["jfk"][8 * 16_000 :]
    partial, final = engine.transcribe([Window(phrase, is_final=False), Window(phrase, is_final=True)])
    assert (partial.suspicious, partial.redone) == (True, False)
    assert (final.suspicious, final.redone) == (False, True)
    assert "you can do for your country" in final.text


def test_a_final_of_two_texts_with_a_long_pause_between_them_has_both(clips: dict[str, Clip], samples: Samples) -> None:
    """With one beam the decoder ends at the pause or skips what precedes it, in the second try too. With which clips
    depends on the processor."""
    engine = load_engine(find_model(), device="cpu", threads=1, search=Search(beam_sizes=ONE_BEAM))
    pause = np.zeros(16_000, np.float32)
    for pair in ((MISHEARD_CLIP, HALTING_CLIP), ("ps-austen-0930", "ls-2412-153948-0000")):
        first, second = pair
        both = Window(np.concatenate([samples[first], pause, samples[second]]), TranscriptionOptions(words=True))
        (final,) = engine.transcribe([both])
        said = " ".join(clips[name].reference or "" for name in pair)
        assert word_error_rate([said], [final.text]).n_errors <= 5, final.text
        assert "".join(word.text for word in final.words) == final.text.replace(" ", "")
        assert final.confidence > 0.5


def test_a_text_that_repeats_itself_is_once_in_the_final(clips: dict[str, Clip], samples: Samples) -> None:
    """Too short a context and one beam provoke what happens now and then with any; with which clip depends on the
    processor."""
    narrow = Search(min_context_s=1, context_margin_s=0, context_step_s=1, beam_sizes=ONE_BEAM)
    engine = load_engine(find_model(), device="cpu", threads=1, search=narrow)
    partials = {
        name: engine.transcribe([Window(samples[name], is_final=False)])[0] for name in clips if name in REPEATING_CLIPS
    }
    repeating = [name for name, partial in partials.items() if partial.runaway]
    assert repeating
    for name in repeating:
        assert partials[name].suspicious
        [final] = engine.transcribe([Window(samples[name])])
        assert len(final.text.split()) <= len((clips[name].reference or "").split())
        assert (final.suspicious, final.runaway, final.redone) == (False, True, True)


def test_a_final_that_repeats_itself_in_the_second_try_too_is_cut_at_the_first_repetition(
    samples: Samples,
) -> None:
    """The one word "country" twelve times over, which as a rule is taken for noise, and by five beams for twelve."""
    engine = load_engine(
        find_model(),
        device="cpu",
        threads=1,
        search=Search(beam_sizes=ONE_BEAM),
        thresholds=Thresholds(no_speech_probability=1.0, clear_speech_probability=0.0),
    )
    looped = np.tile(samples["jfk"][159_040:172_800], 12)
    options = TranscriptionOptions(words=True)
    partial, final = engine.transcribe([Window(looped, options, is_final=False), Window(looped, options)])
    assert partial.text.count("country") > 12
    assert partial.suspicious
    assert (final.text, len(final.words), final.suspicious) == ("country,", 1, False)


@pytest.mark.parametrize("is_final", [True, False])
@pytest.mark.parametrize("loudness", [0.0, 0.001, 0.01, 0.1])
def test_silence_and_white_noise_have_no_text(engine: WhisperEngine, loudness: float, is_final: bool) -> None:
    noise = np.random.default_rng(0).standard_normal(5 * 16_000).astype(np.float32) * np.float32(loudness)
    [hypothesis] = engine.transcribe([Window(noise, TranscriptionOptions(words=True), is_final=is_final)])
    assert (hypothesis.text, hypothesis.words, hypothesis.suspicious) == ("", (), False)
    assert hypothesis.confidence == hypothesis.no_speech_probability > 0.6


PROMPTS = (
    TranscriptionOptions(),
    TranscriptionOptions(hotwords=("Kubernetes", "Zaphod")),
    TranscriptionOptions(prompt="So much for today's lecture. Thank you for watching."),
)


@pytest.mark.parametrize("options", PROMPTS, ids=["alone", "hotwords", "prompt"])
def test_barks_and_sneezes_have_no_words(
    engine: WhisperEngine, sounds: list[npt.NDArray[np.float32]], options: TranscriptionOptions
) -> None:
    hypotheses = engine.transcribe(
        [Window(sound, options, is_final=is_final) for sound in sounds for is_final in (True, False)]
    )
    assert [hypothesis.text for hypothesis in hypotheses if hypothesis.text and not hypothesis.suspicious] == []


@pytest.mark.parametrize("level_db", [-20, -25, -35])
def test_a_few_words_are_the_same_at_any_level(engine: WhisperEngine, samples: Samples, level_db: int) -> None:
    said = samples["ls-61-70968-0000"][15_520:34_560]
    soft = (np.round(said * 10 ** (level_db / 20) * 32768) / 32768).astype(np.float32)
    # On some processors a fifth word follows, which is cut in two at the end.
    assert [text.split()[:4] for text in texts(engine, Window(soft), Window(said))] == [
        ["used", "complaint", "against", "the"]
    ] * 2


# Refusals


def test_the_description_is_that_of_the_model(engine: WhisperEngine) -> None:
    description = engine.description
    assert (description.model, description.device, description.compute_type) == ("tiny.en", "cpu", "int8")
    assert (description.languages, description.translates) == (("en",), False)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (Window(np.zeros(480_001, np.float32)), "longer than 30 s"),
        (Window(np.zeros(16_000, np.float32), TranscriptionOptions(language="de")), "does not support the language"),
        (Window(np.zeros(16_000, np.float32), TranscriptionOptions(task="translate")), "does not translate"),
    ],
)
def test_a_window_that_the_model_cannot_take_fails_and_the_engine_lives(
    engine: WhisperEngine, samples: Samples, window: Window, message: str
) -> None:
    with pytest.raises(TranscriptionFailed, match=message):
        engine.transcribe([window])
    assert texts(engine, Window(samples["jfk"]))[0]


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("CUDA failed with error an illegal memory access was encountered", EngineUnusable),
        ("CUDA failed with error unspecified launch failure", EngineUnusable),
        ("CUDA failed with error device-side assert triggered", EngineUnusable),
        ("CUDA failed with error CUDA driver version is insufficient for CUDA runtime version", EngineUnusable),
        ("CUDA failed with error out of memory", OutOfMemory),
        ("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED", OutOfMemory),
        ("Invalid input features shape", TranscriptionFailed),
    ],
)
def test_an_error_of_the_device_shows_whether_the_process_can_go_on(
    engine: WhisperEngine, message: str, error: type[EngineError], monkeypatch: pytest.MonkeyPatch
) -> None:
    class BrokenModel:
        n_mels = 80
        is_multilingual = False

        def encode(self, features: object) -> object:
            raise RuntimeError(message)

    monkeypatch.setattr(engine._decoder, "model", BrokenModel())
    with pytest.raises(error, match=message):
        engine.transcribe([Window(np.zeros(16_000, np.float32))])


@pytest.mark.parametrize("damaged", ["model.bin", "tokenizer.json", "config.json"])
def test_a_directory_with_damaged_files_is_unusable(damaged: str, tmp_path: Path) -> None:
    for name in ("model.bin", "tokenizer.json", "config.json"):
        original = Path(find_model("tiny.en").directory) / name
        (tmp_path / name).write_bytes(b"no" if name == damaged else original.read_bytes())
    with pytest.raises(EngineUnusable, match="Model mine cannot be loaded on cpu"):
        WhisperEngine(ModelFiles("mine", tmp_path), choose_device("cpu"))

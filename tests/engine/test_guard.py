"""Which texts of a decoder are believed."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from livecaption.engine.guard import MAX_TOKENS, N_POSITIONS, Decoding, better, compression_ratio, token_budget
from livecaption.engine.tokens import MAX_PRECEDING_TOKENS, MAX_PREVIOUS_TOKENS
from livecaption.recognition import PrecedingUtterance, TranscriptionOptions, Window
from tests.support.cases import for_each


def window(seconds: float) -> Window:
    return Window(np.zeros(round(seconds * 16_000), np.float32))


MANY = "we have walked in the park"


def decoding(
    n_tokens: int = 12,
    *,
    tokens: list[int] | None = None,
    seconds: float = 4.0,
    compression: float = 1.2,
    mean_log_probability: float = -0.3,
    no_speech_probability: float = 0.1,
    n_prefix: int = 0,
    text: str = "What was said.",
    speech_ms: int = 2000,
    speech_probability: float = 0.99,
    language_probability: float = 0.9,
    options: TranscriptionOptions | None = None,
) -> Decoding:
    return Decoding(
        window=replace(window(seconds), options=options or TranscriptionOptions()),
        encoded=None,
        row=0,
        language="en",
        tokens=list(range(n_tokens)) if tokens is None else tokens,
        n_prefix=n_prefix,
        token_budget=token_budget(window(seconds), "en", 2),
        compression_ratio=compression,
        mean_log_probability=mean_log_probability,
        no_speech_probability=no_speech_probability,
        text=text,
        speech_ms=speech_ms,
        speech_probability=speech_probability,
        language_probability=language_probability,
    )


def test_a_sentence_of_usual_length_and_probability_is_sound() -> None:
    assert decoding().is_sound


@for_each("number", [math.nan, math.inf])
def test_a_decoding_with_a_probability_that_is_no_number_is_not_valid(number: float) -> None:
    assert decoding().is_valid
    assert decoding(mean_log_probability=-math.inf).is_valid
    assert not decoding(mean_log_probability=number).is_valid
    assert not decoding(no_speech_probability=number).is_valid


def test_a_decoding_that_looks_wrong_is_not_sound() -> None:
    doubtful = {
        "as many tokens as the budget": decoding(40),
        "repetitive": decoding(compression=2.3),
        "improbable": decoding(mean_log_probability=-1.1),
        "stops after a heading": decoding(3, seconds=14.5),
        "nothing at all, from what may be speech": decoding(0, mean_log_probability=-math.inf),
        "said twice": decoding(text="Chapter 16. Chapter 16"),
        "said twice and begun again": decoding(text="replied he replied he replied"),
        "many words twice": decoding(text=f"So {MANY}, {MANY}, said the king."),
        "several words three times": decoding(text="Come in, he said, he said, he said."),
        "a word four times": decoding(text="It is very, very, very, very cold."),
    }
    assert [what for what, each in doubtful.items() if each.is_sound] == []


@for_each(
    "text",
    [
        "No.",
        "No, no.",
        "Come on, come in.",
        "It is very, very, very cold.",
        "He said, he said that.",
    ],
)
def test_repetitions_that_people_say_are_sound(text: str) -> None:
    assert decoding(text=text).is_sound


@for_each("text", ["No, no, no, no, I do not.", "Wait. No. Wait. No.", "And he said, he said, he said it."])
def test_many_repetitions_that_people_say_may_be_shown_but_are_tried_again_for_the_final(text: str) -> None:
    final = decoding(text=text)
    assert not final.is_sound
    assert replace(final, window=replace(final.window, is_final=False)).is_sound


@pytest.mark.parametrize("text", ["Walking in the park, walking in the park.", f"So {MANY}, {MANY}, said the king."])
def test_text_that_nobody_says_twice_is_not_shown(text: str) -> None:
    partial = decoding(text=text)
    assert not replace(partial, window=replace(partial.window, is_final=False)).is_sound


@pytest.mark.parametrize("n_prefix", [0, 3])
def test_a_window_that_adds_nothing_to_the_words_before_it_is_tried_without_them(n_prefix: int) -> None:
    """Both networks may be sure that nobody spoke. With those words in their context they are no judges of it."""
    preceding = PrecedingUtterance(np.zeros(16_000, np.float32), "What was said before.", 900, 1_400)
    silent = decoding(n_prefix, n_prefix=n_prefix, speech_ms=0, no_speech_probability=0.9)
    assert silent.is_sound or n_prefix
    assert not replace(silent, window=replace(silent.window, preceding=preceding)).is_sound
    more = decoding(n_prefix + 5, n_prefix=n_prefix)
    assert replace(more, window=replace(more.window, preceding=preceding)).is_sound


@for_each("is_final", [False, True])
@for_each("is_preceding", [False, True])
def test_a_text_that_begins_with_many_words_that_were_said_just_before_is_tried_without_them(
    is_preceding: bool, is_final: bool
) -> None:
    said = f"In the summer {MANY},"
    preceding = PrecedingUtterance(np.zeros(16_000, np.float32), said, 900, 1_400) if is_preceding else None
    where = replace(window(4.0), is_final=is_final, preceding=preceding, context="" if is_preceding else said)
    assert not replace(decoding(text=f"{MANY.capitalize()}. You have perhaps"), window=where).is_sound
    assert replace(decoding(text="Walked in the park. You have perhaps"), window=where).is_sound


@for_each(
    "text",
    [
        "I don't think it's, I don't think it's true.",
        "I don't know, I don't know.",
        "The code is 4 7 1 9 0 3, 4 7 1 9 0 3.",
        "विद्यार्थियों विद्यार्थियों",
    ],
)
def test_a_partial_with_what_people_do_say_twice_is_shown(text: str) -> None:
    partial = decoding(text=text)
    assert replace(partial, window=replace(partial.window, is_final=False)).is_sound


@pytest.mark.parametrize("is_final", [False, True])
def test_a_text_without_spaces_that_repeats_itself_is_not_sound(is_final: bool) -> None:
    twice = decoding(text=2 * "今日はいい天気です。", tokens=2 * [1, 2, 3, 4, 5])
    assert not replace(twice, window=replace(twice.window, is_final=is_final)).is_sound


def test_words_copied_from_before_are_worse_than_improbable_ones() -> None:
    copied = decoding(text=f"{MANY}. You have", mean_log_probability=-0.1)
    copied = replace(copied, window=replace(copied.window, context=f"In the summer {MANY}"))
    other = decoding(text="You have perhaps seen", mean_log_probability=-1.2)
    assert not copied.is_sound
    assert not other.is_sound
    assert other.quality() > copied.quality()


@for_each("text", ["Oh, oh, oh.", "Uh-oh! Uh-oh! Uh-oh!", "Hey hey hey hey."])
def test_cries_are_no_words(text: str) -> None:
    assert decoding(text=text, speech_probability=0.8).is_silent


def test_many_repetitions_that_people_say_are_kept() -> None:
    said = {
        "clearly": decoding(text="No, no, no!"),
        "twice": decoding(text="No, no.", speech_probability=0.8),
        "not over and over": decoding(text="No, no, never.", speech_probability=0.8),
        "as promised": decoding(text="No, no, no!", speech_probability=0.8, n_prefix=2),
    }
    assert [what for what, each in said.items() if each.is_silent] == []


def test_text_of_noise_is_dropped_without_a_second_try() -> None:
    noise = {
        "improbable text": decoding(mean_log_probability=-1.1, no_speech_probability=0.7),
        "runaway text": decoding(40, mean_log_probability=-0.1, no_speech_probability=0.7),
        "no text": decoding(0, mean_log_probability=-math.inf, no_speech_probability=0.7),
    }
    for what, each in noise.items():
        assert (each.is_sound, each.text_tokens, each.confidence) == (True, [], 0.7), what


def test_text_is_invented_where_two_signs_agree() -> None:
    invented = {
        "no speech, and not sure of the text": decoding(speech_ms=140, mean_log_probability=-0.8),
        "no speech, and Whisper finds none either": decoding(speech_ms=140, no_speech_probability=0.7),
        "no speech, and no end": decoding(40, speech_ms=140, mean_log_probability=-0.1),
        "no speech, and a phrase known to be invented": decoding(speech_ms=0, text="Thank you."),
        "little speech, and Whisper finds none": decoding(speech_ms=780, no_speech_probability=0.7),
        "little speech in much noise, no end": decoding(40, speech_ms=780, mean_log_probability=-0.1),
        "little speech in much noise, not sure": decoding(speech_ms=780, mean_log_probability=-0.8),
        "little speech and that unclear, and a phrase known to be invented": decoding(
            seconds=1.5, speech_ms=640, speech_probability=0.9, text=" Thank you!"
        ),
        "no words": decoding(text=" . . .", mean_log_probability=-1.1),
    }
    assert [what for what, each in invented.items() if not each.is_sound or each.text_tokens] == []


def test_text_is_kept_where_only_one_sign_speaks_against_it() -> None:
    said = {
        "no speech, but a probable text": decoding(speech_ms=40),
        "a short word": decoding(seconds=0.8, speech_ms=160, mean_log_probability=-0.8),
        "speech in much noise, not sure": decoding(speech_ms=820, mean_log_probability=-0.8),
        "a short word in much noise, but sure of it": decoding(speech_ms=160),
        "unclear, but no known phrase": decoding(
            seconds=1.5, speech_ms=480, speech_probability=0.9, text="Thank you all"
        ),
        "a known phrase, but clear": decoding(seconds=1.5, speech_ms=500, text="Thank you."),
        "a known phrase, and much speech": decoding(speech_ms=820, speech_probability=0.9, text="Thank you."),
        "words that were promised": decoding(speech_ms=0, mean_log_probability=-0.9, n_prefix=2),
    }
    assert [what for what, each in said.items() if each.text_tokens != each.tokens] == []


@pytest.mark.parametrize(
    "unclear",
    [
        pytest.param(decoding(seconds=1.5, speech_ms=350, mean_log_probability=-1.1), id="improbable"),
        pytest.param(decoding(20, seconds=1.5, speech_ms=350), id="without an end"),
    ],
)
def test_a_short_word_that_was_not_recognized_is_decoded_once_more(unclear: Decoding) -> None:
    assert not unclear.is_sound


UNCLEAR: Any = {
    "seconds": 1.6,
    "speech_ms": 640,
    "speech_probability": 0.89,
    "mean_log_probability": -0.64,
    "no_speech_probability": 0.17,
}
"""The figures of a sneeze."""


def unclear(text: str, language_probability: float, **others: Any) -> Decoding:
    return decoding(text=text, language_probability=language_probability, **{**UNCLEAR, **others})


def test_doubtful_speech_without_other_evidence_is_none() -> None:
    sounds = {
        "a sneeze in no language": unclear("レイス!", 0.22),
        "a sneeze that may be Japanese": unclear("レイス!", 0.66),
        "a bark, and no speech": unclear("Blah!", 0.31, speech_ms=0),
        "a bark with probable words": unclear(
            "Don't, don't!", 0.45, speech_ms=128, speech_probability=0.58, mean_log_probability=-0.49
        ),
        "a soft bark with a probable word of a clear language": unclear(
            "来", 0.91, speech_ms=0, speech_probability=0.02, no_speech_probability=0.19, mean_log_probability=-0.14
        ),
        "both networks are unsure": unclear("Huh?", 0.9, no_speech_probability=0.5),
        "scattered in a long window": unclear("No, no.", 0.4, seconds=4.9, speech_ms=900),
    }
    assert [what for what, each in sounds.items() if each.text_tokens] == []


def test_speech_is_kept_where_one_network_is_sure() -> None:
    said = {
        "unclear, but in a language": unclear("Never mind.", 0.89),
        "unclear, but words": unclear("What time is it?", 0.62, mean_log_probability=-0.18, no_speech_probability=0.3),
        "unclear, but speech": unclear("Ask not.", 0.64, mean_log_probability=-0.76, no_speech_probability=0.08),
        "clear": unclear("Annule.", 0.2, speech_probability=0.98),
        "much speech": decoding(language_probability=0.2, speech_probability=0.9),
        "words that were promised": unclear("Race", 0.2, n_prefix=2),
    }
    assert [what for what, each in said.items() if each.text_tokens != each.tokens] == []


def test_speech_of_the_preceding_utterance_is_no_evidence() -> None:
    sneeze = unclear("レイス!", 0.3, no_speech_probability=0.02)
    assert sneeze.text_tokens
    after_speech = replace(sneeze.window, preceding=PrecedingUtterance(np.zeros(16_000, np.float32), "Well", 900, 1000))
    assert not replace(sneeze, window=after_speech).text_tokens


@for_each(
    "text",
    [
        "[Musik]",
        "(laughs)",
        "*coughs*",
        "♪",
        "♪ ♪",
        "(音楽)",
        "（拍手）",
        "【音楽】",
        "[موسيقى]",
        "[BLANK_AUDIO]",
        "(music) [applause].",
    ],
)
def test_a_text_that_describes_sounds_has_no_words(text: str) -> None:
    assert decoding(text=text).text_tokens == []


@for_each("text", ["Thank you. (applause)", "He is (probably) right.", "5 * 4", "2 < 3 > 1"])
def test_a_text_with_words_beside_such_descriptions_is_kept(text: str) -> None:
    assert decoding(text=text).text_tokens == list(range(12))


PROMPTED: Any = {"options": TranscriptionOptions(hotwords=("Kubernetes", "Zaphod"))}


def test_scattered_and_unclear_sounds_that_are_not_understood_twice_are_nothing() -> None:
    crying = decoding(seconds=4, speech_ms=960, speech_probability=0.76, mean_log_probability=-1.8, text="What's that?")
    assert crying.as_last_try().text_tokens == []
    assert replace(crying, speech_ms=1100).as_last_try().text_tokens == crying.tokens


def test_doubtful_speech_may_be_an_echo_of_prompt_and_hotwords() -> None:
    assert decoding(**PROMPTED, **UNCLEAR).may_echo_prompt
    assert decoding(options=TranscriptionOptions(prompt="Thank you for watching."), **UNCLEAR).may_echo_prompt
    assert not decoding(**UNCLEAR).may_echo_prompt
    assert not decoding(**PROMPTED).may_echo_prompt
    assert not decoding(**PROMPTED, n_prefix=2, **UNCLEAR).may_echo_prompt


def test_hotwords_are_said_only_if_the_decoder_finds_words_without_them_too() -> None:
    told = decoding(text="Zaphod!", **PROMPTED, **UNCLEAR)
    assert better(told, unclear("Zap!", 0.2)).text_tokens == []
    assert better(told, unclear("Ace!", 0.9, mean_log_probability=-1.2)).text_tokens == []
    assert better(told, unclear("Say fort.", 0.9, mean_log_probability=-0.8)) is told


@for_each(
    ("first", "second", "kept"),
    [
        ({"mean_log_probability": math.nan}, {}, "second"),
        ({"no_speech_probability": math.nan}, {}, "second"),
        ({"no_speech_probability": math.inf, "mean_log_probability": -0.1}, {}, "second"),
        # An improbable text is worth more than one without numbers, even if that seems to be silence.
        ({"mean_log_probability": math.nan, "speech_ms": 0}, {"mean_log_probability": -1.5}, "second"),
        ({"mean_log_probability": -1.5}, {"no_speech_probability": math.nan, "mean_log_probability": -0.1}, "first"),
        ({}, {"mean_log_probability": math.nan}, "first"),
        ({"mean_log_probability": -math.inf}, {"mean_log_probability": math.nan}, "first"),
    ],
)
def test_of_two_decodings_one_without_numbers_is_not_kept(
    first: dict[str, float], second: dict[str, float], kept: str
) -> None:
    assert better(decoding(text="first", **first), decoding(text="second", **second)).text == kept


def test_little_and_unclear_speech_that_is_not_recognized_at_the_second_try_either_is_dropped() -> None:
    def improbable(speech_ms: int = 780, speech_probability: float = 0.9, n_prefix: int = 0) -> Decoding:
        return decoding(
            seconds=1.5,
            speech_ms=speech_ms,
            speech_probability=speech_probability,
            mean_log_probability=-1.1,
            n_prefix=n_prefix,
        )

    assert improbable().as_last_try().text_tokens == []
    for said in (improbable(speech_ms=820), improbable(speech_probability=0.96), improbable(n_prefix=2)):
        assert said.as_last_try().text_tokens == said.tokens
    probable = decoding(seconds=1.5, speech_ms=780, speech_probability=0.9, mean_log_probability=-0.9)
    assert probable.as_last_try().text_tokens == probable.tokens


def test_probable_text_is_kept_however_much_the_model_doubts_that_anybody_spoke() -> None:
    assert decoding(no_speech_probability=0.9).text_tokens == list(range(12))


def test_a_short_text_of_much_clear_speech_has_skipped_some() -> None:
    assert decoding(4, seconds=18.0, speech_ms=14_000).skips_speech
    others = {
        "a text of usual length": decoding(40, seconds=18.0, speech_ms=14_000),
        "little speech in a long window": decoding(4, seconds=18.0, speech_ms=3_000),
        "sounds like speech": decoding(4, seconds=18.0, speech_ms=4_000, speech_probability=0.8),
        "speech with words that readers have": decoding(4, seconds=18.0, speech_ms=14_000, n_prefix=2),
    }
    assert [what for what, each in others.items() if each.skips_speech] == []


def test_the_better_of_two_decodings_is_the_sound_one_then_the_one_with_an_end_then_the_more_probable() -> None:
    runaway = decoding(40, mean_log_probability=-0.1)
    improbable = decoding(mean_log_probability=-1.5)
    sound = decoding(mean_log_probability=-0.9)
    assert sorted([sound, runaway, improbable], key=Decoding.quality) == [runaway, improbable, sound]
    assert max(improbable, decoding(mean_log_probability=-1.2), key=Decoding.quality) is not improbable


@for_each(
    ("tokens", "head"),
    [
        ([5, 6, 1, 2, 1, 2, 1, 2, 1], [5, 6, 1, 2]),
        ([9, 9, 9, 9, 9], [9]),
        ([5, 6, 1, 2, 1, 2], [5, 6, 1, 2, 1, 2]),
        ([1, 2, 3, 4], [1, 2, 3, 4]),
        ([], []),
    ],
)
def test_a_runaway_text_is_cut_before_its_third_repetition_makes_it_a_loop(tokens: list[int], head: list[int]) -> None:
    """Twice is not yet a loop. Text that speech may have is kept."""
    assert decoding(tokens=tokens, compression=3.0).as_last_try().tokens == head


def test_a_sound_text_keeps_its_repetitions() -> None:
    assert decoding(tokens=[9] * 5).as_last_try().tokens == [9] * 5


def test_the_token_budget_grows_with_the_window_and_leaves_room_for_other_scripts() -> None:
    assert token_budget(window(0), "en", 2) == 8
    assert token_budget(window(4), "en", 2) == 40
    assert token_budget(window(4), "th", 4) == 120
    assert token_budget(window(30), "en", 2) == MAX_TOKENS


@for_each("language", ["en", "te"])
@for_each("n_words_before", [0, MAX_PRECEDING_TOKENS])
def test_the_longest_text_has_its_positions_behind_the_longest_prompt(language: str, n_words_before: int) -> None:
    """Before the text: <|startofprev|>, hotwords, prompt, four tokens of the task, and words with three times."""
    n_before = 1 + (MAX_PREVIOUS_TOKENS - n_words_before) + 4 + n_words_before + 3
    assert n_before + token_budget(window(30), language, n_before) == N_POSITIONS


def test_a_text_is_endless_where_the_positions_end() -> None:
    budget = token_budget(window(30), "en", 230)
    endless = replace(decoding(seconds=30), tokens=list(range(budget)), token_budget=budget)
    assert endless.is_runaway
    assert not replace(endless, tokens=endless.tokens[1:]).is_runaway


def test_repetition_compresses_and_an_empty_text_does_not() -> None:
    assert compression_ratio("I'm not going to do it. " * 8) > 2.2
    assert compression_ratio("He began a confused complaint against the wizard.") < 1.2
    assert compression_ratio("") == 0


def test_words_that_readers_were_promised_are_kept_at_any_probability_of_silence() -> None:
    unsure = {"mean_log_probability": -1.5, "no_speech_probability": 0.9}
    assert decoding(**unsure).text_tokens == []
    assert decoding(n_prefix=3, **unsure).text_tokens == list(range(12))


def test_a_loop_is_cut_behind_what_was_promised() -> None:
    looping = [1, 2, 3, *[8, 9] * 12]
    assert decoding(tokens=looping, compression=3.0).as_last_try().tokens == [1, 2, 3, 8, 9]
    assert decoding(tokens=looping, compression=3.0, n_prefix=9).as_last_try().tokens == looping[:9]

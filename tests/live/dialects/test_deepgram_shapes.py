"""The words of Deepgram's results have the text and the times, and its refusals have the fields that clients read."""

import json

from livecaption.errors import (
    EngineError,
    InvalidAudio,
    InvalidMessage,
    LimitReached,
    LivecaptionError,
    TooSlow,
    Unauthorized,
    Unavailable,
)
from livecaption.events import CaptionWord
from livecaption.live.dialects.deepgram_shapes import Model, Text, code_of, refusal, words_of
from tests.support.cases import for_each


def timed(*words: str) -> list[CaptionWord]:
    return [CaptionWord(word, 100 * number, 100 * number + 80, 0.9) for number, word in enumerate(words)]


def spelled(text: str, *, formatted: bool) -> tuple[str, list[str]]:
    """Return the transcript, and the words as the client gets them."""
    shape = Text(text, words_of(text, (), 0, 1000, 0.5), 0.5, formatted).alternative()
    return shape["transcript"], [word["word"] for word in shape["words"]]


def test_words_have_the_times_of_the_engine_and_the_letters_of_the_text() -> None:
    words = words_of("Doors open.", timed("doors", "open"), 0, 1000, 0.5)
    assert words == [CaptionWord("Doors", 0, 80, 0.9), CaptionWord("open.", 100, 180, 0.9)]


def test_words_of_a_script_without_spaces_stay_those_of_the_engine() -> None:
    words = timed("你好", "，世界", "。")
    assert words_of("你好，世界。", words, 0, 1000, 0.5) == words


def test_text_with_other_words_than_the_engines_last_ones_has_times_by_its_letters() -> None:
    words = words_of("a bcd", timed("a", "b", "c"), 1000, 2000, 0.4)
    assert words == [CaptionWord("a", 1000, 1250, 0.4), CaptionWord("bcd", 1250, 2000, 0.4)]


@for_each("text", ["", " "])
def test_text_without_words_has_none(text: str) -> None:
    assert words_of(text, (), 0, 1000, 0.5) == []


@for_each(
    ("text", "plain"),
    [
        ("Doors open at nine.", "doors open at nine"),
        ("He said: “Don't!”", "he said don't"),
        ("¿Qué? Twenty-one…", "qué twenty-one"),
        ("50% of $5 #1 & C++", "50% of $5 #1 & c++"),
        ("one - two", "one two"),
        ("नमस्ते दुनिया।", "नमस्ते दुनिया"),
    ],
)
def test_without_punctuation_text_is_lower_case_and_its_words_are_the_same(text: str, plain: str) -> None:
    assert spelled(text, formatted=False) == (plain, plain.split())
    assert spelled(text, formatted=True) == (text, plain.split())


def test_words_have_their_punctuated_form_only_if_it_was_asked_for() -> None:
    words = timed("Nine.")
    plain = {"word": "nine", "start": 0.0, "end": 0.08, "confidence": 0.9}
    assert Text("Nine.", words, 0.8).alternative()["words"] == [plain]
    assert Text("Nine.", words, 0.8, True).alternative()["words"] == [plain | {"punctuated_word": "Nine."}]


def test_a_detected_language_is_named_for_the_text_and_for_each_word() -> None:
    shape = Text("Neun.", timed("Neun."), 0.8, language="de").alternative()
    assert (shape["languages"], shape["words"][0]["language"]) == (["de"], "de")


def test_an_empty_text_has_every_field() -> None:
    assert Text().alternative() == {"transcript": "", "confidence": 0.0, "words": []}


def test_a_model_has_one_id_always() -> None:
    assert Model("base").uuid == Model("base").uuid != Model("tiny").uuid


@for_each(
    ("error", "status", "code"),
    [
        (InvalidMessage("wrong", code="unsupported_encoding"), 400, "INVALID_QUERY_PARAMETER"),
        (Unauthorized("no"), 401, "INVALID_AUTH"),
        (LimitReached("full"), 429, "TOO_MANY_REQUESTS"),
        (Unavailable("later", retry_after_s=2.4), 503, "SERVICE_UNAVAILABLE"),
        (LivecaptionError("?", code="upgrade_required"), 500, "UPGRADE_REQUIRED"),
    ],
)
def test_a_refusal_has_the_id_of_the_request_in_a_header_and_in_the_body(
    error: LivecaptionError, status: int, code: str
) -> None:
    answer = refusal(error, "r1")
    body = json.loads(answer.body)
    assert answer.status == status
    assert (body["err_code"], body["err_msg"]) == (code, error.message)
    assert body["request_id"] == answer.headers["dg-request-id"] == "r1"
    assert answer.headers["dg-error"] == error.message
    assert answer.headers.get("Retry-After") == ("2" if status == 503 else None)


def test_the_header_of_a_refusal_is_one_line_of_ascii() -> None:
    assert refusal(InvalidMessage("Köln\r\nSet-Cookie: x"), "r1").headers["dg-error"] == "K?ln??Set-Cookie: x"


@for_each(
    ("error", "code"),
    [
        (InvalidAudio("not a container", code="invalid_container"), "DATA-0000"),
        (TooSlow("nothing", code="idle_timeout"), "NET-0001"),
        (EngineError("broken"), "NET-0000"),
        (InvalidMessage("wrong"), "invalid_message"),
    ],
)
def test_fatal_errors_have_deepgrams_codes(error: LivecaptionError, code: str) -> None:
    assert code_of(error) == code

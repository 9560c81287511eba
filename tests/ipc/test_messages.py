"""Messages cross the pipe unchanged, and all other bytes are refused. Row 51 of the fault matrix."""

import json
import struct
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.audio.formats import AudioFormat, PcmDecoder
from livecaption.ipc.messages import (
    MAX_MESSAGE_BYTES,
    BatchFailed,
    DumpStacks,
    GarbledMessage,
    Heartbeat,
    Loaded,
    LoadFailed,
    Message,
    ModelFound,
    Stop,
    Transcribe,
    Transcribed,
    decode,
    encode,
)
from livecaption.recognition import (
    MAX_EMBEDDING,
    MAX_VOICES,
    Analysis,
    BatchTime,
    DeviceMemory,
    EngineCosts,
    Hypothesis,
    ModelDescription,
    PrecedingUtterance,
    TranscriptionOptions,
    TranslationTask,
    Voice,
    Window,
    Word,
)
from livecaption.scheduling.config import SchedulerConfig
from tests.support.any_text import any_text
from tests.support.cases import for_each

HYPOTHESIS = Hypothesis("Grüße, 世界", "de", 0.9, 0.01, (Word("Grüße,", 0, 300, 0.8), Word("世界", 300, 600, 1.0)))
COSTS = EngineCosts((BatchTime(1, 0.1), BatchTime(4, 0.3)), (BatchTime(1, 0.08),), max_batch=16)
WITHOUT_AUDIO: list[Message] = [
    Stop(),
    DumpStacks(),
    Heartbeat(),
    Heartbeat(DeviceMemory(used_bytes=3, total_bytes=9)),
    ModelFound(),
    Loaded(ModelDescription("tiny.en", "cpu", "int8", ("en", "de"), translates=False, revision="0d3d19a3"), COSTS),
    Loaded(ModelDescription("base", "cpu", "int8", ("en", "de"), translates=True, tracks=("en",)), COSTS, n_streams=2),
    Loaded(ModelDescription("base", "cpu", "int8", ("en",), translates=True, speakers=True), COSTS),
    LoadFailed("no such model"),
    LoadFailed("no memory", retry=True),
    Transcribed(7, (HYPOTHESIS, Hypothesis("", "en", 0.0, 1.0, suspicious=True, speech_end_ms=740)), 0.25),
    Transcribed(8, (HYPOTHESIS, None), 0.25, fits=1),
    BatchFailed(9, "the engine failed"),
]


@for_each("message", WITHOUT_AUDIO)
def test_a_message_comes_out_as_it_went_in(message: Message) -> None:
    assert decode(encode(message)) == message


ANALYSIS = Analysis(
    np.linspace(0, 1, 5, dtype=np.float32),
    np.linspace(-1, 1, 256, dtype=np.float32).reshape(2, 128),
    0.25,
    np.linspace(-10, 2, 21, dtype=np.float32).reshape(3, 7),
    first_chunk=9,
)


def check_equal(sent: Any, come: Any) -> None:
    """Compare all fields, at every depth. Audio crosses the pipe as 16 bits."""
    assert type(sent) is type(come)
    if isinstance(sent, np.ndarray):
        assert sent.dtype == come.dtype
        np.testing.assert_allclose(come, sent, atol=1 / 32768)
    elif is_dataclass(sent):
        for field in fields(sent):
            check_equal(getattr(sent, field.name), getattr(come, field.name))
    elif isinstance(sent, tuple):
        for pair in zip(sent, come, strict=True):
            check_equal(*pair)
    else:
        assert sent == come


def test_windows_cross_the_pipe_with_all_their_fields() -> None:
    options = TranscriptionOptions(
        "de", ("de", "fr"), "translate", words=True, prompt="Über", hotwords=("Zoë", "K2"), speakers=True
    )
    loud, none, ramp = np.ones(5, np.float32), np.zeros(0, np.float32), np.linspace(-1, 1, 999, dtype=np.float32)
    nothing = Analysis(none, ANALYSIS.state, 0.5, np.zeros((0, 7), np.float32))
    preceding = PrecedingUtterance(ramp[:7], "Über allen Gipfeln", 1_200, 1_700, n_gap=3, analysis=ANALYSIS)
    task = TranslationTask("en", "Über allen Gipfeln")
    each_field = Window(
        ramp,
        options,
        is_final=False,
        prefix="Über allen",
        context="Ruh",
        effort="reduced",
        preceding=preceding,
        likely_language="de",
        translation=task,
        analysis=ANALYSIS,
    )
    usual = Window(loud)
    for field in fields(Window):
        assert getattr(each_field, field.name) is not getattr(usual, field.name), "no default, so nothing is left out"
    windows = (
        each_field,
        Window(none),
        usual,
        Window(loud, preceding=replace(preceding, analysis=nothing), analysis=ANALYSIS),
        Window(loud, preceding=replace(preceding, analysis=None), analysis=nothing),
    )
    check_equal(Transcribe(3, 12.5, windows), decode(encode(Transcribe(3, 12.5, windows))))


def test_the_size_of_a_window_is_that_of_its_numbers_in_a_message() -> None:
    before = PrecedingUtterance(np.zeros(5, np.float32), "", 0, 0, analysis=ANALYSIS)
    window = Window(np.zeros(7, np.float32), preceding=before, analysis=ANALYSIS)
    message = encode(Transcribe(1, 1.0, (window,)))
    (n_header,) = struct.unpack_from(">I", message)
    assert window.n_bytes == len(message) - 4 - n_header


def test_hypotheses_keep_their_analyses() -> None:
    hypotheses = (HYPOTHESIS, replace(HYPOTHESIS, analysis=ANALYSIS), HYPOTHESIS)
    message = decode(encode(Transcribed(7, hypotheses, 0.25)))
    assert message == Transcribed(7, hypotheses, 0.25)
    assert isinstance(message, Transcribed)
    assert [hypothesis.analysis is None for hypothesis in message.hypotheses] == [True, False, True]
    check_equal(ANALYSIS, message.hypotheses[1].analysis)


def test_hypotheses_keep_their_voices() -> None:
    unit = np.eye(1024, dtype=np.float32)
    voices = (Voice(0, 1_200, unit[3]), Voice(1_300, 2_400, unit[700]))
    spoken = replace(HYPOTHESIS, voices=voices, analysis=ANALYSIS)
    message = decode(encode(Transcribed(7, (spoken, None, HYPOTHESIS, replace(spoken, voices=voices[:1])), 0.25)))
    assert isinstance(message, Transcribed)
    for sent, come in zip(
        (spoken, None, HYPOTHESIS, replace(spoken, voices=voices[:1])), message.hypotheses, strict=True
    ):
        check_equal(sent, come)
    assert message.hypotheses[0].voices[0].embedding.base is None, "keeps the message alive"


def test_samples_beyond_full_scale_are_clipped_and_do_not_turn_over() -> None:
    samples = np.array([1.001, -1.5, 1.0], np.float32)
    message = decode(encode(Transcribe(1, 1.0, (Window(samples),))))
    assert isinstance(message, Transcribe)
    assert message.windows[0].samples.tolist() == [32767 / 32768, -1.0, 32767 / 32768]


def test_audio_of_16_bits_comes_out_bit_for_bit() -> None:
    all_values = np.arange(-32768, 32768, dtype=np.int16)
    samples = PcmDecoder(AudioFormat()).push(all_values.astype("<i2").tobytes())
    message = decode(encode(Transcribe(1, 1.0, (Window(samples),))))
    assert isinstance(message, Transcribe)
    np.testing.assert_array_equal(message.windows[0].samples, samples)


def raw(header: Any, audio: bytes = b"") -> bytes:
    fields = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack(">I", len(fields)) + fields + audio


FIELDS = {
    "kind": "Transcribed",
    "batch": 1,
    "compute_s": 0.1,
    "hypotheses": [],
    "analysis": [],
    "voices": [],
    "fits": None,
}
HYPOTHESIS_FIELDS = {**asdict(HYPOTHESIS), "words": [], "voices": []}
WINDOW = {
    "n_samples": 2,
    "is_final": True,
    "effort": "full",
    "prefix": "",
    "context": "",
    "options": asdict(TranscriptionOptions()),
    "preceding": None,
    "likely_language": None,
    "translation": None,
    "analysis": None,
}
PRECEDING = {"n_samples": 1, "text": "", "speech_end_ms": 0, "next_start_ms": 0, "n_gap": 0, "analysis": None}
SIZES = {"first_chunk": 4, "peak": 0.5, "n_chunks": 1, "n_frames": 2, "n_bands": 3}
ANSWER = {**FIELDS, "hypotheses": [HYPOTHESIS_FIELDS], "analysis": [SIZES], "voices": [[]]}
VOICE = {"start_ms": 0, "end_ms": 900, "n_numbers": 2}
LATER = {"start_ms": 900, "end_ms": 1_800, "n_numbers": 2}
HEARD = {**ANSWER, "analysis": [None], "voices": [[VOICE, LATER]]}
EMBEDDINGS = struct.pack("4f", 0.6, -0.8, 1.0, 0.0)
TRANSCRIBE = {"kind": "Transcribe", "batch": 1, "deadline_s": 1.0, "windows": [WINDOW]}


def test_these_messages_are_in_order_but_for_what_the_next_test_breaks() -> None:
    assert decode(raw({**ANSWER, "analysis": [None]}))
    assert decode(raw(HEARD, EMBEDDINGS))
    assert decode(raw(TRANSCRIBE, bytes(4)))
    assert decode(raw({**TRANSCRIBE, "windows": [{**WINDOW, "analysis": SIZES}]}, bytes(4 + 4 * 263)))
    assert decode(raw({**TRANSCRIBE, "windows": [{**WINDOW, "preceding": PRECEDING}]}, bytes(6)))
    assert decode(raw(ANSWER, bytes(4 * 263)))


@for_each(
    "data",
    [
        b"",
        b"\0\0",
        b"\xff\xff\xff\xff{}",
        raw([]),
        raw({}),
        raw({"kind": "Rubbish"}),
        raw({"kind": ["Stop"]}),
        raw({"kind": "Stop", "more": 1}),
        raw({"kind": "BatchFailed", "batch": 1}),
        raw({"kind": "BatchFailed", "batch": True, "message": ""}),
        raw({**FIELDS, "batch": "1"}),
        raw({**FIELDS, "batch": 1.0}),
        raw({"kind": "Stop"}, b"0"),
        raw({**FIELDS, "compute_s": float("nan")}),
        raw({**FIELDS, "compute_s": -0.1}),
        raw({**FIELDS, "fits": 0}),
        raw({**FIELDS, "fits": -2}),
        raw(json.dumps(FIELDS).replace("0.1", "1e999").encode()),
        raw(json.dumps(FIELDS).replace("0.1", "1" * 400).encode()),
        raw(json.dumps(FIELDS).replace("0.1", "1" * 5000).encode()),
        raw({**FIELDS, "hypotheses": {}}),
        raw({**FIELDS, "hypotheses": [{**HYPOTHESIS_FIELDS, "text": 5}]}),
        raw({**FIELDS, "hypotheses": [{**HYPOTHESIS_FIELDS, "text": "\ud800"}]}),
        raw({**FIELDS, "hypotheses": [{**HYPOTHESIS_FIELDS, "words": [{"text": "a"}]}]}),
        raw(b"[" * 100_000),
        raw(TRANSCRIBE, bytes(3)),
        raw(TRANSCRIBE, bytes(6)),
        raw({**TRANSCRIBE, "windows": [{**WINDOW, "n_samples": 4}, {**WINDOW, "n_samples": -2}]}, bytes(4)),
        raw({**TRANSCRIBE, "windows": [{**WINDOW, "preceding": PRECEDING}]}, bytes(4)),
        raw({**TRANSCRIBE, "windows": [{**WINDOW, "preceding": {**PRECEDING, "text": None}}]}, bytes(6)),
        raw({**TRANSCRIBE, "windows": [{**WINDOW, "analysis": SIZES}]}, bytes(4 + 4 * 264)),
        raw({**TRANSCRIBE, "windows": [{**WINDOW, "preceding": {**PRECEDING, "n_gap": 2}}]}, bytes(6)),
        raw({**TRANSCRIBE, "windows": [{**WINDOW, "preceding": {**PRECEDING, "n_gap": -1}}]}, bytes(6)),
        raw({**FIELDS, "analysis": [None]}),
        raw(ANSWER, bytes(4 * 262)),
        raw(ANSWER, bytes(4 * 264)),
        raw(ANSWER, bytes(4 * 262) + struct.pack("f", float("nan"))),
        raw({**ANSWER, "analysis": [{**SIZES, "first_chunk": -1}]}, bytes(4 * 263)),
        raw({**ANSWER, "analysis": [{**SIZES, "n_frames": -2, "n_bands": -3}]}, bytes(4 * 263)),
        raw({**ANSWER, "analysis": [{**SIZES, "n_chunks": -1, "n_frames": 8, "n_bands": 1}]}, bytes(4 * 263)),
        raw({**ANSWER, "analysis": [{**SIZES, "n_chunks": 7, "n_frames": 0, "n_bands": -1}]}, bytes(4 * 263)),
        raw({**ANSWER, "analysis": [None], "voices": []}),
        raw({**ANSWER, "analysis": [None], "voices": [[], []]}),
        raw(HEARD, EMBEDDINGS[4:]),
        raw(HEARD, bytes(4) + EMBEDDINGS),
        raw({**HEARD, "hypotheses": [{**HYPOTHESIS_FIELDS, "voices": [{**VOICE, "embedding": [1.0]}]}]}, EMBEDDINGS),
        raw({**TRANSCRIBE, "windows": [{**WINDOW, "options": asdict(TranscriptionOptions(task="sing"))}]}, bytes(4)),
    ],
)
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(GarbledMessage):
        decode(data)


def check(data: bytes) -> None:
    """Check that the bytes are refused, or are a message that crosses the pipe unchanged."""
    try:
        encoded = encode(decode(data))
    except GarbledMessage:
        return
    assert encode(decode(encoded)) == encoded


@given(st.binary(max_size=200))
def test_bytes_are_a_message_or_garbled(data: bytes) -> None:
    check(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text(5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(FIELDS)), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*FIELDS, *TRANSCRIBE, "languages", "translates"]), JSON), JSON, st.binary())
def test_json_is_a_message_or_garbled(fields: dict[str, Any], kind: Any, audio: bytes) -> None:
    for name in ("Transcribe", "Transcribed", "BatchFailed", "Loaded", kind):
        check(raw({**fields, "kind": name}, audio))


@given(st.data())
def test_a_message_with_a_bit_turned_over_or_an_end_missing_is_a_message_or_garbled(data: st.DataObject) -> None:
    whole = encode(data.draw(st.sampled_from(WITHOUT_AUDIO)))
    at = data.draw(st.integers(0, 8 * len(whole) - 1))
    turned = bytearray(whole)
    turned[at // 8] ^= 1 << at % 8
    for damaged in (bytes(turned), whole[: at // 8]):
        check(damaged)


def test_the_error_has_nothing_of_what_was_said() -> None:
    """A garbled answer may contain a transcript, and errors are logged."""
    with pytest.raises(GarbledMessage) as caught:
        decode(raw({**FIELDS, "hypotheses": [{**HYPOTHESIS_FIELDS, "text": ["secret"]}]}))
    assert "secret" not in str(caught.value)


def test_the_largest_batch_is_a_message() -> None:
    """Also with texts that are longer than a client can send."""
    config = SchedulerConfig()
    analyzed = Analysis(np.zeros(937, np.float32), ANALYSIS.state, 0.5, np.zeros((2998, 80), np.float32))
    options = TranscriptionOptions(prompt="é" * 20_000, words=True)
    window = Window(np.zeros(30 * 16_000, np.float32), options, analysis=analyzed)
    n_windows = min(config.max_batch, config.max_batch_bytes // window.n_bytes)
    assert 20 < n_windows <= 64
    sent = encode(Transcribe(1, 1.0, (window,) * n_windows))
    assert n_windows * window.n_bytes < len(sent) < MAX_MESSAGE_BYTES


@for_each("seconds", [15, 28, 30])
def test_the_answer_to_the_largest_batch_is_a_message(seconds: int) -> None:
    """A worker with a larger answer would be killed. Nothing was analyzed before, and the model is a large one."""
    config = SchedulerConfig()
    window = Window(np.zeros(seconds * 16_000, np.float32))
    n_windows = min(config.max_batch, config.max_batch_bytes // window.n_bytes)
    bands = np.zeros((100 * seconds - 1, 128), np.float32)
    analysis = Analysis(np.zeros(seconds * 16_000 // 512, np.float32), ANALYSIS.state, 0.5, bands)
    embedding = np.eye(1, MAX_EMBEDDING, dtype=np.float32)[0]
    voices = tuple(Voice(1000 * i, 1000 * i + 1000, embedding) for i in range(MAX_VOICES))
    answer = encode(Transcribed(1, (replace(HYPOTHESIS, analysis=analysis, voices=voices),) * n_windows, 1.0))
    assert n_windows > 30
    assert len(answer) < MAX_MESSAGE_BYTES


@for_each("n_known", [0, 1, 500])
def test_the_size_of_a_window_covers_what_is_new_in_its_answer(n_known: int) -> None:
    speech, bands = np.zeros(312, np.float32), np.zeros((999, 128), np.float32)
    known = Analysis(speech[: n_known // 4], ANALYSIS.state, 0.5, bands[:n_known])
    window = Window(np.zeros(160_000, np.float32), analysis=known)
    assert window.n_bytes >= replace(known, speech=speech, bands=bands[n_known:]).n_bytes


def check_garbled_load(**changed: Any) -> None:
    fields = json.loads(encode(WITHOUT_AUDIO[5])[4:])
    assert decode(raw(fields)) == WITHOUT_AUDIO[5]
    with pytest.raises(GarbledMessage):
        decode(raw({**fields, **changed}))


BATCH = {"n_windows": 1, "compute_s": 0.1}


@for_each(
    "costs",
    [
        {"finals": [], "partials": [BATCH], "max_batch": 16},
        {"finals": [BATCH], "partials": [], "max_batch": 16},
        {"finals": [{**BATCH, "n_windows": 0}], "partials": [BATCH], "max_batch": 16},
        {"finals": [{**BATCH, "compute_s": -0.1}], "partials": [BATCH], "max_batch": 16},
        {"finals": [BATCH], "partials": [BATCH], "max_batch": 0},
    ],
)
def test_costs_that_no_engine_can_have_are_garbled(costs: dict[str, Any]) -> None:
    check_garbled_load(costs=costs)


@for_each("n_streams", [-5, 0, 17, 10**9])
def test_more_batches_at_once_than_any_worker_computes_are_garbled(n_streams: int) -> None:
    check_garbled_load(n_streams=n_streams)

"""Bytes -> samples at 16 kHz, and how much audio has come."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from livecaption.audio import FRAME_SAMPLES, samples_of
from livecaption.audio.formats import CONTAINER, AudioFormat
from livecaption.errors import WrongState
from livecaption.pipeline.intake import Intake
from tests.support.cases import for_each
from tests.support.properties import StageProperties
from tests.support.speech import pcm_s16le, sound


def test_audio_counts_in_whole_samples_and_the_time_of_the_stream() -> None:
    intake = Intake(AudioFormat(), begin_ms=5000)
    assert intake.received_ms == 5000
    intake.push(bytes(2 * 32 + 1))
    assert intake.received_ms == 5002


@for_each("rate_hz", [8_000, 11_025, 16_000, 44_100])
def test_a_stream_that_goes_on_begins_at_the_very_millisecond(rate_hz: int) -> None:
    for begin_ms in (0, 1, 7, 333, 60_001):
        assert Intake(AudioFormat("pcm_s16le", rate_hz), begin_ms).received_ms == begin_ms


def test_an_intake_is_untouched_until_a_whole_sample_has_come() -> None:
    intake = Intake(AudioFormat(), begin_ms=5000)
    intake.push(b"\0")
    assert intake.is_untouched
    intake.push(b"\0")
    assert not intake.is_untouched


def test_audio_that_is_sent_again_counts_once() -> None:
    intake = Intake(AudioFormat(), begin_ms=0)
    data = pcm_s16le(sound("speech 100ms"))
    samples = [intake.push(data[:1999])]  # 62.4 ms, and half a sample
    assert intake.rewind() == 62
    samples.append(intake.push(data[62 * 32 :]))
    assert intake.received_ms == 100
    expected = Intake(AudioFormat(), begin_ms=0).push(data)
    np.testing.assert_array_equal(np.concatenate(samples), expected)


def test_the_samples_of_a_container_are_counted_and_its_bytes_are_refused() -> None:
    intake = Intake(AudioFormat(CONTAINER), begin_ms=0)
    for call in (intake.rewind, lambda: intake.push(b"RIFF")):
        with pytest.raises(WrongState):
            call()
    intake.count(sound("speech 100ms"))
    assert intake.received_ms == 100


def test_the_end_gives_what_the_resampler_has_held_back_and_notes_half_a_sample() -> None:
    intake = Intake(AudioFormat(sample_rate_hz=8_000), begin_ms=0)
    samples = intake.push(pcm_s16le(sound("speech 30ms", 8_000)) + b"\1")
    assert len(samples) + len(intake.flush()) == samples_of(30) > len(samples)
    assert [(fault.code, fault.fatal) for fault in intake.take_faults()] == [("truncated_audio", False)]
    assert intake.take_faults() == []


def test_samples_that_are_not_finite_are_noted_once() -> None:
    intake = Intake(AudioFormat("pcm_f32le"), begin_ms=0)
    codes = []
    for _ in range(3):
        assert not intake.push(np.full(FRAME_SAMPLES, np.nan, "<f4").tobytes()).any()
        codes += [fault.code for fault in intake.take_faults()]
    assert codes == ["non_finite_audio"]


def test_bytes_of_another_encoding_are_noted_once() -> None:
    intake = Intake(AudioFormat(), begin_ms=0)
    for _ in range(2):
        intake.push(b"RIFF" + bytes(40) + pcm_s16le(sound("speech 1000ms")))
    [fault] = intake.take_faults()
    assert (fault.code, fault.fatal) == ("wrong_encoding", False)
    assert "a WAV file" in fault.message


def test_bytes_of_another_encoding_are_noted_after_a_reconnection_too() -> None:
    floats = sound("speech 1500ms").astype("<f4").tobytes()
    intake = Intake(AudioFormat(), begin_ms=0)
    intake.push(floats[:10_018])
    intake.push(floats[32 * intake.rewind() :])
    assert [fault.code for fault in intake.take_faults()] == ["wrong_encoding"]


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_channels_that_are_kept_apart_are_those_that_were_sent(rate_hz: int) -> None:
    left, right = sound("speech 300ms", rate_hz), sound("silence 100ms, speech 200ms", rate_hz)
    data = pcm_s16le(np.stack((left, right), axis=1))
    intake = Intake(AudioFormat("pcm_s16le", rate_hz, channels=2), 0, "separate")
    apart = np.concatenate([intake.push(data[:4001]), intake.push(data[4001:]), intake.flush()])
    for channel, sent in zip(apart.T, (left, right), strict=True):
        alone = Intake(AudioFormat("pcm_s16le", rate_hz), 0)
        np.testing.assert_array_equal(channel, np.concatenate([alone.push(pcm_s16le(sent)), alone.flush()]))
    assert intake.received_ms == 300


class TestIntakeProperties(StageProperties):
    def stream(self) -> bytes:
        return pcm_s16le(sound("silence 60ms, speech 330ms", 48_000))

    def run(self, chunks: Iterable[bytes]) -> Any:
        intake = Intake(AudioFormat("pcm_s16le", 48_000), begin_ms=0)
        samples = [intake.push(bytes(chunk)) for chunk in chunks]
        return np.concatenate([*samples, intake.flush()]).tobytes()

    def check_complete(self, stream: bytes, output: Any) -> None:
        assert abs(len(output) // 4 - len(stream) // 6) <= FRAME_SAMPLES

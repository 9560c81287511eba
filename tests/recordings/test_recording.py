"""One recording on its way through a pipeline, with the scripted engine."""

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from tempfile import TemporaryFile
from typing import BinaryIO

import pytest

from livecaption.audio.formats import CONTAINER, AudioFormat
from livecaption.config import DEFAULTS
from livecaption.errors import InvalidAudio, LimitReached, TranscriptionFailed, UploadTooLarge
from livecaption.events import Final
from livecaption.pipeline.options import StreamOptions
from livecaption.recognition import TranscriptionOptions
from livecaption.recordings import recording as recordings
from livecaption.recordings.recording import Recording
from livecaption.server.services import SERVICES
from livecaption.speech.endpointing import RECORDINGS
from tests.support.containers import wav
from tests.support.recordings import ONE_UTTERANCE, TWO_UTTERANCES
from tests.support.serving import Client

OPTIONS = StreamOptions(AudioFormat(CONTAINER), partials=False, endpointing=RECORDINGS, keep=False)
RAW = replace(OPTIONS, audio=AudioFormat("pcm_s16le", 16_000, 1))
TEXT = "One two three four five six."


async def transcribed(
    client: Client, data: bytes, options: StreamOptions, count: Callable[[int], None] = lambda _: None
) -> tuple[Recording, list[Final]]:
    services = client.app[SERVICES]
    with open_file(data) as file:
        recording = Recording(file, options, services.pool, services.decoders, DEFAULTS.live.session.audio, count)
        async with aclosing(recording.finals()) as finals:
            return recording, [final async for final in finals]


def open_file(data: bytes) -> BinaryIO:
    """Return a file with a descriptor, which a decoder process needs."""
    file = TemporaryFile(buffering=0)  # noqa: SIM115
    file.write(data)
    file.seek(0)
    return file


async def test_a_container_and_its_raw_audio_have_the_same_finals(client: Client) -> None:
    recording, finals = await transcribed(client, wav(TWO_UTTERANCES), OPTIONS)
    _, of_raw = await transcribed(client, TWO_UTTERANCES, RAW)
    assert [final.text for final in finals] == [TEXT, "One two three four five six seven."]
    assert [replace(final, latency_ms=0) for final in finals] == [replace(final, latency_ms=0) for final in of_raw]
    assert (recording.duration_ms, recording.n_channels, recording.is_damaged) == (4800, 1, False)


async def test_channels_that_are_kept_apart_are_those_of_the_container(client: Client) -> None:
    options = replace(OPTIONS, channel_mode="separate")
    stereo = wav(b"".join(ONE_UTTERANCE[n : n + 2] * 2 for n in range(0, len(ONE_UTTERANCE), 2)), n_channels=2)
    recording, finals = await transcribed(client, stereo, options)
    assert sorted((final.channel, final.text) for final in finals) == [(0, TEXT), (1, TEXT)]
    assert recording.n_channels == 2


async def test_a_part_that_cannot_be_transcribed_is_never_left_out(client: Client) -> None:
    options = replace(RAW, transcription=TranscriptionOptions(prompt="script: nan"))
    with pytest.raises(TranscriptionFailed):
        await transcribed(client, ONE_UTTERANCE, options)
    assert client.app[SERVICES].pool._sessions == {}


@pytest.mark.parametrize(("data", "options"), [(TWO_UTTERANCES, RAW), (wav(TWO_UTTERANCES), OPTIONS)])
async def test_audio_is_counted_piece_by_piece_and_a_refusal_ends_the_recording(
    client: Client, data: bytes, options: StreamOptions
) -> None:
    pieces: list[int] = []
    await transcribed(client, data, options, pieces.append)
    assert (sum(pieces), max(pieces) < 4800) == (4800, True)

    def refuse(_: int) -> None:
        pieces.append(0)
        raise LimitReached("no more")

    pieces.clear()
    with pytest.raises(LimitReached):
        await transcribed(client, data, options, refuse)
    assert pieces == [0]
    assert client.app[SERVICES].pool._sessions == {}


@pytest.mark.parametrize(("data", "options"), [(TWO_UTTERANCES, RAW), (wav(TWO_UTTERANCES), OPTIONS)])
async def test_a_recording_that_is_too_long_is_refused(
    client: Client, data: bytes, options: StreamOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "MAX_DURATION_MS", 4800)
    await transcribed(client, data, options)
    monkeypatch.setattr(recordings, "MAX_DURATION_MS", 4799)
    with pytest.raises(UploadTooLarge) as refusal:
        await transcribed(client, data, options)
    assert refusal.value.code == "recording_too_long"


async def test_a_file_that_is_no_container_is_refused(client: Client) -> None:
    with pytest.raises(InvalidAudio):
        await transcribed(client, b"no audio" * 99, OPTIONS)

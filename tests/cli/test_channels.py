"""`transcribe` and `listen` with `--channels separate`: each channel is captioned apart, and named."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from livecaption.evaluation.clips import read_manifest
from livecaption.evaluation.wer import word_error_rate
from tests.support.commands import (
    Ended,
    Peer,
    Serve,
    Terminal,
    environment,
    final,
    livecaption_command,
    tone,
    write_sound_card,
)

DATA = Path(__file__).parent.parent / "data"
SEPARATE = ("--channels", "separate")
BOTH: npt.NDArray[np.float32] = np.stack((tone(0.5), -0.5 * tone(0.5)), axis=1)


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    """Half a second of a tone in two channels, as WAV."""
    path = tmp_path / "call.wav"
    soundfile.write(path, BOTH, 16_000)
    return path


def of(channel: int, message: dict[str, Any]) -> dict[str, Any]:
    return message | {"channel": channel}


CONVERSATION = [
    of(1, final("Fine, thanks.", 1500, 3000, 1)),
    of(0, final("How are you?", 0, 2000, 0)),
    of(0, final("Good.", 3100, 4000, 2)),
]


def received(peer: Peer) -> npt.NDArray[np.float32]:
    return np.frombuffer(peer.audio[0], np.float32)


async def test_transcribe_sends_the_channels_apart_and_prints_who_said_what(serve: Serve, stereo: Path) -> None:
    peer = await serve(Peer(CONVERSATION))
    ended = await livecaption_command("transcribe", stereo, "--server", peer.url, *SEPARATE)
    printed = "Channel 1: How are you?\nChannel 2: Fine, thanks.\nChannel 1: Good.\n"
    assert ended == Ended(0, printed, "")
    assert peer.starts[0] | {"channels": 2, "channel_mode": "separate"} == peer.starts[0]
    np.testing.assert_allclose(received(peer).reshape(-1, 2), BOTH, atol=1e-4)


@pytest.mark.parametrize("wishes", [(), ("--channels", "mix")])
async def test_channels_are_mixed_unless_they_are_asked_for_apart(
    serve: Serve, stereo: Path, wishes: tuple[str, ...]
) -> None:
    peer = await serve(Peer([final("Mixed.")]))
    ended = await livecaption_command("transcribe", stereo, "--server", peer.url, *wishes)
    assert ended == Ended(0, "Mixed.\n", "")
    assert peer.starts[0]["channels"] == 1
    assert "channel_mode" not in peer.starts[0]
    np.testing.assert_allclose(received(peer), BOTH.mean(axis=1), atol=1e-4)


async def test_a_recording_with_one_channel_has_one(serve: Serve, recording: Path) -> None:
    peer = await serve(Peer([of(0, final("Alone."))]))
    ended = await livecaption_command("transcribe", recording, "--server", peer.url, *SEPARATE)
    assert ended == Ended(0, "Channel 1: Alone.\n", "")
    assert (peer.starts[0]["channels"], peer.starts[0]["channel_mode"]) == (1, "separate")


async def test_raw_audio_has_the_channels_that_it_states(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "call.raw"
    path.write_bytes((BOTH * 32767).astype("<i2").tobytes())
    peer = await serve(Peer(CONVERSATION))
    await livecaption_command("transcribe", path, "--server", peer.url, "--raw", "s16le:16000:2", *SEPARATE)
    assert peer.starts[0] | {"channels": 2, "channel_mode": "separate", "encoding": "pcm_s16le"} == peer.starts[0]
    assert peer.audio[0] == path.read_bytes()


async def test_a_pipe_may_have_several_channels(serve: Serve, stereo: Path) -> None:
    peer = await serve(Peer(CONVERSATION))
    with stereo.open("rb") as file:
        process = await asyncio.create_subprocess_shell(
            f"cat | {sys.executable} -m livecaption listen - --channels separate --server {peer.url}",
            stdin=file,
            stdout=asyncio.subprocess.PIPE,
            env=environment(),
        )
        stdout, _ = await process.communicate()
    assert stdout.decode() == "00:01 Channel 2: Fine, thanks.\n00:00 Channel 1: How are you?\n00:03 Channel 1: Good.\n"
    np.testing.assert_allclose(received(peer).reshape(-1, 2), BOTH, atol=1e-4)


async def test_listen_plays_channels_at_the_pace_of_one(serve: Serve, stereo: Path) -> None:
    peer = await serve(Peer())
    await livecaption_command("listen", stereo, "--server", peer.url, *SEPARATE)
    assert peer.took_s > 0.4
    assert peer.longest_bytes == 2 * 4 * 16 * 40


async def test_listen_shows_the_open_utterances_of_both_channels(serve: Serve, stereo: Path) -> None:
    partial = {"type": "partial", "revision": 0, "stable": "", "start_ms": 0, "end_ms": 40}
    left = of(0, partial | {"utterance": 0, "text": "How are"})
    right = of(1, partial | {"utterance": 1, "text": "Fine"})
    peer = await serve(Peer(CONVERSATION, [right, left]))
    async with Terminal("listen", stereo, "--server", peer.url, *SEPARATE) as terminal:
        ended = await terminal.ended()
    assert "Channel 1: \x1b[0m\x1b[2mHow are\x1b[0m\r\n\x1b[36mChannel 2: \x1b[0m\x1b[2mFine" in ended.stdout
    # The final of the right channel comes first. The left one's words stay until it has its own.
    between = ended.stdout.partition("Fine, thanks.")[2].partition("How are you?")[0]
    assert "\x1b[36mChannel 1: \x1b[0m\x1b[2mHow are\x1b[0m" in between


async def test_listen_names_the_speaker_of_a_channel_while_the_utterance_is_open(serve: Serve, stereo: Path) -> None:
    partial = {"type": "partial", "revision": 0, "stable": "", "start_ms": 0, "end_ms": 40}
    named = {"type": "name", "speaker": 2, "name": "Bob"}
    left = of(0, partial | {"utterance": 0, "text": "How are"})
    right = of(1, partial | {"utterance": 1, "text": "Fine"})
    peer = await serve(Peer(CONVERSATION, [named, right, left]))
    async with Terminal("listen", stereo, "--server", peer.url, *SEPARATE, "--speakers") as terminal:
        ended = await terminal.ended()
    assert "Speaker 1: \x1b[0m\x1b[2mHow are\x1b[0m\r\n\x1b[36mBob: \x1b[0m\x1b[2mFine" in ended.stdout


async def test_a_terminal_that_is_as_narrow_as_the_name_of_a_channel_shows_its_words(
    serve: Serve, stereo: Path
) -> None:
    partial = {"type": "partial", "revision": 0, "stable": "", "start_ms": 0, "end_ms": 40, "utterance": 0}
    peer = await serve(Peer(CONVERSATION, [of(0, partial | {"text": "Unspoken"})]))
    async with Terminal("listen", stereo, "--server", peer.url, *SEPARATE, COLUMNS="11") as terminal:
        ended = await terminal.ended()
    assert ended.code == 0
    assert "Unspoken" in ended.stdout
    assert "How are you?" in ended.stdout


async def test_listen_takes_all_channels_of_the_microphone(serve: Serve, tmp_path: Path) -> None:
    """An interface with two microphones, one for each person."""
    write_sound_card(tmp_path, n_channels=2)
    peer = await serve(Peer())
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "livecaption", "listen", "--server", peer.url, *SEPARATE),
        stdout=asyncio.subprocess.PIPE,
        env=environment(PYTHONPATH=str(tmp_path)),
    )
    await peer.has_audio.wait()
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == 130
    assert (peer.starts[0]["channels"], peer.starts[0]["channel_mode"]) == (2, "separate")


@pytest.mark.model
async def test_two_people_who_talk_at_once_on_two_channels_are_each_written_down(tmp_path: Path) -> None:
    """One word of 29 was wrong when this was written, and 18 if the channels are mixed."""
    clips = {clip.id: clip for clip in read_manifest(DATA)}
    chosen = [clips["ls-61-70968-0000"], clips["ls-254-12312-0000"]]
    channels = [soundfile.read(clip.path, dtype="float32")[0] for clip in chosen]
    length = max(map(len, channels))
    both = np.stack([np.pad(channel, (0, length - len(channel))) for channel in channels], axis=1)
    soundfile.write(tmp_path / "call.wav", both, 16_000)
    ended = await livecaption_command(
        *("transcribe", tmp_path / "call.wav", "--format", "json", "--output-dir", tmp_path, *SEPARATE)
    )
    assert ended.code == 0
    captions = json.loads((tmp_path / "call.json").read_text())["captions"]
    for number, clip in enumerate(chosen):
        text = " ".join(caption["text"] for caption in captions if caption["channel"] == number)
        rate = word_error_rate([clip.reference or ""], [text]).rate
        assert rate is not None
        assert rate <= 0.1, text

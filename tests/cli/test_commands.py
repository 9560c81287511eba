"""The program as its users run it: real processes, against a server that follows a script."""

import asyncio
import json
import os
import signal
import sys
import uuid
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from aiohttp import WSMsgType, web

import livecaption
from livecaption.__main__ import main as program
from livecaption.cli import main
from tests.support.certificates import Authority
from tests.support.commands import (
    READY,
    Ended,
    Peer,
    Serve,
    Terminal,
    environment,
    error,
    final,
    livecaption_command,
    tone,
    write_sound_card,
)
from tests.support.containers import Track, container
from tests.support.eventually import eventually
from tests.support.processes import processes_with

DATA = Path(__file__).parent.parent / "data"
HEAVY = {"aiohttp", "av", "ctranslate2", "faster_whisper", "jiwer", "matplotlib", "numpy", "psutil", "rich", "soxr"}
HEAVY |= {"torch", "webrtcvad"}


async def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    """Shell completion and a look at the options must not wait for a neural network library."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "importtime", "-m", "livecaption", "--help"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    stdout, stderr = await process.communicate()
    assert process.returncode == 0
    assert all(command in stdout.decode() for command in ("serve", "transcribe", "listen", "models", "doctor", "bench"))
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in stderr.decode().splitlines()}
    assert "argparse" in imported
    assert imported & HEAVY == set()


@pytest.mark.parametrize("command", ["serve", "transcribe", "listen", "models", "doctor", "bench"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    shown = capsys.readouterr()
    assert (ended.value.code, shown.err) == (0, "")
    assert shown.out.startswith(f"usage: livecaption {command}")


@pytest.mark.usefixtures("cold_processes")
async def test_version_is_that_of_the_package() -> None:
    assert await livecaption_command("--version") == Ended(0, f"livecaption {livecaption.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "required: COMMAND"),
        (["sing"], "invalid choice: 'sing'"),
        (["transcribe"], "required: FILE"),
        (["transcribe", "x.wav", "--format", "srt,doc"], "unknown format 'doc'; choose from txt, srt, vtt, json"),
        (["transcribe", "x.wav", "--track", "0"], "'0' is not the number of a track; the first one is 1"),
        (["transcribe", "a/x.wav", "b/x.mp3", "--format", "srt"], "would be written to the same file"),
        (["listen", "x.wav", "--task", "sing"], "invalid choice: 'sing'"),
        (["listen", "x.wav", "--room", "pycon", "--server", "x"], "in LIVECAPTION_ROOM_SECRET"),
        (["listen", "x.wav", "--take-over"], "--take-over needs --room"),
        (["listen", "x.wav", "--ca", "/nowhere/ca.pem"], "cannot read /nowhere/ca.pem: No such file or directory"),
        (["transcribe", "x.wav", "--ca", __file__], "has no certificate in PEM"),
        (["bench"], "required: --data"),
        (["bench", "--data", "x", "--streams", "0"], "at least one stream"),
        (["bench", "--data", "x", "--sweep", "1,many"], "--sweep: invalid"),
        (["bench", "--data", "x", "--sweep", "1,2", "--engine"], "not allowed with"),
        (["serve", "--flags"], "unrecognized arguments: --flags"),
    ],
)
def test_wrong_usage_is_reported_on_stderr_and_exits_with_2(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main(arguments)
    except SystemExit as ended:
        code = ended.code
    shown = capsys.readouterr()
    assert (code, shown.out) == (2, "")
    assert expected in shown.err


@pytest.mark.parametrize("command", [["listen", "x.wav"], ["transcribe", "x.wav"], ["bench", "--data", "x"]])
def test_an_authority_is_for_a_server_that_runs_already(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = tmp_path / "authority.pem"
    authority.write_bytes(Authority().pem)
    assert main([*command, "--ca", str(authority)]) == 2
    assert capsys.readouterr().err == "livecaption: --ca needs --server\n"


async def test_a_process_with_a_setting_that_is_none_ends_with_one_line_and_code_2() -> None:
    ended = await livecaption_command("serve", "--port", "many")
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert "--port must be a whole number" in ended.stderr


async def test_transcribe_sends_the_whole_recording_and_prints_what_was_said(serve: Serve, recording: Path) -> None:
    peer = await serve(Peer([final("Hello there."), final("General"), final("Kenobi.", 5000, 6000, 1)]))
    ended = await livecaption_command("transcribe", recording, "--server", peer.url)
    assert ended == Ended(0, "Hello there. General\nKenobi.\n", "")
    sent = np.frombuffer(peer.audio[0], np.float32)
    np.testing.assert_allclose(sent, tone(0.5), atol=1e-4)
    assert peer.stopped == [True]


async def test_transcribe_sends_the_server_what_was_asked_for(serve: Serve, recording: Path) -> None:
    peer = await serve(Peer())
    wishes = ("--language", "de-AT", "--task", "translate", "--words")
    await livecaption_command("transcribe", recording, "--server", peer.url, *wishes, LIVECAPTION_TOKEN="secret")
    expected = {"language": "de", "task": "translate", "words": True, "authorization": "Bearer secret"}
    assert peer.starts[0] | expected == peer.starts[0]


async def test_a_server_keeps_what_it_is_sent_by_listen_alone(serve: Serve, recording: Path) -> None:
    peer = await serve(Peer())
    for command in ("transcribe", "listen"):
        await livecaption_command(command, recording, "--server", peer.url)
    assert [start.get("keep", True) for start in peer.starts] == [False, True]


async def test_transcribe_writes_the_formats_that_were_asked_for(serve: Serve, recording: Path, tmp_path: Path) -> None:
    peer = await serve(Peer([final("Grüße.")]))
    there = tmp_path / "new" / "directory"
    ended = await livecaption_command(
        "transcribe", recording, "--server", peer.url, "--format", "srt,vtt,txt,json", "--output-dir", there
    )
    names = [f"tone.{name}" for name in ("srt", "vtt", "txt", "json")]
    assert ended == Ended(0, "".join(f"wrote {there / name}\n" for name in names), "")
    assert sorted(path.name for path in there.iterdir()) == ["tone.json", "tone.srt", "tone.txt", "tone.vtt"]
    assert (there / "tone.txt").read_text(encoding="utf-8") == "Grüße.\n"
    assert (there / "tone.vtt").read_text(encoding="utf-8").startswith("WEBVTT\n\n00:00:00.000 --> ")
    assert json.loads((there / "tone.json").read_text(encoding="utf-8"))["text"] == "Grüße."


async def test_subtitles_have_lines_of_the_length_that_is_asked_for(
    serve: Serve, recording: Path, tmp_path: Path
) -> None:
    peer = await serve(Peer([final("abcd " * 8)]))
    for length, n_lines in ((), 2), (("--line-length", "32"), 2), (("--line-length", "42"), 1):
        await livecaption_command(
            *(
                "transcribe",
                recording,
                "--server",
                peer.url,
                "--format",
                "srt",
                "--output-dir",
                tmp_path,
                "--overwrite",
            ),
            *length,
        )
        assert len((tmp_path / "tone.srt").read_text().split("\n\n")[0].splitlines()) == 2 + n_lines


async def test_the_authority_of_a_server_is_named_by_its_file(serve: Serve, recording: Path, tmp_path: Path) -> None:
    peer = await serve(Peer([final("hello")], tls=Authority().server(tmp_path, "127.0.0.1")))
    ended = await livecaption_command("transcribe", recording, "--server", peer.url, "--ca", tmp_path / "authority.pem")
    assert (ended.code, ended.stdout) == (0, "hello\n")


async def test_a_missing_file_does_not_keep_the_others_from_being_transcribed(serve: Serve, recording: Path) -> None:
    peer = await serve(Peer([final("Hello.")]))
    ended = await livecaption_command("transcribe", "nowhere.wav", recording, "--server", peer.url)
    assert ended == Ended(1, f"==> {recording} <==\nHello.\n", "livecaption: nowhere.wav: No such file or directory\n")


async def test_a_file_that_is_not_audio_does_not_keep_the_others_from_being_transcribed(
    serve: Serve, recording: Path, tmp_path: Path
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not audio" * 1000)
    peer = await serve(Peer([final("Hello.")]))
    ended = await livecaption_command("transcribe", text, recording, "--server", peer.url)
    assert (ended.code, ended.stdout) == (1, f"==> {recording} <==\nHello.\n")
    assert ended.stderr.startswith(f"livecaption: {text}: no")
    assert ended.stderr.count("\n") == 1


async def test_transcribe_reads_an_mp4_whose_index_is_at_its_end(serve: Serve, tmp_path: Path) -> None:
    """Cameras and phones write it so; it cannot be decoded as a stream."""
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=16_000, layout="mono")
        samples = av.AudioFrame.from_ndarray(tone(2.0)[None, :], format="fltp", layout="mono")
        samples.sample_rate = 16_000
        samples.time_base = Fraction(1, 16_000)
        samples.pts = 0
        output.mux(stream.encode(samples))
        output.mux(stream.encode(None))
    assert path.read_bytes().index(b"mdat") < path.read_bytes().index(b"moov")
    peer = await serve(Peer([final("Hello.")]))
    ended = await livecaption_command("transcribe", path, "--server", peer.url)
    assert ended == Ended(0, "Hello.\n", "")
    assert len(peer.audio[0]) / 4 / 16_000 == pytest.approx(2.0, abs=0.2)


async def test_transcribe_decodes_the_track_that_is_asked_for_and_reports_it(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    silence = np.zeros(16_000, np.float32)
    tracks = [Track(silence, sample_rate_hz=16_000), Track(tone(1.0), sample_rate_hz=16_000)]
    path.write_bytes(container("matroska", tracks))
    peer = await serve(Peer([final("Hello.")]))
    for wishes, number in (((), 2), (("--track", "1"), 1), (("--track", "2"), 2)):
        ended = await livecaption_command("transcribe", path, "--server", peer.url, *wishes)
        assert ended == Ended(0, "Hello.\n", f"livecaption: {path}: audio track {number} of 2\n")
        assert np.any(np.frombuffer(peer.audio[-1], np.float32)) == (number == 2)
    ended = await livecaption_command("transcribe", path, "--server", peer.url, "--track", "3")
    assert (ended.code, ended.stdout) == (1, "")
    assert "there is no audio track 3; the last one is 2" in ended.stderr


async def test_captions_that_a_lost_connection_cost_are_reported_beside_the_transcript(
    serve: Serve, recording: Path
) -> None:
    peer = await serve(Peer([{"type": "gap", "start_ms": 1000, "end_ms": 2500}, final("Hello.")]))
    ended = await livecaption_command("transcribe", recording, "--server", peer.url)
    complaint = "livecaption: captions were lost with the connection, from 1000 to 2500 ms\n"
    assert ended == Ended(0, "Hello.\n", complaint)


@pytest.mark.parametrize("command", ["transcribe", "listen"])
async def test_commands_wait_for_a_server_that_loads_its_model(serve: Serve, recording: Path, command: str) -> None:
    """Otherwise each file of a batch would fail at once."""
    peer = await serve(Peer([final("Hello.")], n_refusals=2))
    ended = await livecaption_command(command, recording, "--server", peer.url)
    complaint = "livecaption: waiting for the server: the model is not loaded yet\n"
    assert (ended.code, ended.stderr) == (0, complaint)
    assert "Hello." in ended.stdout


async def test_a_lost_connection_is_reported_and_costs_nothing(serve: Serve, recording: Path) -> None:
    peer = await serve(Peer([final("Hello.")], ready={"resume_window_ms": 5000}, breaks=True))
    ended = await livecaption_command("listen", recording, "--server", peer.url)
    complaints = "livecaption: the connection is lost; connecting again\nlivecaption: connected again\n"
    assert ended == Ended(0, "00:00 Hello.\n", complaints)


async def test_an_error_that_ends_nothing_is_reported_beside_the_transcript(serve: Serve, recording: Path) -> None:
    peer = await serve(Peer([error("transcription_failed", "one utterance was lost", fatal=False), final("Hello.")]))
    ended = await livecaption_command("transcribe", recording, "--server", peer.url)
    assert ended == Ended(0, "Hello.\n", "livecaption: one utterance was lost\n")


@pytest.mark.parametrize("command", ["transcribe", "listen"])
@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (Peer(early=[error("invalid_message", "no Klingon", fatal=True)]), "no Klingon"),
        (Peer(end_reason="draining"), "the server ended the stream (draining)"),
        (Peer(end_reason=None), "the server closed the stream"),
    ],
    ids=["error", "draining", "lost"],
)
async def test_a_stream_that_ends_before_its_audio_is_a_failure_of_one_line(
    serve: Serve, recording: Path, command: str, peer: Peer, expected: str
) -> None:
    """Half a transcript must not look like a whole one to a script."""
    peer = Peer(early=peer.early, end_reason=peer.end_reason)
    await serve(peer)
    ended = await livecaption_command(command, recording, "--server", peer.url)
    assert ended.code == 1
    assert expected in ended.stderr
    assert ended.stderr.count("\n") == 1


async def test_a_server_that_is_not_there_is_reported_in_one_line(recording: Path, unused_tcp_port: int) -> None:
    ended = await livecaption_command("listen", recording, "--server", f"http://127.0.0.1:{unused_tcp_port}")
    assert (ended.code, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"livecaption: cannot reach http://127.0.0.1:{unused_tcp_port}")
    assert ended.stderr.count("\n") == 1


async def test_an_address_that_is_none_is_reported_in_one_line(recording: Path) -> None:
    ended = await livecaption_command("listen", recording, "--server", "localhost")
    assert ended == Ended(1, "", "livecaption: 'localhost' is not a server's address, such as http://localhost:8000\n")


async def test_a_reader_who_has_seen_enough_causes_no_traceback(serve: Serve, recording: Path) -> None:
    """`livecaption transcribe ... | head -1`"""
    peer = await serve(Peer([final("Hello.")]))
    read_end, write_end = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "livecaption", "transcribe", str(recording), "--server", peer.url),
        stdout=write_end,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    os.close(write_end)
    os.close(read_end)
    _, stderr = await process.communicate()
    assert (process.returncode, stderr) == (1, b"")


async def test_listen_without_a_terminal_prints_finals_with_their_times(serve: Serve, recording: Path) -> None:
    partial = {"type": "partial", "utterance": 0, "revision": 0, "text": "Hell", "stable": "", "start_ms": 0}
    translation = {"type": "translation", "utterance": 0, "language": "de", "text": "Hallo " * 30}
    said = [final("Hello " * 30, 61_000), translation, final("", utterance=1)]
    peer = await serve(Peer(said, [partial | {"end_ms": 40}]))
    ended = await livecaption_command("listen", recording, "--server", peer.url, "--translate", "de")
    assert ended == Ended(0, "01:01 " + "Hello " * 30 + "\n   de " + "Hallo " * 30 + "\n", "")
    assert peer.starts[0]["translate"] == ["de"]


async def test_listen_speaks_in_a_room_whose_secret_is_on_no_command_line(serve: Serve, recording: Path) -> None:
    peer = await serve(Peer())
    await livecaption_command(
        "listen", recording, "--server", peer.url, "--room", "pycon", LIVECAPTION_ROOM_SECRET="the secret of it"
    )
    assert peer.starts[0]["room"] == {"name": "pycon", "secret": "the secret of it", "take_over": False}


async def test_listen_takes_a_room_over_when_asked(serve: Serve, recording: Path) -> None:
    peer = await serve(Peer())
    flags = ("--server", peer.url, "--room", "pycon", "--take-over")
    await livecaption_command("listen", recording, *flags, LIVECAPTION_ROOM_SECRET="the secret of it")
    assert peer.starts[0]["room"]["take_over"] is True


async def test_listen_plays_a_recording_at_its_own_pace_in_short_messages(serve: Serve, recording: Path) -> None:
    peer = await serve(Peer())
    await livecaption_command("listen", recording, "--server", peer.url)
    assert peer.took_s >= 0.25  # half of it, as the first message may have been late; at once takes a few ms
    assert len(peer.audio[0]) == 4 * 8000
    assert peer.longest_bytes <= 4 * 1600  # 100 ms


async def test_listen_shows_committed_words_bold_and_tentative_ones_dim(serve: Serve, recording: Path) -> None:
    partial = {"type": "partial", "utterance": 0, "revision": 0, "text": "Hello [b]there", "stable": "Hello"}
    peer = await serve(Peer([final("Hello [there].")], [partial | {"start_ms": 0, "end_ms": 40}]))
    async with Terminal("listen", recording, "--server", peer.url) as terminal:
        ended = await terminal.ended()
    assert ended.code == 0
    assert "\x1b[1mHello\x1b[0m\x1b[2m [b]there\x1b[0m" in ended.stdout
    assert "Hello [there]." in ended.stdout


async def test_listen_shows_the_last_two_lines_of_a_long_utterance(serve: Serve, recording: Path) -> None:
    """A terminal without a size has 80 columns: 13 words of 5 letters with their spaces."""
    text = " ".join(f"wor{n:02}" for n in range(30))
    partial = {"type": "partial", "utterance": 0, "revision": 0, "text": text, "stable": "", "start_ms": 0}
    peer = await serve(Peer([final("")], [partial | {"end_ms": 40}]))
    async with Terminal("listen", recording, "--server", peer.url) as terminal:
        ended = await terminal.ended()
    assert "wor12" not in ended.stdout
    assert all(word in ended.stdout for word in ("wor13", "wor25", "wor26", "wor29"))


async def test_the_first_ctrl_c_ends_the_audio_of_listen_and_the_last_words_still_come(
    serve: Serve, tmp_path: Path
) -> None:
    path = tmp_path / "hour.wav"
    soundfile.write(path, np.zeros(16_000 * 60, np.float32), 16_000)
    peer = await serve(Peer([final("last words")]))
    async with Terminal("listen", path, "--server", peer.url) as terminal:
        await peer.has_audio.wait()
        terminal.press_ctrl_c()
        ended = await terminal.ended()
    assert ended.code == 130
    assert "last words" in ended.stdout
    assert "Traceback" not in ended.stdout
    assert peer.stopped == [True]


async def test_the_first_ctrl_c_ends_listen_while_it_waits_for_a_full_server(serve: Serve, recording: Path) -> None:
    peer = await serve(Peer(n_refusals=1_000_000))
    async with asyncio.timeout(30), Terminal("listen", recording, "--server", peer.url) as terminal:
        await terminal.shows("waiting for the server")
        terminal.press_ctrl_c()
        ended = await terminal.ended()
    assert ended.code == 130
    assert "Traceback" not in ended.stdout


async def begin_stream(request: web.Request) -> web.WebSocketResponse:
    """Accept a stream, as a server does before the first audio."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.receive_json()
    await socket.send_json(READY | {"seq": 1})
    return socket


async def test_the_second_ctrl_c_ends_listen_at_once(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "hour.wav"
    soundfile.write(path, np.zeros(16_000 * 60, np.float32), 16_000)
    stopped = asyncio.Event()

    class Silent(Peer):
        async def handle(self, request: web.Request) -> web.WebSocketResponse:
            socket = await begin_stream(request)
            async for message in socket:
                self.has_audio.set()
                if message.type is WSMsgType.TEXT:
                    stopped.set()
            return socket

    peer = await serve(Silent())
    async with Terminal("listen", path, "--server", peer.url) as terminal:
        await peer.has_audio.wait()
        terminal.press_ctrl_c()
        await stopped.wait()
        terminal.press_ctrl_c()
        ended = await terminal.ended()
    assert ended.code == 130
    assert "Traceback" not in ended.stdout


async def test_ctrl_c_ends_transcribe_without_a_traceback(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "day.wav"
    soundfile.write(path, np.zeros(16_000 * 60, np.float32), 16_000)

    class Slow(Peer):
        async def handle(self, request: web.Request) -> web.WebSocketResponse:
            socket = await begin_stream(request)
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self.has_audio.set()  # everything is there, and nothing is answered
            return socket

    peer = await serve(Slow())
    async with Terminal("transcribe", path, "--server", peer.url) as terminal:
        await peer.has_audio.wait()
        terminal.press_ctrl_c()
        ended = await terminal.ended()
    assert ended.code == 130
    assert "day.wav" in ended.stdout  # the progress bar
    assert "Traceback" not in ended.stdout


async def test_listen_without_the_library_for_microphones_names_the_command_that_installs_it(tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    ended = await livecaption_command("listen", "--server", "http://localhost:1", PYTHONPATH=str(tmp_path))
    assert (ended.code, ended.stdout) == (1, "")
    assert "pip install sounddevice" in ended.stderr
    assert ended.stderr.count("\n") == 1


async def test_listen_streams_the_microphone_at_its_own_rate_until_ctrl_c(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sound_card(tmp_path, n_channels=1)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    peer = await serve(Peer([final("last words")]))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "livecaption", "listen", "--server", peer.url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(PYTHONPATH=str(tmp_path)),
    )
    await peer.has_audio.wait()
    process.send_signal(signal.SIGINT)
    stdout, stderr = await process.communicate()
    assert (process.returncode, stdout.decode(), stderr.decode()) == (130, "00:00 last words\n", "")
    assert peer.starts[0]["sample_rate"] == 48_000
    assert peer.audio[0].startswith(bytes(range(4)) * 1920)


async def test_listen_without_a_microphone_fails_with_one_line(tmp_path: Path) -> None:
    write_sound_card(tmp_path, n_channels=1, fault="missing")
    ended = await livecaption_command("listen", PYTHONPATH=str(tmp_path))
    assert ended == Ended(1, "", "livecaption: no microphone: Error querying device -1\n")


async def test_listen_with_a_microphone_that_is_in_use_fails_with_one_line(serve: Serve, tmp_path: Path) -> None:
    write_sound_card(tmp_path, n_channels=1, fault="busy")
    peer = await serve(Peer())
    ended = await livecaption_command("listen", "--server", peer.url, PYTHONPATH=str(tmp_path))
    assert ended == Ended(1, "", "livecaption: the microphone cannot be opened: Device unavailable\n")


async def test_listen_fails_when_its_microphone_is_unplugged_and_the_last_words_still_come(
    serve: Serve, tmp_path: Path
) -> None:
    write_sound_card(tmp_path, n_channels=1, fault="unplugged")
    peer = await serve(Peer([final("last words")]))
    ended = await livecaption_command("listen", "--server", peer.url, PYTHONPATH=str(tmp_path))
    assert ended == Ended(1, "00:00 last words\n", "livecaption: the microphone has stopped; it may be unplugged\n")
    assert peer.audio == [bytes(range(4)) * 1920]


@pytest.mark.processes
async def test_a_model_that_is_not_there_exits_with_3_and_one_line(recording: Path, tmp_path: Path) -> None:
    ended = await livecaption_command("transcribe", recording, "--model", tmp_path / "no-model")
    assert (ended.code, ended.stdout) == (3, "")
    assert str(tmp_path / "no-model") in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.processes
async def test_transcribe_without_a_server_leaves_no_process_behind() -> None:
    marker = f"LIVECAPTION_TEST_MARKER={uuid.uuid4().hex}"
    ended = await livecaption_command(
        "transcribe", DATA / "jfk.flac", LIVECAPTION_ENGINE="scripted", **dict([marker.split("=")])
    )
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout.startswith("One two three")
    assert processes_with(marker) == []


@pytest.mark.processes
@pytest.mark.parametrize(
    ("script", "shown"), [("hang-load", "Loading the model"), ("delay 2", "jfk.flac")], ids=["loading", "computing"]
)
async def test_ctrl_c_ends_a_server_of_our_own_with_its_workers(script: str, shown: str) -> None:
    marker = f"LIVECAPTION_TEST_MARKER={uuid.uuid4().hex}"
    variables = {"LIVECAPTION_ENGINE": "scripted", "LIVECAPTION_MODEL": script} | dict([marker.split("=")])
    async with Terminal("transcribe", DATA / "jfk.flac", **variables) as terminal:
        await terminal.shows(shown)
        await eventually(lambda: len(processes_with(marker)) >= 2)
        terminal.press_ctrl_c()
        ended = await terminal.ended()
    assert ended.code == 130
    assert "Traceback" not in ended.stdout
    assert processes_with(marker) == []


@pytest.mark.model
async def test_transcribe_without_a_server_starts_one_and_writes_down_what_kennedy_said() -> None:
    ended = await livecaption_command("transcribe", DATA / "jfk.flac")
    assert (ended.code, ended.stderr) == (0, "")
    assert "what your country can do for you" in ended.stdout.lower()


@pytest.mark.model
async def test_listen_without_a_server_starts_one_and_prints_what_kennedy_said(tmp_path: Path) -> None:
    samples, rate_hz = soundfile.read(DATA / "jfk.flac", dtype="int16")
    soundfile.write(tmp_path / "end.wav", samples[8 * rate_hz :], rate_hz)  # each second costs one of computing
    ended = await livecaption_command("listen", tmp_path / "end.wav")
    assert (ended.code, ended.stderr) == (0, "")
    assert "what you can do for your country" in ended.stdout.lower()


def test_a_frozen_program_is_first_of_all_the_child_process_that_it_was_started_as(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PyInstaller replaces `freeze_support` by a function that runs the child and ends the process."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr("multiprocessing.freeze_support", lambda: sys.exit(77))
    with pytest.raises(SystemExit) as end:
        program()
    assert end.value.code == 77

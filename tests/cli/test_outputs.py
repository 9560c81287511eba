"""Files that `transcribe` writes, and batches in which something fails."""

import asyncio
import os
import resource
import socket
import sys
from pathlib import Path

import pytest

from livecaption.cli import main
from livecaption.cli.outputs import Refused, choose, make_directory, targets, write
from tests.support.commands import (
    ROOT,
    Ended,
    Peer,
    Serve,
    Terminal,
    environment,
    final,
    livecaption_command,
    write_tone,
)

# Which files


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The files of a recording in two formats; one of them is there."""
    files = targets("talk", ["srt", "vtt"], tmp_path)
    files["srt"].write_text("mine")
    return files


def test_files_that_are_not_there_are_written(tmp_path: Path) -> None:
    files = targets("talk", ["srt", "vtt"], tmp_path)
    assert files == {"srt": tmp_path / "talk.srt", "vtt": tmp_path / "talk.vtt"}
    assert choose(files, "ask", None) == (files, [])


def test_all_files_are_written_with_overwrite(files: dict[str, Path]) -> None:
    assert choose(files, "overwrite", None) == (files, [])


def test_missing_files_are_written_with_skip_existing(files: dict[str, Path]) -> None:
    assert choose(files, "skip", None) == ({"vtt": files["vtt"]}, [files["srt"]])


def test_a_link_that_leads_nowhere_counts_as_a_file(files: dict[str, Path]) -> None:
    files["vtt"].symlink_to("nowhere")
    assert choose(files, "skip", None) == ({}, [files["srt"], files["vtt"]])


@pytest.mark.parametrize("yes", [True, False])
def test_a_person_decides_about_existing_files(files: dict[str, Path], *, yes: bool) -> None:
    asked = []

    def confirm(question: str) -> bool:
        asked.append(question)
        return yes

    assert choose(files, "ask", confirm) == ((files, []) if yes else ({}, [files["srt"]]))
    assert asked == [f"{files['srt']} exists. Overwrite?"]


def test_nothing_is_overwritten_where_nobody_can_be_asked(files: dict[str, Path]) -> None:
    with pytest.raises(Refused, match=r"talk\.srt exists: --overwrite replaces, --skip-existing keeps"):
        choose(files, "ask", None)


# All or nothing


def test_a_file_is_written_with_the_usual_rights_and_nothing_else_remains(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        write(tmp_path / "talk.txt", "Grüße\n")
    finally:
        os.umask(umask)
    assert [path.name for path in tmp_path.iterdir()] == ["talk.txt"]
    assert (tmp_path / "talk.txt").read_bytes() == "Grüße\n".encode()
    assert (tmp_path / "talk.txt").stat().st_mode & 0o777 == 0o640


def test_a_file_that_cannot_be_written_leaves_nothing_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "talk.txt").write_text("mine")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write(tmp_path / "talk.txt", "x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["talk.txt"]
    assert (tmp_path / "talk.txt").read_text() == "mine"


def test_a_link_to_a_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.txt").symlink_to("file.txt")
    write(tmp_path / "link.txt", "text")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "file.txt").read_text() == "text"


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "talk.txt")
    with pytest.raises(FileExistsError, match="it is not a regular file"):
        write(tmp_path / "talk.txt", "text")
    assert (tmp_path / "talk.txt").is_fifo()
    assert len(os.listdir(tmp_path)) == 1


def test_the_directory_of_files_is_made(tmp_path: Path) -> None:
    make_directory(tmp_path / "new" / "directory")
    assert (tmp_path / "new" / "directory").is_dir()


def test_a_file_is_no_directory_for_files(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="it is not a directory"):
        make_directory(tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        make_directory(tmp_path / "file" / "below")


# Batches


async def test_failures_in_a_batch_are_reported_and_the_others_are_written(serve: Serve, tmp_path: Path) -> None:
    peer = await serve(Peer([final("Hello.")]))
    bad_name = write_tone(tmp_path / "t.wav").rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\n\x1b[1m.wav"))
    recordings = [bad_name, *(write_tone(tmp_path / f"{number}.wav") for number in range(4))]
    (tmp_path / "loop.wav").symlink_to("loop.wav")  # cannot be opened, not even by root
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "notes.wav").write_text("not audio" * 1000)
    failing = [tmp_path / "loop.wav", tmp_path / "folder.wav", tmp_path / "nowhere.wav", tmp_path / "notes.wav"]
    there = tmp_path / "there"
    ended = await livecaption_command(
        *("transcribe", *failing, *recordings, "--server", peer.url, "--format", "srt,txt", "--output-dir", there)
    )
    assert ended.code == 1
    reported = ended.stderr.splitlines()
    assert len(reported) == 4
    assert reported[:3] == [
        f"livecaption: {tmp_path}/loop.wav: Too many levels of symbolic links",
        f"livecaption: {tmp_path}/folder.wav: Is a directory",
        f"livecaption: {tmp_path}/nowhere.wav: No such file or directory",
    ]
    assert reported[3].startswith(f"livecaption: {tmp_path}/notes.wav: no")
    assert ended.stdout.splitlines()[:2] == [f"wrote {there}/caf\\xe9\\n\\x1b[1m.{name}" for name in ("srt", "txt")]
    written = sorted(os.fsencode(path.name) for path in there.iterdir())
    stems = [b"0", b"1", b"2", b"3", b"caf\xe9\n\x1b[1m"]
    assert written == [stem + ending for stem in stems for ending in (b".srt", b".txt")]
    assert all(path.stat().st_size for path in there.iterdir())


async def test_a_printed_heading_has_a_name_that_changes_no_terminal(serve: Serve, tmp_path: Path) -> None:
    peer = await serve(Peer([final("Hello.")]))
    names = [write_tone(tmp_path / "t.wav").rename(tmp_path / name) for name in ("a\n\x1b[1m.wav", "[b].wav")]
    async with Terminal("transcribe", *names, "--server", peer.url) as terminal:
        ended = await terminal.ended()
    assert ended.code == 0
    assert f"==> {tmp_path}/a\\n\\x1b[1m.wav <==\r\nHello.\r\n" in ended.stdout
    assert f"==> {tmp_path}/[b].wav <==\r\nHello.\r\n" in ended.stdout


async def run_with_stdout(stdout: int, *arguments: object, **variables: str) -> tuple[int, str]:
    """Return the exit code and stderr of the program with this standard output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "livecaption", *map(str, arguments)),
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
        env=environment(**variables),
    )
    _, stderr = await process.communicate()
    return process.returncode, stderr.decode()


async def test_characters_that_stdout_lacks_cost_nothing_else(serve: Serve, tmp_path: Path) -> None:
    peer = await serve(Peer([final("Grüße.")]))
    recordings = [write_tone(tmp_path / f"{number}.wav") for number in range(2)]
    ended = await livecaption_command(
        "transcribe", *recordings, "--server", peer.url, PYTHONIOENCODING="ascii", PYTHONUTF8="0"
    )
    shown = "".join(f"==> {recording} <==\nGr\\xfc\\xdfe.\n" for recording in recordings)
    reported = "livecaption: standard output cannot show all characters (ascii): set PYTHONIOENCODING=utf-8\n"
    assert ended == Ended(1, shown, reported * 2)


async def test_listen_goes_on_with_a_stdout_that_lacks_characters(serve: Serve, recording: Path) -> None:
    peer = await serve(Peer([final("Grüße.")]))
    ended = await livecaption_command("listen", recording, "--server", peer.url, PYTHONIOENCODING="ascii")
    assert ended == Ended(0, "00:00 Gr\\xfc\\xdfe.\n", "")


async def test_a_full_stdout_is_reported_for_each_recording(serve: Serve, tmp_path: Path) -> None:
    peer = await serve(Peer([final("Hello.")]))
    recordings = [write_tone(tmp_path / f"{number}.wav") for number in range(2)]
    full = os.open("/dev/full", os.O_WRONLY)
    ended = await run_with_stdout(full, "transcribe", *recordings, "--server", peer.url)
    os.close(full)
    reported = "".join(f"livecaption: {recording}: No space left on device\n" for recording in recordings)
    assert ended == (1, reported)


async def run_with(redirection: str, *arguments: object) -> Ended:
    """Run the program as a shell does with a redirection, such as `2>&-` for a closed stderr."""
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "livecaption", *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(LIVECAPTION_ENGINE="scripted", LIVECAPTION_STORE="none"),
    )
    stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, stdout.decode(), stderr.decode())


async def test_a_closed_stdout_is_reported(serve: Serve, recording: Path) -> None:
    peer = await serve(Peer([final("Hello.")]))
    ended = await run_with(">&-", "transcribe", recording, "--server", peer.url)
    assert ended == Ended(1, "", f"livecaption: {recording}: standard output is closed\n")


async def test_bench_works_with_a_closed_stdout(unused_tcp_port: int) -> None:
    """Its figures may also go to the file of `--json`."""
    nowhere = f"http://127.0.0.1:{unused_tcp_port}"
    ended = await run_with(">&-", "bench", "jfk", "--data", ROOT / "tests" / "data", "--server", nowhere)
    assert (ended.code, ended.stderr[:28]) == (1, "livecaption: no figures from")


async def test_commands_work_with_a_closed_stderr_and_nothing_takes_its_place(serve: Serve, recording: Path) -> None:
    peer = await serve(Peer([final("Hello.")]))
    ended = await run_with("2>&-", "transcribe", "nowhere.wav", recording, "--server", peer.url)
    assert ended == Ended(1, f"==> {recording} <==\nHello.\n", "")
    ended = await run_with("<&- 2>&-", "listen", recording, "--server", peer.url)
    assert ended == Ended(0, "00:00 Hello.\n", "")
    with socket.create_server(("127.0.0.1", 0)) as other:
        ended = await run_with("2>&-", "serve", "--port", other.getsockname()[1])
    assert ended == Ended(3, "", "")  # the log is lost, and its configuration is not what fails


async def test_files_are_written_although_nobody_reads_which(serve: Serve, tmp_path: Path) -> None:
    """`livecaption transcribe *.wav --format srt | head -1`"""
    peer = await serve(Peer([final("Hello.")]))
    recordings = [write_tone(tmp_path / f"{number}.wav") for number in range(2)]
    read_end, write_end = os.pipe()
    os.close(read_end)
    ended = await run_with_stdout(
        write_end, "transcribe", *recordings, "--server", peer.url, "--format", "txt", "--output-dir", tmp_path
    )
    os.close(write_end)
    assert ended == (0, "")
    assert [(tmp_path / f"{number}.txt").read_text() for number in range(2)] == ["Hello.\n"] * 2


async def test_a_format_that_cannot_be_written_costs_the_others_nothing(serve: Serve, tmp_path: Path) -> None:
    """A name may have 255 bytes, so that `.txt` fits and `.json` does not."""
    peer = await serve(Peer([final("Hello.")]))
    recordings = [write_tone(tmp_path / f"{name}.wav") for name in ("x" * 251, "y")]
    ended = await livecaption_command(
        *("transcribe", *recordings, "--server", peer.url, "--format", "json,txt", "--output-dir", tmp_path)
    )
    long = f"{tmp_path}/{'x' * 251}"
    assert ended == Ended(
        1,
        f"wrote {long}.txt\nwrote {tmp_path}/y.json\nwrote {tmp_path}/y.txt\n",
        f"livecaption: {long}.wav: {long}.json: File name too long\n",
    )
    assert len(os.listdir(tmp_path)) == 5  # two recordings, three files


async def test_a_transcript_without_words_is_written_and_marked(serve: Serve, recording: Path, tmp_path: Path) -> None:
    peer = await serve(Peer())
    ended = await livecaption_command(
        "transcribe", recording, "--server", peer.url, "--format", "txt", "--output-dir", tmp_path
    )
    assert ended == Ended(0, f"wrote {tmp_path}/tone.txt (no words)\n", "")


async def test_existing_files_are_refused_skipped_or_overwritten(serve: Serve, tmp_path: Path) -> None:
    peer = await serve(Peer([final("Hello.")]))
    recordings = [write_tone(tmp_path / f"{number}.wav") for number in range(2)]
    (tmp_path / "0.txt").write_text("mine")
    command = ("transcribe", *recordings, "--server", peer.url, "--format", "txt", "--output-dir", tmp_path)

    ended = await livecaption_command(*command)
    refusal = f"livecaption: {recordings[0]}: {tmp_path}/0.txt exists: --overwrite replaces, --skip-existing keeps\n"
    assert ended == Ended(1, f"wrote {tmp_path}/1.txt\n", refusal)
    assert (tmp_path / "0.txt").read_text() == "mine"

    ended = await livecaption_command(*command, "--skip-existing")
    assert ended == Ended(0, f"kept {tmp_path}/0.txt\nkept {tmp_path}/1.txt\n", "")
    assert len(peer.starts) == 1

    ended = await livecaption_command(*command, "--overwrite")
    assert ended == Ended(0, f"wrote {tmp_path}/0.txt\nwrote {tmp_path}/1.txt\n", "")
    assert (tmp_path / "0.txt").read_text() == "Hello.\n"


@pytest.mark.parametrize(("answer", "written"), [("y", "Hello.\n"), ("", "mine")])
async def test_a_person_is_asked_before_a_file_is_overwritten(
    serve: Serve, recording: Path, tmp_path: Path, answer: str, written: str
) -> None:
    peer = await serve(Peer([final("Hello.")]))
    (tmp_path / "tone.txt").write_text("mine")
    command = ("transcribe", recording, "--server", peer.url, "--format", "txt", "--output-dir", tmp_path)
    async with Terminal(*command) as terminal:
        await terminal.shows("tone.txt exists. Overwrite? [y/N]")
        terminal.enter(answer)
        ended = await terminal.ended()
    assert ended.code == 0
    assert (tmp_path / "tone.txt").read_text() == written


async def test_ctrl_c_ends_the_question(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "tone.txt").write_text("mine")
    async with Terminal("transcribe", recording, "--format", "txt", "--output-dir", tmp_path) as terminal:
        await terminal.shows("Overwrite?")
        terminal.press_ctrl_c()
        ended = await terminal.ended()
    assert ended.code == 130
    assert "Traceback" not in ended.stdout
    assert (tmp_path / "tone.txt").read_text() == "mine"


async def test_ctrl_c_keeps_what_a_batch_has_written(serve: Serve, tmp_path: Path) -> None:
    peer = await serve(Peer([final("Hello.")]))
    recording = write_tone(tmp_path / "first.wav")
    fifo = tmp_path / "second.wav"
    os.mkfifo(fifo)  # nobody writes into it
    there = tmp_path / "there"
    async with Terminal(
        *("transcribe", recording, fifo, "--server", peer.url, "--format", "txt", "--output-dir", there)
    ) as terminal:
        await terminal.shows("wrote ")
        await terminal.shows("second.wav")
        terminal.press_ctrl_c()
        ended = await terminal.ended()
    assert ended.code == 130
    assert "Traceback" not in ended.stdout
    assert [path.name for path in there.iterdir()] == ["first.txt"]


async def test_a_directory_that_is_none_is_reported_before_transcription(serve: Serve, recording: Path) -> None:
    peer = await serve(Peer())
    ended = await livecaption_command(
        "transcribe", recording, "--server", peer.url, "--format", "txt", "--output-dir", recording
    )
    assert ended == Ended(1, "", f"livecaption: --output-dir {recording}: it is not a directory\n")
    assert peer.starts == []


@pytest.mark.parametrize("option", ["--skip-existing", "--overwrite"])
def test_options_about_files_need_a_format(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", "x.wav", option]) == 2
    assert "need --format" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["transcribe", "listen"])
async def test_hotwords_prompt_and_title_are_sent(serve: Serve, recording: Path, command: str) -> None:
    peer = await serve(Peer())
    wishes = ("--hotwords", "Ada Lovelace, Zuse,", "--prompt", "On computers.", "--title", "A talk")
    ended = await livecaption_command(command, recording, "--server", peer.url, *wishes)
    assert (ended.code, ended.stderr) == (0, "")
    expected = {"hotwords": ["Ada Lovelace", "Zuse"], "prompt": "On computers.", "title": "A talk"}
    assert peer.starts[0] | expected == peer.starts[0]


@pytest.mark.parametrize("command", ["transcribe", "listen"])
async def test_hotwords_for_which_there_is_no_room_are_reported(serve: Serve, recording: Path, command: str) -> None:
    peer = await serve(Peer(ready={"hotwords": {"given": 4, "used": 3}}))
    ended = await livecaption_command(command, recording, "--server", peer.url, "--hotwords", "Ada,Zuse,Hopper,Noether")
    assert ended == Ended(0, "", "livecaption: only the first 3 of 4 hotwords are certain to be used\n")

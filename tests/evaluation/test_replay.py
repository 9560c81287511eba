"""The replay as a whole: a real server of its own, real audio, real time."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import livecaption

DATA = Path(__file__).parent.parent / "data"


async def replay(*arguments: object) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "livecaption.evaluation.replay", *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ
        | {"LIVECAPTION_ENGINE": "scripted", "PYTHONPATH": str(Path(livecaption.__file__).parent.parent)},
    )
    stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return process.returncode, stdout.decode(), stderr.decode()


@pytest.mark.processes
async def test_a_replay_measures_every_clip_and_writes_the_figures_down(tmp_path: Path) -> None:
    """The scripted engine says its own words at once: all are wrong, and the times are the server's own."""
    path = tmp_path / "figures.json"
    begin_s = asyncio.get_running_loop().time()
    code, stdout, stderr = await replay("ps-austen-*", "--data", DATA, "--streams", 2, "--json", path)
    assert code == 0, stderr
    assert "ps-austen-0880" in stdout
    report: dict[str, Any] = json.loads(path.read_text())
    assert sorted(clip["clip"] for clip in report["clips"]) == ["ps-austen-0880", "ps-austen-0930"]
    assert (report["summary"]["clips"], report["summary"]["failed"]) == (2, 0)
    assert report["summary"]["wer"] >= 1
    assert report["summary"]["committed_words_taken_back"] == 0
    for clip in report["clips"]:
        assert clip["transcript"].startswith("One two three")
        # Less than the silence that ends an utterance would mean that the clocks do not begin together.
        assert clip["final_latencies_ms"][0] >= 400
        assert clip["first_partial_latency_ms"] > 0
    assert asyncio.get_running_loop().time() - begin_s >= 5.3  # 3.3 s and the silence behind it


async def test_a_replay_of_no_known_clip_is_wrong_usage() -> None:
    code, _, stderr = await replay("no-such-clip", "--data", DATA)
    assert code == 2
    assert "no such clip in the manifest" in stderr


async def test_clips_that_could_not_be_streamed_make_the_replay_fail(unused_tcp_port: int) -> None:
    code, stdout, _ = await replay("jfk", "--data", DATA, "--server", f"http://127.0.0.1:{unused_tcp_port}")
    assert code == 1
    assert "failed: cannot reach" in stdout

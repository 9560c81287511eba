"""The Python examples of the documents run as they stand, against a real server."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from livecaption.config import Config
from livecaption.ipc.config import EngineConfig
from livecaption.server.lifecycle import running_server
from tests.support.speech import pcm_s16le, sound

ROOT = Path(__file__).resolve().parents[2]
SPEECH = pcm_s16le(sound("silence 200ms, speech 1200ms, silence 1000ms"))


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with running_server(Config(engine=EngineConfig(engine="scripted"))) as url:
        yield url


@pytest.mark.parametrize("document", ["README.md", "docs/clients.md"])
async def test_the_python_example_of_a_document_prints_captions(url: str, tmp_path: Path, document: str) -> None:
    [example] = re.findall(r"^```python\n(.*?)^```$", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "speech.raw").write_bytes(SPEECH)
    program = example.replace("http://localhost:8000", url.rstrip("/"))
    assert program != example
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaints = await process.communicate()
    assert (process.returncode, complaints) == (0, b"")
    # The scripted engine answers a word for each 300 ms.
    assert len(output.decode().splitlines()[-1].split()) >= 4

"""A recording on its way to the disk."""

import errno
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from livecaption.errors import InvalidUpload, Unavailable, UploadTooLarge
from livecaption.recordings.spool import WRITE_BYTES, Spool, spooled


async def test_all_bytes_are_in_the_file_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    parts = [bytes([n]) * (WRITE_BYTES // 3) for n in range(10)]
    async with spooled(2**24) as spool:
        for part in parts:
            await spool.write(part)
        file = await spool.finish()
        assert file.read() == b"".join(parts)
        assert os.listdir(tmp_path) == []  # it has no name, so it is gone with the process


async def test_more_than_the_limit_is_refused_announced_or_not() -> None:
    async with spooled(2**20) as spool:
        spool.check(None)
        with pytest.raises(UploadTooLarge):
            spool.check(2**20 + 1)
        await spool.write(bytes(2**20))
        with pytest.raises(UploadTooLarge):
            await spool.write(b"x")


async def test_an_empty_recording_is_refused() -> None:
    async with spooled(1) as spool:
        with pytest.raises(InvalidUpload, match="empty"):
            await spool.finish()


class FullDisk(io.BytesIO):
    def write(self, data: Any, /) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_full_disk_is_a_reason_to_come_back_later() -> None:
    spool = Spool(FullDisk(), 2**24)
    with pytest.raises(Unavailable, match="No space left") as caught:
        await spool.write(bytes(WRITE_BYTES))
    assert caught.value.retry_after_s


class NearlyFullDisk(io.BytesIO):
    """Has room for `room` bytes. Like a file without a buffer, it stores a part where the rest has no room."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def write(self, data: Any, /) -> int:
        if not self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        n_bytes = super().write(data[: self._room])
        self._room -= n_bytes
        return n_bytes


async def test_so_is_a_disk_that_has_room_for_a_part_of_the_last_bytes() -> None:
    spool = Spool(NearlyFullDisk(WRITE_BYTES + 1000), 2**24)
    await spool.write(bytes(WRITE_BYTES))
    await spool.write(bytes(1001))
    with pytest.raises(Unavailable, match="No space left"):
        await spool.finish()


async def test_so_is_a_directory_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(Unavailable):
        async with spooled(1):
            pass

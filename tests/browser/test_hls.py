"""A player shows the captions of a room beside a video of somebody else: hls.js in Chromium."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from playwright.async_api import Page, Route

from tests.browser.reading import OpenPage, speaking
from tests.browser.support import Server

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

HLS_JS = Path(__file__).parents[2] / "node_modules" / "hls.js" / "dist" / "hls.min.js"
VIDEO_S = 8
FRAMES_PER_S = 10
FIRST_FRAME = 14
FIRST_TIMESTAMP = 126_000
"""The timestamp of that frame, with which FFmpeg's MPEG-TS begins: 1.4 s."""
MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subs",NAME="English",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES,URI="{captions}"
#EXT-X-STREAM-INF:BANDWIDTH=100000,SUBTITLES="subs"
video.m3u8
"""
PAGE = """<!doctype html><video id="video" muted></video><script src="hls.min.js"></script><script>
const hls = new Hls({ renderTextTracksNatively: true });
hls.on(Hls.Events.SUBTITLE_TRACKS_UPDATED, () => { hls.subtitleTrack = 0; hls.subtitleDisplay = true; });
hls.on(Hls.Events.ERROR, (_, { details, fatal }) => { if (fatal) document.title = details; });
hls.loadSource("master.m3u8");
hls.attachMedia(document.getElementById("video"));
</script>"""


def make_video(directory: Path) -> None:
    """Write a video of one gray, and its playlist, with segments of 2 s."""
    options = {"hls_time": "2", "hls_list_size": "0", "hls_playlist_type": "vod"}
    with av.open(str(directory / "video.m3u8"), "w", format="hls", options=options) as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_S, options={"g": str(2 * FRAMES_PER_S), "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        for number in range(VIDEO_S * FRAMES_PER_S):
            frame = av.VideoFrame.from_ndarray(np.full((135, 160), 128, np.uint8), format="yuv420p")
            frame.pts, frame.time_base = number + FIRST_FRAME, Fraction(1, FRAMES_PER_S)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def from_directory(directory: Path, captions: str) -> Callable[[Route], object]:
    """Answer as the server of the video."""
    own = {"master.m3u8": MASTER.format(captions=captions), "page.html": PAGE}

    async def answer(route: Route) -> None:
        name = Path(route.request.url).name
        if name in own:
            await route.fulfill(body=own[name], content_type="text/html" if name == "page.html" else None)
        else:
            await route.fulfill(path=HLS_JS if name == HLS_JS.name else directory / name)

    return answer


async def cues_of(page: Page, n: int) -> list[dict[str, object]]:
    """Return the cues that the player has, once there are so many."""
    await page.wait_for_function(f"[...video.textTracks].some((track) => track.cues?.length >= {n})")
    cues: list[dict[str, object]] = await page.evaluate(
        "[...video.textTracks].flatMap((track) => [...(track.cues ?? [])]).map(({ startTime, endTime, text }) =>"
        " ({ startTime, endTime, text }))"
    )
    return cues


@pytest.mark.skipif(not HLS_JS.exists(), reason="hls.js is missing: npm ci --ignore-scripts")
async def test_a_player_shows_captions_at_their_time_in_the_video(
    scripted_server: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    make_video(tmp_path)
    async with speaking(scripted_server, room="video") as publisher:
        texts = [await publisher.say(), await publisher.say()]
        await publisher.stop(end_room=True)
    captions = f"/v1/rooms/video/captions.m3u8?duration=2&mpegts={FIRST_TIMESTAMP}"
    page = await open_page("about:blank")
    await page.route("**/elsewhere/*", from_directory(tmp_path, captions))
    await page.goto(f"{scripted_server.url}elsewhere/page.html")
    if not await page.evaluate("""MediaSource.isTypeSupported('video/mp4; codecs="avc1.42E01E"')"""):
        pytest.skip("this Chromium plays no H.264")
    cues = await cues_of(page, 2)
    assert await page.title() == ""
    assert [cue["text"] for cue in cues] == texts
    first, second = (cue["startTime"] for cue in cues)
    assert 0.0 <= first <= 0.4  # silence of 200 ms comes before the first words
    assert 1.9 <= second - first <= 2.1
    await page.evaluate(f"video.currentTime = {second + 0.1}")
    await page.wait_for_function(
        "(text) => [...video.textTracks].some(({ activeCues }) => activeCues?.[0]?.text === text)", arg=texts[1]
    )

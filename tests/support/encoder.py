"""An encoder that sends a broadcast by RTMP, as OBS and mixer desks do: `python -m tests.support.encoder URL SECONDS`.

It connects once somebody listens there, and sends a tone of 440 Hz at its pace.
"""

import sys
import time

import av
import numpy as np

RATE_HZ = 44_100


def connected(url: str) -> "av.container.OutputContainer":
    """Open the broadcast, and send its header. Wait for a receiver."""
    while True:
        output = av.open(url, "w", format="flv")
        output.add_stream("aac", rate=RATE_HZ, layout="mono")
        try:
            output.start_encoding()
        except av.ConnectionRefusedError:
            time.sleep(0.1)  # nobody listens yet
        else:
            return output


def main(url: str, seconds: float) -> None:
    output = connected(url)
    [stream] = output.streams.audio
    n = stream.codec_context.frame_size
    began_s = time.monotonic()
    for at in range(0, round(seconds * RATE_HZ), n):
        tone = 0.5 * np.sin(2 * np.pi * 440 / RATE_HZ * np.arange(at, at + n))
        frame = av.AudioFrame.from_ndarray(tone.astype(np.float32)[np.newaxis], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = RATE_HZ, at
        output.mux(stream.encode(frame))
        time.sleep(max(0.0, began_s + (at + n) / RATE_HZ - time.monotonic()))
    output.mux(stream.encode(None))
    output.close()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))

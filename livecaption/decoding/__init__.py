"""Containers are decoded in separate processes, because FFmpeg is native code that parses untrusted bytes.

    server process                          | decoder process (one for each container stream)
                                            |
    ContainerDecoder ── socket pair ════════|══ process: audio.container, in the sandbox
      bytes of the container  ──────────>   |
      <──────────  frames of `messages`     |

A process serves one stream and ends with it. Even if the bytes of one stream take over its process, no other stream is
affected. `pool` keeps a spare process ready. `decoder` is the server's side of one stream and `process` is the other
side. `sandbox` restricts that process, and `messages` defines what it sends.
"""

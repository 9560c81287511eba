"""Containers decoded in processes of their own: FFmpeg is native code that parses bytes of strangers.

    server process                          | decoder process (one for each container stream)
                                            |
    ContainerDecoder ── socket pair ════════|══ process: audio.container, in the sandbox
      bytes of the container  ──────────>   |
      <──────────  frames of `messages`     |

A process serves one stream and ends with it, so that no stream can meet what another one's bytes have done to it.
`pool` keeps one waiting, `decoder` is the server's side of one stream, `process` the other side, `sandbox` what that
side is not allowed, `messages` what it sends.
"""

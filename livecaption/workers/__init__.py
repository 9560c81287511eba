"""The server's side of the inference process.

    server process                                       | inference process (one per device)
                                                         |
    WorkerPool ── Supervisor ── PipeBridge ══ pipe ══════|══ engine.main ── Engine
      owns the     one worker's   two threads:           |   T0 computes   whisper or scripted
      scheduler    life           reader, writer         |   T1 reads the pipe
                                                         |   T2 watches the parent, T3 beats

`spawning` says how the process starts and is reaped, `lifecycle` which states it has, `supervisor` is the story of one
worker, `pool` that of all of them. `deadlines`, `restart` and `quarantine` are what the server learns from its workers.
What crosses the pipe, and what keeps a worker from outliving the server, is in `ipc`.
"""

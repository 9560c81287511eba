"""The server's side of the inference process.

    server process                                       | inference process (one per device)
                                                         |
    WorkerPool ── Supervisor ── PipeBridge ══ pipe ══════|══ engine.main ── Engine
      owns the     one worker's   two threads:           |   T0 computes   whisper or scripted
      scheduler    process        reader, writer         |   T1 reads the pipe
                                                         |   T2 watches the parent, T3 beats

`spawning` starts and reaps the process, and `lifecycle` has the table of its states. `worker` speaks with one process,
`supervisor` keeps one alive, and `pool` joins all of them to the scheduler. `counts`, `deadlines`, `restart` and
`quarantine` record what the server has observed of its workers. The messages on the pipe, and all that keeps a worker
from outliving the server, are in `ipc`.
"""

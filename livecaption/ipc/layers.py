"""Several layers keep a worker from outliving its server. Tests switch layers off to test each one alone.

| layer               | ends the worker when                                              | lives in                  |
|---------------------|-------------------------------------------------------------------|---------------------------|
| PIPE_END            | the server has ended, in any way                                  | engine.main, reader       |
| PARENT_WATCH        | the same, by another descriptor; each 1 s also by a new parent    | ipc.lifeline,    thread   |
| PARENT_DEATH_SIGNAL | the same, also while C code holds the interpreter's lock; Linux   | ipc.lifeline,    kernel   |
| PARENT_CHECK        | the server ended before that signal was armed                     | ipc.lifeline,    once     |
| DEAD_MAN            | a batch or the load takes too long, even if C code holds the lock | ipc.lifeline,    C thread |
| EXIT_HOOK           | the server ends by an exception or `sys.exit` and stopped nothing | ipc.children              |

Three more have no switch: the orderly stop (supervisor), the job object of Windows (job_object), and the locks (locks).
By a lock, the next server finds a worker that outlived this one.

Each layer is enough for the case in its row. Tests switch the others off with
LIVECAPTION_TEST_WITHOUT=pipe-end,dead-man. An argument was rejected: every function from the command line to the child
processes would have to pass it on, and EXIT_HOOK is registered at an import.
"""

import os
from enum import Enum

SWITCH = "LIVECAPTION_TEST_WITHOUT"


class Layer(Enum):
    """One row of the table. The value is the name of the layer in the switch."""

    PIPE_END = "pipe-end"
    PARENT_WATCH = "parent-watch"
    PARENT_DEATH_SIGNAL = "parent-death-signal"
    PARENT_CHECK = "parent-check"
    DEAD_MAN = "dead-man"
    EXIT_HOOK = "exit-hook"

    @property
    def active(self) -> bool:
        """True unless a test has switched the layer off."""
        return self.value not in os.environ.get(SWITCH, "").split(",")

"""What keeps a worker from outliving its server, layer by layer, and the switch that tests take them out with.

| layer               | ends the worker when                                              | lives in                  |
|---------------------|-------------------------------------------------------------------|---------------------------|
| PIPE_END            | the server is gone, however it went                               | engine.main, reader       |
| PARENT_WATCH        | the same, by another descriptor; each 1 s also by a new parent    | ipc.lifeline,    thread   |
| PARENT_DEATH_SIGNAL | the same, also while C code holds the interpreter's lock; Linux   | ipc.lifeline,    kernel   |
| PARENT_CHECK        | the server was gone before that signal was armed                  | ipc.lifeline,    once     |
| DEAD_MAN            | a job or the load takes too long, whoever holds the lock          | ipc.lifeline,    C thread |
| EXIT_HOOK           | the server ends by an exception or `sys.exit` and stopped nothing | ipc.children              |

Beside them, without a switch: the orderly stop (supervisor), the job object of Windows (job_object), and the lock that
shows the next server what slipped through all the same (locks).

Each is enough for its column alone; the tests take out all others by LIVECAPTION_TEST_WITHOUT=pipe-end,dead-man.
"""

import os
from enum import Enum

SWITCH = "LIVECAPTION_TEST_WITHOUT"


class Layer(Enum):
    """One line of the table; the value is its name in the switch."""

    PIPE_END = "pipe-end"
    PARENT_WATCH = "parent-watch"
    PARENT_DEATH_SIGNAL = "parent-death-signal"
    PARENT_CHECK = "parent-check"
    DEAD_MAN = "dead-man"
    EXIT_HOOK = "exit-hook"

    @property
    def active(self) -> bool:
        """Whether nobody has taken it out."""
        return self.value not in os.environ.get(SWITCH, "").split(",")

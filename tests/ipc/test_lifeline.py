"""The dead-man's switch, and the check of the parent at the start.

tests/processes/test_worker_lifeline.py tests that each layer ends a worker.
"""

import os
import subprocess
import sys

import pytest

from livecaption.ipc.layers import SWITCH, Layer
from livecaption.ipc.lifeline import EXIT_ORPHANED

pytestmark = pytest.mark.processes


def run(program: str, without: str = "") -> subprocess.CompletedProcess[str]:
    preamble = "import ctypes, os, threading, time; from livecaption.ipc import lifeline;"
    return subprocess.run(
        [sys.executable, "-c", preamble + program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, SWITCH: without},
    )


@pytest.mark.parametrize("hang", ["threading.Event().wait()", "ctypes.PyDLL(None).sleep(20)"], ids=["free", "GIL held"])
def test_a_dead_man_leaves_his_stack_and_ends(hang: str) -> None:
    done = run(f"lifeline.arm_dead_man(0.1); {hang}")
    assert done.returncode == 1
    assert "Timeout (0:00:00.1" in done.stderr
    assert 'File "<string>", line 1' in done.stderr


def test_a_switch_that_was_disarmed_ends_nobody() -> None:
    done = run("lifeline.arm_dead_man(0.1); lifeline.disarm_dead_man(); time.sleep(0.3); print('alive')")
    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_arming_again_restarts_the_time() -> None:
    done = run("[(lifeline.arm_dead_man(0.4), time.sleep(0.1)) for _ in range(8)]; print('alive')")
    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_a_process_that_has_another_parent_than_the_server_ends_at_once() -> None:
    others = ",".join(layer.value for layer in Layer if layer is not Layer.PARENT_CHECK)
    done = run(f"lifeline.hold({os.getpid()} + 1); print('alive')", without=others)
    assert (done.returncode, done.stdout) == (EXIT_ORPHANED, "")


def test_a_process_that_is_a_child_of_the_server_goes_on() -> None:
    done = run(f"lifeline.hold({os.getpid()}); print('alive')", without=Layer.PARENT_WATCH.value)
    assert (done.returncode, done.stdout) == (0, "alive\n")

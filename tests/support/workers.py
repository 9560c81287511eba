"""The inference processes that this test process has started, as the system lists them."""

import contextlib

import psutil


def worker_processes() -> list[psutil.Process]:
    """Return the running children that multiprocessing spawned, oldest first. A browser's driver does not count."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE and any("spawn_main" in word for word in child.cmdline()):
                found.append(child)
    return sorted(found, key=psutil.Process.create_time)

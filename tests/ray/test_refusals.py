"""A server that cannot compute on a GPU of the cluster does not start. It ends with code 3 and a sentence."""

import asyncio
from pathlib import Path

import pytest

from tests.ray.conftest import Cluster
from tests.ray.servers import START_S, far_server
from tests.support.commands import ROOT
from tests.support.processes import serving

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

CANNOT_JOIN = [
    ({"RAY_AUTH_TOKEN": "0" * 64}, "No Ray cluster has answered within 4 s"),
    ({"RAY_AUTH_TOKEN": "", "HOME": "/nonexistent"}, "Ray cannot join the cluster: .*token"),
    ({"RAY_AUTH_MODE": "disabled"}, "No Ray cluster has answered within 4 s"),
    ({"RAY_USE_TLS": "0"}, "No Ray cluster has answered within 4 s"),
    ({"RAY_ADDRESS": "127.0.0.1:9"}, r"No Ray cluster has answered within 4 s .*address: 127.0.0.1:9\)"),
    ({"RAY_ADDRESS": "ray://127.0.0.1:10001"}, "RAY_ADDRESS is ray://127.0.0.1:10001: use HOST:PORT"),
]
"""Variables of the environment that are wrong, and the sentence that the log has then."""

OTHERS = {
    "import ray; ray.__version__ = '0.0.1'": r"Ray cannot join the cluster: .*Ray: 0\.0\.1",
    "import sys, ray._private.utils as u; u.compute_version_info = lambda: (u.ray.__version__, '3.0.1')": (
        r"Ray cannot join the cluster: .*Python: 3\.0\.1"
    ),
    "import livecaption; livecaption.__version__ = '0.0.1'": (
        r"The machine of the GPU has livecaption \S+, and this one 0\.0\.1"
    ),
    "import sys; sys.modules['ray'] = None": r"--device ray needs Ray: pip install 'livecaption-server\[ray]'",
}
"""Statements that make an installation unlike those of the cluster, and the sentence that the log has then."""


async def test_a_server_that_cannot_join_ends_with_3_and_a_sentence(cluster: Cluster) -> None:
    await asyncio.gather(
        *(refused(sentence, cluster.variables | wrong, "--load-timeout=4") for wrong, sentence in CANNOT_JOIN)
    )


async def test_another_version_or_none_is_refused_with_both_versions(cluster: Cluster, tmp_path: Path) -> None:
    """Python runs `sitecustomize` at the start of each process."""
    tried = []
    for number, (statement, sentence) in enumerate(OTHERS.items()):
        place = tmp_path / str(number)
        place.mkdir()
        (place / "sitecustomize.py").write_text(f"{statement}\n")
        tried.append(refused(sentence, cluster.variables | {"PYTHONPATH": f"{place}:{ROOT}"}))
    await asyncio.gather(*tried)


async def test_without_a_free_gpu_a_server_ends_with_3_and_names_the_way_out(cluster: Cluster) -> None:
    """Another server has a part of the only one."""
    sentence = "No GPU of the Ray cluster was free for --device ray within 4 s"
    async with far_server(cluster):
        await refused(sentence, cluster.variables, "--load-timeout=4")


async def refused(sentence: str, variables: dict[str, str], *flags: str) -> None:
    """Check that a server does not start and logs this sentence."""
    async with serving("--device", "ray", "--workers=1", *flags, environment=variables) as server:
        await server.logged(sentence, START_S)
        assert await server.exited(within_s=5.0) == 3

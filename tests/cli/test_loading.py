"""Loading a model to learn whether that works."""

import pytest

from livecaption.cli.loading import load
from livecaption.config import Config
from livecaption.errors import EngineUnusable
from livecaption.ipc.config import EngineConfig

pytestmark = pytest.mark.processes


async def test_a_model_describes_itself() -> None:
    loaded = await load(Config(engine=EngineConfig(engine="scripted")))
    assert loaded.description.model == "scripted"
    assert loaded.duration_s > 0


async def test_a_model_that_cannot_be_loaded_reports_the_reason() -> None:
    with pytest.raises(EngineUnusable, match="no such script"):
        await load(Config(engine=EngineConfig(engine="scripted", model="no such script")))

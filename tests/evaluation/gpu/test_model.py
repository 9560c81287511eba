"""A model with int8 weights has half of the bytes, and the same words."""

import io
from pathlib import Path

import numpy as np
import pytest

from livecaption.evaluation.clips import choose, read_manifest, read_pcm
from livecaption.evaluation.gpu.model import ModelFile, as_int8, read_model, write_model

DATA = Path(__file__).parent.parent.parent / "data"


def small_model() -> ModelFile:
    rng = np.random.default_rng(0)
    variables = {
        "decoder/embeddings/weight": rng.standard_normal((5, 8)).astype(np.float16),
        "encoder/conv1/weight": rng.standard_normal((4, 2, 3)).astype(np.float16),
        "encoder/norm/gamma": np.ones(4, np.float16),
        "encoder/num_heads": np.array(6, np.int16),
    }
    variables["decoder/embeddings/weight"][2] = 0
    return ModelFile(6, "WhisperSpec", 3, variables, [("decoder/projection/weight", "decoder/embeddings/weight")])


def test_a_model_that_was_written_is_read_as_it_was() -> None:
    file = io.BytesIO()
    write_model(small_model(), file)
    file.seek(0)
    read = read_model(file)
    assert file.read() == b""
    assert (read.version, read.name, read.revision) == (6, "WhisperSpec", 3)
    assert read.aliases == small_model().aliases
    for name, value in small_model().variables.items():
        assert read.variables[name].dtype == value.dtype
        np.testing.assert_array_equal(read.variables[name], value)


def test_only_matrices_get_int8_weights_and_a_scale_for_each_row() -> None:
    model = as_int8(small_model())
    weights = model.variables["decoder/embeddings/weight"]
    scales = model.variables["decoder/embeddings/weight_scale"]
    assert (weights.dtype, scales.dtype) == (np.int8, np.float32)
    original = small_model().variables["decoder/embeddings/weight"].astype(np.float32)
    np.testing.assert_allclose(weights / scales[:, None], original, atol=0.5 / scales.min())
    assert model.aliases[1:] == [("decoder/projection/weight_scale", "decoder/embeddings/weight_scale")]
    assert {value.dtype for name, value in model.variables.items() if "embeddings" not in name} == {
        np.dtype("float16"),
        np.dtype("int16"),
    }


@pytest.mark.usefixtures("environment_of_its_own")
def test_the_words_of_the_smaller_model_are_the_same(tmp_path: Path) -> None:
    from livecaption.engine.models import find_model
    from livecaption.evaluation.gpu.pack import add_model
    from livecaption.recognition import TranscriptionOptions, Window

    add_model(tmp_path, "")
    sizes = [(folder / "model.bin").stat().st_size for folder in (tmp_path / "tiny.en", find_model().directory)]
    assert sizes[0] < 0.55 * sizes[1]
    [clip] = choose(read_manifest(DATA), ["ps-austen-0880"])
    samples = np.frombuffer(read_pcm(clip.path), "<i2").astype(np.float32) / 32768

    from livecaption.engine.whisper import load_engine

    window = Window(samples, TranscriptionOptions("en"))
    engines = [load_engine(find_model(name), "cpu", threads=1) for name in (str(tmp_path / "tiny.en"), "")]
    texts = [engine.transcribe([window])[0].text for engine in engines]
    assert len(texts[0]) > 20
    assert texts[0] == texts[1]

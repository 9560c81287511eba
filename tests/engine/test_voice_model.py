"""Networks for voices: the installed one on recorded speech, and those of other files."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from livecaption.engine.voice_model import AnalyzedFrames, AnalyzedWindows, VoiceModel, load_voice_model
from livecaption.errors import EngineUnusable
from tests.support.cases import for_each
from tests.support.speaker_model import installed_network, mean_network

DATA = Path(__file__).parent.parent / "data"
Floats = npt.NDArray[np.float32]


def sound(clip: str) -> Floats:
    samples: Floats = soundfile.read(DATA / f"{clip}.flac", dtype="float32")[0]
    return samples


# The installed network


@pytest.fixture(scope="module")
def network() -> VoiceModel:
    return load_voice_model(installed_network())


def test_a_voice_is_like_itself_and_unlike_others(network: VoiceModel) -> None:
    """0.65 and more, and 0.30 and less, when this was written."""
    people = ("jfk", "ls-61-70968-0000", "ls-1995-1837-0001", "ls-2412-153948-0000", "ps-austen-0880")
    halves = []
    for clip in people:
        samples = sound(clip)
        middle_ms = len(samples) // 32
        halves.append(network.analyze(samples).voices([(0, middle_ms), (middle_ms, 2 * middle_ms)]))
    first, second = np.array(halves).transpose(1, 0, 2)
    cosines = first @ second.T
    assert first.shape == (len(people), 192)
    assert np.diag(cosines).min() > 0.55
    assert cosines[~np.eye(len(people), dtype=bool)].max() < 0.45


def test_the_voice_of_a_stretch_is_nearly_that_of_the_stretch_alone(network: VoiceModel) -> None:
    samples = sound("jfk")
    [part] = network.analyze(samples).voices([(3000, 6000)])
    [alone] = network.analyze(samples[3 * 16_000 : 6 * 16_000]).voices([(0, 3000)])
    assert part @ alone > 0.85


def test_audio_of_any_length_has_a_voice_of_length_1(network: VoiceModel) -> None:
    for n_samples in (0, 1, 399, 4_800, 30 * 16_000):
        analyzed = network.analyze(np.resize(sound("jfk"), n_samples))
        embeddings = analyzed.voices([(0, n_samples // 16), (0, 1), (n_samples // 16, n_samples // 16 + 5)])
        assert np.linalg.norm(embeddings, axis=1) == pytest.approx(1.0, abs=1e-4), n_samples


def test_the_same_audio_has_the_same_voice_after_other_audio(network: VoiceModel) -> None:
    spans = [(0, 2000), (1000, 3000)]
    before = network.analyze(sound("ps-austen-0880")).voices(spans)
    network.analyze(sound("jfk"))
    np.testing.assert_array_equal(network.analyze(sound("ps-austen-0880")).voices(spans), before)


def test_frames_make_the_mean_and_the_deviation_of_a_stretch() -> None:
    frames = np.random.default_rng(0).normal(2, 1, (3, 100)).astype(np.float32)
    analyzed = AnalyzedFrames(frames, np.eye(7, dtype=np.float32))
    [whole, part, short, last] = analyzed.voices([(0, 2000), (400, 800), (1000, 1020), (1990, 2000)])
    for embedding, begin, end in ((whole, 0, 100), (part, 20, 40), (short, 50, 60), (last, 90, 100)):
        seen = frames[:, begin:end]
        expected = np.concatenate([seen.mean(axis=1), seen.std(axis=1, ddof=1), [1]])
        np.testing.assert_allclose(embedding, expected / np.linalg.norm(expected), atol=1e-4)


# Other networks


def test_another_network_analyzes_windows_and_a_stretch_has_the_mean_of_those_in_it(tmp_path: Path) -> None:
    network = load_voice_model(mean_network(tmp_path / "mean.onnx"))
    assert network.same == 0.35
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * 16_000).astype(np.float32)
    embeddings = network.analyze(noise).voices([(0, 4000), (0, 800), (3000, 3010)])
    assert embeddings.shape == (3, 4)
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(1.0, abs=1e-4)
    # A window of its own is the same in longer audio.
    np.testing.assert_allclose(network.analyze(noise[:24_000]).voices([(0, 800)]), embeddings[1:2], atol=1e-5)


def test_a_stretch_without_the_middle_of_a_window_has_the_voice_of_the_nearest() -> None:
    analyzed = AnalyzedWindows(np.array([750, 1500, 2250]), np.eye(3, dtype=np.float32))
    assert analyzed.voices([(0, 100), (1400, 1600), (9000, 9100)]).tolist() == np.eye(3).tolist()
    [both] = analyzed.voices([(700, 1501)])
    assert both == pytest.approx([0.5**0.5, 0.5**0.5, 0.0])


@for_each(
    ("network", "reason"),
    [
        ({"n_bands": 40}, "is not a network for voices: ."),
        ({"n_numbers": 1}, r"makes numbers of shape \[1, 1\] of a filterbank \[1, 150, 80\], and not \[1, n\]"),
        ({"axes": (2,), "n_numbers": 200}, r"makes numbers of shape \[1, 150\]"),  # one for each frame
        ({"axes": (1, 2)}, "is not a network for voices: ."),
    ],
)
def test_a_network_of_another_shape_is_refused(tmp_path: Path, network: dict[str, Any], reason: str) -> None:
    with pytest.raises(EngineUnusable, match=reason) as caught:
        load_voice_model(mean_network(tmp_path / "wrong.onnx", **network))
    assert "\n" not in caught.value.message


def test_a_damaged_file_is_refused_with_one_line(tmp_path: Path) -> None:
    good = mean_network(tmp_path / "good.onnx").read_bytes()
    for content in (b"", b"no network", good[:100]):
        (tmp_path / "voices.onnx").write_bytes(content)
        with pytest.raises(EngineUnusable, match=r"^/.*voices\.onnx is not a network for voices: .") as caught:
            load_voice_model(tmp_path / "voices.onnx")
        assert "\n" not in caught.value.message

"""A stand-in for CTranslate2 with a GPU whose memory is the host's. It counts the passes of a model."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import ctranslate2
import numpy as np
import numpy.typing as npt

from livecaption.engine.device import Device

GPU = Device("cuda", 0, "cuda:0", "float16")


class Storage:
    """A `ctranslate2.StorageView` on the GPU or on the host."""

    def __init__(self, array: npt.NDArray[Any], device: str) -> None:
        self.array = array
        self.device = device
        self.device_index = 0
        self.dtype = getattr(ctranslate2.DataType, array.dtype.name)
        self.shape = list(array.shape)

    @staticmethod
    def from_array(array: Any) -> "Storage":
        if isinstance(array, np.ndarray):
            return Storage(array, "cpu")
        interface = array.__cuda_array_interface__
        assert interface.get("strides") is None
        kind = np.dtype(interface["typestr"])
        n_bytes = int(np.prod(interface["shape"])) * kind.itemsize
        memory = (ctypes.c_byte * n_bytes).from_address(interface["data"][0])
        return Storage(np.frombuffer(memory, kind).reshape(interface["shape"]), "cuda")

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.device != "cuda":
            raise AttributeError
        interface = dict(self.array.__array_interface__)
        return {name: interface[name] for name in ("shape", "typestr", "data", "version")}

    @property
    def __array_interface__(self) -> dict[str, Any]:
        if self.device != "cpu":
            raise AttributeError
        return dict(self.array.__array_interface__)

    def to_device(self, device: ctranslate2.Device) -> "Storage":
        return Storage(self.array, device.name)

    def to(self, dtype: ctranslate2.DataType) -> "Storage":
        return Storage(self.array.astype(dtype.name), self.device)


@dataclass
class Call:
    """One pass: of `encode`, `generate` or `align`, and what it got."""

    kind: str
    n_windows: int
    n_frames: int = 0
    beam_size: int = 0
    prompts: Sequence[Sequence[int]] = ()


@dataclass
class CountingModel:
    """A `ctranslate2.models.Whisper` on the GPU.

    Attributes:
        text: tokens that it writes for each window, after those that it was given.
        start, no_times: the tokens <|startoftranscript|> and <|notimestamps|>.
        languages: languages of the model; it detects one after the other. None: it has English only.
        fits: windows in one pass of the encoder for which it has memory.
    """

    text: list[int]
    start: int
    no_times: int
    languages: tuple[str, ...] = ()
    fits: int = 1000
    calls: list[Call] = field(default_factory=list)
    n_mels = 80
    n_detected = 0

    @property
    def is_multilingual(self) -> bool:
        return bool(self.languages)

    def encode(self, features: Storage) -> Storage:
        n_windows, _, n_frames = features.shape
        if n_windows > self.fits:
            raise RuntimeError("CUDA failed with error out of memory")
        assert features.array.dtype == np.float16
        self.calls.append(Call("encode", n_windows, n_frames))
        return Storage(np.zeros((n_windows, n_frames // 2, 4), np.float16), "cuda")

    def detect_language(self, encoded: Storage) -> list[list[tuple[str, float]]]:
        self.calls.append(Call("detect", encoded.shape[0], encoded.shape[1] * 2))
        rankings = []
        for _ in range(encoded.shape[0]):
            first = self.languages[self.n_detected % len(self.languages)]
            self.n_detected += 1
            others = [(f"<|{code}|>", 0.01) for code in self.languages if code != first]
            rankings.append([(f"<|{first}|>", 0.9), *others])
        return rankings

    def generate(self, encoded: Storage, prompts: list[list[int]], *, beam_size: int, **_: Any) -> list[Any]:
        assert encoded.device == "cuda" or self.languages, "it was not copied to the host"
        assert encoded.shape[0] == len(prompts)
        assert len({prompt.index(self.start) for prompt in prompts}) == 1, "CTranslate2 refuses this"
        self.calls.append(Call("generate", len(prompts), encoded.shape[1] * 2, beam_size, prompts))
        given = [prompt[prompt.index(self.start) + 1 :] for prompt in prompts]
        return [
            SimpleNamespace(
                sequences_ids=[[*tokens[tokens[:1] == [self.no_times] :], *self.text]],
                scores=[-0.1],
                no_speech_prob=0.01,
            )
            for tokens in given
        ]

    def align(self, encoded: Storage, start: list[int], texts: list[list[int]], frames: list[int]) -> list[Any]:
        assert encoded.shape[0] == len(texts) == len(frames)
        self.calls.append(Call("align", len(texts), encoded.shape[1] * 2))
        return [
            SimpleNamespace(alignments=[(i, i) for i in range(len(text) + 1)], text_token_probs=[0.9] * len(text))
            for text in texts
        ]

"""Sort windows into passes of the model. Windows with the same key share a pass."""

from collections import defaultdict
from collections.abc import Callable, Hashable, ItemsView, Iterable, Sequence
from typing import Any, TypeVar

import ctranslate2
import numpy as np

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)


def rows_of(encoded: Any, rows: Sequence[int]) -> Any:
    """Take some rows of an encoder's output. CTranslate2 moves them back to the model's device itself."""
    if len(rows) == encoded.shape[0]:
        return encoded
    on_cpu = encoded.to(ctranslate2.DataType.float32).to_device(ctranslate2.Device.cpu)
    return ctranslate2.StorageView.from_array(np.asarray(on_cpu)[list(rows)])


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> ItemsView[Key, list[Item]]:
    """Sort items into lists of equal keys; both keep their order."""
    groups: defaultdict[Key, list[Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups.items()

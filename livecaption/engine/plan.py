"""Plan the passes of the model for a batch: which windows share one of the encoder, and which one of the decoder. Pure.

On a CPU, time is the sum of what each window takes, so each gets exactly what it needs. On a GPU, a pass of the decoder
takes about as long for 64 windows as for one. There windows get more audio or a longer prompt than they need, if that
saves a pass. Figures: docs/decisions/0054-passes-on-a-gpu.md.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

MAX_DECODER_PASSES = 5
"""Passes of the decoder for a batch on a GPU: three kinds of prompts without times and two with times."""
PASS_WORTH_S = 60.0
"""Audio in s that a GPU may encode in addition, to save a pass of the decoder. An H200 should encode 70 s (large) to
800 s (base) in the time of a pass, by estimate. More: longer batches for large models. Less: more passes."""
CONTEXT_WORTH_S = 10.0
"""The same for a window that loses its context. Context gains little: docs/decisions/0006-context-tokens.md."""

PromptKind = Literal["none", "context", "given"]
"""The text before a window in its prompt: none, context alone, or words from the publisher, perhaps with context."""


@dataclass(frozen=True, slots=True)
class Need:
    """The needs of a window, which its passes must meet.

    Attributes:
        context_s: seconds of audio that the encoder gets, at least.
        beam_size: hypotheses that the decoder follows.
        n_given: tokens of hotwords and prompt.
        n_context: tokens of earlier text: `CONTEXT_TOKENS` or 0.
        is_timed: whether the decoder writes times, because the preceding utterance is transcribed too.
    """

    context_s: int
    beam_size: int = 5
    n_given: int = 0
    n_context: int = 0
    is_timed: bool = False

    @property
    def kind(self) -> PromptKind:
        return "given" if self.n_given else "context" if self.n_context else "none"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """The passes of a window. Those with equal `context_s` share one of the encoder, equal places one of the decoder.

    Attributes:
        context_s, beam_size, is_timed: see `Need`.
        n_previous: tokens of all previous text in the prompt; None: as many as there are, and equal numbers share.
    """

    context_s: int
    beam_size: int
    is_timed: bool
    n_previous: int | None = None


def separate_places(needs: Iterable[Need]) -> list[Place]:
    """Return for each window a place with exactly what it needs, for a CPU."""
    return [Place(need.context_s, need.beam_size, need.is_timed) for need in needs]


def shared_places(needs: Sequence[Need]) -> list[Place]:
    """Return for each window its place in few passes, for a GPU: at most `MAX_DECODER_PASSES` of the decoder.

    Groups of windows are joined, the cheapest first, as long as a pass is worth it or there are too many.
    All must have one beam size. Of different lengths of context three at most are expected.
    """
    groups: defaultdict[_Group, list[int]] = defaultdict(list)
    for index, need in enumerate(needs):
        groups[_Group(need.context_s, need.is_timed, need.kind)].append(index)
    while joins := list(_joins(groups)):
        cost_s, joined, one, other = min(joins)
        if cost_s > PASS_WORTH_S and len(groups) <= MAX_DECODER_PASSES:
            break
        indices = groups.pop(one) + groups.pop(other)
        groups[joined] += indices
    places: dict[int, Place] = {}
    for group, indices in groups.items():
        lengths = {"none": 0, "context": max(needs[i].n_context for i in indices)}
        n_previous = lengths.get(group.kind, max(needs[i].n_given + needs[i].n_context for i in indices))
        place = Place(group.context_s, needs[indices[0]].beam_size, group.is_timed, n_previous)
        places.update(dict.fromkeys(indices, place))
    return [places[index] for index in range(len(needs))]


@dataclass(frozen=True, slots=True, order=True)
class _Group:
    """Windows that share a pass of the decoder."""

    context_s: int
    is_timed: bool
    kind: PromptKind

    def joined(self, other: "_Group") -> "_Group | None":
        """Return the group that both can be part of; None: there is none. Context can be left out, given words not."""
        if self.is_timed != other.is_timed or (self.kind != other.kind and "given" in (self.kind, other.kind)):
            return None
        kind = self.kind if self.kind == other.kind else "none"
        return _Group(max(self.context_s, other.context_s), self.is_timed, kind)

    def cost_s(self, joined: "_Group") -> float:
        """Return what it costs each window to be part of that group, in seconds of audio."""
        return joined.context_s - self.context_s + (CONTEXT_WORTH_S if joined.kind != self.kind else 0.0)


def _joins(groups: Mapping[_Group, Sequence[int]]) -> Iterator[tuple[float, _Group, _Group, _Group]]:
    """Yield the groups that two groups can become, and those two, after what that costs in seconds of audio."""
    for pair in combinations(sorted(groups), 2):
        if (joined := pair[0].joined(pair[1])) is not None:
            yield sum(len(groups[each]) * each.cost_s(joined) for each in pair), joined, *pair

"""The settings of batches and of admission."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """Sizes and number of batches.

    Attributes:
        max_batch: requests in one batch, at most. `Scheduler.limit_batches` sets the present limit. Larger: each
            request costs less, and waits for all. Smaller: the processor is used less well. On a GPU, a request costs
            nearly as little as in any larger batch: docs/decisions/0053-calibration.md.
        max_batch_bytes: `Window.n_bytes` of one batch, at most, unless a single request has more. It leaves a quarter
            of the largest message (`ipc/messages.py`) for texts and options.
        batches_in_flight: unanswered batches of one worker, at most, and one more for each that it computes beside the
            first. Two hide the time of the pipe. More: requests wait where newer ones cannot replace them. Figures:
            docs/decisions/0029-batches-in-flight.md.
    """

    max_batch: int = 64
    batches_in_flight: int = 2
    max_batch_bytes: int = 48 * 2**20


@dataclass(frozen=True, slots=True)
class AdmissionConfig:
    """The times by which admission decides.

    Attributes:
        new_s: time in which a stream counts as new: three utterances of 5 s. Longer: quiet streams count for more than
            they need. Shorter: what a new stream needs is not measured yet.
        late_s: waiting time of a final from which on no stream is accepted. Finals of 48 streams on two cores may come
            3.5 s after the end of speech, of which an endpoint takes 0.5 to 0.9 s. More: finals come later. Less: fewer
            streams.
    """

    new_s: float = 15.0
    late_s: float = 2.0

"""The settings of admission."""

from dataclasses import dataclass


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

"""Parts of the denoising, from share to share, and the noise levels that they mean in a run.

As ComfyUI's own ranges, they are worked out when sampling starts: nodes behind ours may change the schedule.
"""

from dataclasses import dataclass

FOREVER = (999999999.0, 0.0)  # what percent_to_sigma gives for 0 % and 100 %


@dataclass(frozen=True)
class Span:
    """A part of the denoising, in shares 0..1, and the noise levels (from, to) that it meant when the node ran: they
    count in samplers that go around ComfyUI's own, where no run tells better."""

    start_at: float
    end_at: float
    levels: tuple[float, float] = FOREVER


def span_of(model, start_at: float, end_at: float) -> Span:
    """The Span on a MODEL."""
    return Span(start_at, end_at, levels_of(model.get_model_object("model_sampling"), start_at, end_at))


def levels_of(sampling, start_at: float, end_at: float) -> tuple[float, float]:
    """The noise levels (from, to) of a part of the denoising, the former the higher one; FOREVER's ends for 0 and 1."""
    upper = FOREVER[0] if start_at <= 0 else float(sampling.percent_to_sigma(start_at))
    return upper, FOREVER[1] if end_at >= 1 else float(sampling.percent_to_sigma(end_at))

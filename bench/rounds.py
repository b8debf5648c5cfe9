"""How everything here is measured: in interleaved rounds, as ratios within a round.

Absolute times vary from run to run on a machine that others use too, and drift within one. What is
done in turn, A B C A B C …, drifts together: only ratios of figures of the same round are claims.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tqdm import tqdm

#: Returns one round's figure.
Contender = Callable[[], float]


@dataclass(frozen=True)
class Effort:
    """How much is measured. A smoke run shows that it works, not how fast it is."""

    rounds: int
    #: How long one contender works in one round, in seconds.
    seconds: float

    @property
    def is_smoke(self) -> bool:
        return self.rounds == 1


FULL = Effort(rounds=5, seconds=0.05)
SMOKE = Effort(rounds=1, seconds=0.001)


@dataclass(frozen=True)
class Claim:
    """That ``over``'s figure is at least, or at most, ``bound`` times ``under``'s."""

    text: str
    over: str
    under: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def target(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return f"≤ {self.at_most:g}"

    def is_met_by(self, ratio: float) -> bool:
        """To two digits, as it is shown: more would be noise."""
        ratio = round(ratio, 2)
        if self.at_least is not None:
            return ratio >= self.at_least
        return self.at_most is not None and ratio <= self.at_most


@dataclass(frozen=True)
class Ratio:
    """The median of the rounds' ratios, and between which of them nine of ten rounds lie."""

    median: float
    low: float
    high: float

    def holds(self, ratio: float) -> bool:
        """Whether it is within the range; to two digits, as it is shown."""
        return round(self.low, 2) <= round(ratio, 2) <= round(self.high, 2)

    def __str__(self) -> str:
        digits = 2 if self.median < 20 else 1
        low, high = (f"{value:.{digits}f}" for value in (self.low, self.high))
        return f"{self.median:.{digits}f} ({low} … {high})"


@dataclass
class Table:
    """What one piece of work took, by contender and round."""

    name: str
    title: str
    #: What the figures count: "ns", "per second", "bytes".
    unit: str
    about: str
    figures: dict[str, list[float]]
    claims: list[Claim] = field(default_factory=list)
    #: The contender that the plot and the table compare with.
    ours: str = "forksafe_pool"
    more_is_better: bool = False

    def median(self, contender: str) -> float:
        return statistics.median(self.figures[contender])

    def ratio(self, over: str, under: str) -> Ratio:
        rounds = zip(self.figures[over], self.figures[under], strict=True)
        ratios = sorted(above / below for above, below in rounds)
        margin = len(ratios) // 20
        return Ratio(statistics.median(ratios), ratios[margin], ratios[-1 - margin])

    def add(self, more: Table) -> None:
        """What was measured in ``more`` rounds."""
        for contender, figures in more.figures.items():
            self.figures[contender] += figures

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Table:
        claims = [Claim(**claim) for claim in kept["claims"]]
        return cls(**{**kept, "claims": claims})


def interleave(
    name: str, contenders: Mapping[str, Contender], effort: Effort
) -> dict[str, list[float]]:
    """Each contender's figure in each round. The first round is for warming up."""
    figures: dict[str, list[float]] = {contender: [] for contender in contenders}
    order = list(contenders)
    for number in progress(range(effort.rounds + 1), name):
        for contender in order:
            figure = contenders[contender]()
            if number:
                figures[contender].append(figure)
        order.append(order.pop(0))  # nobody always comes after the same one
    return figures


def progress(items: Sequence[Any], name: str) -> Iterable[Any]:
    bar: Iterable[Any] = tqdm(items, desc=f"{name:24}", unit="round", ncols=78)
    return bar


def per_operation(operate: Callable[[int], object], effort: Effort) -> Contender:
    """A contender whose figure is the nanoseconds that one operation takes.

    Parameters:
        operate: does it so many times.
    """
    times = 1
    while True:  # as often as fills the time
        took = _clock(operate, times)
        if took > effort.seconds / 4:
            break
        times *= 2
    times = max(1, round(times * effort.seconds / took))
    return lambda: _clock(operate, times) / times * 1e9


def _clock(operate: Callable[[int], object], times: int) -> float:
    collects = gc.isenabled()
    gc.disable()  # as timeit does
    try:
        start = time.perf_counter()
        operate(times)
        return time.perf_counter() - start
    finally:
        if collects:
            gc.enable()

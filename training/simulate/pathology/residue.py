"""How long blood stays in tissue: residue functions, and the peak of the flow-scaled residue.

A residue function R(t) is the share of a tracer still in the tissue t seconds after an ideal
instantaneous injection; R(0) = 1 and its integral is the mean transit time (central volume
theorem, Meier and Zierler 1954). Three families are mixed: exponential (one well-mixed
compartment), box (plug flow), and gamma-distributed transit times between them (Mouridsen 2006).
All of them scale with the mean transit time, so everything is written in u = t / MTT.
"""

from dataclasses import dataclass

import numpy as np

from training.simulate.arrays import Float32Array, FloatArray

MAX_DISPERSION_PER_MTT = 3.0
_DISPERSION_NODES = 97
_STEP = 0.0025
_LAST = 5.0


@dataclass(frozen=True)
class Residue:
    """Mixture of residue functions of one mean transit time.

    Parameters
    ----------
    exponential, box, gamma : float
        Weights; they sum to 1.
    shape : float
        Shape of the gamma-distributed transit times, 1 (exponential) and up (towards a box).

    Raises
    ------
    ValueError
        A weight is negative, the weights do not sum to 1, or the shape is below 1.
    """

    exponential: float
    box: float
    gamma: float
    shape: float

    def __post_init__(self) -> None:
        weights = (self.exponential, self.box, self.gamma)
        if min(weights) < 0 or abs(sum(weights) - 1) > 1e-9:
            raise ValueError(f"weights {weights} must be at least 0 and sum to 1")
        if self.shape < 1:
            raise ValueError(f"the shape is {self.shape}, it must be at least 1")

    def at(self, u: FloatArray) -> FloatArray:
        """R at u = t / MTT, for u from 0."""
        from scipy.special import gammaincc

        return np.asarray(
            self.exponential * np.exp(-u)
            + self.box * (u < 1)
            + self.gamma * gammaincc(self.shape, self.shape * u)
        )

    def integral(self, u: FloatArray) -> FloatArray:
        """Integral of R from 0 to u; 1 for large u."""
        from scipy.special import gammainc, gammaincc

        gamma = u * gammaincc(self.shape, self.shape * u) + gammainc(self.shape + 1, self.shape * u)
        return np.asarray(
            self.exponential * -np.expm1(-u) + self.box * np.minimum(u, 1) + self.gamma * gamma
        )


def draw_residues(rng: np.random.Generator) -> tuple[Residue, Residue]:
    """Draw the two mixtures between which a patient's tissue lies: near-plug and well-mixed."""
    box, rest = rng.uniform(0.05, 0.3), rng.uniform(0.15, 0.4)
    plug = Residue(rest, box, 1 - box - rest, float(rng.uniform(2.5, 6)))
    box, gamma = rng.uniform(0, 0.08), rng.uniform(0.1, 0.4)
    mixed = Residue(1 - box - gamma, box, gamma, float(rng.uniform(1, 2.5)))
    return plug, mixed


class PeakTable:
    """Time and height of the maximum of R convolved with an exponential dispersion.

    With dispersion of time constant tau, k obeys tau k' + k = R; it has one maximum, and there
    k = R. Tabulated for tau / MTT and for the place of R between two mixtures.

    Parameters
    ----------
    first, second : Residue
        R = (1 - kind) first + kind second.
    kinds : int
        Nodes along the kind.
    """

    def __init__(self, first: Residue, second: Residue, kinds: int = 9) -> None:
        nodes = np.linspace(0, 1, _DISPERSION_NODES) ** 2 * MAX_DISPERSION_PER_MTT
        share = np.linspace(0, 1, kinds)
        self._table = _peaks(first, second, nodes, share)

    def look_up(
        self, dispersion_per_mtt: Float32Array, kind: Float32Array
    ) -> tuple[Float32Array, Float32Array]:
        """Time of the peak in units of MTT, and its height in units of CBF; 1-D inputs."""
        last = _DISPERSION_NODES - 1
        place = np.sqrt(np.clip(dispersion_per_mtt / np.float32(MAX_DISPERSION_PER_MTT), 0, 1))
        rows = (place * np.float32(last)).astype(np.float32)
        columns = (np.clip(kind, 0, 1) * np.float32(self._table.shape[2] - 1)).astype(np.float32)
        row = np.minimum(rows.astype(np.intp), last - 1)
        column = np.minimum(columns.astype(np.intp), self._table.shape[2] - 2)
        down, right = rows - row, columns - column
        values = []
        for table in self._table:
            flat, width = table.ravel(), table.shape[1]
            index = row * width + column
            above = flat[index] + right * (flat[index + 1] - flat[index])
            index += width
            below = flat[index] + right * (flat[index + 1] - flat[index])
            values.append(np.asarray(above + down * (below - above), dtype=np.float32))
        return values[0], values[1]


def _peaks(
    first: Residue, second: Residue, dispersions: FloatArray, kinds: FloatArray
) -> Float32Array:
    """Peak times and heights, shape ``(2, dispersion, kind)``, by integrating tau k' + k = R."""
    u = np.arange(0, _LAST, _STEP)
    plug, mixed = first.at(u), second.at(u)
    residue = plug + kinds[:, None] * (mixed - plug)
    middle = np.diff(first.integral(np.append(u, _LAST))) / _STEP
    other = np.diff(second.integral(np.append(u, _LAST))) / _STEP
    mean = middle + kinds[:, None] * (other - middle)
    safe = np.maximum(dispersions, 1e-6)[:, None]
    keep = np.exp(-_STEP / safe)
    value = np.zeros((len(dispersions), len(kinds)))
    time, height = np.zeros_like(value), np.zeros_like(value)
    running = np.ones(value.shape, dtype=bool)
    before = residue[:, 0] - value
    for index in range(1, len(u)):
        previous = value
        value = keep * value + (1 - keep) * mean[:, index - 1]
        gap = residue[:, index] - value
        crossed = running & (gap <= 0)
        part = before / np.where(crossed, before - gap, 1)
        time[crossed] = ((index - 1 + part) * _STEP)[crossed]
        height[crossed] = (previous + part * (value - previous))[crossed]
        running &= ~crossed
        before = gap
    time[0], height[0] = 0, 1
    return np.stack([time, height]).astype(np.float32)

"""What the images of one MR acquisition share, classic or enhanced."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from inference.geometry import Geometry
from training.simulate.dicom.identity import Identity, StudyName
from training.simulate.dicom.mr_vendors import MR_VENDORS, MrVendor, choose_mr
from training.simulate.dicom.vendors import Model
from training.simulate.scanner import MrKind, Scanner

Signal = npt.NDArray[np.integer]
HYDROGEN_MHZ_PER_T = 42.577478
SERIES_NUMBERS: dict[MrKind, int] = {"dwi": 4, "pwi": 7, "gre": 3}


@dataclass(frozen=True, eq=False)
class MrSeries:
    """Protocol and words of one MR acquisition.

    ``field_strength_t`` chooses the scanner; None takes any. A GRE is a study of its own, a
    follow-up.
    """

    identity: Identity
    scanner: Scanner
    geometry: Geometry
    kind: MrKind
    thickness_mm: float
    echo_time_ms: float
    repetition_time_ms: float
    flip_angle_deg: float
    field_strength_t: float | None = None

    @property
    def study(self) -> StudyName:
        """Which of the patient's studies."""
        return "follow-up" if self.kind == "gre" else "mr"

    @cached_property
    def vendor(self) -> MrVendor:
        """How the vendor writes."""
        return MR_VENDORS[self.scanner]

    @cached_property
    def model(self) -> Model:
        """The scanner."""
        return choose_mr(self.identity, self.vendor, self.field_strength_t)

    @cached_property
    def words(self) -> dict[str, str]:
        """``study`` and ``series`` description, ``protocol`` name and contrast ``agent``."""
        choose, vendor = self.identity.choose, self.vendor
        return {
            "study": choose("mr study", vendor.study),
            "series": choose(f"{self.kind} series", getattr(vendor, self.kind)),
            "protocol": choose("mr protocol", vendor.protocol),
            "agent": choose("mr agent", vendor.agents) if self.kind == "pwi" else "",
        }

    @property
    def imaging_frequency_mhz(self) -> float:
        """Larmor frequency of hydrogen."""
        return round(HYDROGEN_MHZ_PER_T * self.model.field_strength_t, 6)

    @property
    def spacing_mm(self) -> float:
        """SpacingBetweenSlices, centre to centre."""
        return round(self.geometry.slice_spacing_mm or self.thickness_mm, 4)


@dataclass(frozen=True)
class Scale:
    """How a signal is stored: ``signal = slope * stored``."""

    bits: int
    signed: bool
    slope: float = 1.0

    def store(self, signal: Signal) -> Signal:
        """Stored values; a signal above what the bits hold is clipped."""
        limit = 2 ** (self.bits - self.signed) - 1
        stored = signal if self.slope == 1.0 else np.rint(signal / self.slope)
        return np.asarray(np.clip(stored, 0, limit)).astype(np.int32)


def scale_of(series: MrSeries, volumes: Sequence[Signal]) -> Scale:
    """The vendor's way to store a series; Philips stretches every series over its 12 bits."""
    largest = max(int(volume.max()) for volume in volumes)
    vendor = series.vendor
    if series.scanner == "philips":
        return Scale(vendor.bits, vendor.signed, float(f"{max(largest, 1) / 4095:.8g}"))
    fits = largest < 2 ** (vendor.bits - vendor.signed)
    return Scale(vendor.bits if fits else 16, vendor.signed)


def checked(series: MrSeries, volumes: Sequence[Signal], times_s: npt.NDArray[np.float64]) -> None:
    """Raise ValueError where volumes, times and geometry do not fit each other."""
    expected = (len(volumes), series.geometry.slices)
    if times_s.shape != expected or not volumes:
        raise ValueError(f"times_s has shape {times_s.shape}, volumes and slices are {expected}")
    wrong = {volume.shape for volume in volumes} - {series.geometry.shape}
    if wrong:
        raise ValueError(f"volumes of shape {wrong} for a geometry of {series.geometry.shape}")

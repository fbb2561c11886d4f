"""The synthetic acquisition of :mod:`tests.inference.perfusion.phantom` as DSC-MR.

S(t) = S0 exp(-TE ΔR2*(t)), with ΔR2* in proportion to what the contrast does on CT: 1 HU is 1/12
1/s in large vessels and 0.6 1/s in tissue, which gives arteries of 25 1/s and grey matter of 5.
"""

from dataclasses import replace

import numpy as np

from tests.inference.perfusion.phantom import (
    ARTERY,
    BASELINE_HU,
    HOLDER,
    VEIN,
    Phantom,
    Scan,
    scan,
)

ECHO_TIME_S = 0.03
NOISE = 8.0
# Of air, scalp, bone, fluid, grey and white matter, penumbra, core, artery, vein and holder.
SIGNAL = np.array([0, 100, 15, 900, 600, 520, 600, 610, 600, 600, 0], float)
SMALL = Phantom(rows=80, pixel_mm=2.8, slices=5, slice_mm=8.0, first_slice_mm=-8.0, noise_hu=0)


def mr_scan(spec: Phantom = SMALL, *, noise: float = NOISE, gain: float = 1.0) -> Scan:
    """Simulate the acquisition with Rician noise."""
    case = scan(replace(spec, noise_hu=0.0))
    per_hu = np.full(len(BASELINE_HU), 0.6)
    per_hu[[ARTERY, VEIN]] = 1 / 12
    change = (case.series.data - BASELINE_HU[case.labels]) * per_hu[case.labels]
    change[:, case.labels == HOLDER] = 0
    signal = SIGNAL[case.labels] * np.exp(-ECHO_TIME_S * change)
    generator = np.random.default_rng(spec.seed)
    real, imaginary = generator.normal(0, noise, (2, *signal.shape))
    data = gain * np.hypot(signal + real, imaginary)
    series = replace(case.series, data=data.astype(np.float32), units="1", echo_time_s=ECHO_TIME_S)
    return replace(case, series=series)

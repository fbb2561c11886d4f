"""What a contrast agent does to the images, and in which numbers that is told.

Vessels, curves and warnings are the same for CT and MR but for these few constants.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Agent:
    """One contrast agent as one modality sees it.

    Parameters
    ----------
    unit : str
        Of curves.
    suffix : str
        The unit in the names of recorded parameters.
    effect : str
        What it does to vessels and brain, as a verb.
    least_rise : float
        The brain's mean curve rises by at least so much where there is a bolus.
    weak_peak : float
        Arteries that rise by less have had a weak bolus.
    vessel_baseline : (float, float)
        What vessels may measure without contrast.
    """

    unit: str
    suffix: str
    effect: str
    least_rise: float
    weak_peak: float
    vessel_baseline: tuple[float, float]


IODINE = Agent("HU", "hu", "brightens", 0.5, 90.0, (-5.0, 90.0))
"""On CT. A usual injection brightens arteries by 200-450 HU at 80 kVp, and by about 60 % of that at
120 kVp. Blood itself is 35-65 HU, less where fluid and more where bone shares the voxel."""

GADOLINIUM = Agent("1/s", "per_s", "darkens", 0.5, 8.0, (-np.inf, np.inf))
"""On T2*-weighted MR, as the change of the relaxation rate, which is 0 without contrast."""

"""The numbers a stroke team reads, from maps and lesions."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from inference.geometry import Geometry
from inference.perfusion.lesions import (
    LesionRules,
    Lesions,
    low_flow,
    prolonged_tmax,
    volume_ml,
)
from inference.results import Measurement

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_TMAX_S = (4.0, 8.0, 10.0)
_RCBF = (0.20, 0.34, 0.38)
_SEVERE_TMAX_S = 10.0
_OF_CORE = ("core_volume", "mismatch_volume", "mismatch_ratio")


def measure_lesions(
    lesions: Lesions,
    tissue: BoolArray,
    cbf: Float32Array,
    cbv: Float32Array,
    tmax: Float32Array,
    geometry: Geometry,
    rules: LesionRules,
) -> tuple[Measurement, ...]:
    """Volumes in mL, and ratios that are None where their denominator is zero.

    Parameters
    ----------
    lesions : Lesions
    tissue : array, shape ``(slice, row, column)``
        Parenchyma without vessels.
    cbf, cbv, tmax : array, same shape
        In mL/100 g/min, mL/100 g and s.
    """
    core = volume_ml(lesions.core, geometry)
    hypoperfused = volume_ml(lesions.hypoperfused, geometry)
    delayed = {}
    for threshold in _TMAX_S:
        # What is delayed more than hypoperfused tissue lies in it: isolated spots were noise.
        within = tissue if threshold < rules.hypoperfused_tmax_s else lesions.hypoperfused
        region = prolonged_tmax(within, tmax, threshold, geometry, rules)
        delayed[threshold] = volume_ml(region, geometry)
    low = {
        share: volume_ml(
            low_flow(tissue, cbf, lesions.reference, share, lesions.hypoperfused, geometry, rules),
            geometry,
        )
        for share in _RCBF
    }
    cbv_index = None
    if hypoperfused > 0 and lesions.reference.cbv > 0:
        cbv_index = float(cbv[lesions.hypoperfused].mean()) / lesions.reference.cbv
    return (
        Measurement("core_volume", "Core", core, "mL"),
        Measurement("hypoperfused_volume", "Hypoperfused", hypoperfused, "mL"),
        Measurement("mismatch_volume", "Mismatch", hypoperfused - core, "mL"),
        Measurement("mismatch_ratio", "Mismatch ratio", _ratio(hypoperfused, core), "1"),
        *(
            Measurement(f"tmax_gt_{t:.0f}s_volume", f"Tmax > {t:.0f} s", volume, "mL")
            for t, volume in delayed.items()
        ),
        *(
            Measurement(
                f"rcbf_lt_{100 * share:.0f}pct_volume", f"rCBF < {100 * share:.0f} %", volume, "mL"
            )
            for share, volume in low.items()
        ),
        Measurement(
            "hypoperfusion_intensity_ratio",
            "Hypoperfusion intensity ratio",
            _ratio(delayed[_SEVERE_TMAX_S], hypoperfused),
            "1",
        ),
        Measurement("cbv_index", "CBV index", cbv_index, "1"),
    )


def without_core(
    measurements: tuple[Measurement, ...], core_rcbf: float, reason: str
) -> tuple[Measurement, ...]:
    """The same numbers where low flow does not define a core.

    Core and mismatch have no value but the ``reason``; the volume of low flow goes by its own
    name, ``rcbf_lt_30pct_volume`` for a ``core_rcbf`` of 0.3.
    """
    name = f"rcbf_lt_{100 * core_rcbf:.0f}pct_volume"
    low = [
        Measurement(name, f"rCBF < {100 * core_rcbf:.0f} %", m.value, m.unit)
        for m in measurements
        if m.name == "core_volume" and name not in {other.name for other in measurements}
    ]
    known = [
        replace(m, value=None, reason=reason) if m.name in _OF_CORE else m for m in measurements
    ]
    return (*known, *low)


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator > 0 else None

"""What is true of a simulated scan: arrays with units, numbers, and how they are stored."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Quantity:
    """One array of the truth; ``unit`` is ``1`` for masks, shares and counts."""

    values: npt.NDArray[Any]
    unit: str
    meaning: str


@dataclass(frozen=True, eq=False)
class Truth:
    """The truth beside a scan, on the scan's own grid.

    Parameters
    ----------
    arrays : dict of name to Quantity
        Maps and masks of shape ``(slice, row, column)``, curves, times, poses.
    numbers : dict
        Everything that is not an array (volumes in mL, sides, kinds); JSON values only.
    """

    arrays: dict[str, Quantity] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write ``truth.npz`` (arrays) and ``truth.json`` (numbers, units and meanings)."""
        folder.mkdir(parents=True, exist_ok=True)
        values = {name: quantity.values for name, quantity in self.arrays.items()}
        np.savez_compressed(folder / "truth.npz", allow_pickle=False, **values)
        about = {
            name: {
                "unit": quantity.unit,
                "shape": list(quantity.values.shape),
                "meaning": quantity.meaning,
            }
            for name, quantity in self.arrays.items()
        }
        document = {**self.numbers, "arrays": about}
        text = json.dumps(document, indent=2, allow_nan=False)
        (folder / "truth.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Truth":
        """Read what :meth:`save` wrote."""
        numbers = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
        about = numbers.pop("arrays")
        with np.load(folder / "truth.npz", allow_pickle=False) as stored:
            arrays = {
                name: Quantity(stored[name], entry["unit"], entry["meaning"])
                for name, entry in about.items()
            }
        return cls(arrays, numbers)

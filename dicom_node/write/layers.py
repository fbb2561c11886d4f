"""Derived volumes and parameter maps in one form, for all image writers."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_node.write.codes import unit_code
from dicom_node.write.context import WriteContext
from dicom_node.write.text import RESEARCH_USE, plain, shortened, training_statement, warning_text
from inference.geometry import Geometry
from inference.results import DerivedImage, ParameterMap

Float32Array = npt.NDArray[np.float32]

_ST_LENGTH = 1024
_LABELS = {"ncct": "NCCT"}


@dataclass(frozen=True, eq=False)
class Layer:
    """A volume to be written as images.

    Parameters
    ----------
    role : str
        Name in the series table.
    label : str
        Name on pictures.
    data : array, shape ``(slice, row, column)``
        In ``unit``; not finite where nothing was measured.
    window : (low, high)
        Range of values to show, in ``unit``.
    unit_label : str
        Unit on pictures.
    quantity : Code or None
        What is measured; None for plain images.
    derivation : Code or None
        How it was made (CID 7203), where there is a code for that.
    description : str
        How it was made, in words.
    """

    role: str
    label: str
    data: Float32Array
    geometry: Geometry
    window: tuple[float, float]
    unit: Code
    unit_label: str
    quantity: Code | None
    derivation: Code | None
    description: str

    def __post_init__(self) -> None:
        low, high = self.window
        if not low < high:
            raise ValueError(f"window of {self.role} is {low} to {high}, expected low < high")
        if self.data.shape != self.geometry.shape:
            raise ValueError(
                f"data of {self.role} {self.data.shape} do not fit geometry {self.geometry.shape}"
            )

    @property
    def image_type_value(self) -> str:
        """Value 4 of ImageType (a code string)."""
        return "".join(c if c.isalnum() else "_" for c in plain(self.role).upper())[:16]


def image_layer(image: DerivedImage) -> Layer:
    """A derived volume as a layer; it is an average where its description begins with that."""
    averaged = image.description.lower().startswith(("mean", "average"))
    return Layer(
        role=image.name,
        label=_LABELS.get(image.name) or plain(image.name.capitalize()),
        data=image.data,
        geometry=image.geometry,
        window=image.window,
        unit=unit_code(image.units),
        unit_label=image.units,
        quantity=None,
        derivation=codes.DCM.PixelByPixelMean if averaged else None,
        description=image.description,
    )


def map_layer(parameter_map: ParameterMap) -> Layer:
    """A parameter map as a layer."""
    quantity = parameter_map.quantity
    return Layer(
        role=quantity.name,
        label=plain(quantity.label),
        data=parameter_map.data,
        geometry=parameter_map.geometry,
        window=quantity.display_range,
        unit=unit_code(quantity.unit),
        unit_label=quantity.unit_label,
        quantity=Code(*quantity.code),
        derivation=codes.DCM.PerfusionImageAnalysis,
        description=f"{quantity.code[2]} in {quantity.unit_label}; {quantity.reference}",
    )


def derivation_description(layer: Layer, context: WriteContext) -> str:
    """How a layer was made and by which version; fits DerivationDescription."""
    result = context.result
    made_by = (
        f"{layer.description}. StrokeNode {context.run.software_version}, "
        f"{result.pipeline} {result.version}."
    )
    parts = [f"{RESEARCH_USE}.", plain(made_by), training_statement(result)]
    return shortened(" ".join(part for part in parts if part), _ST_LENGTH)


def image_comments(context: WriteContext) -> str:
    """What a reader of any picture must know; fits ImageComments."""
    return "; ".join([RESEARCH_USE, *(warning_text(w) for w in context.result.warnings)])

"""A patient's head on the day of the scan: anatomy, blood, oedema and mimics in one place."""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from training.simulate.anatomy.model import Anatomy
from training.simulate.arrays import Float32Array
from training.simulate.space import HEAD_SHAPE

_DENSE_HU = 100.0
"""What is denser than any tissue or blood: its HU depend on the tube voltage."""


class BloodKind(StrEnum):
    """Kinds of intracranial hemorrhage."""

    INTRAPARENCHYMAL = "intraparenchymal"
    INTRAVENTRICULAR = "intraventricular"
    SUBARACHNOID = "subarachnoid"
    SUBDURAL = "subdural"
    EPIDURAL = "epidural"


@dataclass(frozen=True)
class Inclusion:
    """Dense material that is not blood: ``share`` of each voxel of ``HEAD_SHAPE``, at ``hu``."""

    share: Float32Array
    hu: float


@dataclass(frozen=True, eq=False)
class Head:
    """Anatomy with everything that lies in it, float32 arrays of shape ``HEAD_SHAPE``.

    Parameters
    ----------
    anatomy : Anatomy
        The tissue, already displaced by mass effect. Its shares are those without blood; where
        blood lies it takes their place.
    blood : dict of BloodKind to array
        Share of each voxel that is extravasated blood of that kind; the sum is at most 1.
    blood_hu : array
        HU at 120 kVp of the blood in the voxel, 0 where there is none.
    water_hu : array
        By how many HU brain tissue is darker because of water: early ischaemic change, oedema
        around blood, old infarcts; never below 0.
    inclusions : dict of name to Inclusion
        Mimics of blood and foreign bodies: ``calcification``, ``hyperdense_artery``,
        ``contrast_staining``, ``metal``. They take the place of what the voxel holds.
    """

    anatomy: Anatomy
    blood: dict[BloodKind, Float32Array] = field(default_factory=dict)
    blood_hu: Float32Array | None = None
    water_hu: Float32Array | None = None
    inclusions: dict[str, Inclusion] = field(default_factory=dict)

    def blood_share(self) -> Float32Array:
        """Share of blood of all kinds."""
        total = np.zeros(HEAD_SHAPE, dtype=np.float32)
        for share in self.blood.values():
            total += share
        return total

    def baseline_hu(
        self, *, iodine_free_bias_hu: float = 0.0, bone_gain: float = 1.0
    ) -> Float32Array:
        """HU without contrast, noise or artefact.

        Parameters
        ----------
        iodine_free_bias_hu : float
            Added to brain, CSF and blood (a CT perfusion reads about 14 HU less than an NCCT),
            clots among them.
        bone_gain : float
            Factor of what HU exceed 100 by, at another tube voltage: bone, calcium, metal, and
            contrast left in tissue.
        """
        person, body = self.anatomy.person, self.anatomy
        static = body.static_hu
        if bone_gain != 1:
            scaled = _DENSE_HU + (static - _DENSE_HU) * np.float32(bone_gain)
            static = np.where(static > _DENSE_HU, scaled, static)
        inside = body.grey * np.float32(person.grey_hu + iodine_free_bias_hu)
        inside += body.white * np.float32(person.white_hu + iodine_free_bias_hu)
        if self.water_hu is not None:
            inside -= (body.grey + body.white) * self.water_hu
        inside += body.csf * np.float32(person.csf_hu + iodine_free_bias_hu)
        inside += (body.artery + body.vein) * np.float32(person.blood_hu + iodine_free_bias_hu)
        inside += static
        if self.blood and self.blood_hu is not None:
            share = self.blood_share()
            inside += share * (self.blood_hu + np.float32(iodine_free_bias_hu) - inside)
        for inclusion in self.inclusions.values():
            hu = inclusion.hu + iodine_free_bias_hu
            if inclusion.hu > _DENSE_HU:
                hu = _DENSE_HU + (inclusion.hu - _DENSE_HU) * bone_gain
            inside += inclusion.share * (np.float32(hu) - inside)
        return np.asarray(inside, dtype=np.float32)

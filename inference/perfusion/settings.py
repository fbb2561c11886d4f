"""Settings that every perfusion pipeline has, whatever the images are."""

from typing import Literal

from pydantic import Field

from inference.pipelines import PipelineSettings

Point = tuple[float, float, float]


class PerfusionSettings(PipelineSettings):
    """Constants from concentration curves to lesions; they shape the result.

    ``aif_at_mm`` and ``vof_at_mm`` place the arterial input and the venous output by hand: x, y, z
    in the patient's coordinates (LPS, mm).
    """

    motion_correction: bool = True
    solver: Literal["osvd", "bsvd", "ssvd", "tikhonov", "fourier"] = "bsvd"
    oscillation_target: float = Field(0.035, ge=0.005, le=0.5)
    truncation: float = Field(0.15, ge=0.01, le=0.9)
    quadrature: Literal["rectangle", "simpson"] = "rectangle"
    tmax_min_s: float = Field(-6.0, ge=-20, le=0)
    tmax_max_s: float = Field(30.0, ge=12, le=120)
    tmax_plateau: float = Field(0.8, ge=0.5, le=1)
    smoothing_mm: float = Field(2.5, ge=0, le=10)
    max_smoothing_mm: float = Field(5.0, ge=0, le=10)
    contrast_to_noise: float = Field(6.0, ge=0, le=50)
    principal_components: int = Field(6, ge=0, le=200)
    aif_at_mm: Point | None = None
    vof_at_mm: Point | None = None
    time_step_s: float = Field(1.0, ge=0.5, le=4)
    max_duration_s: float = Field(120, ge=30, le=240)
    min_time_points: int = Field(8, ge=5, le=100)
    slab_thickness_mm: float = Field(5.0, ge=1, le=20)
    search_thickness_mm: float = Field(2.0, ge=0.5, le=20)
    search_pixel_mm: float = Field(0.8, ge=0.2, le=4)
    kh: float = Field(0.73, ge=0.3, le=1.5)
    rho_g_per_ml: float = Field(1.04, ge=0.9, le=1.2)
    brain_rim_mm: float = Field(2.0, ge=0, le=10)
    min_brain_ml: float = Field(50.0, ge=1, le=500)
    vessel_cbv_factor: float = Field(2.5, ge=1.5, le=10)
    vessel_margin_mm: float = Field(1.0, ge=0, le=10)
    median_mm: float = Field(3.0, ge=0, le=20)
    hypoperfused_tmax_s: float = Field(6.0, ge=2, le=15)
    normal_tmax_s: float = Field(4.0, ge=1, le=10)
    min_cluster_ml: float = Field(1.0, ge=0, le=20)
    min_cluster_radius_mm: float = Field(2.5, ge=0, le=10)
    confirmation_cnr: float = Field(16.0, ge=0, le=100)
    confirmation_share: float = Field(1.0, ge=0, le=1.5)
    confirmation_max_ml: float = Field(8.0, ge=0, le=100)
    one_sided_share: float = Field(0.7, ge=0.5, le=1)
    delayed_rcbf_limit: float = Field(2.0, ge=1.2, le=10)
    core_closing_mm: float = Field(3.5, ge=0, le=10)

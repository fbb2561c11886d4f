"""``strokenode process`` on an example study: what is written, and that others can read it."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dicom_node.process import find_acquisitions
from tests.dicom_node.write.validators import assert_valid, dump_report
from tests.support.shared import SHARED_DATA, shared_data

SLICES = 16


@shared_data
def test_process_the_example_study(tmp_path: Path) -> None:
    """The lesion is in the patient's right hemisphere: 44 mL of low flow, 13 mL severe."""
    subprocess.run(
        [sys.executable, "-m", "dicom_node.cli", "process", str(SHARED_DATA / "ctp-sample"),
         "--output", str(tmp_path), "--nifti"],
        check=True, capture_output=True, timeout=280,
    )  # fmt: skip
    (record,) = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert (record["status"], record["side"]) == ("ok", "R")
    roles = Counter(output["role"] for output in record["outputs"])
    maps = ("cbf", "cbv", "mtt", "tmax", "ttp")
    assert roles == {
        **dict.fromkeys(("report", "summary", "maps", "quality", "core", "hypoperfused"), 1),
        "baseline": SLICES,
        **dict.fromkeys(maps, SLICES), **{f"{name}_colour": 1 for name in maps},
    }  # fmt: skip
    paths = [tmp_path / output["path"] for output in record["outputs"]]
    assert_valid(paths)
    report = next(path for path in paths if path.name.startswith("report"))
    assert "Comprehensive 3D SR" in dump_report(report)
    exported = {path.name for path in tmp_path.rglob("*.nii.gz")}
    names = (*maps, "baseline", "brain", "core", "hypoperfused")
    assert exported == {f"{name}.nii.gz" for name in names}


@shared_data
@pytest.mark.parametrize(
    ("folder", "kind", "why"),
    [
        ("ctp-sample", "CTP", "16 positions with 30 time points"),
        ("ct-head-ge", "NCCT", "28 slices without contrast"),
        ("ct-bolus-tracking", "OTHER", "bolus tracking"),
        ("mr-temporal-position", "OTHER", "10 time points: fewer than"),
        ("mr-enhanced-time", "OTHER", "arterial spin labelling"),
    ],
)
def test_what_the_example_studies_are(folder: str, kind: str, why: str) -> None:
    (found,), unreadable = find_acquisitions(SHARED_DATA / folder)
    row = found.row()
    assert (row["kind"], row["complete"], unreadable) == (kind, True, [])
    assert why in row["reason"]
    assert len(row["evidence"]) >= 4

"""The validators of dicom3tools and dcmtk; a missing one fails the test."""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest


def run_tool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a validator; fail where it is not installed."""
    name = str(arguments[0])
    if shutil.which(name) is None:
        pytest.fail(f"{name} is not installed (Debian packages dicom3tools and dcmtk)")
    command = [str(argument) for argument in arguments]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


def assert_valid(paths: Iterable[Path]) -> None:
    """Every file passes dciodvfy, and all of them together dcentvfy."""
    paths = list(paths)
    for path in paths:
        checked = run_tool("dciodvfy", "-new", path)
        output = checked.stdout + checked.stderr
        assert checked.returncode == 0, f"{path.name}: {output}"
        assert "Error" not in output, f"{path.name}: {output}"
    checked = run_tool("dcentvfy", *paths)
    lines = (checked.stdout + checked.stderr).splitlines()
    wrong = [line for line in lines if "Error" in line or "Different values" in line]
    assert checked.returncode == 0, lines
    assert not wrong, wrong


def dump_report(path: Path) -> str:
    """The content of a structured report as dcmtk reads it, in full."""
    read = run_tool("dsrdump", "+Pl", path)
    assert read.returncode == 0, read.stderr
    assert "error" not in read.stderr.lower(), read.stderr
    return read.stdout

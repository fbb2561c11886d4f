"""Who may import whom, and what must load without torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "inference": {"dicom_node", "training", "tests", "pynetdicom", "sqlalchemy", "alembic"},
    "dicom_node": {"training", "tests", "lightning", "monai", "nilearn", "sklearn"},
    "training": {"dicom_node", "tests"},
}
MODULES = [
    pytest.param(package, path, id=str(path.relative_to(ROOT)))
    for package in FORBIDDEN
    for path in sorted((ROOT / package).rglob("*.py"))
]
NODE = (
    "dicom_node.serve, dicom_node.receive.scp, dicom_node.assemble.assembler, dicom_node.schedule, "
    "dicom_node.send.sender, dicom_node.status"
)


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Names of all modules that a module imports anywhere, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "" if node.level == 0 else package
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            first = node.args[0] if node.args else None
            if name in ("import_module", "__import__") and isinstance(first, ast.Constant):
                yield str(first.value)


@pytest.mark.parametrize(("package", "path"), MODULES)
def test_no_module_imports_what_it_must_not(package: str, path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tops = {name.partition(".")[0] for name in imported(tree, package)}
    assert tops.isdisjoint(FORBIDDEN[package])


def test_the_law_sees_every_way_to_import() -> None:
    source = (
        "import a.b\ndef f():\n    from c.d import e\n    import_module('g.h')\nfrom . import i"
    )
    assert set(imported(ast.parse(source), "here")) == {"a.b", "c.d", "g.h", "here"}


def loaded(statement: str) -> set[str]:
    """Top-level packages in a fresh interpreter after a statement."""
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        (f"import {NODE}", {"torch", "matplotlib", "training", "lightning", "monai"}),
        (
            "from inference.pipelines import all_pipelines\nassert all_pipelines()",
            {"torch", "matplotlib", "dicom_node", "training", "SimpleITK", "sqlalchemy"},
        ),
        ("import dicom_node.cli", {"torch", "matplotlib", "training"}),
        (
            "import training.simulate.command, training.simulate.study, training.simulate.batches",
            {"torch", "matplotlib", "dicom_node", "lightning", "nilearn", "pandas"},
        ),
    ],
    ids=["node", "pipelines", "command line", "simulate"],
)
def test_what_loads_without_torch(statement: str, absent: set[str]) -> None:
    names = loaded(statement)
    assert "pydicom" in names or "numpy" in names or "pydantic" in names
    assert names.isdisjoint(absent)


def test_the_command_of_another_package_costs_no_time() -> None:
    """``strokenode`` loads it at every start, whatever it is asked to do."""
    slow = {"torch", "scipy", "SimpleITK", "numpy", "pydicom"}
    assert loaded("import training.simulate.command").isdisjoint(slow)

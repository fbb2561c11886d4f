"""The repository itself: migrations, pins, versions, layout and size of its parts."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from sqlalchemy import inspect

from dicom_node.jobs.database import Database
from dicom_node.jobs.models import Base
from inference import __version__

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = ("dicom_node", "inference", "training")
TOP_LEVEL = (
    "pyproject.toml", "config.toml", "README.md", "Makefile", "LICENSE", "CHANGELOG.md",
    "constraints.txt", ".ci/run", "docs", "dicom_node", "inference", "training", "tests",
)  # fmt: skip
MODULE_LINES = 450
FUNCTION_LINES = 80
EXAMPLES = re.compile(r"\bshared/")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'new' / 'node.db'}")
    yield database
    database.close()


def test_migrations_make_the_tables_of_the_models(database: Database) -> None:
    assert not database.exists()
    database.upgrade()
    assert database.exists()
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        tables = set(inspect(connection).get_table_names())
    assert tables == {*Base.metadata.tables, "alembic_version"}


def test_upgrading_twice_is_harmless(database: Database) -> None:
    database.upgrade()
    database.upgrade()
    assert database.exists()


def test_a_foreign_database_is_not_taken_for_the_nodes(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    database = Database(f"sqlite:///{path}")
    assert not database.exists()
    database.close()


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found: dict[str, Version] = {}
    for line in lines:
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            found[canonicalize_name(name)] = Version(version)
    return found


def test_every_dependency_is_pinned_within_its_range() -> None:
    extras = PROJECT["optional-dependencies"].values()
    wanted = [Requirement(text) for texts in (PROJECT["dependencies"], *extras) for text in texts]
    found = pins()
    for requirement in wanted:
        pin = found.get(canonicalize_name(requirement.name))
        assert pin is not None, requirement
        assert pin in requirement.specifier, requirement


def test_torch_and_pynetdicom_are_the_tested_ones() -> None:
    found = pins()
    assert str(found["torch"]) == "2.13.0"
    assert str(found["pynetdicom"]) == "3.0.4"
    assert "torch==2.13.0" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "pynetdicom==3.0.4" in PROJECT["dependencies"]


def test_one_version_everywhere() -> None:
    assert PROJECT["version"] == __version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+)", changes, flags=re.MULTILINE)
    assert newest is not None
    assert newest[1] == __version__


@pytest.mark.parametrize("name", TOP_LEVEL)
def test_top_level(name: str) -> None:
    assert (ROOT / name).exists()


def repository_files() -> list[Path]:
    """Everything that is, or is about to be, in version control."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: its files cannot be told from others")
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    names = [name for name in done.stdout.decode().split("\0") if name]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def test_example_studies_are_only_read_by_marked_tests() -> None:
    """The suite passes without the folder of examples: nothing but marked tests knows of it."""
    offenders = []
    for path in repository_files():
        text = path.read_bytes().decode("utf-8", errors="replace")
        if not EXAMPLES.search(text):
            continue
        test = path.is_relative_to(ROOT / "tests") and "shared_data" in text
        if not test and path != ROOT / "pyproject.toml":
            offenders.append(str(path.relative_to(ROOT)))
    assert offenders == []


def test_no_large_or_unreadable_files() -> None:
    for path in repository_files():
        assert path.stat().st_size < 64 * 2**20, path
        if path.suffix in (".py", ".md", ".toml", ".txt", ".sh"):
            text = path.read_bytes().decode("utf-8")
            assert "\r" not in text, path


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_modules_stay_short() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in sources()
    }
    assert {name: lines for name, lines in lengths.items() if lines > MODULE_LINES} == {}


def test_functions_stay_short() -> None:
    """The steps of a migration are one list of tables, however many there are."""
    long = {}
    for path in sources():
        if "migrations" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert long == {}

"""Tables say the same in the terminal, as text and as CSV."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from training.evaluate.tables import Table, number, p_value, with_interval

TABLE = Table(
    "Derived CT, 40 patients",
    ("method", "MSE", "p"),
    [("t = 0", "91.20", "<0.001"), ("[u-net]", "7.05", "-"), (), ("aim", "5.00", "")],
    "MSE in HU²",
)
cells = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8)


def test_text_is_aligned_and_numbers_stand_right() -> None:
    assert TABLE.text().splitlines() == [
        "Derived CT, 40 patients",
        "",
        "| method  |   MSE |      p |",
        "| ------- | ----: | -----: |",
        "| t = 0   | 91.20 | <0.001 |",
        "| [u-net] |  7.05 |      - |",
        "| aim     |  5.00 |        |",
        "",
        "MSE in HU²",
    ]


def test_words_stand_left_and_a_bar_is_no_column() -> None:
    table = Table("", ("id", "x|y"), [("1", "a|b"), ("20", "3")])
    assert table.text().splitlines() == [
        "| id  | x\\|y |",
        "| --- | ---- |",
        "| 1   | a\\|b |",
        "| 20  | 3    |",
    ]


def test_csv_has_the_names_and_every_cell() -> None:
    assert TABLE.csv() == "method,MSE,p\nt = 0,91.20,<0.001\n[u-net],7.05,-\naim,5.00,\n"


@given(st.lists(st.tuples(cells, cells), max_size=4))
def test_csv_reads_back(rows: list[tuple[str, str]]) -> None:
    found = list(csv.reader(io.StringIO(Table("", ("one", "two"), rows).csv())))
    assert found == [["one", "two"], *map(list, rows)]


def test_a_console_prints_it_with_brackets_as_they_are() -> None:
    console = Console(file=io.StringIO(), width=100)
    with console.capture() as captured:
        console.print(TABLE)
    lines = captured.get().splitlines()
    assert lines[0].strip() == TABLE.title
    assert lines[-1].strip() == TABLE.caption
    found = [[cell.strip() for cell in line.strip("│┃").split("│")] for line in lines]
    assert ["[u-net]", "7.05", "-"] in found
    assert sum(line.startswith("├") for line in lines) == 1


def test_it_is_written_as_the_name_asks(tmp_path: Path) -> None:
    for name, content in (("deep/a.csv", TABLE.csv()), ("a.md", TABLE.text())):
        TABLE.write(tmp_path / name)
        assert (tmp_path / name).read_bytes() == content.encode()


def test_a_row_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"table 'x' has 2 columns, and a row of 1 cells: \['a'\]"):
        Table("x", ("one", "two"), [("a",)])


def test_numbers_have_the_digits_asked_for() -> None:
    assert [number(1.005e3), number(2 / 3, 3), number(1.6, 0), number(None)] == [
        "1005.00", "0.667", "2", "-",
    ]  # fmt: skip
    assert number(-0.001) == "0.00"


def test_p_values() -> None:
    assert [p_value(p) for p in (None, 0.0, 0.00099, 0.001, 0.0496, 1.0)] == [
        "-", "<0.001", "<0.001", "0.001", "0.050", "1.000",
    ]  # fmt: skip
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="expected between 0 and 1"):
            p_value(wrong)


def test_a_number_with_its_interval() -> None:
    assert with_interval(0.8123, (0.7, 0.95), 3) == "0.812 (0.700 to 0.950)"
    assert with_interval(1.0, None) == "1.00"
    assert with_interval(None, None) == "-"

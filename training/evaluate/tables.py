"""Tables of results: in the terminal, as text that is Markdown too, and as CSV."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import table as rich_table
from rich.text import Text

_NUMBER = re.compile(r"([<>+-]?\d.*|-|)")


@dataclass(frozen=True)
class Table:
    """Cells with the names of their columns; a console of rich prints it.

    Parameters
    ----------
    title : str
        What it shows.
    columns : sequence of str
        Names of the columns.
    rows : sequence of sequences of str
        A cell for each column; a row without any cell is a rule between rows.
    caption : str
        What a reader must know: units, what the columns are.

    Raises
    ------
    ValueError
        A row has more or fewer cells than there are columns.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if row and len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.title!r} has {len(self.columns)} columns, and a row of "
                    f"{len(row)} cells: {list(row)}"
                )

    def text(self) -> str:
        """Aligned columns, numbers to the right; it is a table of Markdown too."""
        lines = [[cell.replace("|", r"\|") for cell in row] for row in self._lines()]
        widths = [max(3, *map(len, cells)) for cells in zip(*lines, strict=True)]
        right = self._right()
        head, *body = [
            [cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(*each, strict=True)]
            for each in ((line, widths, right) for line in lines)
        ]
        rule = ["-" * (w - r) + ":" * r for w, r in zip(widths, right, strict=True)]
        table = "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *body))
        return "\n\n".join(part for part in (self.title, table, self.caption) if part) + "\n"

    def csv(self) -> str:
        """Names of the columns and the same cells, separated by commas."""
        target = io.StringIO()
        writer = csv.writer(target, lineterminator="\n")
        writer.writerows(self._lines())
        return target.getvalue()

    def write(self, path: Path) -> None:
        """Write it: CSV where the name ends in .csv, else text."""
        content = self.csv() if path.suffix == ".csv" else self.text()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")

    def __rich__(self) -> rich_table.Table:
        """The table that a console prints."""
        table = rich_table.Table(
            title=Text(self.title, "table.title"), caption=Text(self.caption, "table.caption")
        )
        for name, right in zip(self.columns, self._right(), strict=True):
            table.add_column(Text(name), justify="right" if right else "left")
        for row in self.rows:
            if row:
                table.add_row(*map(Text, row))
            else:
                table.add_section()
        return table

    def _lines(self) -> list[Sequence[str]]:
        """Names of the columns and the rows, without rules."""
        return [self.columns, *(row for row in self.rows if row)]

    def _right(self) -> list[bool]:
        """Which columns hold numbers alone; the first one names its rows."""
        body = self._lines()[1:]
        return [
            index > 0 and all(_NUMBER.fullmatch(row[index]) for row in body)
            for index in range(len(self.columns))
        ]


def number(value: float | None, digits: int = 2) -> str:
    """A number with so many digits after the point; ``-`` for None."""
    return "-" if value is None else f"{value:z.{digits}f}"


def p_value(p: float | None) -> str:
    """A p-value with three digits, or ``<0.001``; ``-`` for None.

    Raises
    ------
    ValueError
        It does not lie between 0 and 1.
    """
    if p is None:
        return "-"
    if not 0 <= p <= 1:
        raise ValueError(f"p-value {p}; expected between 0 and 1")
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def with_interval(
    value: float | None, interval: tuple[float, float] | None, digits: int = 2
) -> str:
    """A number and its interval, ``0.81 (0.75 to 0.86)``; without an interval the number alone."""
    if value is None or interval is None:
        return number(value, digits)
    return (
        f"{number(value, digits)} ({number(interval[0], digits)} to {number(interval[1], digits)})"
    )

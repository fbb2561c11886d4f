"""Results as a table for the terminal."""

from typing import Any

from rich.markup import escape
from rich.table import Table


def results_table(records: list[dict[str, Any]]) -> Table:
    """Entries of results.json: a row per run; what must be read first comes first."""
    table = Table("pipeline", "status", "result", "objects", "seconds")
    for record in records:
        reason = [record["reason"]] if record["reason"] else []
        warnings = [f"warning {w['code']}: {w['text']}" for w in record["warnings"]]
        side = [f"side {record['side']}"] if record["side"] else []
        numbers = [_number(name, m) for name, m in record["measurements"].items()]
        table.add_row(
            record["pipeline"],
            record["status"],
            escape("\n".join(reason + warnings + side + numbers)),
            str(len(record["outputs"])),
            f"{record['timings_s'].get('total', 0):.1f}",
        )
    return table


def _number(name: str, measurement: dict[str, Any]) -> str:
    if measurement["value"] is None:
        return f"{name} not defined"
    unit = "" if measurement["unit"] == "1" else f" {measurement['unit']}"
    return f"{name} {measurement['value']:.1f}{unit}"

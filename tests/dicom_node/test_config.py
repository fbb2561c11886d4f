"""config.toml: the shipped file is the reference, and every error is told at once."""

import copy
import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from dicom_node.config import Config, Peer, Wants, load, parse
from dicom_node.errors import ConfigError
from dicom_node.write.series import DEFAULT_SERIES, SeriesEntry
from inference.pipelines import all_pipelines

SHIPPED = Path(__file__).parents[2] / "config.toml"
SECTIONS: dict[str, type[BaseModel]] = {
    name: field.annotation
    for name, field in Config.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
Document = dict[str, Any]


def bounds(model: type[BaseModel], key: str) -> dict[str, float]:
    """The limits of a number: ge, gt, le, lt."""
    return {
        name: getattr(limit, name)
        for limit in model.model_fields[key].metadata
        for name in ("ge", "gt", "le", "lt")
        if hasattr(limit, name)
    }


def numbers() -> list[tuple[tuple[str, ...], type[BaseModel]]]:
    """Path and table of every number with limits."""
    tables: list[tuple[tuple[str, ...], type[BaseModel]]] = [
        *(((name,), model) for name, model in SECTIONS.items()),
        *((("pipelines", name), entry.settings) for name, entry in all_pipelines().items()),
        (("series", "cbf"), SeriesEntry),
        (("peers", "0"), Peer),
    ]
    return [
        ((*path, key), model) for path, model in tables for key in model.model_fields
        if bounds(model, key) and model.model_fields[key].annotation in (int, float)
    ]  # fmt: skip


def problems_of(document: Document) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(document)
    return caught.value.problems


def scanner(**changes: Any) -> Document:
    return {"name": "ct", "ae_title": "CT", "host": "127.0.0.1", **changes}


def test_shipped_file_holds_the_defaults() -> None:
    shipped, default = load(SHIPPED), Config()
    for name in SECTIONS:
        if name != "node":
            assert getattr(shipped, name) == getattr(default, name), name
    spool = SHIPPED.absolute().parent / default.node.spool
    assert shipped.node == default.node.model_copy(update={"spool": spool})
    assert shipped.series == DEFAULT_SERIES
    assert shipped.series_table == default.series_table
    for name in all_pipelines():
        assert shipped.pipeline_settings(name) == default.pipeline_settings(name)
    assert shipped.destinations()[0].wants == Wants()


def test_shipped_file_names_every_key() -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    document = tomllib.loads(text)
    assert set(document) == set(Config.model_fields)
    assert set(document["series"]) == set(DEFAULT_SERIES)
    assert set(document["pipelines"]) == set(all_pipelines())
    parts = re.split(r"^\[+([\w.]+)\]+.*$", text, flags=re.MULTILINE)
    named: dict[str, set[str]] = {}
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        keys = re.findall(r"^(?:# )?(\w+) += ", body, flags=re.MULTILINE)
        named.setdefault(title, set()).update(keys)
    tables: dict[str, type[BaseModel]] = {**SECTIONS, "peers.wants": Wants}
    tables |= {f"pipelines.{name}": entry.settings for name, entry in all_pipelines().items()}
    for name, model in tables.items():
        assert named[name] == set(model.model_fields), name
    assert named["peers"] == set(Peer.model_fields) - {"wants"}


def test_all_errors_at_once() -> None:
    found = problems_of(
        {
            "node": {
                "port": 0, "ae_title": "SEVENTEEN_LETTERS", "bind_address": "here", "colour": 1,
                "database": "mysql://user:secret@host/x",
            },
            "peers": [
                scanner(ae_title="back\\slash", host=""),
                scanner(port=70000, pipelines=["nothing"]),
                {"name": "two words"},
            ],
            "pipelines": {
                "ctp_perfusion": {"solver": "guess", "kh": 9, "truncation": "wide", "typo": 1},
                "unknown": {},
            },
            "series": {
                "cbf": {"number": 9122, "description": "x"},
                "ncct": {"number": 0},
                "nothing": {"number": 1, "description": "x"},
            },
            "device": {"use": "gpu"},
            "log": {"level": "loud"},
            "jobs": 5,
            "extra": {},
        }
    )  # fmt: skip
    expected = {
        "node.port": "found 0; allowed: at least 1, at most 65535",
        "node.ae_title": "1 to 16 printable ASCII characters",
        "node.bind_address": "found 'here'; allowed: an IP address",
        "node.colour": "found an unknown key; allowed: ae_title, port, ",
        "node.database": "sqlite or postgresql",
        "peers.0.ae_title": "no backslash",
        "peers.0.host": "found ''",
        "peers.1.port": "found 70000; allowed: at least 1, at most 65535",
        "peers.1.pipelines.0": "found 'nothing'; allowed: a pipeline: ctp_derived_ncct, ",
        "peers.2.name": "found 'two words'",
        "peers.2.ae_title": "found nothing; it is required",
        "peers.2.host": "found nothing; it is required",
        "peers": "'ct' as the name of two",
        "pipelines.ctp_perfusion.solver": "found 'guess'; allowed: 'osvd'",
        "pipelines.ctp_perfusion.kh": "found 9; allowed: at least 0.3, at most 1.5",
        "pipelines.ctp_perfusion.truncation": "a valid number",
        "pipelines.ctp_perfusion.typo": "unknown key; allowed: enabled, motion_correction, ",
        "pipelines.unknown": "a pipeline: ctp_derived_ncct, ctp_perfusion",
        "series": "number 9122 for cbf and cbv",
        "series.ncct.number": "at least 1",
        "series.ncct.description": "it is required",
        "series.nothing": "a result: baseline, cbf, ",
        "device.use": "found 'gpu'",
        "log.level": "found 'loud'; allowed: 'debug', 'info', 'warning' or 'error'",
        "jobs": "found 5; allowed: a table",
        "extra": "unknown key; allowed: node, peers, ",
    }
    told = dict(line.split(": ", 1) for line in found)
    assert len(told) == len(found)
    assert set(told) == set(expected)
    for path, words in expected.items():
        assert words in told[path], path
    assert not any("Value error" in line or "Input should" in line for line in found)
    assert "secret" not in "".join(found)


@pytest.mark.parametrize(
    "document",
    [
        {"node": 3, "peers": "x", "series": [1], "pipelines": 7},
        {"peers": [1, {"name": [1]}], "series": {"cbf": 1}, "pipelines": {"ctp_perfusion": 3}},
    ],
)
def test_wrong_shapes_are_told_without_a_crash(document: Document) -> None:
    assert len(problems_of(document)) >= 4


@pytest.mark.parametrize("title", ["", "   ", "A" * 17, "back\\slash", "tab\t", "Umläut", "nul\0"])
def test_bad_ae_titles(title: str) -> None:
    (line,) = problems_of({"node": {"ae_title": title}})
    assert line.startswith("node.ae_title: found ")


def test_ae_titles_lose_their_padding() -> None:
    assert parse({"node": {"ae_title": " NODE 1  "}}).node.ae_title == "NODE 1"


@pytest.mark.parametrize(
    "url", ["not a url", "mysql://host/x", "sqlite://", "sqlite:///:memory:", "postgresql"]
)
def test_bad_database_urls(url: str) -> None:
    (line,) = problems_of({"node": {"database": url}})
    assert line.startswith("node.database: ")
    assert url not in line or url == "postgresql"


@pytest.mark.parametrize("url", ["sqlite:////var/x.db", "postgresql+psycopg://user@host/x"])
def test_good_database_urls(url: str) -> None:
    assert parse({"node": {"database": url}}).database_url == url


@given(st.data())
def test_one_number_out_of_range_is_named(data: st.DataObject) -> None:
    path, model = data.draw(st.sampled_from(numbers()))
    limits = bounds(model, path[-1])
    whole = model.model_fields[path[-1]].annotation is int
    low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    assert low is not None
    assert high is not None
    values: st.SearchStrategy[float]
    if whole:
        values = st.integers(max_value=int(low) - 1) | st.integers(min_value=int(high) + 1)
    else:
        values = (
            st.floats(max_value=low, exclude_max="ge" in limits)
            | st.floats(min_value=high, exclude_min="le" in limits)
            | st.just(float("nan"))
        )
    value = data.draw(values)
    document: Document = {"peers": [scanner()]}
    table: Any = document
    for part in path[:-1]:
        table = table[0] if part == "0" else table.setdefault(part, {})
    if model is SeriesEntry:
        table["description"] = "x"
    table[path[-1]] = value
    before = copy.deepcopy(document)
    (line,) = problems_of(document)
    assert line.startswith(f"{'.'.join(path)}: found ")
    assert re.search(
        rf"allowed: (a finite number, )?(at least|more than) {re.escape(str(low))}", line
    )
    assert line.endswith(str(high))
    assert repr(document) == repr(before)


def test_a_series_can_be_renamed_and_the_others_stay() -> None:
    config = parse({"series": {"cbf": {"number": 7, "description": "Flow"}}})
    assert config.series_table["cbf"] == SeriesEntry(number=7, description="Flow")
    assert config.series_table["cbv"] == DEFAULT_SERIES["cbv"]


def test_pipelines_can_be_switched_off() -> None:
    by_default = [name for name, entry in all_pipelines().items() if entry.settings().enabled]
    assert Config().enabled_pipelines() == by_default == ["ctp_perfusion", "pwi_perfusion"]
    assert (
        "ctp_perfusion"
        not in parse({"pipelines": {"ctp_perfusion": {"enabled": False}}}).enabled_pipelines()
    )


def test_quiet_times_exist_for_every_kind() -> None:
    kinds = {pipeline.accepts for pipeline in all_pipelines().values()}
    assert all(Config().assemble.quiet_s(kind) > 0 for kind in kinds)


def test_relative_spool_lies_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    path = folder / "config.toml"
    path.write_text('[node]\nspool = "store"\n')
    config = load(path)
    assert config.spool == folder / "store"
    assert config.database_url == f"sqlite:///{folder / 'store' / 'strokenode.db'}"
    monkeypatch.chdir(tmp_path)
    assert load(Path("etc/config.toml")).spool == folder / "store"
    path.write_text(f'[node]\nspool = "{tmp_path}"\n')
    assert load(path).spool == tmp_path


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    with pytest.raises(ConfigError, match=r"config\.toml: no such file; give one with --config"):
        load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
    for content in (b"port = ", b'[node]\nae_title = "\xff"\n', b"\0"):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"config\.toml: not a TOML file in UTF-8"):
            load(path)


def test_addresses_of_a_peer() -> None:
    assert Peer(name="a", ae_title="A", host="127.0.0.1").addresses() == {"127.0.0.1"}
    unknown = Peer(name="a", ae_title="A", host="no-such-host.invalid")
    assert unknown.addresses() == frozenset()


def test_every_default_fulfils_its_own_rules() -> None:
    assert Config.model_validate(Config().model_dump()) == Config()
    assert get_args(Config.model_fields["peers"].annotation)[0] is Peer


def test_files_are_relative_to_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[node]\nspool = "here"\n[log]\nfile = "node.log"\n', encoding="utf-8")
    config = load(path)
    assert config.spool == tmp_path / "here"
    assert config.log.file == tmp_path / "node.log"

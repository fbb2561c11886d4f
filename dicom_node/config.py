"""config.toml as pydantic models: every error at once, with key path and what is allowed.

The file at the root of the repository is the commented reference; every default here equals the
value there (a test compares them).
"""

import ipaddress
import socket
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo

from dicom_node.errors import ConfigError
from dicom_node.write.series import DEFAULT_SERIES, SeriesEntry
from inference.pipelines import PipelineSettings, all_pipelines

_LIMITS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_OUT_OF_RANGE = ("greater_than", "less_than")
_AE_CHARACTERS = {chr(code) for code in range(0x20, 0x7F)} - {"\\"}


def _ae_title(value: str) -> str:
    stripped = value.strip(" ")
    if not 1 <= len(stripped) <= 16 or not set(stripped) <= _AE_CHARACTERS:
        raise ValueError("an AE title has 1 to 16 printable ASCII characters, no backslash")
    return stripped


def _pipeline_name(value: str) -> str:
    if value not in all_pipelines():
        raise ValueError(f"a pipeline: {', '.join(all_pipelines())}")
    return value


def _role(value: str) -> str:
    if value not in DEFAULT_SERIES:
        raise ValueError(f"a result: {', '.join(sorted(DEFAULT_SERIES))}")
    return value


AETitle = Annotated[str, AfterValidator(_ae_title)]
PipelineName = Annotated[str, AfterValidator(_pipeline_name)]
Role = Annotated[str, AfterValidator(_role)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Section(BaseModel):
    """A table of config.toml; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Node(Section):
    """``[node]``: who and where the node is."""

    ae_title: AETitle = "STROKENODE"
    port: Port = 11112
    bind_address: str = "0.0.0.0"
    spool: Path = Path("spool")
    database: str = ""
    open_to_unknown_peers: bool = False
    max_study_age_days: Annotated[int, Field(ge=0, le=36500)] = 0
    max_associations: Annotated[int, Field(ge=1, le=1000)] = 20
    max_pdu_bytes: Annotated[int, Field(ge=4096, le=16 * 2**20)] = 262144
    max_object_mb: Annotated[int, Field(ge=1, le=65536)] = 2048
    network_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 60.0

    @field_validator("bind_address")
    @classmethod
    def _is_address(cls, value: str) -> str:
        try:
            ipaddress.ip_address(value)
        except ValueError:
            raise ValueError("an IP address such as 0.0.0.0 or 127.0.0.1") from None
        return value

    @field_validator("database")
    @classmethod
    def _is_database_url(cls, value: str) -> str:
        if value:
            from sqlalchemy.engine import make_url
            from sqlalchemy.exc import ArgumentError

            try:
                url = make_url(value)
            except ArgumentError:
                raise ValueError("a database URL looks like sqlite:////path/file.db") from None
            if url.get_backend_name() not in ("sqlite", "postgresql"):
                raise ValueError("the database is sqlite or postgresql")
            if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
                raise ValueError("SQLite in a file: the node's processes share it")
        return value


class Wants(Section):
    """``peers.wants``: the kinds of object that a destination gets."""

    derived_images: bool = True
    secondary_captures: bool = True
    segmentations: bool = True
    reports: bool = True
    parametric_maps: bool = False


class Peer(Section):
    """One ``[[peers]]``: a scanner, a PACS, a workstation."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    ae_title: AETitle
    host: Annotated[str, Field(min_length=1)]
    port: Port = 104
    may_send: bool = False
    receives: bool = False
    pipelines: tuple[PipelineName, ...] | None = None
    wants: Wants = Wants()

    def addresses(self) -> frozenset[str]:
        """Numeric addresses of ``host`` (empty when the name cannot be resolved now)."""
        try:
            found = socket.getaddrinfo(self.host, None, proto=socket.IPPROTO_TCP)
        except OSError:
            return frozenset()
        return frozenset(str(entry[4][0]) for entry in found)


class Assemble(Section):
    """``[assemble]``: how long an acquisition must be quiet before it counts as complete.

    ``quiet_s`` per kind applies when no count is declared and the structure is whole;
    ``incomplete_after_s`` when images are missing.
    """

    interval_s: Annotated[float, Field(gt=0, le=60)] = 1.0
    ctp_quiet_s: Annotated[float, Field(ge=0, le=3600)] = 15.0
    ncct_quiet_s: Annotated[float, Field(ge=0, le=3600)] = 10.0
    cta_quiet_s: Annotated[float, Field(ge=0, le=3600)] = 10.0
    pwi_quiet_s: Annotated[float, Field(ge=0, le=3600)] = 15.0
    dwi_quiet_s: Annotated[float, Field(ge=0, le=3600)] = 10.0
    other_quiet_s: Annotated[float, Field(ge=0, le=3600)] = 10.0
    incomplete_after_s: Annotated[float, Field(ge=0, le=86400)] = 120.0
    open_association_limit_s: Annotated[float, Field(gt=0, le=86400)] = 600.0

    def quiet_s(self, kind: str) -> float:
        """Quiet time in seconds of a series kind such as ``CTP``."""
        return float(getattr(self, f"{kind.lower()}_quiet_s"))


class Jobs(Section):
    """``[jobs]``: workers, leases, retries."""

    workers: Annotated[int, Field(ge=0, le=64)] = 1
    max_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    retry_after_s: Annotated[float, Field(gt=0, le=3600)] = 10.0
    lease_s: Annotated[float, Field(ge=5, le=3600)] = 60.0
    deadline_s: Annotated[float, Field(ge=10, le=86400)] = 1800.0


class Send(Section):
    """``[send]``: how results leave."""

    interval_s: Annotated[float, Field(gt=0, le=60)] = 1.0
    batch: Annotated[int, Field(ge=1, le=10000)] = 500
    retry_after_s: Annotated[float, Field(gt=0, le=3600)] = 10.0
    retry_at_most_s: Annotated[float, Field(gt=0, le=86400)] = 600.0


class Device(Section):
    """``[device]``: where the analysis runs."""

    use: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$")] = "auto"
    compile: bool = True


class Storage(Section):
    """``[storage]``: how long things are kept, and how much room stays free."""

    keep_instances_days: Annotated[float, Field(gt=0, le=36500)] = 14.0
    keep_results_days: Annotated[float, Field(gt=0, le=36500)] = 30.0
    min_free_gb: Annotated[float, Field(ge=0, le=100000)] = 5.0


class Log(Section):
    """``[log]``: level and place of the log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    file: Path | None = None


class Config(Section):
    """The whole of config.toml."""

    node: Node = Node()
    peers: tuple[Peer, ...] = ()
    assemble: Assemble = Assemble()
    jobs: Jobs = Jobs()
    send: Send = Send()
    device: Device = Device()
    storage: Storage = Storage()
    log: Log = Log()
    pipelines: dict[PipelineName, Any] = Field(default_factory=dict)
    series: dict[Role, SeriesEntry] = Field(default_factory=dict)

    @property
    def spool(self) -> Path:
        """The spool folder, absolute."""
        return self.node.spool.absolute()

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the database; by default a SQLite file in the spool."""
        return self.node.database or f"sqlite:///{self.spool / 'strokenode.db'}"

    @cached_property
    def series_table(self) -> dict[str, SeriesEntry]:
        """SeriesNumber and SeriesDescription of every result."""
        return {**DEFAULT_SERIES, **self.series}

    def pipeline_settings(self, name: str) -> PipelineSettings:
        """Validated settings of one pipeline."""
        return all_pipelines()[name].settings.model_validate(self.pipelines.get(name, {}))

    def with_pipeline_values(self, values: dict[str, Any]) -> "Config":
        """This configuration with other values in the settings of every pipeline that has them."""
        pipelines = dict(self.pipelines)
        for name, pipeline in all_pipelines().items():
            own = {key: v for key, v in values.items() if key in pipeline.settings.model_fields}
            if own:
                pipelines[name] = {**pipelines.get(name, {}), **own}
        return self.model_copy(update={"pipelines": pipelines})

    def enabled_pipelines(self) -> list[str]:
        """Names of the pipelines that are switched on, the most urgent first."""
        known = all_pipelines()
        enabled = [name for name in known if self.pipeline_settings(name).enabled]
        return sorted(enabled, key=lambda name: -known[name].priority)

    def destinations(self) -> list[Peer]:
        """Peers that get results."""
        return [peer for peer in self.peers if peer.receives]


def parse(document: dict[str, Any]) -> Config:
    """Validate a parsed config.toml.

    Raises
    ------
    ConfigError
        With one line per error: key path, what was found, what is allowed.
    """
    problems: list[str] = []
    config = Config()
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        problems += _explain(error, Config, ())
    sections = document.get("pipelines", {})
    if isinstance(sections, dict):
        for name, pipeline in all_pipelines().items():
            try:
                pipeline.settings.model_validate(sections.get(name, {}))
            except ValidationError as error:
                problems += _explain(error, pipeline.settings, ("pipelines", name))
    problems += _clashes(document)
    if problems:
        raise ConfigError(problems)
    return config


def _clashes(document: dict[str, Any]) -> list[str]:
    """Values that must differ and do not, looked for also where other things are wrong."""
    peers = document.get("peers")
    entries = [peer for peer in peers if isinstance(peer, dict)] if isinstance(peers, list) else []
    names = [entry.get("name") for entry in entries]
    twice = sorted({name for name in names if isinstance(name, str) and names.count(name) > 1})
    problems = [f"peers: found {name!r} as the name of two; names must differ" for name in twice]
    numbers: dict[object, list[str]] = {}
    series = document.get("series")
    given = series if isinstance(series, dict) else {}
    for role, entry in {**DEFAULT_SERIES, **given}.items():
        number = entry.get("number") if isinstance(entry, dict) else getattr(entry, "number", None)
        if isinstance(number, int):
            numbers.setdefault(number, []).append(role)
    for number, roles in numbers.items():
        if len(roles) > 1:
            found = f"found number {number} for {' and '.join(roles)}"
            problems.append(f"series: {found}; each result needs its own")
    return problems


def _explain(error: ValidationError, model: type[BaseModel], prefix: tuple[str, ...]) -> list[str]:
    """One line per error: key path, what was found, what is allowed."""
    lines = []
    for detail in error.errors():
        loc = tuple(part for part in detail["loc"] if part != "[key]")
        path = ".".join(str(part) for part in (*prefix, *loc))
        field, table = _locate(model, loc)
        if detail["type"] == "missing":
            lines.append(f"{path}: found nothing; it is required")
        elif detail["type"] == "extra_forbidden":
            lines.append(f"{path}: found an unknown key; allowed: {', '.join(table.model_fields)}")
        else:
            shown = _shown(path, detail["input"])
            lines.append(f"{path}: found {shown}; allowed: {_allowed(detail, field)}")
    return lines


def _shown(path: str, value: object) -> str:
    if path == "node.database":
        return "a value that is not shown, as it may hold a password"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _allowed(detail: Any, field: FieldInfo | None) -> str:
    bounds = _bounds(field)
    if detail["type"] in ("model_type", "dict_type"):
        return "a table"
    if detail["type"] == "tuple_type":
        return "an array"
    message = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    if not bounds:
        return message
    return bounds if detail["type"].startswith(_OUT_OF_RANGE) else f"{message}, {bounds}"


def _locate(
    model: type[BaseModel], loc: tuple[int | str, ...]
) -> tuple[FieldInfo | None, type[BaseModel]]:
    """The field at a path, and the innermost table around it."""
    field = None
    for part in loc:
        found = model.model_fields.get(str(part))
        if found is not None:
            field = found
            inner = (found.annotation, *get_args(found.annotation))
            model = next(
                (kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)),
                model,
            )
    return field, model


def _bounds(field: FieldInfo | None) -> str:
    """Allowed range of a number in words; empty when it has none."""
    words = []
    for limit in field.metadata if field is not None else ():
        for name, text in _LIMITS.items():
            if hasattr(limit, name):
                words.append(f"{text} {getattr(limit, name)}")
    return ", ".join(words)


def load(path: Path) -> Config:
    """Read and validate a config file; relative folders in it are relative to the file.

    Raises
    ------
    ConfigError
        The file is missing, is not TOML, or has errors (all of them listed).
    """
    try:
        text = path.read_bytes().decode("utf-8")
        document = tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file; give one with --config"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror}); expected a file"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: not a TOML file in UTF-8: {error}"]) from None
    config = parse(document)
    folder = path.absolute().parent  # joined to an absolute path it changes nothing
    node = config.node.model_copy(update={"spool": folder / config.node.spool})
    log = config.log
    if log.file is not None:
        log = log.model_copy(update={"file": folder / log.file})
    return config.model_copy(update={"node": node, "log": log})

"""Many cases for training: who they are, in which split, made by several processes.

A case is decided by its own seeds alone, so that neither the number of processes nor their order
changes a byte; it exists only from the moment in which its folder gets its final name, so that an
interrupted cohort goes on where it stopped.

The seed of an anatomy tells its split (:func:`anatomy_seeds`): no anatomy can occur in two splits,
not even of two cohorts that were made with different seeds. The split ``shifted`` holds heads,
protocols and noise that no other split has (the cohort ``shifted`` of
:class:`~training.simulate.anatomy.person.Person`).
"""

import csv
import io
import json
import math
import multiprocessing
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import as_completed as in_order_of_completion
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from training.simulate.anatomy.cache import simulator_version
from training.simulate.anatomy.person import Cohort
from training.simulate.arrays import stream
from training.simulate.scanner import SCANNERS, Scanner

Kind = Literal["ctp", "ncct", "pwi"]
Row = dict[str, Any]
SPLITS = ("train", "validation", "test", "shifted")
MANIFEST = "manifest.csv"
_PLAN = "cohort.json"
_CASES = "cases"
_RECORD = "case.json"
_SEEDS = 2**31
MR_FLAWS = ("motion", "weak_bolus")
ICH_SHARE: dict[Kind, float] = {"ncct": 0.5, "ctp": 0.08, "pwi": 0.0}
_BOTH_SHARE = 0.15


@dataclass(frozen=True)
class CohortCase:
    """One line of the plan of a cohort.

    Parameters
    ----------
    case_id : str
        Name of the case and of its folder.
    seed, anatomy_seed : int
        What befell the patient and how they were scanned; who they are.
    split : str
        One of ``SPLITS``.
    kind, scanner : str
        What was scanned, by whom.
    hemorrhage : bool
        Whether there is blood.
    stroke : bool
        Whether an artery may be occluded; rarely both.
    irregular : tuple of str
        Flaws of the scan (:class:`~training.simulate.ct.scan.Irregularity`).
    """

    case_id: str
    seed: int
    anatomy_seed: int
    split: str
    kind: Kind
    scanner: Scanner
    hemorrhage: bool
    stroke: bool
    irregular: tuple[str, ...]

    @property
    def cohort(self) -> Cohort:
        """From which ranges person and protocol are drawn."""
        return split_cohort(self.split)


@dataclass(frozen=True)
class Outcome:
    """What became of a cohort: how many cases were made, found ready, and failed with what."""

    made: int
    ready: int
    failures: tuple[tuple[CohortCase, BaseException], ...]


def split_cohort(split: str) -> Cohort:
    """From which ranges the people and protocols of a split are drawn."""
    return "shifted" if split == "shifted" else "usual"


def anatomy_seeds(seed: int, split: str, count: int) -> list[int]:
    """Seeds of different people for a split; the last two bits of each tell the split.

    Raises
    ------
    ValueError
        There is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r}, expected one of {', '.join(SPLITS)}")
    rng = stream(seed, "anatomies", split)
    return [4 * number + SPLITS.index(split) for number in _different(rng, _SEEDS // 4, count)]


def draw_cohort(
    kind: Kind,
    count: int,
    seed: int,
    split: Mapping[str, float],
    *,
    cases_per_anatomy: int = 1,
    scanners: Sequence[Scanner] = SCANNERS,
    ich_share: float | None = None,
) -> list[CohortCase]:
    """Decide who is in a cohort, without simulating anything.

    Parameters
    ----------
    kind : str
        ``ctp``, ``ncct`` or ``pwi``.
    count, seed : int
        How many cases; what decides them.
    split : mapping of name to share
        Shares add to 1; the cases that rounding leaves go to the largest remainders.
    cases_per_anatomy : int
        Cases that share one head, with other pathology and another scan each.
    scanners : sequence
        Whose scanners, with equal probability.
    ich_share : float or None
        Share of cases with hemorrhage; None takes what is usual for the kind.

    Returns
    -------
    list of CohortCase
        In random order of the splits.

    Raises
    ------
    ValueError
        Unknown split or shares that do not add to 1.
    """
    unknown = set(split) - set(SPLITS)
    if unknown or not split or min(split.values()) < 0:
        raise ValueError(f"splits {dict(split)}, expected shares of {', '.join(SPLITS)}")
    if not math.isclose(sum(split.values()), 1, abs_tol=1e-6):
        raise ValueError(f"the shares of the splits add to {sum(split.values()):g}, expected 1")
    heads = _allot(math.ceil(count / cases_per_anatomy), split)
    people = [
        (name, anatomy) for name in heads for anatomy in anatomy_seeds(seed, name, heads[name])
    ]
    order = stream(seed, "order").permutation(len(people))
    share = ICH_SHARE[kind] if ich_share is None else ich_share
    width = max(5, len(str(count)))
    plan = []
    for number, own_seed in enumerate(_different(stream(seed, "cases"), _SEEDS, count)):
        name, anatomy = people[order[number // cases_per_anatomy]]
        rng = stream(own_seed, "plan")
        hemorrhage, stroke = draw_pathology(rng, share)
        plan.append(
            CohortCase(
                case_id=f"{kind}-{number:0{width}d}",
                seed=own_seed,
                anatomy_seed=anatomy,
                split=name,
                kind=kind,
                scanner=scanners[int(rng.integers(len(scanners)))],
                hemorrhage=hemorrhage,
                stroke=stroke,
                irregular=draw_flaws(own_seed, kind),
            )
        )
    return plan


def draw_pathology(rng: np.random.Generator, ich_share: float) -> tuple[bool, bool]:
    """Whether a patient has a hemorrhage, and whether an artery may be occluded: seldom both."""
    hemorrhage, both = rng.random(2) < (ich_share, _BOTH_SHARE)
    return bool(hemorrhage), bool(both or not hemorrhage)


def draw_flaws(seed: int, kind: Kind) -> tuple[str, ...]:
    """Flaws of a scan, with the frequencies of a perfusion; none of a head CT."""
    from training.simulate.ct.ctp_scan import draw_irregularities

    known: tuple[str, ...] | None = {"ctp": None, "pwi": MR_FLAWS, "ncct": ()}[kind]
    drawn = sorted(map(str, draw_irregularities(seed)))
    return tuple(name for name in drawn if known is None or name in known)


def make_cohort(
    plan: Sequence[CohortCase],
    settings: Mapping[str, Any],
    output: Path,
    make_case: Callable[[CohortCase, Path], Row],
    *,
    processes: int = 1,
    tell: Callable[[CohortCase], None] = lambda case: None,
) -> Outcome:
    """Make the cases that are not there yet, then write the manifest of all that are.

    Parameters
    ----------
    plan : sequence of CohortCase
        What to make.
    settings : mapping
        What else decides the cases (sizes, dates); JSON values.
    output : Path
        Folder of the cohort, new or with the same plan and settings.
    make_case : callable
        Writes one case into a folder and returns its line of the manifest; at module level, since
        other processes import it.
    processes : int
        How many processes; 1 works in this one.
    tell : callable
        Called with each case when it is finished or found ready.

    Raises
    ------
    FileExistsError
        ``output`` holds something else, or cases of another version of the simulator.
    """
    _claim(plan, settings, output)
    cases = output / _CASES
    ready = [case for case in plan if (cases / case.case_id).exists()]
    for case in ready:
        tell(case)
    names = {case.case_id for case in ready}
    missing = [case for case in plan if case.case_id not in names]
    failures: list[tuple[CohortCase, BaseException]] = []
    if missing:
        with _workers(min(processes, len(missing))) as executor:
            waiting: dict[Future[None], CohortCase] = {
                executor.submit(_make, make_case, case, cases): case for case in missing
            }
            try:
                for future in in_order_of_completion(waiting):
                    error = future.exception()
                    if error is not None:
                        failures.append((waiting[future], error))
                    tell(waiting[future])
            finally:
                executor.shutdown(wait=False, cancel_futures=True)
    failures.sort(key=lambda item: item[0].case_id)
    failed = {case.case_id for case, _ in failures}
    _write_manifest(output, [case for case in plan if case.case_id not in failed])
    return Outcome(len(missing) - len(failures), len(ready), tuple(failures))


def read_manifest(path: Path) -> Iterator[dict[str, str]]:
    """Yield the lines of a manifest, cells by name."""
    with path.open(encoding="utf-8", newline="") as source:
        yield from csv.DictReader(source)


def _allot(count: int, split: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers that add to ``count``, by the largest remainder."""
    exact = {name: count * share for name, share in split.items()}
    # shares such as 0.7 are not exact in binary: 0.7 · 10 must be 7 with nothing left
    whole = {name: math.floor(value + 1e-9) for name, value in exact.items()}
    by_rest = sorted(split, key=lambda name: whole[name] - exact[name])
    for name in by_rest[: count - sum(whole.values())]:
        whole[name] += 1
    return whole


def _different(rng: np.random.Generator, limit: int, count: int) -> list[int]:
    """``count`` different whole numbers below a limit; more of them start with the same ones."""
    found: dict[int, None] = {}
    while len(found) < count:
        found[int(rng.integers(limit))] = None
    return list(found)


def _claim(plan: Sequence[CohortCase], settings: Mapping[str, Any], output: Path) -> None:
    """Write the plan, or see that the one which is there is the same."""
    document = {
        "simulator": simulator_version(),
        "settings": dict(settings),
        "cases": [asdict(case) for case in plan],
    }
    text = json.dumps(document, indent=1) + "\n"
    path = output / _PLAN
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found != {**json.loads(text), "simulator": found.get("simulator")}:
            raise FileExistsError(f"{output} holds another cohort; name another folder")
        if found["simulator"] != document["simulator"]:
            raise FileExistsError(
                f"{output} was begun with version {found['simulator']} of the simulator, this is "
                f"version {document['simulator']}; go on with that version or name another folder"
            )
    elif output.exists() and any(output.iterdir()):
        raise FileExistsError(f"{output} is not empty; name another folder or remove it")
    (output / _CASES).mkdir(parents=True, exist_ok=True)
    _replace(path, text)


def _workers(processes: int) -> Executor:
    if processes == 1:
        return ThreadPoolExecutor(1)
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // processes)
    return ProcessPoolExecutor(processes, context, initializer=_limit, initargs=(threads,))


def _limit(threads: int) -> None:
    """Leave the other processes their share of the cores."""
    import torch

    torch.set_num_threads(threads)


def _make(make_case: Callable[[CohortCase, Path], Row], case: CohortCase, cases: Path) -> None:
    """Make one case beside its place, then put it there."""
    folder = cases / f".{case.case_id}.part"
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    row = make_case(case, folder)
    (folder / _RECORD).write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    folder.rename(cases / case.case_id)


def _write_manifest(output: Path, plan: Collection[CohortCase]) -> None:
    rows = []
    for case in plan:
        folder = Path(_CASES) / case.case_id
        found = json.loads((output / folder / _RECORD).read_text(encoding="utf-8"))
        rows.append({
            "case": case.case_id,
            "seed": case.seed,
            "anatomy_seed": case.anatomy_seed,
            "split": case.split,
            "cohort": case.cohort,
            "kind": case.kind,
            "scanner": case.scanner,
            "irregular": "+".join(case.irregular),
            "dicom": str(folder / "dicom"),
            "truth": str(folder / "truth"),
            **found,
        })  # fmt: skip
    columns = dict.fromkeys(name for row in rows for name in row)
    sink = io.StringIO()
    writer = csv.DictWriter(sink, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _replace(output / MANIFEST, sink.getvalue())


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)

"""The finished network of derived head CT, as the node ships it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from inference.derived_ncct.frames import MOST_FRAMES
from inference.weights import Manifest, write_model
from training.evaluate.derived_ncct import Score
from training.evaluate.derived_ncct_report import METRICS, grouped, values
from training.pairs.pair import Pair
from training.recipes.derived_ncct import Experiment, load_run, run_folder, sizes_of

MODEL_NAME = "derived_ncct"
_INPUT = (
    f"CT perfusion, HU, all frames registered to the first one, at most {MOST_FRAMES} (of more the "
    "later ones means of neighbours), cut to -150 to 300 HU, scaled by (HU + 50) / 250"
)


def export(
    runs: Path,
    folder: Path,
    experiment: Experiment,
    trained_on: Sequence[Pair],
    scores: Sequence[Score],
    version: str,
) -> Manifest:
    """Write the best checkpoint of the stacked network and its manifest into a folder.

    Parameters
    ----------
    runs, folder : Path
        Folders of the runs and of the model.
    experiment : str
        Which run.
    trained_on : sequence of Pair
        The patients it learned from.
    scores : sequence of Score
        What was measured on test patients.
    version : str
        Of the model.
    """
    preset = sizes_of(run_folder(runs, "conv-lstm", experiment))
    module = load_run(runs, "conv-lstm", experiment)
    about = {
        "name": MODEL_NAME,
        "version": version,
        "network": "StackedConvLstm",
        "settings": {
            "layers": preset.layers,
            "filters": preset.filters,
            "input_kernel": preset.input_kernel,
            "recurrent_kernel": preset.recurrent_kernel,
            "last_state": preset.last_state,
        },
        "input": _INPUT,
        "trained_on": statement(trained_on),
        "simulated": all(pair.truth is not None for pair in trained_on),
        "measured": measured(scores),
    }
    return write_model(folder, module.network.state_dict(), about)


def statement(pairs: Sequence[Pair]) -> str:
    """Whom a model was trained on, in one sentence."""
    simulated = sum(pair.truth is not None for pair in pairs)
    kind = "simulated" if simulated == len(pairs) else "real" if not simulated else "mixed"
    scanners = Counter(pair.case.scanner for pair in pairs)
    told = ", ".join(f"{count} {name}" for name, count in sorted(scanners.items()))
    ill = sum(pair.case.pathology for pair in pairs)
    return f"{len(pairs)} {kind} patients ({told}), {ill} of them with pathology"


def measured(scores: Sequence[Score]) -> Mapping[str, Mapping[str, float]]:
    """Means over test patients of the stacked network, for each group of them."""
    out = {}
    for (split, kind), methods in sorted(grouped(scores).items()):
        own = methods.get("conv-lstm", [])
        means = {
            name: round(float(np.mean(known)), 4)
            for name in METRICS
            if (known := values(own, name))
        }
        out[f"{split}, {kind}"] = {"patients": float(len(own)), **means}
    return out

"""Inference: thousands of small batches of handwritten digits, and a model that takes longer to load than to ask.

A forest of extremely randomized trees learns scikit-learn's own digits and is stored in a temporary directory. Then a
Parsl app classifies batches of digits that it has not seen, in three ways. The app is the same, and so is the context
that loads the model; what differs is how often it is loaded: once per slot, once per worker for all slots to share, or
for each call in a process of its own, which is tried with a sample of the calls.

Needs scikit-learn: ``pip install 'vinefast[examples]'``.
"""

import functools
import statistics
import tempfile
import time
from pathlib import Path

import click
import joblib
import numpy as np
import parsl
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import train_test_split

import vinefast

WAYS = {
    "once per slot": {"context_scope": "slot"},
    "once per worker": {"context_scope": "worker"},
    "for each call": {"function_exec_mode": "regular"},
}


def load_model(path, journal):
    """Load the model, and note how long it took. This is the context: it runs where calls run, before them."""
    import time

    began = time.perf_counter()
    import joblib

    model = joblib.load(path)  # brings in scikit-learn
    with open(journal, "a") as file:
        file.write(f"{time.perf_counter() - began}\n")
    return model


@vinefast.python_app
def classify(images, context):
    """Give the digit in each image. This is the call; `context` is what `load_model` has returned."""
    return context.predict(images)


def run(way, model, batches, directory):
    """Classify all batches in one way.

    Returns
    -------
    dict
        What each batch was taken for, how long the model took to load each time, and calls per second.
    """
    journal = directory / "journal"
    journal.unlink(missing_ok=True)
    context = functools.partial(load_model, str(model), str(journal))
    executor = vinefast.VineFastExecutor(label="inference", context=context, **WAYS[way])
    with parsl.load(parsl.Config(executors=[executor], run_dir=str(directory / "runinfo"), usage_tracking=0)):
        began = time.perf_counter()
        answers = [future.result() for future in [classify(images) for images in batches]]
        seconds = time.perf_counter() - began
    parsl.clear()
    loads_s = [float(line) for line in journal.read_text().split()]
    return {"answers": answers, "loads_s": loads_s, "rate": len(batches) / seconds}


@click.command()
@click.option("--calls", default=3000, show_default=True, help="Batches to classify.")
@click.option("--sample", default=12, show_default=True, help="How many of them with a load for each call.")
@click.option("--batch", default=8, show_default=True, help="Images of a batch.")
@click.option("--trees", default=200, show_default=True, help="Size of the model.")
@click.option("--quick", is_flag=True, help="300 calls, and 20 trees.")
def main(calls, sample, batch, trees, quick):
    """Classify digits in three ways, which differ in how often the model is loaded."""
    if quick:
        calls, sample, trees = 300, 4, 20
    console = Console()
    images, digits = load_digits(return_X_y=True)
    images, unseen, digits, truth = train_test_split(images, digits, random_state=1)
    chosen = np.random.default_rng(1).integers(len(unseen), size=(calls, batch))
    table = Table("the model is loaded", "calls", "loads", "seconds per load", "calls/s", "accuracy")
    with tempfile.TemporaryDirectory(prefix="vinefast-inference-") as name:
        directory = Path(name)
        path = directory / "model"
        joblib.dump(ExtraTreesClassifier(trees, random_state=1).fit(images, digits), path)
        console.print(f"The model: {trees} trees, {path.stat().st_size / 1e6:.0f} MB. A call: {batch} images.")
        for way in WAYS:
            rows = chosen[:sample] if way == "for each call" else chosen
            found = run(way, path, [unseen[row] for row in rows], directory)
            table.add_row(
                way,
                str(len(rows)),
                str(len(found["loads_s"])),
                f"{statistics.median(found['loads_s']):.2f}",
                f"{found['rate']:.1f}",
                f"{np.mean(np.array(found['answers']) == truth[rows]):.1%}",
            )
    table.caption = (
        f"From the first call to the last result, with the start of the worker. A load for each call: tried with "
        f"{sample} of the {calls} calls."
    )
    console.print(table)


# No guard is needed: workers do not run this file.
main()

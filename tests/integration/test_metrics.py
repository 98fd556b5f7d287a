"""What prometheus_client's registries tell of real executors."""

import gc
import re
import subprocess
import sys
import threading
import time
import urllib.request
import weakref
from collections import Counter

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, start_http_server
from prometheus_client import Counter as PrometheusCounter
from prometheus_client.openmetrics import exposition, parser
from prometheus_client.parser import text_string_to_metric_families

from tests.helpers.waiting import wait_until
from vinefast import VineFastExecutor
from vinefast._core import STAGES


def half(n):
    return n / 2


def refuse(n):
    raise ValueError(f"{n} is none")


def nap(seconds):
    time.sleep(seconds)


def samples_of(text, families=text_string_to_metric_families):
    found = {}
    for family in families(text):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found, "a series is there twice"
            found[key] = sample.value
    return found


class Scrape:
    """The samples of an executor, by name and other labels."""

    def __init__(self, registry, label):
        self._samples = samples_of(generate_latest(registry).decode())
        self._label = label

    def __call__(self, name, **labels):
        return self._samples[f"vinefast_{name}", tuple(sorted({"executor": self._label, **labels}.items()))]

    def buckets(self, stage):
        found = {}
        for (name, labels), value in self._samples.items():
            of = dict(labels)
            if name == "vinefast_stage_seconds_bucket" and (of["stage"], of["executor"]) == (stage, self._label):
                found[float(of["le"])] = value
        return [found[le] for le in sorted(found)], sorted(found)


def test_what_has_happened(make_executor):
    executor, registry = make_executor(start=False, label="vf"), CollectorRegistry()
    assert executor.metrics(registry) is executor.metrics(registry)
    scrape = Scrape(registry, "vf")
    assert scrape("running") == 0 and scrape("calls_total", outcome="done") == 0 and scrape("workers") == 0
    executor.start()
    futures = [executor.submit(half, {}, i) for i in range(3000)]
    failing = [executor.submit(refuse, {}, i) for i in range(5)]
    naps = [executor.submit(nap, {}, 0.3) for _ in range(4)]
    assert [future.result(60) for future in futures] and all(future.exception(60) for future in failing)
    running = [executor.submit(nap, {}, 60) for _ in range(2)]
    assert all(future.result(60) is None for future in naps)
    assert wait_until(lambda: Scrape(registry, "vf")("calls_running") == 2)
    scrape = Scrape(registry, "vf")
    assert scrape("running") == 1 and scrape("calls_waiting") == 0
    assert scrape("workers") == 1 and scrape("slots") == 2 and scrape("workers_joined_total") == 1
    assert scrape("frames_sent_bytes_total") > 3000 and scrape("frames_returned_bytes_total") > 3000
    assert executor.cancel_all() == 2 and running
    assert wait_until(lambda: executor.stats()["calls_outstanding"] == 0)
    executor.shutdown()

    scrape, stats = Scrape(registry, "vf"), executor.stats()
    outcomes = {outcome: scrape("calls_total", outcome=outcome) for outcome in ("done", "failed", "cancelled")}
    assert outcomes == {"done": 3004, "failed": 5, "cancelled": 2} and scrape("calls_submitted_total") == 3011
    assert scrape("running") == 0 and scrape("calls_running") == 0 and scrape("workers") == 0
    assert scrape("bundles_sent_total") == stats["bundles_sent"]
    for stage in STAGES:
        numbers, bounds = scrape.buckets(stage)
        count, spent_s = scrape("stage_seconds_count", stage=stage), scrape("stage_seconds_sum", stage=stage)
        assert numbers == sorted(numbers) and numbers[-1] == count and bounds[-1] == float("inf")
        assert count == stats["calls_returned"] == 3011
        # What the histogram and the sum say of the mean time is the same.
        of_each = [number - before for number, before in zip(numbers, [0, *numbers], strict=False)]
        least_s = sum(n * le / 2 for n, le in zip(of_each[1:-1], bounds[1:-1], strict=True))
        most_s = sum(n * le for n, le in zip(of_each[:-1], bounds[:-1], strict=True))
        assert least_s <= spent_s <= most_s, stage
    numbers, bounds = scrape.buckets("execute")
    # Four of 0.3 s, and two of which nobody knows how long they were let run; nothing else is nearly as long.
    assert 3011 - numbers[bounds.index(0.268435456)] in (4, 5, 6)
    overhead = {stage.name: stage.spent_us for stage in executor.overhead().stages}
    for stage in STAGES:
        mean_us = scrape("stage_seconds_sum", stage=stage) / 3011 * 1e6
        assert mean_us == pytest.approx(overhead[stage], rel=1e-6), stage
    mean_us = scrape("complete_seconds_sum") / scrape("complete_seconds_count") * 1e6
    assert mean_us == pytest.approx(overhead["complete"]) and scrape("serialize_seconds_count") == 3011


def test_over_http_while_calls_run(make_executor):
    """In both formats, from another thread; what counts up never counts down."""
    executor = make_executor(label='odd "label" \\ \u00e9')
    registry = CollectorRegistry()
    executor.metrics(registry)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    scrapes, over, errors = [], threading.Event(), []

    def look():
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        while not over.is_set():
            try:
                plain = urllib.request.urlopen(url, timeout=30).read().decode()
                request = urllib.request.Request(url, headers={"Accept": "application/openmetrics-text"})
                with urllib.request.urlopen(request, timeout=30) as answer:
                    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
                    strict = samples_of(answer.read().decode(), parser.text_string_to_metric_families)
                scrapes.append((samples_of(plain), strict))
            except Exception as error:  # on a thread nobody would see it
                errors.append(error)
                return

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(10):
            futures = [executor.submit(half, {}, i) for i in range(5000)]
            futures[-1].cancel()
            executor.cancel(futures[-2])
            for future in futures[:-2]:
                future.result(60)
        n = len(scrapes)
        assert wait_until(lambda: len(scrapes) > n + 1 or errors)
    finally:
        over.set()
        looking.join(60)
        server.shutdown()
        server.server_close()
        thread.join(60)
    assert not errors and len(scrapes) > 5
    flat = [samples for pair in scrapes for samples in pair]
    counted = [key for key in flat[0] if key[0].endswith(("_total", "_bucket", "_count", "_sum"))]
    assert len(counted) > 200
    for key in counted:
        values = [samples[key] for samples in flat]
        assert values == sorted(values), key
    of_label = {dict(labels).get("executor") for _, labels in flat[0]}
    assert of_label == {executor.label}
    done = "vinefast_calls_total", (("executor", executor.label), ("outcome", "done"))
    assert flat[-1][done] > 49_000 and any(0 < samples[done] < 49_000 for samples in flat)


def test_several_executors_in_one_registry(make_executor):
    one, other, registry = make_executor(label="one"), make_executor(label="other"), CollectorRegistry()
    assert one.metrics(registry) is other.metrics(registry)
    assert [one.submit(half, {}, i).result(60) for i in range(3)] and other.submit(half, {}, 3).result(60) == 1.5
    done = [Scrape(registry, label)("calls_total", outcome="done") for label in ("one", "other")]
    assert done == [3, 1]
    text = generate_latest(registry).decode()
    assert max(Counter(re.findall(r"^# TYPE (\S+)", text, re.M)).values()) == 1
    # OpenMetrics is stricter, and what Prometheus asks for.
    samples = samples_of(exposition.generate_latest(registry).decode(), parser.text_string_to_metric_families)
    assert samples.keys() == samples_of(text).keys()

    again = make_executor(label="one")
    with pytest.raises(ValueError, match="another executor with the label 'one', which is running"):
        again.metrics(registry)
    one.shutdown()
    again.metrics(registry)
    assert Scrape(registry, "one")("calls_total", outcome="done") == 0
    another = CollectorRegistry()
    one.metrics(another)
    assert Scrape(another, "one")("calls_total", outcome="done") == 3


def test_the_usual_registry_and_one_that_forgets(make_executor):
    executor = make_executor(label="usual")
    metrics = executor.metrics()
    try:
        assert REGISTRY.get_sample_value("vinefast_running", {"executor": "usual"}) == 1
    finally:
        REGISTRY.unregister(metrics)
    assert REGISTRY.get_sample_value("vinefast_running", {"executor": "usual"}) is None
    assert executor.metrics() is metrics
    try:
        assert REGISTRY.get_sample_value("vinefast_running", {"executor": "usual"}) == 1
    finally:
        REGISTRY.unregister(metrics)


def test_a_label_that_is_no_whole_text():
    registry = CollectorRegistry()
    executor = VineFastExecutor(label="na\udcefve")
    executor.metrics(registry)
    assert rb'vinefast_running{executor="na\\udcefve"} 0.0' in generate_latest(registry)


def test_a_registry_does_not_keep_an_executor():
    from vinefast import VineFastExecutor

    executor, registry = VineFastExecutor(label="gone"), CollectorRegistry()
    executor.metrics(registry)
    assert "gone" in generate_latest(registry).decode()
    reference = weakref.ref(executor)
    del executor
    gc.collect()
    assert reference() is None and "gone" not in generate_latest(registry).decode()


def test_what_cannot_be_registered():
    from vinefast import VineFastExecutor

    executor, registry = VineFastExecutor(), CollectorRegistry()
    with pytest.raises(TypeError, match=r"CollectorRegistry, not dict"):
        executor.metrics({})
    PrometheusCounter("vinefast_calls", "Somebody else's.", registry=registry)
    with pytest.raises(ValueError, match="vinefast_calls"):
        executor.metrics(registry)


def test_without_the_package():
    program = """
import sys
sys.modules["prometheus_client"] = None
from vinefast import VineFastExecutor
try:
    VineFastExecutor().metrics()
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "pip install 'vinefast[metrics]'" in done.stdout and "needs prometheus-client" in done.stdout, done.stderr

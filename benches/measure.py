"""Times of one call in one stage of its way."""

BATCHES = [1, 10, 100, 1_000]


def repeats(benchmark, n, n_calls=10_000):
    """How often a batch of `n` makes up a round of `n_calls`; once where nothing is timed."""
    return 1 if benchmark.disabled else max(1, n_calls // n)


def per_call(benchmark, group, target, *args, n, setup=None, rounds=20):
    """Time `target(*args)`, which deals with `n` calls altogether; returns what it returns."""
    benchmark.group = group
    if setup is None:
        result = benchmark.pedantic(target, args=args, rounds=rounds, warmup_rounds=1)
    else:
        result = benchmark.pedantic(target, setup=lambda: ((*args, *setup()), {}), rounds=rounds, warmup_rounds=1)
    benchmark.extra_info["calls"] = n
    if not benchmark.disabled:
        benchmark.extra_info["ns_per_call"] = round(1e9 * benchmark.stats.stats.median / n, 1)
        benchmark.extra_info["best_ns_per_call"] = round(1e9 * benchmark.stats.stats.min / n, 1)
    return result

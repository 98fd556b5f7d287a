"""The definition of the cost of a call at a worker, evaluated for every worker. For tests and benchmarks."""

import numpy as np

FULL = np.inf


class NaiveTable:
    """Follows a `LocalityTable` from choice to choice: the same doubles in the same order, so costs are equal."""

    def __init__(self, nbytes, n_workers, bandwidth, queue_weight, moved):
        self.nbytes = np.array(nbytes, dtype=np.int64)
        self.held = np.zeros((len(self.nbytes), n_workers), dtype=bool)
        self.known = np.ones(n_workers, dtype=bool)
        self.queued = np.zeros(n_workers, dtype=np.int64)
        self.capacity = np.full(n_workers, FULL)  # as a float: infinite is unlimited
        self.bandwidth = bandwidth
        self.queue_weight = queue_weight
        self.moved = moved
        self.moved_here = []  # in the batch

    def to_move(self, files):
        files = np.unique(np.asarray(files, dtype=np.int64))
        return self.nbytes[files] @ ~self.held[files]

    def costs(self, files):
        """Return the cost at each worker, infinite where the call must not go."""
        costs = self.to_move(files) / self.bandwidth + self.queue_weight * self.queued.astype(np.float64)
        return np.where(self.known & (self.capacity > 0), costs, np.inf)

    def follow(self, files, duration_ns, worker):
        """Give the call to the worker; returns what that adds to its queue."""
        files = np.asarray(files, dtype=np.int64)
        missing = np.unique(files[~self.held[files, worker]])
        charged = int(duration_ns) + int(int(self.nbytes[missing].sum()) / self.bandwidth)
        self.queued[worker] += charged
        self.capacity[worker] -= 1
        if self.moved != "ignore":
            self.held[missing, worker] = True
            self.moved_here.append((missing, worker))
        return charged

    def check(self, offsets, files, durations_ns, chosen, none, every=1):
        """Assert that of a batch every n-th choice costs the minimum over all workers; returns what was charged."""
        charged = []
        self.moved_here = []
        for i, worker in enumerate(chosen.tolist()):
            inputs = files[int(offsets[i]) : int(offsets[i + 1])]
            if i % every == 0 or worker == none:
                costs = self.costs(inputs)
                if worker == none:
                    assert np.all(costs == np.inf)
                    charged.append(0)
                    continue
                assert costs[worker] == costs.min() < np.inf
            charged.append(self.follow(inputs, durations_ns[i], worker))
        if self.moved == "batch":
            for missing, worker in self.moved_here:
                self.held[missing, worker] = False
        return charged

"""Results of many megabytes: where they lie on this side, and what happens to those that do not fit."""

import numpy as np


def ones(n):
    import numpy

    return numpy.ones(n)


def test_an_array_lies_where_it_was_received(make_executor):
    executor = make_executor()
    for n in (1_000, 100_000, 2_000_000):
        array = executor.submit(ones, {}, n).result(30)
        assert not array.flags.owndata
        assert array.ctypes.data % 64 == 0
        assert array.flags.writeable
        np.testing.assert_array_equal(array, np.ones(n))


def test_an_array_outlives_the_executor(make_executor):
    executor = make_executor()
    array = executor.submit(ones, {}, 2_000_000).result(30)
    executor.shutdown()
    del executor
    array += 1
    assert array.sum() == 4_000_000

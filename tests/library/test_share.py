"""What a slot's calls take of their worker."""

import pytest

from vinefast.library.frame import Origin
from vinefast.library.protocol import VINEFAST_USERS_
from vinefast.library.share import THREAD_VARIABLES, Share


def from_taskvine(cores):
    return dict.fromkeys(THREAD_VARIABLES, str(cores))


def test_cores_are_shared_out_among_slots():
    environment = from_taskvine(8)
    share = Share(Origin(0, 1, 4, cores=8), environment)
    assert environment == from_taskvine(2)
    share.take(5)
    assert environment == from_taskvine(5)
    share.take(0)
    assert environment == from_taskvine(2)


def test_a_slot_has_one_thread_at_least():
    environment = from_taskvine(2)
    Share(Origin(0, 1, 4, cores=2), environment)
    assert environment == from_taskvine(1)


def test_the_users_choice_stays():
    environment = {**from_taskvine(8), VINEFAST_USERS_ + "OMP_NUM_THREADS": "3"}
    share = Share(Origin(0, 1, 4, cores=8), environment)
    share.take(5)
    assert {name: environment[name] for name in THREAD_VARIABLES} == {**from_taskvine(8), "OMP_NUM_THREADS": "3"}


@pytest.mark.parametrize(
    ("n_slots", "devices", "parts"),
    [
        (2, "0,1", ["0", "1"]),
        (3, "4,5", ["4", "5", "4"]),
        (2, "0,1,2,3,4", ["0,1", "2,3,4"]),
        (1, "0,1", ["0,1"]),
    ],
)
def test_gpus_are_shared_out_among_slots(n_slots, devices, parts):
    got = []
    for slot in range(n_slots):
        environment = {"CUDA_VISIBLE_DEVICES": devices}
        Share(Origin(slot, 1, n_slots, cores=8, gpus=devices.count(",") + 1), environment)
        got.append(environment["CUDA_VISIBLE_DEVICES"])
    assert got == parts

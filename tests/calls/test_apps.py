"""Marks of functions: what is refused, and that they come through Parsl's wrappers."""

import dataclasses
import functools

import dill
import parsl
import pytest
from benches._stages import Stages
from parsl.app.errors import wrap_error
from parsl.app.python import timeout
from parsl.monitoring.radios.filesystem import FilesystemRadio
from parsl.monitoring.remote import monitor_wrapper
from parsl.serialize import deserialize

import vinefast
from vinefast import InvalidConfiguration
from vinefast._core import FunctionRecord, FunctionRegistry
from vinefast.calls.apps import AppOptions, options_of
from vinefast.calls.context import pack, parameters_before, serialize_with_context
from vinefast.calls.main_module import serialize_function
from vinefast.library.context import Bound


def load():
    return "loaded"


def load_other():
    return "other"


def use(x, context):
    return x, context


def plain(x):
    return x


def monitored(function):
    wrapped, *_ = monitor_wrapper(
        f=function,
        args=(),
        kwargs={},
        x_try_id=0,
        x_task_id=0,
        radio_config=FilesystemRadio(),
        run_id="",
        logging_level=0,
        sleep_dur=0,
        monitor_resources=False,
        run_dir="",
    )
    return wrapped


def test_an_unknown_argument_of_an_app_is_refused_with_the_nearest():
    with pytest.raises(
        TypeError, match=r"python_app\(\) got an unexpected keyword argument 'contxt'. Did you mean 'cont"
    ):
        vinefast.python_app(contxt=load)
    with pytest.raises(TypeError, match="'executor'. Did you mean 'executors'"):
        vinefast.python_app(plain, executor=["x"])
    assert options_of(vinefast.python_app(cache=True, executors=["x"], keep=True)(lambda x: x).func).keep


@pytest.mark.parametrize("wrap", [wrap_error, lambda f: timeout(f, 1.0), monitored])
def test_a_mark_comes_through_parsls_wrappers(wrap):
    marked = vinefast.mark(lambda x, context: x, context=load, keep=True)
    assert options_of(wrap(marked)) == options_of(marked) == AppOptions(load, True)
    assert parameters_before(wrap(marked)) == 1
    assert options_of(wrap(plain)) == AppOptions(None, False)


def test_an_app_is_parsls():
    @vinefast.python_app
    def bare(x):
        return x

    @vinefast.python_app(executors=["one"], cache=True, ignore_for_cache=["x"], context=load, keep=True)
    def full(x, context):
        return x

    assert type(bare) is type(full) is type(parsl.python_app(plain))
    assert options_of(bare.func) == AppOptions()
    assert (full.executors, full.cache, full.ignore_for_cache) == (["one"], True, ["x"])
    assert options_of(full.func) == AppOptions(load, True)
    with pytest.raises(TypeError, match="walltime"):
        vinefast.python_app(plain, walltime=1)


def test_apps_of_one_function_have_each_its_own_context():
    one, other = vinefast.python_app(use, context=load), vinefast.python_app(use, context=load_other)
    assert options_of(one.func).context is load
    assert options_of(other.func).context is load_other


def test_workers_need_nothing_of_vinefast_for_a_mark():
    marked = vinefast.mark(functools.partial(use, 1), context=load)
    body = dill.dumps(wrap_error(marked))
    assert b"vinefast.calls.apps" not in body and b"AppOptions" not in body
    assert options_of(dill.loads(body)) == AppOptions()


@pytest.mark.parametrize("context", [3, "load", plain, lambda: (yield), object()])
def test_what_is_no_context_is_refused(context):
    for take in (vinefast.mark, vinefast.python_app, vinefast.VineFastExecutor):
        arguments = {} if take is vinefast.VineFastExecutor else {"function": use}
        with pytest.raises(InvalidConfiguration, match="^context is .*; accepted: a plain function"):
            take(context=context, **arguments)


@pytest.mark.parametrize("context", [load, functools.partial(plain, 1), dict, lambda x=1: x])
def test_what_is_a_context(context):
    assert vinefast.VineFastExecutor(context=context).context is context


def test_a_context_needs_a_parameter():
    for function in (plain, lambda **kwargs: None, lambda *context: None, eval("lambda context, /: None"), len):
        with pytest.raises(InvalidConfiguration, match="is load, but .* no parameter .*'context'"):
            vinefast.python_app(function, context=load)


def test_what_cannot_be_marked():
    with pytest.raises(InvalidConfiguration, match="pow cannot be marked"):
        vinefast.mark(pow, keep=True)
    with pytest.raises(InvalidConfiguration, match="keep is 1"):
        vinefast.mark(plain, keep=1)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"context": load, "context_scope": "node"}, "context_scope is 'node'"),
        ({"context_scope": "worker"}, "context is None"),
        ({"context": load, "context_scope": "worker", "function_exec_mode": "regular"}, "'regular'"),
    ],
)
def test_scopes_that_cannot_work(arguments, reason):
    with pytest.raises(InvalidConfiguration, match=reason):
        vinefast.VineFastExecutor(**arguments)


def test_who_gets_the_executors_context():
    default = pack(load)
    for function, n_before in ((use, 1), (lambda context=None: 0, 0), (functools.partial(use, 1), 0)):
        bound = deserialize(serialize_with_context(function, None, default)[0])
        assert isinstance(bound, Bound) and (bound.context, bound.n_before) == (default, n_before)
    for function in (plain, print, lambda **kwargs: None):
        assert serialize_with_context(function, None, default) == serialize_function(function)
    assert deserialize(serialize_with_context(use, load_other, default)[0]).context == pack(load_other)


def test_bash_apps_are_seen_through():
    @parsl.bash_app
    def with_context(x, y, context):
        return ""

    @parsl.bash_app
    def without(x):
        return ""

    assert parameters_before(with_context.wrapped_remote_function) == 2
    assert parameters_before(without.wrapped_remote_function) is None


def test_options_are_read_once_per_function():
    registry = FunctionRegistry()
    function = functools.partial(plain)
    record = Stages.find_function(registry, function)
    assert record.options == AppOptions()
    vinefast.mark(function, keep=True)
    assert Stages.find_function(registry, function) is record


def test_functions_of_the_same_bytes_have_each_their_options():
    registry = FunctionRegistry()
    one, same, kept = [functools.partial(plain) for _ in range(3)]
    for function in (one, same):
        vinefast.mark(function)
    vinefast.mark(kept, keep=True)
    records = [Stages.find_function(registry, function) for function in (one, same, kept)]
    assert records[0] is records[1] is not records[2]
    assert [record.options.keep for record in records] == [False, False, True]


@dataclasses.dataclass
class Model:
    """A context with settings; a dataclass that can be changed is not hashable."""

    size: int = 3

    def __call__(self):
        return list(range(self.size))


def test_a_context_need_not_be_hashable():
    registry = FunctionRegistry()
    one, same, other = [functools.partial(use) for _ in range(3)]
    for function, context in ((one, Model()), (same, Model()), (other, Model(4))):
        vinefast.mark(function, context=context)
    records = [Stages.find_function(registry, function) for function in (one, same, other)]
    assert records[0] is records[1] is not records[2]


def test_a_function_need_not_be_hashable():
    record = Stages.find_function(FunctionRegistry(), Model())
    assert isinstance(record, FunctionRecord)
    assert pack(Model()).digest == pack(Model()).digest != pack(Model(4)).digest

"""The plans of an executor's calls, and the calls that bring back what lies on its workers."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from itertools import chain
from typing import Any

from vinefast._core import CallFuture, Engine, TempHandle
from vinefast.data.plan import CallPlan
from vinefast.data.temps import Forget, Store
from vinefast.data.urls import Timeouts
from vinefast.settings.resources import CallSpec

Submit = Callable[..., CallFuture[Any]]

# Of the calls that bring files and values back.
_FIRST = CallSpec(priority=sys.float_info.max)


class Planner:
    """Makes the plans.

    Parameters
    ----------
    engine : Engine
        Whose calls these are.
    shared : bool
        Whether workers see the files of this machine.
    timeouts : Timeouts
        With the servers of URLs.
    directory : str
        The executor's part of the run directory.
    submit : bound method
        Hands a call to the engine, as `vinefast._core.Submitter.submit` does, for as long as the executor takes calls.
        Whose method that is, what calls have left on workers keeps alive, but not this.
    keeps : callable
        Tells whether the values of a function stay on workers.
    """

    def __init__(
        self,
        engine: Engine,
        shared: bool,
        timeouts: Timeouts,
        directory: str,
        submit: Submit,
        keeps: Callable[[Callable[..., Any]], bool],
    ) -> None:
        self._engine = engine
        self._shared = shared
        self._timeouts = timeouts
        self._directory = os.path.join(directory, "fetched")
        self._submit = weakref.WeakMethod(submit)
        self._keeps = keeps

    def plan(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], chunk: bool) -> CallPlan:
        """Make the plan of a call, or of a chunk of `map`, whose arguments are columns.

        Raises
        ------
        Exception
            As `CallPlan.find`.
        """
        plan = CallPlan(self._shared, self._engine, self._claim, self._timeouts)
        try:
            plan.find(tuple(chain.from_iterable(args)) if chunk else args, kwargs)
            if not chunk and self._keeps(func):
                plan.keep(Store(getattr(func, "__name__", "value")))
        except BaseException:
            plan.withdraw()
            raise
        return plan

    def _claim(self, store: Store, handle: TempHandle) -> TempHandle | None:
        submit = self._submit()
        assert submit is not None
        return store.claim(handle, self._engine, partial(_run_first, submit, self._engine), self._directory)


def _run_first(
    submit: Submit, engine: Engine, function: Callable[..., Any], *args: Any, output: str | None = None
) -> tuple[Future[Any], Forget]:
    """Run a function of the library before all calls of the user's.

    `output` is a place on this machine, to which nothing comes any more after what is given beside the future was
    called.
    """
    plan = CallPlan(True, engine).only_bring()
    if output is not None:
        args = (*args, plan.bring(output))
    return submit(function, args, {}, _FIRST, False, plan), plan.forget_returns

"""What calls print, on its way to whoever wants it here: the run directory, and standard error."""

from __future__ import annotations

from vinefast.workers.forwarding import Forwarder
from vinefast.workers.output_files import OutputFiles


class RunOutput:
    """The threads that see to it.

    Parameters
    ----------
    directory : str
        Where files are kept.
    slot_nbytes, total_nbytes : int
        What each slot may have there, and all together that have ended; 0: nothing is kept.
    is_shared : bool
        Whether slots write them themselves.
    forward : bool
        Whether to write to standard error as well.
    label : str
        Of the executor, for warnings.
    """

    def __init__(
        self, directory: str, slot_nbytes: int, total_nbytes: int, is_shared: bool, forward: bool, label: str
    ) -> None:
        self._takers: list[OutputFiles | Forwarder] = []
        if slot_nbytes:
            if forward:  # it has to know first which files the other one writes
                self._takers.append(Forwarder(directory if is_shared else None, label))
            self._takers.append(OutputFiles(directory, slot_nbytes, total_nbytes, label))

    def start(self) -> None:
        """Start the threads."""
        for taker in self._takers:
            taker.start()

    def take(self, name: str, gone: int, text: bytes) -> None:
        """Take what a worker elsewhere has sent, without waiting for anything.

        Parameters
        ----------
        name : str
            Of the file that it belongs to.
        gone : int
            How many bytes before that are left out.
        text : bytes
            The rest.
        """
        for taker in self._takers:
            taker.take(name, gone, text)

    def stop(self) -> None:
        """Wait until all is where it belongs, but for seconds at the most."""
        for taker in self._takers:
            taker.stop()

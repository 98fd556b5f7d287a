# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The hot path: serialization, the engine that owns a TaskVine manager, and the completion of futures.

One part per step of a call's way (docs/architecture.md), in its order; what runs without the GIL is plain C in csrc/.
"""

include "core/head.pxi"
include "core/threads.pxi"

# Submitting.
include "core/submit.pxi"
include "core/function.pxi"
include "core/arguments.pxi"
include "core/serialize.pxi"
include "core/buffers.pxi"
include "core/specs.pxi"
include "core/files.pxi"
include "core/temps.pxi"
include "core/future.pxi"
include "core/awaiting.pxi"
include "core/outstanding.pxi"

# The manager thread's.
include "core/loop.pxi"
include "core/manager.pxi"
include "core/questions.pxi"

# And back.
include "core/finishing.pxi"
include "core/demux.pxi"

# All of it.
include "core/engine.pxi"
include "core/border.pxi"
include "core/opened.pxi"

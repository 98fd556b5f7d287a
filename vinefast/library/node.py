"""What a worker tells of its node: the answer to a bundle without calls."""

from __future__ import annotations

import json
import os
import platform
import uuid


def about() -> bytes:
    """Give a JSON object with what Parsl's monitoring wants to know, by its names."""
    return json.dumps(
        {
            "uid": uuid.uuid4().hex,
            "hostname": platform.node(),
            "cpu_count": os.cpu_count(),
            "total_memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "python_v": platform.python_version(),
            "block_id": os.environ.get("PARSL_WORKER_BLOCK_ID", ""),
        }
    ).encode()

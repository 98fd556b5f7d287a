"""Link an extension module: GNU ld replaces the engine's functions by ours, then Zig links for the older C library.

Zig's linker would also replace calls that an object makes to a function of its own, which csrc/vf_hooks.h excludes.
"""

import subprocess
import sys
from pathlib import Path


def main(words: list[str]) -> int:
    wraps = [word.removeprefix("-Wl,") for word in words if word.startswith("-Wl,--wrap=")]
    if not wraps:
        return subprocess.run(["cc", "-shared", *words]).returncode
    objects = [word for word in words if word.endswith((".o", ".a"))]
    target = Path(words[words.index("-o") + 1])
    whole = target.with_name(target.name + ".o")
    joined = subprocess.run(["ld", "-r", *wraps, *objects, "-o", whole]).returncode
    if joined:
        return joined
    rest = [word for word in words if word not in objects and not word.startswith("-Wl,--wrap=")]
    linked = subprocess.run(["cc", "-shared", whole, *rest]).returncode
    whole.unlink()
    return linked


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

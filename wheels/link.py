"""Link an extension module: GNU ld replaces the engine's functions by ours, then Zig links for the older C library.

Zig's linker would also replace calls that an object makes to a function of its own, which csrc/vf_hooks.h excludes. And
of the libraries under the engine no call is replaced: TLS reads and writes through the functions that take their place.
"""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "conf"))

from taskvine import LIBRARY_ARCHIVES  # noqa: E402


def main(words: list[str]) -> int:
    wraps = [word.removeprefix("-Wl,") for word in words if word.startswith("-Wl,--wrap=")]
    if not wraps:
        return subprocess.run(["cc", "-shared", *words]).returncode
    ours = [word for word in words if word.endswith((".o", ".a")) and Path(word).name not in LIBRARY_ARCHIVES]
    target = Path(words[words.index("-o") + 1])
    whole = target.with_name(target.name + ".o")
    # By its own name, since ld may be any linker.
    joined = subprocess.run(["ld.bfd", "-r", *wraps, *ours, "-o", whole]).returncode
    if joined:
        return joined
    rest = [word for word in words if word not in ours and not word.startswith("-Wl,--wrap=")]
    linked = subprocess.run(["cc", "-shared", whole, *rest]).returncode
    whole.unlink()
    return linked


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

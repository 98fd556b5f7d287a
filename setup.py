"""Build the compiled core of vinefast against the TaskVine that is found; everything else is in pyproject.toml."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "conf"))

import taskvine  # noqa: E402

# The engine's thousand global names (debug, list_create, ...) must not meet those of other libraries.
HIDE_ENGINE = "-Wl,--version-script=csrc/exports.map"

# wheels/build.py sets it: what is built brings the engine's programs, and finds them beside itself.
ENGINE_INSIDE = os.environ.get(taskvine.ENGINE_INSIDE_VARIABLE) == "1"

# "make sanitize" sets it, for the core alone.
SANITIZE = [f"-fsanitize={names}" for names in [os.environ.get("VINEFAST_SANITIZE")] if names]
SANITIZE_MORE = [*SANITIZE, "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-O1"] if SANITIZE else []

# "make coverage" sets it, for the core alone.
COVERAGE = os.environ.get("VINEFAST_COVERAGE") == "1"
COUNT = ["--coverage", "-fprofile-update=atomic", "-O0"] if COVERAGE else []


def relative(pattern):
    return sorted(str(path.relative_to(HERE)) for path in HERE.glob(pattern))


CSRC = relative("csrc/*.c")

core = Extension(
    "vinefast._core",
    sources=["vinefast/_core.pyx", *CSRC],
    depends=["csrc/exports.map", *relative("csrc/*.h"), *relative("vinefast/**/*.px[di]")],
    include_dirs=["csrc"],
    extra_compile_args=[*taskvine.COMPILE_ARGS, *SANITIZE_MORE, *COUNT],
    extra_link_args=["-pthread", HIDE_ENGINE, *SANITIZE, *COUNT],
)

# Preloaded into workers of this machine (vinefast/workers/listening.py): it is no module, and goes where modules go.
preloaded = Extension("vinefast.workers._listen", sources=["csrc/preload/listen.c"], depends=["csrc/vf_listen.h"])


# What benches and tests alone need: built where the sources lie, and part of no wheel.
for_benches = [
    Extension(
        name,
        sources=[f"{name.replace('.', '/')}.pyx"],
        depends=[*relative("csrc/*.[ch]"), *relative("vinefast/*.pxd")],
        include_dirs=["csrc"],
        extra_compile_args=taskvine.COMPILE_ARGS,
        extra_link_args=["-pthread", HIDE_ENGINE],
    )
    for name in ("benches._locality", "benches._stages")
]


class BuildCore(build_ext):
    """Probes TaskVine before anything is compiled, so that a miss is one clear message."""

    def finalize_options(self):
        if self.inplace or self.editable_mode:
            self.distribution.ext_modules = [core, preloaded, *for_benches]
        if self.inplace and self.build_lib is None:
            self.build_lib = "build/inplace"  # all that lies in the other place goes into a wheel
        super().finalize_options()

    def run(self):
        super().run()
        if ENGINE_INSIDE:
            inside = Path(self.build_lib) / "vinefast/_taskvine"
            shutil.rmtree(inside, ignore_errors=True)
            for part in ("bin", "share"):
                shutil.copytree(self.prefix / part, inside / part)
        # The run time looks for vine_worker where the build found the engine.
        roots = [Path(self.build_lib), *([HERE] if self.inplace else [])]
        for root in roots:
            (root / "vinefast/_build_info.py").write_text(self.build_info)

    def build_extensions(self):
        try:
            engine = taskvine.probe(self.compiler, python_include=taskvine.python_include())
        except taskvine.TaskVineError as error:
            # No traceback: pip shows the last lines, and they must be the advice.
            sys.exit(f"\nvinefast cannot be built.\n{error}\n")
        print(f"Building with TaskVine {engine.version} from {engine.installation.prefix}")
        if not engine.is_known:
            print(
                f"TaskVine {engine.version} has all that vinefast needs by name, but vinefast was not compared with"
                ' that release. After the build, vinefast._core.check_border("some/new/directory") tries it.',
                file=sys.stderr,
            )
        self.prefix = engine.installation.prefix
        beside = 'os.path.join(os.path.dirname(os.path.abspath(__file__)), "_taskvine")'
        self.build_info = (
            '"""What vinefast was built with. Written by setup.py."""\n\n'
            + ("import os\n\n" if ENGINE_INSIDE else "")
            + f"TASKVINE_VERSION = {engine.version!r}\n"
            f"TASKVINE_PREFIX = {beside if ENGINE_INSIDE else repr(str(self.prefix))}\n"
            f"TASKVINE_FEATURES: frozenset[str] = frozenset({engine.features!r})\n"
        )
        for extension in self.of_the_core():
            extension.include_dirs.append(str(engine.installation.include))
            extension.define_macros += engine.macros
        core.extra_link_args += [*engine.wrap_args, *engine.link_args]
        if self.engine_changed():
            self.force = True
        self.translate()
        super().build_extensions()

    def build_extension(self, extension):
        if extension in for_benches:
            extension.extra_objects = [self.archive()]
        super().build_extension(extension)
        self.load(extension)

    def archive(self):
        # Of the core's objects: the linker takes from it what an extension calls.
        objects = self.compiler.object_filenames(CSRC, output_dir=self.build_temp)
        self.compiler.create_static_lib(objects, "csrc", output_dir=self.build_temp)
        return self.compiler.library_filename("csrc", output_dir=self.build_temp)

    def load(self, extension):
        # What no object defines is allowed in a library, and would be missed when it is first imported.
        path = self.get_ext_fullpath(extension.name)
        program = "import ctypes, os, sys; ctypes.CDLL(sys.argv[1], os.RTLD_NOW)"
        run = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)
        if run.returncode:
            Path(path).unlink()
            sys.exit(f"\nvinefast was built, but cannot be loaded.\n{run.stderr.strip().splitlines()[-1]}\n")

    def engine_changed(self):
        # File times do not tell: the other engine may well be the older one.
        stamp = Path(self.build_temp) / "engine.txt"
        before = stamp.read_text() if stamp.exists() else None
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(self.build_info)
        return before != self.build_info

    def of_the_core(self):
        return [extension for extension in self.extensions if extension is not preloaded]

    def translate(self):
        # Imported here, since an sdist is made without Cython.
        from Cython.Build import cythonize

        translated = cythonize(
            [Extension(extension.name, extension.sources[:1]) for extension in self.of_the_core()],
            build_dir="build/cython",
            include_path=[".", "vinefast"],
            compiler_directives={"language_level": "3"},
        )
        for extension, c in zip(self.of_the_core(), translated, strict=True):
            extension.sources[:1] = c.sources


setup(ext_modules=[core, preloaded], cmdclass={"build_ext": BuildCore})

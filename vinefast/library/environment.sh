# Run a command in an environment that came as an archive: bash environment.sh ARCHIVE DIRECTORY PYTHON COMMAND ...
#
# The environment is unpacked into DIRECTORY, once: whoever comes meanwhile waits. PYTHON is its version, as in 3.11. If it
# cannot be used, the command runs without it and with the reason in VINEFAST_PROBLEM, which checked.py answers calls with.

archive=$1
directory=$(cd "$(dirname "$2")" && pwd -P)/$(basename "$2")
python=$3
shift 3

fits() {
    [ "$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$python" ]
}

# A virtual environment links to the Python that it was made with; another one of that version does as well.
link_python() {
    fits "$directory/bin/python" && return
    for found in "python$python" python3; do
        if fits "$found"; then
            found=$("$found" -c 'import os, sys; print(os.path.realpath(sys._base_executable))')
            for name in python python3 "python$python"; do
                ln -sf "$found" "$directory/bin/$name" || return
            done
            sed -i "s|^home *=.*|home = ${found%/*}|" "$directory/pyvenv.cfg"
            return
        fi
    done
    echo "it is a virtual environment, which does not bring Python $python along, and there is none on the worker's PATH" \
        "either. A conda environment brings its own"
    return 1
}

unpack() {
    [ -e "$directory/.complete" ] && return
    rm -rf "$directory" && mkdir "$directory" && tar --no-same-owner -xf "$archive" -C "$directory" || return
    if [ -e "$directory/bin/conda-unpack" ]; then
        "$directory/bin/python" "$directory/bin/conda-unpack" || return
    elif [ -e "$directory/pyvenv.cfg" ]; then
        link_python || return
    fi
    if ! fits "$directory/bin/python"; then
        echo "its bin/python is no Python $python that runs here"
        return 1
    fi
    touch "$directory/.complete"
}

activate() {
    export PATH="$directory/bin:$PATH"
    unset PYTHONHOME
    if [ -d "$directory/conda-meta" ]; then
        export CONDA_PREFIX="$directory"
        for script in "$directory"/etc/conda/activate.d/*.sh; do
            [ -e "$script" ] && . "$script"
        done
    else
        export VIRTUAL_ENV="$directory"
    fi
    [ -e "$directory/poncho/set_env" ] && . "$directory/poncho/set_env" "$directory"
}

if problem=$({ flock 9 && unpack; } 2>&1 9>"$directory.lock"); then
    activate
else
    export VINEFAST_PROBLEM="the environment cannot be used on ${HOSTNAME:-this worker}: $problem"
fi
exec "$@"

#!/bin/sh
# Prints the Python to make the environment with, or says what to install. PYTHON chooses: a version (3.12), a name or a path.
runs='import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))'
# NVTabular has wheels up to Python 3.11; for 3.12 it is built from its source, which has a part in C++.
has_wheel='import sys; sys.exit(sys.version_info[:2] >= (3, 12))'

has_compiler() {
    for compiler in "${CXX:-}" c++ g++ clang++; do
        [ -n "$compiler" ] && command -v "$compiler" >/dev/null 2>&1 && return 0
    done
    return 1
}

without_compiler=
if [ -n "${PYTHON:-}" ]; then # another one than was asked for would be a surprise
    set -- "$PYTHON" "python$PYTHON"
else
    set -- python3.11 python3.12 python3.10 python3 python
fi
for candidate; do
    "$candidate" -c "$runs" >/dev/null 2>&1 || continue
    if "$candidate" -c "$has_wheel" >/dev/null 2>&1 || has_compiler; then
        command -v "$candidate"
        exit 0
    fi
    without_compiler=$candidate
done

if [ -n "$without_compiler" ]; then
    printf '%s\n' \
        "Cartwheel finds $("$without_compiler" --version), for which NVTabular is built from its source, and no C++ compiler." \
        "Install one ('apt install g++' on Debian and Ubuntu, 'dnf install gcc-c++' on Fedora), or Python 3.11, and run make again." >&2
    exit 1
fi
if [ -n "${PYTHON:-}" ]; then
    found=$("$PYTHON" --version 2>/dev/null || "python$PYTHON" --version 2>/dev/null || echo "no Python that starts")
    printf '%s\n' \
        "PYTHON=$PYTHON is $found, where Cartwheel needs Python 3.10, 3.11 or 3.12 with venv." \
        "Give a version, a name on the PATH or a full path, or leave PYTHON out to take the first that fits." >&2
    exit 1
fi
found=$(python3 --version 2>/dev/null || echo "no Python")
printf '%s\n' \
    "Cartwheel needs Python 3.11 or 3.12 (or 3.10) with venv; found: $found." \
    "TensorFlow and Triton's Python backend need NumPy below 2, which ends at Python 3.12." \
    "Install it beside yours: 'apt install python3.11 python3.11-venv' (Debian, Ubuntu), 'pyenv install 3.11' or 'uv python install 3.11';" \
    "then run make again, with PYTHON=python3.11, or its full path, if it is not on the PATH." >&2
exit 1

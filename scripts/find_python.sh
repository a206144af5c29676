#!/bin/sh
# Prints the first Python that Cartwheel runs on, or says what to install.
check='import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 11))'
for candidate in "${PYTHON:-}" python3.11 python3.10 python3 python; do
    if [ -n "$candidate" ] && "$candidate" -c "$check" >/dev/null 2>&1; then
        command -v "$candidate"
        exit 0
    fi
done
found=$(python3 --version 2>/dev/null || echo "no Python")
printf '%s\n' \
    "Cartwheel needs Python 3.11 (or 3.10) with venv; found: $found." \
    "NVTabular 23.8 holds pandas below 1.6, and pandas 1.5 ends at Python 3.11." \
    "Install it beside yours: 'apt install python3.11 python3.11-venv' (Debian, Ubuntu), 'pyenv install 3.11' or 'uv python install 3.11';" \
    "then run make again, with PYTHON=python3.11, or its full path, if it is not on the PATH." >&2
exit 1

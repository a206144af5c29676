"""Where the Triton binary of the PyPI package ``nvidia-pytriton`` lies, and what it needs beside it to run Python models."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from cartwheel.core.errors import MissingDependencyError

_STUB = "triton_python_backend_stub"
_BACKEND_FILES = ("libtriton_python.so", "triton_python_backend_utils.py")


@dataclass(frozen=True)
class TritonBinary:
    """The pieces of one Triton installation.

    Attributes:
        executable: the ``tritonserver`` program.
        backend: the folder of the Python backend.
        stub: the program that runs one Python model, built for the running Python version.
        libraries: folders that the stub's shared libraries (``libpython``) are searched in.
    """

    executable: Path
    backend: Path
    stub: Path
    libraries: tuple[Path, ...]

    def lay_out(self, workspace: Path) -> Path:
        """Put the backend and the stub that fits this Python side by side, where Triton looks for them.

        The backend is linked, not copied (the shared libraries are found relative to the real files); the stub is a copy,
        for the link's target may lie on a read-only disk where its execution bit was lost.

        Args:
            workspace: an existing folder of the caller's.

        Returns:
            The folder to give to ``--backend-directory``.
        """
        folder = workspace / "backends" / "python"
        folder.mkdir(parents=True)
        for name in _BACKEND_FILES:
            (folder / name).symlink_to(self.backend / name)
        if os.access(self.stub, os.X_OK):
            (folder / _STUB).symlink_to(self.stub)
        else:
            shutil.copy(self.stub, folder / _STUB)
            (folder / _STUB).chmod(0o755)
        return folder.parent

    def environment(self) -> dict[str, str]:
        """Return the environment in which Triton's Python models find this Python and its packages."""
        environment = dict(os.environ)
        libraries = [str(folder) for folder in self.libraries]
        if environment.get("LD_LIBRARY_PATH"):
            libraries.append(environment["LD_LIBRARY_PATH"])
        if libraries:
            environment["LD_LIBRARY_PATH"] = os.pathsep.join(libraries)
        # The stub embeds Python, which takes its prefix (a virtual environment included) from the first python3 on PATH.
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
        environment.pop("PYTHONHOME", None)
        # Its only backend computes on the CPU; seeing a GPU would cost it start-up time and memory of the GPU.
        environment["CUDA_VISIBLE_DEVICES"] = ""
        return environment


def find_triton_binary() -> TritonBinary:
    """Locate Triton in the installed ``nvidia-pytriton``, without importing it.

    Raises:
        MissingDependencyError: if the package, or its part for this Python version or platform, is not there.
    """
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            "The package nvidia-pytriton, which carries the embedded Triton, is not installed.",
            "In the checkout, run `make install`, or `uv pip install '.[serve]'` (Linux only); or export with target = 'native' for a "
            "Triton of your own.",
        )
    home = Path(spec.origin).parent / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = TritonBinary(
        executable=home / "bin" / "tritonserver",
        backend=home / "backends" / "python",
        stub=home / "python_backend_stubs" / version / _STUB,
        libraries=_python_libraries(),
    )
    for path in (found.executable, found.stub, *(found.backend / name for name in _BACKEND_FILES)):
        if not path.is_file():
            raise MissingDependencyError(
                f"The installed nvidia-pytriton has no {path.relative_to(home.parent)} (this is Python {version}).",
                "Install it again with `uv pip install --reinstall nvidia-pytriton`, on Python 3.11 or 3.12.",
            )
    return found


def _python_libraries() -> tuple[Path, ...]:
    """Return the folder of this interpreter's ``libpython``, if it is a shared one, so that the stub embeds the same Python."""
    folder, name = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME")
    if folder and name and (Path(folder) / name).is_file() and ".so" in name:
        return (Path(folder),)
    return ()

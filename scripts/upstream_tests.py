r"""Run the unit tests of NVTabular, merlin-core and Merlin Models, unmodified, in several environments and compare the counts.

The tests are taken from checkouts of their repositories, at the versions that are installed; nothing of them is kept here. Each file of
tests runs in a process of its own, with a time limit: a hang or a crash costs the rest of that file only. The repairs that let the packages
run (`--prepare`) are loaded before pytest and so before anything of Merlin. What is installed is tested, never the checkout's own packages.

Example, with today's environment and one that is to replace it:

    git clone --branch v23.08.00 https://github.com/NVIDIA-Merlin/NVTabular
    git clone --branch v23.12.00 https://github.com/NVIDIA-Merlin/models
    python scripts/upstream_tests.py --nvtabular NVTabular --models models --results build/upstream \
        --python today=.venv/bin/python --python next=../next/.venv/bin/python --path extras

The tests import asvdb, which the packages do not require: `pip install --target extras git+https://github.com/rapidsai/asvdb`, and `--path`
puts that folder on the path. The counts, and the tests that fail in one environment only, are printed in Markdown. A file that has a result
is run again if the packages of its environment have changed, or with `--again` (after a change of the repairs, for instance).
The exit status is 1 where another environment fails a test that the first one does not.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
_OUTCOMES: Final = ("passed", "failed", "skipped", "errors")
_BAD: Final = ("failed", "errors", "ended")
_ENDED: Final = "(the file)"
"""Stands for the tests of a file whose process was killed or died."""
_LONGEST: Final = 200  # of an error's first line: some hold whole arrays
_FINISHED: Final = re.compile(r"\S+\.py::(.+) (PASSED|XPASS|FAILED|ERROR|SKIPPED|XFAIL)\b.* \[ *\d+%\]$")
_TAGS: Final = {"FAILED": "failure", "ERROR": "error", "SKIPPED": "skipped", "XFAIL": "skipped"}
_BOOT: Final = """\
import importlib, sys
module, _, function = sys.argv.pop(1).partition(":")
getattr(importlib.import_module(module), function)()
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""
_VERSIONS: Final = """\
import importlib, json, sys
from importlib.metadata import distributions
module, _, function = sys.argv.pop(1).partition(":")
getattr(importlib.import_module(module), function)()
versions = {one.metadata["Name"]: one.version for one in distributions()}
print(json.dumps({"python": sys.version.split()[0], **dict(sorted(versions.items()))}))
"""
_SHOWN: Final = ("python", "tensorflow", "tensorflow-cpu", "tf_keras", "keras", "pandas", "dask", "pyarrow", "numpy", "nvtabular")


@dataclass(frozen=True)
class Part:
    """A part of one package's unit tests: files, and folders of them, relative to its checkout."""

    package: str
    paths: tuple[str, ...]


_TF: Final = "tests/unit/tf"
PARTS: Final = {
    "operators": Part("nvtabular", ("tests/unit/ops",)),
    "workflow": Part("nvtabular", ("tests/unit/workflow",)),
    "two-tower": Part("models", (f"{_TF}/blocks/retrieval",)),
    "retrieval": Part("models", (f"{_TF}/models/test_retrieval.py", f"{_TF}/prediction_tasks/test_retrieval.py")),
    "dlrm": Part("models", (f"{_TF}/blocks/test_dlrm.py",)),
    "ranking": Part("models", (f"{_TF}/models/test_ranking.py",)),
    "inputs": Part("models", (f"{_TF}/inputs",)),
    "outputs": Part("models", (f"{_TF}/outputs",)),
    "core": Part("core", ("tests/unit",)),
    "blocks": Part("models", (f"{_TF}/blocks", f"{_TF}/core", f"{_TF}/layers")),
    "models": Part("models", (f"{_TF}/models", f"{_TF}/prediction_tasks", f"{_TF}/losses", f"{_TF}/metrics")),
    "transforms": Part("models", (f"{_TF}/transforms", f"{_TF}/utils", f"{_TF}/test_loader.py", f"{_TF}/test_core.py")),
}
"""What Cartwheel uses comes first. A file belongs to the first part that names it."""


@dataclass(frozen=True)
class Environment:
    """An interpreter, what prepares it (``module:function``) and the folders that come first on its path."""

    name: str
    python: Path
    prepare: str
    paths: tuple[Path, ...]

    def command(self, code: str, *arguments: str) -> list[str]:
        """Return the command that runs ``code`` with what prepares the environment as the first argument."""
        return [str(self.python), "-c", code, self.prepare, *arguments]

    def variables(self) -> dict[str, str]:
        """Return the variables of a process in this environment."""
        return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*self.paths, ROOT)))}


@dataclass(frozen=True)
class Result:
    """What became of one test: an outcome, or ``ended`` for a file whose process was killed or died, and the error's first line."""

    outcome: str
    message: str = ""


Results = dict[tuple[str, str], Result]
"""By file, relative to the checkout, and by name of the test."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what has no result yet and print the comparison; return 1 where another environment is worse than the first."""
    given = _parser().parse_args(arguments)
    checkouts = {name: getattr(given, name).resolve() for name in ("nvtabular", "core", "models") if getattr(given, name)}
    parts = _files({name: PARTS[name] for name in given.part or PARTS if PARTS[name].package in checkouts}, checkouts)
    environments = _environments(given)
    if not parts or not environments:
        raise SystemExit("Nothing to run: give at least one checkout (--nvtabular, --core, --models) and one --python.")
    folders = {environment.name: _folder(environment, given.results) for environment in environments}
    for environment in environments if given.run else ():
        _run_all(environment, folders[environment.name], parts, checkouts, given)
    found = {name: {part: _read(folder, part, files) for part, files in parts.items()} for name, folder in folders.items()}
    print("\n".join(_report(found, parts)))
    return int(any(outcomes[0] not in _BAD for outcomes, _ in _failing(found)))


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:<12} {part.package}: {', '.join(part.paths)}" for name, part in PARTS.items())
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=f"parts:\n{listed}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("nvtabular", "core", "models"):
        parser.add_argument(f"--{name}", type=Path, metavar="PATH", help=f"a checkout of NVIDIA-Merlin/{name}")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH", help="an environment; repeat for others")
    parser.add_argument(
        "--prepare",
        action="append",
        default=[],
        metavar="[NAME=]MODULE:FUNCTION",
        help="called first in every process of the environment NAME, or of all [default: cartwheel.merlin_compat:install]",
    )
    parser.add_argument(
        "--path", action="append", default=[], metavar="[NAME=]FOLDER", help="put before all else on the path of NAME, or of all"
    )
    parser.add_argument("--part", action="append", choices=[*PARTS], metavar="PART", help="run this part only; repeat for others")
    parser.add_argument("--results", type=Path, default=Path("build/upstream"), help="JUnit XML and logs [default: %(default)s]")
    parser.add_argument(
        "--limit", type=float, default=1800.0, metavar="SECONDS", help="for one file of tests [default: %(default)g]"
    )
    parser.add_argument("--again", action="store_true", help="run files that have a result as well")
    parser.add_argument("--no-run", dest="run", action="store_false", help="compare the results that there are")
    return parser


def _environments(given: argparse.Namespace) -> list[Environment]:
    """Return the environments in the order given.

    Raises:
        SystemExit: if an option is not of the form that its help shows, or names an unknown environment.
    """
    pythons = dict(_named(given.python, "--python"))
    for option, values in (("--prepare", given.prepare), ("--path", given.path)):
        unknown = {name for name, _ in _named(values, option, optional=True)} - {*pythons, ""}
        if unknown:
            raise SystemExit(f"{option} names {', '.join(sorted(unknown))}, which no --python does.")

    def of(values: Sequence[str], name: str) -> list[str]:
        return [value for owner, value in _named(values, "", optional=True) if owner in (name, "")]

    return [
        Environment(
            name,
            Path(python).absolute(),  # not resolved: a virtual environment's interpreter is a link
            ["cartwheel.merlin_compat:install", *of(given.prepare, name)][-1],
            tuple(Path(folder).resolve() for folder in of(given.path, name)),
        )
        for name, python in pythons.items()
    ]


def _named(values: Sequence[str], option: str, *, optional: bool = False) -> Iterator[tuple[str, str]]:
    """Yield name and value of each ``NAME=VALUE``; an optional name may be missing and is then empty."""
    for text in values:
        name, equals, value = text.partition("=")
        if not equals and not optional:
            raise SystemExit(f"{option} {text!r} is not of the form NAME=PATH.")
        yield (name, value) if equals else ("", text)


def _files(parts: Mapping[str, Part], checkouts: Mapping[str, Path]) -> dict[str, list[str]]:
    """Return the files of tests of each part, relative to its checkout; a file belongs to the first of all parts that names it.

    Raises:
        SystemExit: if a checkout lacks what a part names.
    """
    taken: dict[str, str] = {}
    for name, part in PARTS.items():
        for path in part.paths if part.package in checkouts else ():
            root = checkouts[part.package]
            if name in parts and not (root / path).exists():
                raise SystemExit(f"{root} has no {path}, which the part {name} needs; is it a checkout of {part.package}?")
            for file in [root / path] if path.endswith(".py") else sorted((root / path).rglob("test_*.py")):
                taken.setdefault(f"{part.package}/{file.relative_to(root)}", name)
    return {name: [file.partition("/")[2] for file, owner in taken.items() if owner == name] for name in parts}


def _folder(environment: Environment, results: Path) -> Path:
    """Return where an environment's results are, by its name and the versions of its packages, and print some of these.

    Raises:
        SystemExit: if the environment cannot be prepared.
    """
    command = environment.command(_VERSIONS)
    done = subprocess.run(command, env=environment.variables(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{environment.name}: {environment.prepare} fails in {environment.python}\n{done.stderr[-2000:]}")
    kept = done.stdout.splitlines()[-1]
    versions: dict[str, str] = json.loads(kept)
    print(f"{environment.name}: {', '.join(f'{name} {versions[name]}' for name in _SHOWN if name in versions)}", flush=True)
    folder = results.resolve() / f"{environment.name}-{hashlib.sha256(kept.encode()).hexdigest()[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "versions.json").write_text(kept, encoding="utf-8")
    return folder


def _run_all(
    environment: Environment,
    folder: Path,
    parts: Mapping[str, list[str]],
    checkouts: Mapping[str, Path],
    given: argparse.Namespace,
) -> None:
    """Run the files without a result, or all of them, and print a line for each."""
    everything = [(part, file) for part, files in parts.items() for file in files]
    for number, (part, file) in enumerate(everything, 1):
        written = _written(folder, part, file)
        if written.is_file() and not given.again:
            continue
        began = time.monotonic()
        _run(environment, checkouts[PARTS[part].package], file, written, given.limit)
        counts = Counter(result.outcome for result in _read(folder, part, [file]).values())
        told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "no tests"
        place = f"{environment.name} [{number}/{len(everything)}] {part}"
        print(f"{place} {file}: {told}, {time.monotonic() - began:.0f} s", flush=True)


def _written(folder: Path, part: str, file: str) -> Path:
    return folder / PARTS[part].package / f"{file}.xml"


def _run(environment: Environment, checkout: Path, file: str, written: Path, limit: float) -> None:
    """Run one file of tests in a process of its own, which leaves JUnit XML and a log."""
    written.parent.mkdir(parents=True, exist_ok=True)
    written.unlink(missing_ok=True)
    log = written.with_suffix(".log")
    ini = checkout / "pytest.ini"
    arguments = ["-v", "-p", "no:cacheprovider", "--import-mode=append", f"--rootdir={checkout}", f"--junitxml={written}"]
    arguments += ["-c", str(ini if ini.is_file() else os.devnull), str(checkout / file)]
    with tempfile.TemporaryDirectory(prefix="upstream-") as scratch, log.open("wb") as output:
        process = subprocess.Popen(
            environment.command(_BOOT, *arguments),
            cwd=scratch,
            env=environment.variables(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        how = f"was killed after {limit:g} s"
        try:
            status = process.wait(limit)
            how = f"died by {signal.Signals(-status).name}" if status < 0 else f"left with {status}"
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and what it started
            process.wait()
    if not written.is_file():
        ET.ElementTree(_of_log(log.read_text(encoding="utf-8", errors="replace").splitlines(), how)).write(written)


def _of_log(lines: Sequence[str], how: str) -> ET.Element:
    """Return what pytest did not come to write: the tests that had finished, by its log, and what its process ended with."""
    suite = ET.Element("testsuite")
    for finished in filter(None, map(_FINISHED.match, lines)):
        case = ET.SubElement(suite, "testcase", name=finished[1])
        if finished[2] in _TAGS:
            ET.SubElement(case, _TAGS[finished[2]], message="see the log: the process did not end")
    last = next((line for line in reversed(lines) if "::" in line), lines[-1] if lines else "nothing was written")
    ET.SubElement(ET.SubElement(suite, "testcase", name=_ENDED), "ended", message=f"the process {how}; last: {last.strip()}")
    return suite


def _read(folder: Path, part: str, files: Sequence[str]) -> Results:
    """Return what became of the tests of some files; of a test with several reports, the worst."""
    results: Results = {}
    for file in files:
        written = _written(folder, part, file)
        module = file.removesuffix(".py").replace("/", ".")
        for case in ET.parse(written).iter("testcase") if written.is_file() else ():  # noqa: S314 - our own pytest wrote it
            owner = case.get("classname", "").removeprefix(module).strip(".")
            key = (file, "::".join(filter(None, [owner, case.get("name")])))
            result = _outcome(case)
            if key not in results or result.outcome in _BAD:
                results[key] = result
    return results


def _outcome(case: Any) -> Result:
    for tag, outcome in (("ended", "ended"), ("failure", "failed"), ("error", "errors"), ("skipped", "skipped")):
        found = case.find(tag)
        if found is not None:
            message, text = found.get("message", ""), found.text or ""
            if message == "collection failure":  # the reason is in the text only
                message = next((line[1:] for line in text.splitlines() if line.startswith("E  ")), message)
            line = next(iter(message.strip().splitlines()), "")
            return Result(outcome, line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ...")
    return Result("passed")


def _failing(found: Mapping[str, Mapping[str, Results]]) -> dict[tuple[tuple[str, ...], str], list[str]]:
    """Return the tests that fail in some environment, by their outcomes in each and the first line of the first error."""
    groups: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for part in next(iter(found.values())):
        for file, test in dict.fromkeys(key for one in found.values() for key in one[part]):
            results = [one[part].get((file, test), Result("absent")) for one in found.values()]
            messages = [result.message for result in results if result.outcome in _BAD]
            if messages:
                groups.setdefault((tuple(result.outcome for result in results), messages[0]), []).append(f"{file}::{test}")
    return groups


def _report(found: Mapping[str, Mapping[str, Results]], parts: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield the lines of the comparison: the counts, what has no result, and the tests that fail."""
    yield "\n| part | environment | passed | failed | skipped | errors | files cut short |\n|---|---|---:|---:|---:|---:|---:|"
    for part in [*parts, "all"]:
        for name, results in found.items():
            chosen = list(results.values()) if part == "all" else [results[part]]
            counts = Counter(result.outcome for one in chosen for result in one.values())
            yield f"| {part} | {name} | {' | '.join(str(counts[outcome]) for outcome in (*_OUTCOMES, 'ended'))} |"
    for name, results in found.items():
        lacking = [file for part, files in parts.items() for file in files if file not in {key[0] for key in results[part]}]
        if lacking:
            yield f"\n{name} has no test, or no result, of {len(lacking)} files: {', '.join(lacking)}"
    failing = sorted(_failing(found).items(), key=lambda group: -len(group[1]))
    everywhere = [group for group in failing if all(outcome in _BAD for outcome in group[0][0])]
    yield "\nTests that fail in every environment, by the first line of the error:\n"
    yield from [f"- {len(tests)}: {message}" for (_, message), tests in everywhere] or ["- none"]
    yield f"\nTests that fail in some only, with what became of them in {' and in '.join(found)}:\n"
    some = [group for group in failing if group not in everywhere]
    for (outcomes, message), tests in some:
        yield "\n".join([f"- {', '.join(outcomes)}: {message}", *(f"  - {test}" for test in tests)])
    yield from () if some else ["- none"]


if __name__ == "__main__":
    sys.exit(main())

"""``cartwheel run --continue``: continues from the served version, and deploys the new one if it is not worse."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from cartwheel.config import RunSettings
from cartwheel.core.errors import ComparisonError, ServerError, UsageError
from cartwheel.core.run_layout import RunLayout


def continue_run(settings: RunSettings, landed: Path | None, config: Path, *, deploy: bool) -> None:
    """Go on, and deploy; says what came of it.

    Args:
        settings: the configuration.
        landed: folder of landed events; None is that of the run, where there is one.
        config: the configuration file, which the hints name.
        deploy: whether a version that is not worse is brought in.

    Raises:
        ComparisonError: if the version is not shown to be as good as what is served; it is kept beside that.
        ServerError: if it was taken back while it was brought in.
        CartwheelError: as ``cartwheel.pipeline.continuing.go_on.go_on``.
    """
    from cartwheel.pipeline.continuing.go_on import go_on

    done = go_on(settings, landed, Console(stderr=True))
    if isinstance(done, str):
        print(done)
        return
    outcome, name = done.outcome, done.outcome.version
    if not done.is_not_worse:
        outcome = outcome.model_copy(update={"state": "kept"})
        outcome.write(done.run)
        raise ComparisonError(outcome.sentence, f"`cartwheel deploy {settings.run} --from {done.run}` deploys it anyway.")
    if not deploy:
        outcome = outcome.model_copy(update={"state": "not_asked"})
    else:
        try:
            state = _bring_in(settings, done.run, name)
        except ServerError as error:
            outcome.model_copy(update={"state": "taken_back", "why": error.found.rstrip(".")}).write(done.run)
            raise
        outcome = outcome.model_copy(update={"state": state})
    outcome.write(done.run)
    print(outcome.sentence)
    if not deploy:
        print(f"`cartwheel deploy {settings.run} --from {done.run}` deploys it; see `cartwheel run {config} --help`.")


def _bring_in(settings: RunSettings, run: Path, name: str) -> str:
    """File a version and deploy it where a server runs, or else let the next one start with it; return what became of it."""
    from serving.server.control import order
    from serving.versions.store import VersionStore

    store = VersionStore(settings.run)
    version = store.add(RunLayout(run).repository, settings.export.keep_versions)
    if not (control := _control(settings.run)):
        store.activate(version)
        return "filed"
    told = order(control, {"do": "tell"})["versions"]
    if list(told) != [name]:  # or it was brought in by a command that was killed before it could say so
        content = {"do": "deploy", "version": name, "settings": settings.deploy.model_dump(mode="json")}
        order(control, content, lambda sentence: print(sentence, file=sys.stderr, flush=True))
    return "deployed"


def _control(home: Path) -> str:
    """Return the name of the control socket of the server of a run; empty where none runs."""
    from serving.server.control import order
    from serving.server.endpoint import ENDPOINT, Endpoint
    from serving.server.state_folder import state_folder

    path = state_folder(home) / ENDPOINT
    try:
        control = Endpoint.read(path, home).control
        if control:
            order(control, {"do": "tell"})
    except (ServerError, UsageError):
        return ""
    return control

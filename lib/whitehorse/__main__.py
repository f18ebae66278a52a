"""``python -m whitehorse serve --home DIR``: the platform in the foreground; the other roles are its own children."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from whitehorse.settings import WEB_DATABASE, BadSettings, Settings, from_environment


def main() -> int:
    """Run one role; returns the exit code: 2 for settings that cannot be used, 75 for a taken home, 76 a database."""
    parser = argparse.ArgumentParser(prog="whitehorse", description=__doc__)
    parser.add_argument("role", choices=["serve", "web", "worker", "postgres"])
    parser.add_argument("--home", type=Path, required=True, help="data, logs and platform.json")
    parser.add_argument("--until-unused", action="store_true", help="end when nobody holds the lease any more")
    arguments = parser.parse_args()
    home = arguments.home.resolve()
    if arguments.role == "serve":
        return _serve(home, arguments.until_unused)
    _be_child(arguments.role, home)
    return 0


def _serve(home: Path, until_unused: bool) -> int:
    from whitehorse.alone import Occupied
    from whitehorse.lease import Lease
    from whitehorse.postgres import CannotPrepare
    from whitehorse.schema import ForeignSchema
    from whitehorse.serve import BUSY, OCCUPIED
    from whitehorse.supervisor import Busy, Failed, Supervisor

    home.mkdir(parents=True, exist_ok=True)
    try:
        settings = from_environment(os.environ)
        supervisor = Supervisor(home, settings, os.environ.get("DATABASE_URL"))
        lease = Lease(home / "lease")
        if not until_unused:
            lease.share()  # in the foreground it is a user itself, so that nobody else is the last one
        supervisor.run(lease if until_unused else None)
    except (BadSettings, Busy, Occupied, Failed, CannotPrepare, ForeignSchema) as error:
        print(f"whitehorse: {error}", file=sys.stderr)
        return {BadSettings: 2, Busy: BUSY, Occupied: OCCUPIED}.get(type(error), 1)
    return 0


def _be_child(role: str, home: Path) -> None:
    # Each role imports only what it needs: they start side by side, on few cores.
    if role == "postgres":
        from whitehorse import postgres

        limit, port = (int(os.environ.get(f"WHITEHORSE_{name}", "0")) for name in ("MAX_CONNECTIONS", "POSTGRES_PORT"))
        postgres.keep(home, limit, port)
        return
    from whitehorse.lifeline import end_with_supervisor

    end_with_supervisor()
    settings = Settings.model_validate_json(os.environ["WHITEHORSE_SETTINGS"])
    database_url, log = os.environ["DATABASE_URL"], home / "server.log"
    if role == "web":
        from whitehorse import app

        listening_fd, by_proxy = int(os.environ["WHITEHORSE_LISTENING_FD"]), WEB_DATABASE in os.environ
        app.serve(settings, database_url, log, listening_fd, by_proxy=by_proxy)
    else:
        from whitehorse import worker

        asyncio.run(worker.run(database_url, settings, log))


if __name__ == "__main__":
    sys.exit(main())

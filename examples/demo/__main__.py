"""``python -m examples.demo``: two runs of the same load, side by side; or a server to visit."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from examples.demo import report
from examples.demo.run import CLIENTS, run
from examples.demo.servers import DemoError, Gunicorn, Stopped, signals, valkey

ABOUT = """\
A Flask app on gunicorn --preload, {workers} workers with 4 threads each; the master has used Redis
before it forks them. {clients} clients store a token in Redis and read it back, each its own: any
other reply is wrong. Meanwhile a worker is killed, and the server is reloaded. All this twice:

  one shared connection   redis.Redis(single_connection_client=True) at module level
  forksafe_pool           the same client, over a pool that survives fork()\
"""

# What it is called, and the app's name for it.
RUNS = [("one shared connection", "shared"), ("forksafe_pool", "forksafe")]


def main() -> int:
    options = _parse()
    signals.catch()
    try:
        with tempfile.TemporaryDirectory() as folder, valkey() as redis_port:
            if options.serve:
                return _serve(Path(folder), redis_port, options.workers)
            return _compare(Path(folder), redis_port, options)
    except DemoError as error:
        print(f"The demo failed: {error}", file=sys.stderr)
        return 1
    except Stopped as stopped:
        print("\nStopped; every process has ended.", file=sys.stderr)
        return 0 if options.serve else int(str(stopped.code))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make demo ARGS=…",
        description="Shows what a fork does to one shared connection, and what to forksafe_pool.",
        epilog="Exit status 0: forksafe_pool gave no wrong reply and no error.",
    )
    parser.add_argument("--seconds", type=_at_least(1), default=8, help="of load in each run (8)")
    parser.add_argument("--workers", type=_at_least(2), default=3, help="of gunicorn (3)")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument(
        "--serve", action="store_true", help="no load: keep the server up, for your browser"
    )
    return parser.parse_args()


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number, {least} or more")
        return int(text)

    return number


def _compare(folder: Path, redis_port: int, options: argparse.Namespace) -> int:
    print(ABOUT.format(workers=options.workers, clients=CLIENTS), file=sys.stderr, flush=True)
    results = []
    for number, (name, backend) in enumerate(RUNS, start=1):
        with report.Bar(f"{number} of 2: {name}") as bar:
            results.append(
                run(
                    folder / str(number), backend, redis_port, options.workers, options.seconds, bar
                )
            )
    shared, ours = results
    print(file=sys.stderr)
    print(report.table(shared, ours, markdown=options.markdown), flush=True)
    print(f"\n{report.summary(shared, ours)}", file=sys.stderr)
    return 1 if report.complaints(ours) else 0


def _serve(folder: Path, redis_port: int, workers: int) -> int:
    with Gunicorn(folder / "gunicorn", "forksafe", redis_port, workers) as server:
        print(
            f"A preloaded Flask app with {workers} workers over forksafe_pool is at\n\n"
            f"    http://127.0.0.1:{server.port}/\n\nCtrl-C ends it.",
            flush=True,
        )
        server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())

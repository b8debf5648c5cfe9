"""gunicorn's configuration, the same for both runs; ``--preload`` is on the command line."""

from forksafe_gunicorn import install

worker_class = "gthread"
threads = 4
graceful_timeout = 5
keepalive = 60  # seconds that a visitor may leave between two requests

install(globals())

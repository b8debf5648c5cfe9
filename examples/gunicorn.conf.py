"""gunicorn's configuration for ``flask_app.py``."""

from forksafe_gunicorn import install

preload_app = True
workers = 3
worker_class = "gthread"
threads = 4

install(globals())  # the last line: it joins the hooks above, if there are any

# Everything runs in a .venv of its own; a machine needs Python 3.10 or later and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
OLDEST_REDIS := 5.0.0

# What depends the most on the version of Python: how it forks, locks and collects.
PYTHON_TESTS := tests/forksafe_pool tests/forks $(addprefix tests/integrations/forksafe_, \
	redis sqlalchemy gunicorn uwsgi celery rq)

.PHONY: demo test test-python mutations torture soak bench check clean

# Workers that answer over one connection shared through the fork, and over forksafe_pool.
demo: $(VENV)/.installed
	$(BIN)/python -m examples.demo $(ARGS)

# The whole suite; then what concerns redis-py again, with the oldest version that is supported.
test: $(VENV)/.yardsticks
	$(BIN)/python -m pytest -n auto $(ARGS)
	PYTHONPATH=$(CURDIR)/$(VENV)/redis-$(OLDEST_REDIS) \
		$(BIN)/python -m pytest -n auto tests/integrations/forksafe_redis tests/forks

# For one more Python, a part of the suite.
test-python: $(VENV)/.yardsticks
	@echo "$$($(BIN)/python --version): $(PYTHON_TESTS); all other tests are skipped"
	$(BIN)/python -m pytest -n auto $(PYTHON_TESTS) $(ARGS)

# Each promise broken in turn, and which tests notice. An hour or two; ARGS="foreign" for some of them.
mutations: $(VENV)/.installed
	$(BIN)/python -m tests.mutations $(ARGS)

# Every driver, every way to fork, every misdeed, ours beside its peers: docs/torture.md. 30 minutes.
torture: $(VENV)/.installed
	$(BIN)/python -m tests.torture $(ARGS)

# Workers killed, forks, reloads, servers that die, for so many minutes: the end of docs/torture.md.
soak: $(VENV)/.installed
	$(BIN)/python -m tests.soak $(ARGS)

# The same work by ours and by the peers, in one run: docs/benchmarks.md. 10 minutes.
bench: $(VENV)/.installed
	$(BIN)/python -m bench $(ARGS)

# Lint, format, types, a wheel whose every module imports away from here, and branch coverage: of the
# tests' own processes, and without the storms of forks, in which coverage's own locks may hang a child.
check: $(VENV)/.yardsticks
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m tests.support.check_wheel
	$(BIN)/python -m pytest -q -n auto --cov --cov-report=term --cov-fail-under=88 \
		--ignore tests/forks

clean:
	rm -rf $(VENV) dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[all]" --group test --group check --group bench
	if pkg-config --exists libmariadb || pkg-config --exists mysqlclient; then \
		$(BIN)/python -m pip install --quiet --group mysqlclient; \
	fi
	touch $@

# redis-py's own tests, of the newest version and of the oldest, and the oldest itself; SQLAlchemy's
# own tests.
$(VENV)/.yardsticks: $(VENV)/.installed
	newest=$$($(BIN)/python -c "import redis; print(redis.__version__)"); \
	for version in $$newest $(OLDEST_REDIS); do \
		$(BIN)/python -m pip download --quiet --no-deps --no-binary redis \
			--dest $(VENV)/redis-py redis==$$version && \
		tar -xzf $(VENV)/redis-py/redis-$$version.tar.gz -C $(VENV)/redis-py || exit 1; \
	done
	$(BIN)/python -m pip install --quiet --upgrade --target $(VENV)/redis-$(OLDEST_REDIS) \
		--no-deps redis==$(OLDEST_REDIS) async-timeout
	version=$$($(BIN)/python -c "import sqlalchemy; print(sqlalchemy.__version__)"); \
	$(BIN)/python -m pip download --quiet --no-deps --no-binary sqlalchemy \
		--dest $(VENV)/sqlalchemy sqlalchemy==$$version && \
	tar -xzf $(VENV)/sqlalchemy/sqlalchemy-$$version.tar.gz -C $(VENV)/sqlalchemy
	touch $@

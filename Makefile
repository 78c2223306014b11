PYTHON ?= python3
# threads that wait must not take the cores from data loading and from other processes
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test slow docs env lock

demo: env  ## synthetic data, OLIVINE and all labels with one seed, linear probes, report: work_dirs/demo/report.html
	.venv/bin/python tools/demo.py

test: env  ## lint, format and tests
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/python -m pytest -n logical --maxprocesses 8 --dist worksteal

slow: env  ## the tests that take minutes
	.venv/bin/python -m pytest -m slow -n logical --maxprocesses 8 --dist worksteal

docs: build/docs_packages/ready  ## the site of docs/, warnings are errors: docs/_build/html/index.html
	PYTHONPATH=build/docs_packages .venv/bin/python -m sphinx -W --keep-going -n -q -b html docs docs/_build/html

# a folder of their own: nothing else needs them
build/docs_packages/ready: requirements/docs.txt | env
	.venv/bin/python -m pip install --quiet --no-deps --upgrade --target $(@D) -r $<
	touch $@

env:  ## create .venv (first time on a machine: 3 minutes, then about 1)
	@$(PYTHON) tools/setup_env.py

lock:  ## write requirements/locked.txt from the packages in .venv
	cd tools && ../.venv/bin/python -m bootstrap.lock

# The two commands of the README. Both make `.venv` when it is not there or not complete, as
# `test-vision` makes `.venv-vision`, with torchvision and timm, and `test-newest` makes `.venv-newest`
# and `test-oldest` makes `.venv-oldest`.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
VISION := .venv-vision/bin
VISION_INSTALLED := .venv-vision/.installed
NEWEST := .venv-newest/bin
# Of the newest releases; `make test-newest TORCH=torch` takes that of PyTorch too, which is gigabytes.
TORCH ?= $(shell grep '^torch==' constraints.txt)
OLDEST := .venv-oldest/bin
AUDIT := .venv-audit/bin
# What touches libraries whose releases differ, for `test-newest` and `test-oldest`.
RELEASE_TESTS := tests/study/run/test_ray_session.py tests/study/run/test_ray_tune.py \
	tests/study/run/test_cluster_yaml.py tests/trainers/trial/test_ray_failures.py \
	tests/study/tracking tests/analysis/test_collect.py tests/analysis/test_schema.py \
	tests/trainers/training/test_loop.py tests/trainers/test_golden.py \
	tests/end_to_end/test_study.py tests/end_to_end/test_jobs.py
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder
HERE := not gpu and not vision
export OMP_NUM_THREADS ?= 1

.PHONY: quickstart test test-all test-long test-vision test-newest test-oldest lint audit docs benchmarks clean

quickstart: $(INSTALLED)
	$(BIN)/archprior run quickstart

# Units, contracts and short runs from a spec to its tables.
test: lint
	$(PYTEST)

# Those too, and what starts Ray, servers and other processes, or kills them: in one go, since files of tests
# share the studies that they train.
test-all: lint
	$(PYTEST) -m "not slow and $(HERE)"

# What takes too long for every change: many kills, a few faults of the campaign, long studies, clusters.
test-long: $(INSTALLED)
	$(BIN)/python -m pytest -m "slow and $(HERE)"

test-vision: $(VISION_INSTALLED)
	$(VISION)/python -m pytest -m vision tests/trainers

# On the newest releases that pyproject.toml allows, whatever constraints.txt has. These are looked up each time.
test-newest:
	test -x $(NEWEST)/python || $(PYTHON) -m venv .venv-newest
	$(NEWEST)/python -m pip install --quiet --disable-pip-version-check --upgrade \
		--upgrade-strategy eager --editable '.[dev]' '$(TORCH)'
	$(NEWEST)/python -m pip list --disable-pip-version-check | grep -E '^(ray|mlflow|pandas|pyarrow|torch) '
	$(NEWEST)/python -m pytest -m "not slow and $(HERE)" $(RELEASE_TESTS)

# On the oldest releases that pyproject.toml allows; of what these need, the newest that fit, whose warnings of
# what they will drop concern nobody here.
test-oldest:
	test -x $(OLDEST)/python || $(PYTHON) -m venv .venv-oldest
	$(OLDEST)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
	$(OLDEST)/uv pip compile --quiet --resolution lowest-direct --extra dev --extra gcs \
		--output-file .venv-oldest/lowest.txt pyproject.toml
	$(OLDEST)/python -m pip install --quiet --disable-pip-version-check \
		--constraint .venv-oldest/lowest.txt --editable '.[dev,gcs]'
	$(OLDEST)/python -m pip list --disable-pip-version-check | grep -E '^(ray|mlflow|pandas|pyarrow|torch) '
	$(OLDEST)/python -m pytest -W ignore::DeprecationWarning -m "not slow and $(HERE)" $(RELEASE_TESTS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Known vulnerabilities of the versions in constraints.txt, which PyPI's own service is asked for; what it cannot
# tell of is an error.
audit:
	test -x $(AUDIT)/pip-audit || $(PYTHON) -m venv .venv-audit
	$(AUDIT)/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.7'
	$(AUDIT)/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

# The site of the documentation, build/site/index.html; a broken link is an error.
docs: $(INSTALLED)
	rm -rf docs/generated build/site
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html -c docs/site docs build/site

benchmarks: $(INSTALLED)
	for file in tests/benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

# The mark is written last: an installation that was interrupted is taken up again.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev,docs]'
	touch $@

$(VISION_INSTALLED): pyproject.toml constraints-vision.txt
	test -x $(VISION)/python || $(PYTHON) -m venv .venv-vision
	$(VISION)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints-vision.txt --editable '.[dev,vision]'
	touch $@

clean:
	rm -rf .venv .venv-vision .venv-newest .venv-oldest .venv-audit

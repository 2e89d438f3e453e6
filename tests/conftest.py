import os

import matplotlib
import pytest
import torch

matplotlib.use("Agg")
os.environ.pop("AECOURSE_EXERCISES", None)

from aecourse import data  # noqa: E402  (after the backend is chosen)


@pytest.fixture(scope="session")
def digits():
    """The small set that comes with scikit-learn: 1,350 training images, the same on every machine."""
    return data.load("digits")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)

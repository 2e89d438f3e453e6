import os

import matplotlib
import pytest
import torch

matplotlib.use("Agg")
os.environ.pop("AECOURSE_EXERCISES", None)
for variable in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:  # what tests install is theirs alone
    del os.environ[variable]
os.environ |= {"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

from aecourse import data  # noqa: E402  (after the backend is chosen)


@pytest.fixture(scope="session")
def digits():
    """The small set that comes with scikit-learn: 1,350 training images, the same on every machine."""
    return data.load("digits")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)

"""For every run of pytest in this folder, `pytest --nbmake handed_in/` too."""

import os

# Notebooks run on the Python that runs pytest, whichever kernels the machine offers: pyproject.toml asks for "python3"
# in place of the name that an editor has saved, and this Python's own kernel goes before others of that name.
os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
os.environ.pop("JUPYTER_PATH", None)

"""What the lessons of the autoencoder course share.

data       load("mnist"): images as tensors, and the one convention for them
corruption noise and missing squares, for denoising
losses     what models minimise
models     the networks, one file a family
training   fit() and its companions
latent     paths through a latent space
metrics    how good it is, in one set of units
plots      every figure that lessons share, and diagrams of models
exercises  the @exercise decorator, hints, solutions and progress
"""

import sys
from importlib.util import find_spec

_missing = [name for name in ("torch", "matplotlib", "seaborn", "sklearn", "tqdm", "filelock") if not find_spec(name)]
if _missing:
    raise ModuleNotFoundError(
        f"This runs on {sys.executable}, which has no {', no '.join(_missing)}. Start with `python3 course.py lab`, or "
        "choose the kernel of the course's .venv, or install what is missing here: pip install -r requirements.txt",
        name=_missing[0],
    )

for _stream in (sys.stdout, sys.stderr):  # a console without ● or ✗ (cp1252, ASCII) shows ? in their place
    if getattr(_stream, "errors", None) in ("strict", "surrogateescape") and hasattr(_stream, "reconfigure"):
        _stream.reconfigure(errors="replace")

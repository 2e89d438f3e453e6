"""What the lessons of the autoencoder course share.

data       images in, as tensors: load("mnist")
corruption what is done to them before a denoiser sees them
losses     what models minimise
models     the networks, one file a family
training   fit() and its companions
latent     ways through a latent space
metrics    how good is it, in one set of units
plots      every picture the lessons draw
exercises  the @exercise decorator, hints, solutions and progress
"""

"""What the lessons of the autoencoder course share.

data       images in, as tensors: load("mnist")
models     the networks
losses     what they minimise
training   fit() and its companions
metrics    how good is it, in one set of units
plots      every picture the lessons draw
exercises  the @exercise decorator, hints, solutions and progress
"""

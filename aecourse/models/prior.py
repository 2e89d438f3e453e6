"""Parts of an autoregressive prior over codes (lesson 8)."""

import torch


def causal_mask(n):
    """Which place may look at which: row t is true at t and at the places before it.

    Returns (n, n) of booleans; true: may look.
    """
    return torch.ones(n, n, dtype=torch.bool).tril()


def attention(q, k, v, mask):
    """Each place takes a weighted mean of the values v at the places that it may look at.

    q: (..., n, d), what each place asks for. k, v: (..., m, d), what each place has to offer, and what it gives.
    mask: (n, m) of booleans, true where a place may look. The weights are the softmax of q·k / √d over the m places.
    Returns (..., n, d). Source: Vaswani et al., "Attention is all you need", 2017.
    """
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1) @ v


def shift(codes, start):
    """What the prior sees when it has to tell each code: the start token, then all codes but the last.

    codes: (batch, n) int64. start: (batch,) int64, one token for each image. Returns (batch, n).
    """
    return torch.cat([start[:, None], codes[:, :-1]], dim=1)


def next_code(logits, temperature=1.0, top_k=None):
    """Draw the next code of each image from softmax(logits / temperature), if asked from the top_k likeliest alone.

    logits: (batch, codes). temperature: above 0. Returns (batch,) int64.
    """
    if top_k is not None:
        least = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    return torch.multinomial((logits / temperature).softmax(dim=-1), num_samples=1).squeeze(dim=-1)

"""Parts of an autoregressive prior over codes (lesson 8)."""

import torch


def causal_mask(n):
    """Which position may attend to which: row t is true at t and at the positions before it.

    Returns (n, n) of booleans; true: may attend.
    """
    return torch.ones(n, n, dtype=torch.bool).tril()


def attention(q, k, v, mask):
    """Scaled dot-product attention: each position takes a weighted mean of the values v where the mask allows it.

    q: (..., n, d), the queries. k, v: (..., m, d), the keys and the values.
    mask: (n, m) of booleans, true where a position may attend. The weights are the softmax of q·k / √d over the
    m positions. Returns (..., n, d). Source: Vaswani et al., "Attention is all you need", 2017.
    """
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1) @ v


def shift(codes, start):
    """The inputs of the prior when it predicts each code: the start token, then all codes but the last.

    codes: (batch, n) int64. start: (batch,) int64, one token for each image. Returns (batch, n).
    """
    return torch.cat([start[:, None], codes[:, :-1]], dim=1)


def next_code(logits, temperature=1.0, top_k=None):
    """Sample the next code of each image from softmax(logits / temperature), with top_k among the k likeliest alone.

    logits: (batch, num_codes). temperature: above 0. Returns (batch,) int64.
    """
    if top_k is not None:
        threshold = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < threshold, -torch.inf)
    return torch.multinomial((logits / temperature).softmax(dim=-1), num_samples=1).squeeze(dim=-1)

"""
Writes vectors.json: what PyTorch gives for the ops of this library, and autograd for their gradients.

    python3 test/gpu/vectors.py          (Python 3 with PyTorch 1.13)

Inputs are drawn, rounded to float32, and computed with in float64; results are rounded to float32 at the end. What
PyTorch does not have (groups, root mean square, a capacity) is written out from the formula in tensor operations, so that
the gradients are autograd's all the same.
"""
import json
import math
import pathlib

import torch
import torch.nn.functional as F

torch.manual_seed(20260101)
cases = {}


def draw(*shape, scale=1.0):
    """Numbers that float32 holds, in float64, on the graph."""
    return (scale * torch.randn(shape)).float().double().requires_grad_()


def ints(*values):
    return torch.tensor(values, dtype=torch.int64)


def number(x):
    """The shortest decimal from which float32 is read again."""
    x = torch.tensor(x, dtype=torch.float64).float().item()
    for digits in range(1, 10):
        short = float(f"{x:.{digits}g}")
        if torch.tensor(short, dtype=torch.float64).float().item() == x:
            return int(short) if short == int(short) and abs(short) < 1e6 else short
    raise ValueError(f"{x} is no finite number")


def plain(x):
    """A tensor as a line: dtype, shape, numbers."""
    data = x.detach().flatten().tolist()
    dtype, numbers = ("int32", data) if x.dtype == torch.int64 else ("float32", [number(v) for v in data])
    return f"{dtype} {'x'.join(map(str, x.shape))}: {' '.join(map(str, numbers))}"


def add(name, inputs, outputs):
    assert name not in cases
    cases[name] = {
        "inputs": {key: plain(x) for key, x in inputs.items()},
        "outputs": {key: plain(x) for key, x in outputs.items()},
    }


def with_gradients(name, inputs, y):
    """y and, for a drawn cotangent g, the gradient of every float input as d<name>."""
    g = draw(*y.shape).detach()
    floats = [key for key, x in inputs.items() if x.dtype == torch.float64]
    grads = torch.autograd.grad(y, [inputs[key] for key in floats], g)
    add(name, {**inputs, "g": g}, {"y": y, **{f"d{key}": dx for key, dx in zip(floats, grads)}})


def products():
    for name, a, b in [
        ("matmul", (5, 7), (7, 6)),
        ("matmul wide", (3, 37), (37, 2)),
        ("matmul batched", (2, 3, 4, 5), (2, 3, 5, 3)),
        ("matmul shared", (2, 3, 4, 5), (5, 3)),
    ]:
        x = {"a": draw(*a), "b": draw(*b)}
        with_gradients(name, x, x["a"] @ x["b"])
    x = {"a": draw(7, 5), "b": draw(6, 7)}
    with_gradients("matmul transposed", x, x["a"].T @ x["b"].T)


def grouped(x, w, sizes):
    """Rows in groups, each times its own matrix; 0 for rows beyond the groups."""
    rows, start = [], 0
    for e, size in enumerate(sizes.tolist()):
        rows.append(x[start : start + size] @ w[e])
        start += size
    rows.append(0 * x[start:].sum() + torch.zeros(x.shape[0] - start, w.shape[2], dtype=torch.float64))
    return torch.cat(rows)


def groups():
    for name, sizes in [("groupedMatmul", ints(3, 0, 6, 1)), ("groupedMatmul one group", ints(0, 11, 0, 0))]:
        x = {"x": draw(11, 5), "w": draw(4, 5, 6)}
        y = grouped(x["x"], x["w"], sizes)
        with_gradients(name, {**x, "sizes": sizes}, y)


def rows():
    for dim in (-1, 0):
        for name, op in [("softmax", F.softmax), ("logSoftmax", F.log_softmax), ("logsumexp", torch.logsumexp)]:
            x = {"x": draw(6, 9, scale=4)}
            with_gradients(f"{name} {dim}", x, op(x["x"], dim=dim))
    x = {"x": draw(6, 10), "weight": draw(10), "bias": draw(10)}
    with_gradients("layerNorm", x, F.layer_norm(x["x"], [10], x["weight"], x["bias"], 1e-5))
    x = {"x": draw(6, 10), "weight": draw(10)}
    rms = (x["x"].square().mean(-1, keepdim=True) + 1e-5).sqrt()
    with_gradients("rmsNorm", x, x["x"] / rms * x["weight"])
    for reduction in ("mean", "sum", "none"):
        x = {"logits": draw(7, 5, scale=3), "target": ints(0, 4, 2, 2, 1, 3, 0)}
        with_gradients(f"crossEntropy {reduction}", x, F.cross_entropy(x["logits"], x["target"], reduction=reduction))


def pointwise():
    for name, op in [
        ("gelu", F.gelu),
        ("gelu tanh", lambda x: F.gelu(x, approximate="tanh")),
        ("silu", F.silu),
        ("sigmoid", torch.sigmoid),
        ("tanh", torch.tanh),
        ("relu", F.relu),
        ("exp", torch.exp),
        ("square", torch.square),
    ]:
        x = {"x": draw(24, scale=3)}
        with_gradients(name, x, op(x["x"]))
    x = {"a": draw(4, 1, 5), "b": draw(3, 1)}
    with_gradients("div broadcast", x, x["a"] / (2 + x["b"].square()))
    x = {"x": draw(3, 4, 5)}
    with_gradients("mean", x, x["x"].mean(1))


def choices():
    """Ties go to the lower index, which is what a stable sort gives."""
    x = torch.randint(-2, 3, (6, 11)).double()
    values, indices = torch.sort(x, dim=-1, descending=True, stable=True)
    add("topk", {"x": x}, {"values": values[:, :4], "indices": indices[:, :4]})
    values, indices = torch.sort(x, dim=-1, stable=True)
    add("sort", {"x": x}, {"values": values, "indices": indices})
    x = {"x": draw(5, 8)}
    values, indices = torch.sort(x["x"], dim=-1, descending=True, stable=True)
    with_gradients("topk gradient", x, values[:, :3])
    ids = torch.randint(0, 6, (17,))
    add("bincount", {"ids": ids}, {"y": torch.bincount(ids, minlength=7)})
    add("oneHot", {"ids": ids}, {"y": F.one_hot(ids, 6)})
    x = {"x": draw(4, 9)}
    with_gradients("cumsum", x, x["x"].cumsum(1))


def indexed():
    index = ints(2, 0, 2, 5, 2)
    x = {"x": draw(6, 4)}
    with_gradients("indexSelect", {**x, "index": index}, x["x"].index_select(0, index))
    x = {"x": draw(6, 4), "src": draw(5, 4)}
    with_gradients("indexAdd", {**x, "index": index}, x["x"].index_add(0, index, x["src"]))
    index = torch.randint(0, 6, (3, 4))
    x = {"x": draw(6, 4)}
    with_gradients("gather", {**x, "index": index}, x["x"].gather(0, index))
    x = {"x": draw(6, 4), "src": draw(3, 4)}
    with_gradients("scatterAdd", {**x, "index": index}, x["x"].scatter_add(0, index, x["src"]))
    ids = ints(3, 3, 0, 6, 1, 3)
    x = {"weight": draw(7, 4)}
    with_gradients("embedding", {**x, "ids": ids}, F.embedding(ids, x["weight"]))


def moe_layer(name, activation, k, capacity):
    """Token choice by hand: the k best experts, gates that sum to 1, all first choices before all second ones."""
    T, D, H, E = 9, 6, 8, 4
    x = {"x": draw(T, D), "router": draw(D, E), "w1": draw(E, D, H), "w2": draw(E, H, D)}
    logits = x["x"] @ x["router"]
    probs = logits.softmax(-1)
    order = torch.argsort(probs, dim=-1, descending=True, stable=True)[:, :k]
    chosen = probs.gather(1, order)
    gates = chosen / chosen.sum(-1, keepdim=True)
    y = [torch.zeros(D, dtype=torch.float64) for _ in range(T)]
    load = [0] * E
    for choice in range(k):
        for t in range(T):
            e = int(order[t, choice])
            if load[e] == capacity:
                continue
            load[e] += 1
            y[t] = y[t] + gates[t, choice] * (activation(x["x"][t] @ x["w1"][e]) @ x["w2"][e])
    asked = torch.bincount(order.flatten(), minlength=E)
    balance = E * (asked / (T * k) * probs.mean(0)).sum()
    z = logits.logsumexp(-1).square().mean()
    g = draw(T, D).detach()
    y = torch.stack(y)
    total = (y * g).sum() + 0.5 * balance + 0.1 * z
    grads = torch.autograd.grad(total, list(x.values()))
    outputs = {"y": y, "balance": balance, "z": z, "load": ints(*load), "asked": asked}
    assert capacity > T or asked.max() > capacity, "nothing is dropped"
    add(name, {**x, "g": g}, {**outputs, **{f"d{key}": dx for key, dx in zip(x, grads)}})


def steps(name, make):
    """Three steps on 0.5·Σ(p·x)², whose gradient changes with p."""
    p, x = draw(3, 5), draw(3, 5).detach()
    start = p.detach().clone()
    optimizer = make([p])
    found = {}
    for step in range(3):
        optimizer.zero_grad()
        (0.5 * (p * x).square().sum()).backward()
        optimizer.step()
        found[f"p{step + 1}"] = p.detach().clone()
    add(name, {"p": start, "x": x}, found)


products()
groups()
rows()
pointwise()
choices()
indexed()
moe_layer("moe dropless", F.gelu, 2, math.inf)
moe_layer("moe capacity", F.silu, 2, 5)
steps("SGD", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.05))
steps("SGD nesterov", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True))
steps("Adam", lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.1))
steps("AdamW", lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.1))

pathlib.Path(__file__).with_name("vectors.json").write_text(json.dumps(cases, indent=2) + "\n")

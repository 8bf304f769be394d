"""Native PyTorch on one thread, as one more side: reads a problem's folder, prints one line of JSON.

usage: native.py FOLDER SECONDS wall|cpu
       native.py                           prints the version alone
"""
import json
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

torch.set_num_threads(1)


def load(folder):
    with open(f"{folder}/task.json") as file:
        description = json.load(file)
    read = lambda name, kind: np.fromfile(f"{folder}/{name}.bin", dtype=kind)
    inputs = {
        entry["name"]: torch.from_numpy(read(entry["name"], entry["type"]).reshape(entry["shape"]))
        for entry in description["inputs"]
    }
    expected = {name: read(f"expected-{name}", "float32") for name in description["expected"]}
    return description["task"], inputs, expected


def gelu(x, form):
    return F.gelu(x, approximate="tanh" if form == "tanh" else "none")


def top2(x, wr, w1, w2, form):
    """Slots sorted by expert, so that rows are gathered once and added back once."""
    E = wr.shape[1]
    gates, chosen = torch.topk(x @ wr, 2)
    gates = torch.softmax(gates, -1).flatten()
    order = torch.argsort(chosen.flatten(), stable=True)
    tokens = torch.div(order, 2, rounding_mode="floor")
    sizes = torch.bincount(chosen.flatten(), minlength=E).tolist()
    rows = torch.split(x.index_select(0, tokens), sizes)
    # unbind, since the gradient of w[e] is as large as w for every e.
    out = [gelu(part @ up, form) @ down for part, up, down in zip(rows, w1.unbind(), w2.unbind())]
    scaled = torch.cat(out) * gates.index_select(0, order)[:, None]
    return torch.zeros_like(x).index_add(0, tokens, scaled)


def choice(x, wr, w1, w2, form):
    """Every expert takes as many rows, so that the products are two batched ones."""
    T, E = x.shape[0], wr.shape[1]
    gates, tokens = torch.topk(torch.softmax(x @ wr, -1).T, 2 * T // E)
    out = torch.bmm(gelu(torch.bmm(x[tokens], w1), form), w2) * gates[:, :, None]
    return torch.zeros_like(x).index_add(0, tokens.flatten(), out.flatten(0, 1))


def there_and_back(task, inputs, names, output, forward):
    if not task["backward"]:
        leaves = [inputs[name] for name in names]
        return lambda: {output: forward(*leaves)}
    leaves = [inputs[name].requires_grad_() for name in names]

    def call():
        for x in leaves:
            x.grad = None
        y = forward(*leaves)
        y.backward(inputs["g"])
        return {output: y, **{f"d{name}": x.grad for name, x in zip(names, leaves)}}

    return call


def prepare(task, inputs):
    kind = task["kind"]
    x = inputs.get("x")
    if kind == "matmul":
        return there_and_back(task, inputs, ["a", "b"], "c", torch.matmul)
    if kind == "moe":
        layer = top2 if task["router"] == "top2" else choice
        return there_and_back(
            task, inputs, ["x", "wr", "w1", "w2"], "y", lambda *leaves: layer(*leaves, task["gelu"])
        )
    if kind == "grouped":
        sizes = task["sizes"]
        forward = lambda x, w: torch.cat([part @ m for part, m in zip(torch.split(x, sizes), w.unbind())])
        return there_and_back(task, inputs, ["x", "w"], "y", forward)
    if kind == "topk":
        return lambda: dict(zip(("values", "indices"), torch.topk(x, 2)))
    if kind == "softmax":
        return lambda: {"y": torch.softmax(x, -1)}
    if kind == "gather":
        return lambda: {"y": torch.index_select(x, 0, inputs["index"])}
    if kind == "scatterAdd":
        return lambda: {"y": torch.zeros_like(x).index_add_(0, inputs["index"], x)}
    if kind == "unary":
        name = task["fn"]
        f = {"exp": torch.exp, "tanh": torch.tanh}.get(name, lambda x: gelu(x, name.split()[1]))
        return lambda: {"y": f(x)}
    a, b = torch.tensor([0.5], requires_grad=True), torch.tensor([0.25])

    def thousand():
        for _ in range(1000):
            y = a + b
        return {"y": y}

    return thousand


def worst_error(outputs, expected):
    worst = 0.0
    for name, wanted in expected.items():
        got = outputs[name].detach().numpy().astype("float64").ravel()
        worst = max(worst, float(np.abs(got - wanted).max() / np.abs(wanted).max()))
    return worst


def blas():
    """Which library multiplies matrices: with the reference BLAS, products take twenty times what they could."""
    with open("/proc/self/maps") as file:
        maps = file.read()
    known = {"openblas": "OpenBLAS", "mkl": "MKL", "blis": "BLIS", "libblas": "the reference BLAS, which is slow"}
    return next((name for part, name in known.items() if part in maps), "a BLAS of its own")


def version():
    torch.ones(64, 64) @ torch.ones(64, 64)
    return f"{torch.__version__} with {blas()}"


def main(folder, seconds, clock):
    now = time.process_time if clock == "cpu" else time.perf_counter
    task, inputs, expected = load(folder)
    call = prepare(task, inputs)
    began = now()
    outputs = call()
    first = now() - began
    error = worst_error(outputs, expected)
    warm = now() + seconds / 2
    while first <= 3 and now() < warm:
        call()
    # A call of seconds is its own time; the others are called three times at least.
    samples = [1000 * first] if first > 3 else []
    end = now() + seconds
    while first <= 3 and (now() < end or len(samples) < 3):
        start = now()
        call()
        samples.append(1000 * (now() - start))
    repeat = 1000 if task["kind"] == "tiny" else 1
    ms = float(np.median(samples)) / repeat
    print(json.dumps({"ms": ms, "calls": len(samples), "error": error, "how": version()}))


if len(sys.argv) == 1:
    print(version())
else:
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3])

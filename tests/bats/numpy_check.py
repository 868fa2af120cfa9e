#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Usage: numpy_check.py MOUNT [CHECK...], numpy_check.py --self-test

Call the numeric kernels of a mounted rkfs through call.safetensors and compare
with NumPy or a closed form. One line per check; exits with 1 if one fails.
"""

import json
import math
import random
import struct
import sys
from statistics import NormalDist

import numpy as np

DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I8": "<i1", "I16": "<i2", "I32": "<i4",
          "I64": "<i8", "U8": "<u1", "U16": "<u2", "U32": "<u4", "U64": "<u8", "BOOL": "?"}
NAMES = {np.dtype(code): name for name, code in DTYPES.items()}


def encode(tensors):
    """A dict of arrays as the bytes of a safetensors file."""
    header, data = {}, b""
    for name, value in tensors.items():
        value = np.asarray(value)
        raw = value.tobytes()
        header[name] = {"dtype": NAMES[value.dtype], "shape": list(value.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def decode(raw):
    """What encode() made; asserts that the tensors cover all of the data, one after the other."""
    size, = struct.unpack_from("<Q", raw)
    assert 8 + size <= len(raw), (size, len(raw))
    header, data = json.loads(raw[8:8 + size]), raw[8 + size:]
    header.pop("__metadata__", None)
    tensors, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        assert begin == end, (name, begin, end)
        end = stop
        values = np.frombuffer(data[begin:stop], dtype=DTYPES[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"])
    assert end == len(data), (end, len(data))
    return tensors


def call(mount, kernel, tensors):
    """The kernel's outputs, by name; a failure is an OSError."""
    with open(f"{mount}/kernels/{kernel}/call.safetensors", "r+b", buffering=0) as f:
        request = memoryview(encode(tensors))
        while request:
            request = request[f.write(request):]
        return decode(f.read())


def check_matmul(mount, m=512, k=512, n=512):
    """|error| <= gamma(k) |a| |b| (Higham), whatever the order of summation."""
    rng = np.random.default_rng(1)
    a = rng.uniform(-1, 1, (m, k)).astype("f4")
    b = rng.uniform(-1, 1, (k, n)).astype("f4")
    got = call(mount, "core/matmul", {"a": a, "b": b})["c"]
    assert got.dtype == np.float32 and got.shape == (m, n), (got.dtype, got.shape)
    a, b = a.astype("f8"), b.astype("f8")
    gamma = k * 2.0**-24 / (1 - k * 2.0**-24)
    worst = float(np.max(np.abs(got - a @ b) / (gamma * (np.abs(a) @ np.abs(b)))))
    assert worst <= 1, worst
    return f"{m}x{k}x{n}: the largest error is {worst:.4f} of the bound"


def check_matmul_odd(mount):
    return check_matmul(mount, 131, 77, 259)


def preferential_attachment(n, links, seed):
    """CSR of a graph where each node links to earlier ones by their degree, some links reversed."""
    rng = random.Random(seed)
    ends, edges = list(range(links)), []
    for u in range(links, n):
        for v in {rng.choice(ends) for _ in range(links)}:
            edges.append((v, u) if rng.random() < 0.3 else (u, v))
            ends += (u, v)
    edges = np.array(sorted(edges), dtype="u4")
    offsets = np.searchsorted(edges[:, 0], np.arange(n + 1)).astype("u4")
    return offsets, np.ascontiguousarray(edges[:, 1])


def pagerank(offsets, targets, damping, steps):
    """Ranks after so many steps, and by how much the last one moved them."""
    n = len(offsets) - 1
    links = np.diff(offsets.astype("i8"))
    rank, moved = np.full(n, 1 / n), math.nan
    for _ in range(steps):
        share = np.repeat(rank / np.maximum(links, 1), links)
        new = np.bincount(targets, weights=share, minlength=n) * damping
        new += (1 - damping + damping * rank[links == 0].sum()) / n
        rank, moved = new, np.abs(new - rank).sum()
    return rank, moved


def check_pagerank(mount):
    """Each step as NumPy does it, and the end within d / (1 - d) tolerance of the limit."""
    offsets, targets = preferential_attachment(20000, 5, 7)
    dangling = int((np.diff(offsets.astype("i8")) == 0).sum())
    assert dangling > 0
    got = call(mount, "graph/pagerank", {"offsets": offsets, "targets": targets})
    steps = int(got["iterations"])
    same, moved = pagerank(offsets, targets, 0.85, steps)
    limit, _ = pagerank(offsets, targets, 0.85, 300)
    assert 1 < steps < 100 and got["residual"] < 1e-9, got
    assert np.allclose(got["rank"], same, rtol=1e-11, atol=0), np.abs(got["rank"] - same).max()
    assert abs(got["residual"] - moved) < 1e-13, (got["residual"], moved)
    error = np.abs(got["rank"] - limit).sum()
    assert error <= 0.85 / 0.15 * 1e-9, error
    return (f"{len(offsets) - 1} nodes, {len(targets)} links, {dangling} dangling: "
            f"{error:.1e} from the limit after {steps} steps")


def check_pagerank_parameters(mount):
    offsets, targets = preferential_attachment(10000, 3, 8)
    got = call(mount, "graph/pagerank",
               {"offsets": offsets, "targets": targets, "damping": np.float64(0.5),
                "tolerance": np.float64(0), "max_iterations": np.uint32(7)})
    want, moved = pagerank(offsets, targets, 0.5, 7)
    assert got["iterations"] == 7, got["iterations"]
    assert np.allclose(got["rank"], want, rtol=1e-11, atol=0), np.abs(got["rank"] - want).max()
    assert abs(got["residual"] - moved) < 1e-13, (got["residual"], moved)
    return "damping 0.5, 7 steps as asked"


def check_pagerank_invalid(mount):
    got = call(mount, "graph/pagerank", {"offsets": np.array([0, 1, 2], "u4"),
                                         "targets": np.array([1, 2], "u4")})
    assert np.isnan(got["rank"]).all() and got["iterations"] == 0, got
    return "a target that is no node: NaN"


def portfolio(k):
    rng = np.random.default_rng(3)
    factors = rng.normal(0, 0.01, (k, 4))
    covariance = factors @ factors.T + np.diag(rng.uniform(1e-5, 4e-4, k))
    return rng.normal(0, 1e6, k), rng.normal(2e-4, 3e-4, k), (covariance + covariance.T) / 2


def check_var(mount, confidence=0.99, paths=400000):
    """Within 4 standard errors of the normal portfolio's (Glasserman 2003, section 9.2.3)."""
    w, mean, covariance = portfolio(20)
    request = {"weights": w, "mean": mean, "covariance": covariance, "seed": np.uint64(2**63 + 5),
               "confidence": np.float64(confidence), "paths": np.uint64(paths)}
    got = call(mount, "risk/monte-carlo-var", request)
    mu, sigma = float(w @ mean), math.sqrt(w @ covariance @ w)
    z = NormalDist().inv_cdf(confidence)
    density = NormalDist().pdf(z)
    es = density / (1 - confidence)
    spread = 1 + z * es - es * es + confidence * (es - z)**2
    rows = [("var", sigma * z - mu,
             sigma * math.sqrt(confidence * (1 - confidence) / paths) / density),
            ("expected_shortfall", sigma * es - mu,
             sigma * math.sqrt(spread / (paths * (1 - confidence)))),
            ("mean_pnl", mu, sigma / math.sqrt(paths))]
    errors = {name: (float(got[name]) - want) / se for name, want, se in rows}
    assert all(abs(e) < 4 for e in errors.values()), errors
    again = call(mount, "risk/monte-carlo-var", request)
    assert all(got[name].tobytes() == again[name].tobytes() for name in got), (got, again)
    other = call(mount, "risk/monte-carlo-var", {**request, "seed": np.uint64(5)})
    assert other["var"] != got["var"], other
    return "in standard errors: " + ", ".join(f"{name} {e:+.2f}" for name, e in errors.items())


def check_var_defaults(mount):
    w, mean, covariance = portfolio(3)
    request = {"weights": w, "mean": mean, "covariance": covariance}
    defaults = {"confidence": np.float64(0.99), "paths": np.uint64(100000), "seed": np.uint64(0)}
    got = call(mount, "risk/monte-carlo-var", request)
    want = call(mount, "risk/monte-carlo-var", {**request, **defaults})
    assert all(got[name] == want[name] for name in want) and got["var"] > 0, (got, want)
    return "confidence 0.99, 100000 paths, seed 0"


def check_var_invalid(mount):
    got = call(mount, "risk/monte-carlo-var",
               {"weights": np.ones(2), "mean": np.zeros(2),
                "covariance": np.array([[1.0, 2.0], [2.0, 1.0]])})
    assert all(np.isnan(v) for v in got.values()), got
    return "a correlation of 2: NaN"


def self_test():
    """encode() and decode() alone: against bytes written by hand, and by round trips."""
    text = b'{"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}   '
    assert len(text) == 64
    raw = struct.pack("<Q", 64) + text + struct.pack("<2f", 1, -2.5)
    assert encode({"x": np.array([1, -2.5], "f4")}) == raw, encode({"x": np.array([1, -2.5], "f4")})
    for code in DTYPES.values():
        for shape in [(), (0,), (3,), (2, 0, 4), (2, 3, 4)]:
            x = (np.arange(math.prod(shape)) % 2).astype(code).reshape(shape)
            y = decode(encode({"first": np.float32(7), "x": x, "last": np.uint8(9)}))
            assert y["x"].dtype == x.dtype and y["x"].shape == shape, (code, shape, y)
            assert (y["x"] == x).all() and y["first"] == 7 and y["last"] == 9, (code, shape, y)
    sliced = np.arange(12, dtype="i8").reshape(3, 4)[:, ::2]  # not contiguous
    assert (decode(encode({"x": sliced.T}))["x"] == sliced.T).all()
    for bad in [raw[:-1], raw + b"\0", raw[:7], raw.replace(b"[0, 8]", b"[4, 8]")]:
        try:
            decode(bad)
        except (AssertionError, ValueError, struct.error):
            continue
        raise AssertionError(f"{bad} was accepted")


def main(args):
    checks = {name[6:]: fn for name, fn in globals().items() if name.startswith("check_")}
    if args == ["--self-test"]:
        self_test()
        return 0
    if not args or args[0].startswith("-") or not set(args[1:]) <= set(checks):
        sys.exit(f"{__doc__}\nChecks: {', '.join(checks)}")
    failed = 0
    for name in args[1:] or checks:
        try:
            print(f"ok {name}: {checks[name](args[0])}")
        except (AssertionError, OSError, ValueError, KeyError) as e:
            failed += 1
            print(f"FAILED {name}: {type(e).__name__}: {e}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

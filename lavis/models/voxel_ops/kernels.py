"""Numba kernels of sparse voxels.

A convolution keeps 64 outputs in the cache and adds the offsets one after another, so that inputs
are read where they lie and no gathered or scattered copy exists. Four rows share the weights that
are loaded; products and sums fuse (`contract`). Arrays are C-contiguous.
"""

from __future__ import annotations

import numpy as np

from lavis.common.compiled import compiled

ROWS = 64  # outputs of a block; 64 rows of 128 floats are half of a level-1 cache

_jit = compiled(nogil=True, error_model="numpy", fastmath={"contract"})


@_jit
def find_neighbours(keys, deltas, table):
    """Fill table int32 [M,2K+1]: column k is the row of key + delta; column 2K - k its opposite.

    Args:
        keys: int64 [M], sorted.
        deltas: int64 [K], negative and ascending; the middle column is the row itself.
        table: filled with -1.
    """
    count, last = deltas.shape[0], table.shape[1] - 1
    place = np.zeros(count, np.int64)
    for row in range(keys.shape[0]):
        table[row, count] = row
        for k in range(count):
            wanted, at = keys[row] + deltas[k], place[k]
            while keys[at] < wanted:
                at += 1
            place[k] = at
            if keys[at] == wanted:
                table[row, k] = at
                table[at, last - k] = row


@_jit
def _list_present(table, k, start, stop, rows):
    """Write to rows those in [start,stop) that have an input at offset k; return their number."""
    count = 0
    for row in range(start, stop):
        if table[row, k] >= 0:
            rows[count] = row
            count += 1
    return count


@_jit
def _add_products(x, i, weight, out, r):
    """Add x[i] @ weight [C,D] to out[r], for four inputs i and outputs r."""
    even = x.shape[1] - x.shape[1] % 2
    for c in range(0, even, 2):
        a0, a1 = x[i[0], c], x[i[0], c + 1]
        b0, b1 = x[i[1], c], x[i[1], c + 1]
        c0, c1 = x[i[2], c], x[i[2], c + 1]
        d0, d1 = x[i[3], c], x[i[3], c + 1]
        for j in range(weight.shape[1]):
            w0, w1 = weight[c, j], weight[c + 1, j]
            out[r[0], j] += a0 * w0 + a1 * w1
            out[r[1], j] += b0 * w0 + b1 * w1
            out[r[2], j] += c0 * w0 + c1 * w1
            out[r[3], j] += d0 * w0 + d1 * w1
    if even < x.shape[1]:
        for part in range(4):
            a = x[i[part], even]
            for j in range(weight.shape[1]):
                out[r[part], j] += a * weight[even, j]


@_jit
def _add_product(x, i, weight, out, r):
    """Add x[i] @ weight [C,D] to out[r]."""
    for c in range(x.shape[1]):
        a = x[i, c]
        for j in range(weight.shape[1]):
            out[r, j] += a * weight[c, j]


@_jit
def convolve(x, weight, table, out, first, last):
    """Add to out [M,D] the inputs x [M',C] times weight [K,C,D] by table int32 [M,K].

    Blocks of ROWS outputs from `first` to `last`: whole ones, so that the sums do not depend on
    how blocks are shared between threads.
    """
    rows = np.empty(ROWS, np.int64)
    for start in range(first * ROWS, min(last * ROWS, table.shape[0]), ROWS):
        stop = min(start + ROWS, table.shape[0])
        for k in range(weight.shape[0]):
            count = _list_present(table, k, start, stop, rows)
            fours = count - count % 4
            for p in range(0, fours, 4):
                r = (rows[p], rows[p + 1], rows[p + 2], rows[p + 3])
                i = (table[r[0], k], table[r[1], k], table[r[2], k], table[r[3], k])
                _add_products(x, i, weight[k], out, r)
            for p in range(fours, count):
                _add_product(x, table[rows[p], k], weight[k], out, rows[p])


@_jit
def convolve_weights(x, grad, table, out, first, last):
    """Add to out[first:last] of [K,C,D] the sums of outer products of inputs and gradients.

    Args:
        x: float32 [M',C] inputs.
        grad: float32 [M,D] of the outputs.
        table: int32 [M,K].
        out: float32 [K,C,D].
        first, last: offsets.
    """
    rows = np.empty(ROWS, np.int64)
    for k in range(first, last):
        for start in range(0, table.shape[0], ROWS):
            stop = min(start + ROWS, table.shape[0])
            count = _list_present(table, k, start, stop, rows)
            fours = count - count % 4
            for p in range(0, fours, 4):
                r = (rows[p], rows[p + 1], rows[p + 2], rows[p + 3])
                i = (table[r[0], k], table[r[1], k], table[r[2], k], table[r[3], k])
                for c in range(x.shape[1]):
                    a, b, d, e = x[i[0], c], x[i[1], c], x[i[2], c], x[i[3], c]
                    for j in range(grad.shape[1]):
                        out[k, c, j] += (a * grad[r[0], j] + b * grad[r[1], j]) + (
                            d * grad[r[2], j] + e * grad[r[3], j]
                        )
            for p in range(fours, count):
                for c in range(x.shape[1]):
                    a = x[table[rows[p], k], c]
                    for j in range(grad.shape[1]):
                        out[k, c, j] += a * grad[rows[p], j]

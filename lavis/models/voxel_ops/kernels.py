"""Numba kernels of sparse voxels.

A convolution keeps a block of outputs in the cache and adds the offsets one after another, so that
no gathered or scattered copy of the features exists. Both kernels are sums of outer products in
tiles of 4 x 16 numbers, which `_add_tile` holds in vector registers: LLVM's own vectorisation of
the loops stores every sum after each product and reached half of the speed.

Arrays are C-contiguous float32 whose last axis is a multiple of 16 (LANES) where it is an output's.
"""

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from lavis.common.compiled import compiled

ROWS = 128  # outputs of a block
LANES = 16  # columns of a tile: two vectors of 8
_VECTOR, _FLOAT = 8, 4  # numbers of a vector, bytes of a number

_jit = compiled(nogil=True, error_model="numpy")


@intrinsic
def _add_tile(typing_context, left, left_step, right, right_step, out, count):
    """Add to four rows of 16 numbers the sum over t < count of left[r] * right[0:16].

    Args:
        left: four addresses; each moves on by left_step bytes with t.
        right: address of 16 numbers, which moves on by right_step bytes.
        out: four addresses of 16 numbers.
    """
    signature = numba.void(left, left_step, right, right_step, out, count)

    def generate(context, builder, signature, arguments):
        lefts, left_step, right, right_step, outs, count = arguments
        a, o = (cgutils.unpack_tuple(builder, part, 4) for part in (lefts, outs))
        number, word = ir.FloatType(), ir.IntType(64)
        vector, lane = ir.VectorType(number, _VECTOR), ir.IntType(32)

        def at(address, kind, place=0):
            shifted = builder.add(address, word(place * _VECTOR * _FLOAT))
            return builder.inttoptr(shifted, kind.as_pointer())

        def load(address, kind, place=0):
            value = builder.load(at(address, kind, place))
            value.align = _FLOAT
            return value

        def broadcast(value):
            single = builder.insert_element(ir.Constant(vector, ir.Undefined), value, lane(0))
            zeros = ir.Constant(ir.VectorType(lane, _VECTOR), [0] * _VECTOR)
            return builder.shuffle_vector(single, single, zeros)

        start = [load(row, vector, place) for row in o for place in range(2)]
        before = builder.block
        loop, end = builder.append_basic_block("tile"), builder.append_basic_block("tile_end")
        builder.branch(loop)
        builder.position_at_end(loop)
        step = builder.phi(word)
        sums = [builder.phi(vector) for _ in start]
        moved = builder.add(right, builder.mul(step, right_step))
        columns = [load(moved, vector, place) for place in range(2)]
        added = []
        for row in range(4):
            value = load(builder.add(a[row], builder.mul(step, left_step)), number)
            factor = broadcast(value)
            for place in range(2):
                product = builder.fmul(factor, columns[place], flags=("contract",))
                total = sums[2 * row + place]
                added.append(builder.fadd(total, product, flags=("contract",)))
        following = builder.add(step, word(1))
        builder.cbranch(builder.icmp_signed("<", following, count), loop, end)
        for phi, first, later in zip([step, *sums], [word(0), *start], [following, *added]):
            phi.add_incoming(first, before)
            phi.add_incoming(later, loop)
        builder.position_at_end(end)
        for index, total in enumerate(added):
            builder.store(total, at(o[index // 2], vector, index % 2)).align = _FLOAT
        return context.get_dummy_value()

    return signature, generate


@_jit
def _address(array):
    return np.int64(array.ctypes.data)


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
        rows[count] = row
        count += table[row, k] >= 0  # no branch, which would be mispredicted
    return count


@_jit
def convolve(x, weight, table, out, first, last):
    """Add to out [M,D] the inputs x [M',C] times weight [K,C,D] by table int32 [M,K].

    Blocks of ROWS outputs from `first` to `last`. A row's sums do not depend on the rows beside it,
    and so not on how blocks are shared between threads.
    """
    offsets, depth, width = weight.shape
    rows, spare = np.empty(ROWS + 1, np.int64), np.zeros(width, np.float32)
    left, right, to = _address(x), _address(weight), _address(out)
    a, o = np.empty(ROWS + 3, np.int64), np.empty(ROWS + 3, np.int64)
    for start in range(first * ROWS, min(last * ROWS, table.shape[0]), ROWS):
        stop = min(start + ROWS, table.shape[0])
        for k in range(offsets):
            count = _list_present(table, k, start, stop, rows)
            for p in range(count):
                a[p] = left + table[rows[p], k] * (depth * _FLOAT)
                o[p] = to + rows[p] * (width * _FLOAT)
            a[count : count + 3] = left  # four rows at a time: the rest is thrown away
            o[count : count + 3] = _address(spare)
            for j in range(0, width * _FLOAT, LANES * _FLOAT):
                columns = right + k * (depth * width * _FLOAT) + j
                for p in range(0, count, 4):
                    inputs = (a[p], a[p + 1], a[p + 2], a[p + 3])
                    outputs = (o[p] + j, o[p + 1] + j, o[p + 2] + j, o[p + 3] + j)
                    _add_tile(inputs, _FLOAT, columns, width * _FLOAT, outputs, depth)


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
    depth, width = x.shape[1], grad.shape[1]
    rows, spare = np.empty(ROWS + 1, np.int64), np.zeros(LANES, np.float32)
    away = _address(spare)
    inputs = np.zeros((ROWS, depth + 3), np.float32)  # a tile may read beyond the last channel
    outputs = np.empty((ROWS, width), np.float32)
    left, right, to = _address(inputs), _address(outputs), _address(out)
    steps = (inputs.shape[1] * _FLOAT, width * _FLOAT)
    for k in range(first, last):
        for start in range(0, table.shape[0], ROWS):
            count = _list_present(table, k, start, min(start + ROWS, table.shape[0]), rows)
            for p in range(count):
                inputs[p, :depth] = x[table[rows[p], k]]
                outputs[p] = grad[rows[p]]
            if count == 0:
                continue
            for c in range(0, depth, 4):
                a = left + c * _FLOAT
                channels = (a, a + _FLOAT, a + 2 * _FLOAT, a + 3 * _FLOAT)
                for j in range(0, width, LANES):
                    o = to + ((k * depth + c) * width + j) * _FLOAT
                    o1 = o + width * _FLOAT if c + 1 < depth else away
                    o2 = o + 2 * width * _FLOAT if c + 2 < depth else away
                    o3 = o + 3 * width * _FLOAT if c + 3 < depth else away
                    columns = right + j * _FLOAT
                    _add_tile(channels, steps[0], columns, steps[1], (o, o1, o2, o3), count)

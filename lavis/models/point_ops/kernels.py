"""Numba kernels over a range of clouds: exact, and compiled to vector instructions.

Points are sorted along a Morton curve into buckets of 32 neighbours, each with its bounding box.
The distance from a query to a box bounds the distance to every point inside from below, so a
bucket that cannot matter is skipped whole: of the 256 buckets of 8192 points, a farthest-point
pick touches about 20. Rounding keeps the bound: subtraction, squaring and addition round
monotonically, and box and points go through the same operations in the same order.

Indices equal `reference.py` bit for bit: without fast-math LLVM neither fuses nor reorders
roundings. A minimum or maximum of floats would not vectorise that way, so distances are compared
as int32 bits, which have the same order because distances are never negative and never NaN.

All kernels live in this one file because numba's disk cache notices edits of a kernel's own file
only. Arrays are C-contiguous.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from lavis.common.compiled import compiled

_WIDTH = 32  # points per bucket: two AVX-512 vectors; 16 and 64 were slower
_DIGIT_BITS = 9  # of a sorting pass: one makes 8 Morton cells per axis, two make 64
_DIGITS = 1 << _DIGIT_BITS
_ONE_PASS = 4096  # points up to which 8 cells per axis separate enough
_INFINITY = np.int32(0x7F800000)  # bits of float32 infinity
_NOWHERE = np.int32(0x7FFFFFFF)  # index of the padding in the last bucket; above every point's

# numpy's error model drops the test for division by zero, which would stop vectorisation.
_jit = compiled(nogil=True, error_model="numpy")


@intrinsic
def _bits(typing_context, value):
    """Return the int32 with the same bits as a float32."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(32))

    return numba.int32(numba.float32), generate


@intrinsic
def _float(typing_context, bits):
    """Return the float32 with the same bits as an int32."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return numba.float32(numba.int32), generate


@_jit
def _place(value):
    """Map a float32 to an int32 of the same order."""
    bits = _bits(value)
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@_jit
def _value(place):
    """Undo `_place`."""
    return _float(place ^ ((place >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@_jit
def _extent(values):
    """Return the smallest and the largest of float32 values [N]."""
    low, high = np.int32(0x7FFFFFFF), np.int32(-0x80000000)
    for i in range(values.shape[0]):
        place = _place(values[i])
        low = min(low, place)
        high = max(high, place)
    return _value(low), _value(high)


@_jit
def _spread(cell):
    """Put two zero bits between the bits of a 6-bit number."""
    cell = (cell | (cell << 8)) & 0x0300F00F
    cell = (cell | (cell << 4)) & 0x030C30C3
    return (cell | (cell << 2)) & 0x09249249


@_jit
def _first_slots(code, shift):
    """Return where each value of 9 bits of the codes [N] begins in their order, int32 [512]."""
    slot = np.zeros(_DIGITS, np.int32)
    for i in range(code.shape[0]):
        slot[(code[i] >> shift) & (_DIGITS - 1)] += 1
    total = 0
    for digit in range(_DIGITS):
        count = slot[digit]
        slot[digit] = total
        total += count
    return slot


@_jit
def _order_by_low_digit(code, order):
    """Write to order [N] the indices in the order of the codes' lowest 9 bits."""
    slot = _first_slots(code, 0)
    for i in range(code.shape[0]):
        digit = code[i] & (_DIGITS - 1)
        order[np.uint32(slot[digit])] = i
        slot[digit] += 1


@_jit
def _fill_buckets(x, y, z, code, shift, order, points, index):
    """Write points to flat buckets [K*3*W], [K*W], sorted by 9 bits of their codes.

    Points of equal bits stay in the order of `order` [N]. Unsigned places need no test for a
    negative index.
    """
    width = np.uint32(_WIDTH)
    slot = _first_slots(code, shift)
    for j in range(order.shape[0]):
        i = np.uint32(order[j])
        digit = (code[i] >> shift) & (_DIGITS - 1)
        place = np.uint32(slot[digit])
        slot[digit] += 1
        corner = place + (place // width) * (np.uint32(2) * width)
        points[corner] = x[i]
        points[corner + width] = y[i]
        points[corner + np.uint32(2) * width] = z[i]
        index[place] = order[j]


class _Memory(NamedTuple):
    """Arrays for one cloud of up to N points, used again for the next: fresh ones cost page faults.

    axes [3,N]; code, order int32 [N]; and what `_fill_memory` makes: points [K,3,W], indices int32
    [K,W], and the corners low [3,K] and high [3,K] of the buckets' boxes.
    """

    axes: np.ndarray
    code: np.ndarray
    order: np.ndarray
    points: np.ndarray
    indices: np.ndarray
    low: np.ndarray
    high: np.ndarray


@_jit
def _num_buckets(num_points):
    """Return K."""
    return (num_points + _WIDTH - 1) // _WIDTH


@_jit
def _allocate(num_points):
    """Return memory for clouds of up to `num_points`."""
    num_buckets = _num_buckets(num_points)
    return _Memory(
        np.empty((3, num_points), np.float32),
        np.empty(num_points, np.int32),
        np.empty(num_points, np.int32),
        np.empty((num_buckets, 3, _WIDTH), np.float32),
        np.empty((num_buckets, _WIDTH), np.int32),
        np.empty((3, num_buckets), np.float32),
        np.empty((3, num_buckets), np.float32),
    )


@_jit
def _split_axes(xyz, x, y, z):
    """Write xyz [N,3] to x, y, z [N]: a row per coordinate fills vectors without shuffling."""
    for i in range(xyz.shape[0]):
        x[i] = xyz[i, 0]
        y[i] = xyz[i, 1]
        z[i] = xyz[i, 2]


@_jit
def _morton_codes(x, y, z, cells, code):
    """Write to code [N] the Morton codes of points in a grid of `cells` per axis round them all."""
    low_x, high_x = _extent(x)
    low_y, high_y = _extent(y)
    low_z, high_z = _extent(z)
    extent = max(high_x - low_x, high_y - low_y, high_z - low_z)
    scale = np.float32(cells - 1) / extent if extent > 0 else np.float32(0)
    if not (extent < np.inf and scale < np.inf):  # beyond float32: any order is correct
        code[:] = 0
        return
    for i in range(code.shape[0]):
        cell_x = np.int32((x[i] - low_x) * scale)
        cell_y = np.int32((y[i] - low_y) * scale)
        cell_z = np.int32((z[i] - low_z) * scale)
        code[i] = _spread(cell_x) | (_spread(cell_y) << 1) | (_spread(cell_z) << 2)


@_jit
def _boxes(points, low, high):
    """Write to low [3,K] and high [3,K] the corners of the boxes of full buckets [K,3,W].

    A loop per axis would be so short that LLVM unrolled it instead of using vectors.
    """
    for bucket in range(points.shape[0]):
        x, y, z = points[bucket, 0], points[bucket, 1], points[bucket, 2]
        low_x = low_y = low_z = np.int32(0x7FFFFFFF)
        high_x = high_y = high_z = np.int32(-0x80000000)
        for j in range(_WIDTH):
            place_x, place_y, place_z = _place(x[j]), _place(y[j]), _place(z[j])
            low_x, high_x = min(low_x, place_x), max(high_x, place_x)
            low_y, high_y = min(low_y, place_y), max(high_y, place_y)
            low_z, high_z = min(low_z, place_z), max(high_z, place_z)
        low[0, bucket], high[0, bucket] = _value(low_x), _value(high_x)
        low[1, bucket], high[1, bucket] = _value(low_y), _value(high_y)
        low[2, bucket], high[2, bucket] = _value(low_z), _value(high_z)


@_jit
def _fill_memory(xyz, memory):
    """Sort xyz [N,3] along a Morton curve into K buckets of W points; return K.

    The last bucket is padded with infinitely far points of index `_NOWHERE`.
    """
    num_points = xyz.shape[0]
    x, y, z = memory.axes[0, :num_points], memory.axes[1, :num_points], memory.axes[2, :num_points]
    code, order = memory.code[:num_points], memory.order[:num_points]
    _split_axes(xyz, x, y, z)
    if num_points <= _ONE_PASS:
        shift = 0
        _morton_codes(x, y, z, 1 << (_DIGIT_BITS // 3), code)
        for i in range(num_points):
            order[i] = i
    else:
        shift = _DIGIT_BITS
        _morton_codes(x, y, z, 1 << (2 * _DIGIT_BITS // 3), code)
        _order_by_low_digit(code, order)
    num_buckets = _num_buckets(num_points)
    points, index = memory.points[:num_buckets], memory.indices[:num_buckets]
    _fill_buckets(x, y, z, code, shift, order, points.reshape(-1), index.reshape(-1))
    filled = num_points - (num_buckets - 1) * _WIDTH
    for axis in range(3):  # a copy of a point leaves the last box as it is
        points[num_buckets - 1, axis, filled:] = points[num_buckets - 1, axis, 0]
    _boxes(points, memory.low, memory.high)
    points[num_buckets - 1, :, filled:] = np.float32(np.inf)
    index[num_buckets - 1, filled:] = _NOWHERE
    return num_buckets


@_jit
def _box_bounds(low, high, x, y, z, bound):
    """Write to bound [K] the bits of the squared distance from (x, y, z) to the first K boxes."""
    low_x, low_y, low_z = low[0], low[1], low[2]
    high_x, high_y, high_z = high[0], high[1], high[2]
    zero = np.float32(0)
    for i in range(bound.shape[0]):
        dx = max(max(low_x[i] - x, x - high_x[i]), zero)
        dy = max(max(low_y[i] - y, y - high_y[i]), zero)
        dz = max(max(low_z[i] - z, z - high_z[i]), zero)
        bound[i] = _bits(dx * dx + dy * dy + dz * dz)


@_jit
def _list_below(bound, limit, listed):
    """Write to `listed` the i with bound[i] < limit[i], without a branch; return their number."""
    count = 0
    for i in range(bound.shape[0]):
        listed[count] = i
        count += np.int64(bound[i] < limit[i])
    return count


@_jit
def _lower(points_x, points_y, points_z, x, y, z, nearest):
    """Lower nearest [W], distances to all picks so far, by a new pick; return the largest."""
    largest = np.int32(-1)
    for j in range(_WIDTH):
        dx = points_x[j] - x
        dy = points_y[j] - y
        dz = points_z[j] - z
        nearest[j] = min(_bits(dx * dx + dy * dy + dz * dz), nearest[j])
        largest = max(largest, nearest[j])
    return largest


@_jit
def _first_in_bucket(largest, nearest, index):
    """Return the lowest point index of one bucket at distance `largest`."""
    found = _NOWHERE
    for j in range(_WIDTH):
        found = min(found, index[j] if nearest[j] == largest else _NOWHERE)
    return found


@_jit
def _farthest_bucket(farthest):
    """Return the largest of farthest [K], the first bucket that holds it, and how many do.

    A key is the value above the bucket's place from the end; one comparison orders by both.
    """
    num_buckets = farthest.shape[0]
    best = np.int64(-1)
    for bucket in range(num_buckets):
        best = max(best, (np.int64(farthest[bucket]) << 32) | np.int64(num_buckets - bucket))
    largest, holders = np.int32(best >> 32), np.int32(0)
    for bucket in range(num_buckets):
        holders += np.int32(farthest[bucket] == largest)
    return largest, num_buckets - (best & 0xFFFFFFFF), holders


@_jit
def _sample_one(memory, num_buckets, start, nearest, farthest, bound, listed, picked):
    """Fill picked int64 [S] by farthest-point sampling of the buckets from point `start`.

    nearest int32 [K,W], the distances to all picks, begins infinite and negative in the padding.
    """
    x, y, z = memory.axes[0], memory.axes[1], memory.axes[2]
    points, index = memory.points, memory.indices
    pick = start
    for step in range(picked.shape[0]):
        picked[step] = pick
        px, py, pz = x[pick], y[pick], z[pick]
        _box_bounds(memory.low, memory.high, px, py, pz, bound)
        for i in range(_list_below(bound, farthest, listed)):
            bucket = listed[i]
            cell = points[bucket]
            farthest[bucket] = _lower(cell[0], cell[1], cell[2], px, py, pz, nearest[bucket])
        largest, bucket, holders = _farthest_bucket(farthest)
        if largest == 0:  # every point coincides with a pick; the lowest index is point 0
            picked[step + 1 :] = 0
            return
        pick = _first_in_bucket(largest, nearest[bucket], index[bucket])
        if holders > 1:
            for other in range(bucket + 1, num_buckets):
                if farthest[other] == largest:
                    pick = min(pick, _first_in_bucket(largest, nearest[other], index[other]))


@_jit
def sample_farthest(xyz, lengths, start, picked, first, last):
    """Fill rows first … last-1 of picked int64 [B,S] by farthest-point sampling.

    Args:
        xyz: [B,N,3], of which the first lengths[b] points count.
        lengths, start: int64 [B]; `start` is every cloud's first pick.
    """
    memory = _allocate(xyz.shape[1])
    nearest = np.empty(memory.indices.shape, np.int32)
    farthest = np.empty(nearest.shape[0], np.int32)
    bound = np.empty(nearest.shape[0], np.int32)
    listed = np.empty(nearest.shape[0] + 1, np.int64)
    for row in range(first, last):
        count = _fill_memory(xyz[row, : lengths[row]], memory)
        nearest[:count] = _INFINITY
        farthest[:count] = _INFINITY
        for j in range(_WIDTH):  # padding is nearer than every point, so that it is never picked
            if memory.indices[count - 1, j] == _NOWHERE:
                nearest[count - 1, j] = -1
        _sample_one(
            memory, count, start[row], nearest, farthest[:count], bound[:count], listed, picked[row]
        )


@_jit
def _distances(points_x, points_y, points_z, x, y, z, distance):
    """Write the bits of the squared distances from (x, y, z) to distance [W]."""
    for j in range(distance.shape[0]):
        dx = points_x[j] - x
        dy = points_y[j] - y
        dz = points_z[j] - z
        distance[j] = _bits(dx * dx + dy * dy + dz * dz)


@_jit
def _list_within(bound, above, limit, listed):
    """Write to `listed` the i with above < bound[i] <= limit; return their number."""
    count = 0
    for i in range(bound.shape[0]):
        listed[count] = i
        count += np.int64(bound[i] > above) & np.int64(bound[i] <= limit)
    return count


@_jit
def _threshold(values, k, slack):
    """Return a value that at least k of `values` [M] do not exceed, and at most k + slack unless
    values are equal.

    Bisection compares whole vectors, and any value between the k-th and the next one ends it,
    after about ten steps.
    """
    low, high = values[0], values[0]
    for i in range(values.shape[0]):
        low = min(low, values[i])
        high = max(high, values[i])
    while low < high:
        middle = low + ((high - low) >> 1)
        within = 0
        for i in range(values.shape[0]):
            within += np.int32(values[i] <= middle)
        if within < k:
            low = middle + 1
        else:
            high = middle
            if within <= k + slack:
                break
    return high


@_jit
def _append(distance, index, limit, keys, count):
    """Append the keys of the points of one bucket within `limit`; return their new number."""
    for j in range(_WIDTH):
        keys[count] = (np.int64(distance[j]) << 32) | np.int64(index[j])
        count += np.int64(distance[j] <= limit)
    return count


@_jit
def _write_sorted(kept, neighbors):
    """Write the point indices of the distinct keys kept [k] to neighbors [k] in order."""
    if kept.shape[0] > 128:
        kept.sort()
        for i in range(kept.shape[0]):
            neighbors[i] = kept[i] & 0xFFFFFFFF
        return
    for i in range(kept.shape[0]):  # counting the smaller keys has no branches to mispredict
        rank = 0
        for j in range(kept.shape[0]):
            rank += np.int64(kept[j] < kept[i])
        neighbors[rank] = kept[i] & 0xFFFFFFFF


@_jit
def _search_one(memory, num_buckets, queries, bound, listed, distance, keys, kept, neighbors):
    """Fill neighbors int64 [S,k] with the points in the buckets nearest to queries [S,3].

    A key is the distance's bits above the point's index: one comparison orders by both. The k-th
    key in the few nearest buckets limits the search in all others.
    """
    k = neighbors.shape[1]
    at_once = min((k + _WIDTH - 1) // _WIDTH + 3, num_buckets)
    for row in range(queries.shape[0]):
        x, y, z = queries[row, 0], queries[row, 1], queries[row, 2]
        _box_bounds(memory.low, memory.high, x, y, z, bound)
        above, reach, limit = np.int32(-1), np.int32(_threshold(bound, at_once, 1)), _INFINITY
        count = 0
        for _ in range(2):
            for i in range(_list_within(bound, above, reach, listed)):
                cell = memory.points[listed[i]]
                _distances(cell[0], cell[1], cell[2], x, y, z, distance)
                count = _append(distance, memory.indices[listed[i]], limit, keys, count)
            limit = np.int32(_threshold(keys[:count], k, 2) >> 32)
            above, reach = reach, limit
        worst = _threshold(keys[:count], k, 0)
        filled = 0
        for i in range(count):
            kept[filled] = keys[i]
            filled += np.int64(keys[i] <= worst)
        _write_sorted(kept[:k], neighbors[row])


@_jit
def find_nearest(xyz, lengths, queries, neighbors, first, last):
    """Fill rows first … last-1 of neighbors int64 [B,S,k] with the points nearest to queries.

    Args:
        xyz: [B,N,3], of which the first lengths[b] points count.
        lengths: int64 [B].
        queries: [B,S,3].
    """
    memory = _allocate(xyz.shape[1])
    num_buckets = memory.indices.shape[0]
    bound = np.empty(num_buckets, np.int32)
    listed = np.empty(num_buckets + 1, np.int64)
    distance = np.empty(_WIDTH, np.int32)
    keys = np.empty(num_buckets * _WIDTH + 1, np.int64)
    kept = np.empty(neighbors.shape[2] + 1, np.int64)
    for row in range(first, last):
        count = _fill_memory(xyz[row, : lengths[row]], memory)
        _search_one(
            memory,
            count,
            queries[row],
            bound[:count],
            listed,
            distance,
            keys,
            kept,
            neighbors[row],
        )


@_jit
def _ball_one(x, y, z, queries, limit, distance, found, neighbors):
    """Fill neighbors int64 [S,k] with the first points x, y, z [N] inside each query's ball.

    Blocks of points are compared whole, in the order of the cloud, until k are found.
    """
    num_points, k = x.shape[0], neighbors.shape[1]
    for row in range(queries.shape[0]):
        qx, qy, qz = queries[row, 0], queries[row, 1], queries[row, 2]
        count = 0
        for begin in range(0, num_points, distance.shape[0]):
            end = min(begin + distance.shape[0], num_points)
            block = distance[: end - begin]
            _distances(x[begin:end], y[begin:end], z[begin:end], qx, qy, qz, block)
            for j in range(end - begin):
                found[count] = begin + j
                count += np.int64(block[j] < limit)
            if count >= k:
                break
        if count == 0:
            found[0] = 0
        for j in range(k):
            neighbors[row, j] = found[j] if j < max(count, 1) else found[0]


@_jit
def find_in_ball(xyz, lengths, queries, squared_radius, neighbors, first, last):
    """Fill rows first … last-1 of neighbors int64 [B,S,k] with the first points in each ball.

    Args:
        xyz: [B,N,3], of which the first lengths[b] points count.
        lengths: int64 [B].
        queries: [B,S,3].
        squared_radius: float32.
    """
    axes = np.empty((3, xyz.shape[1]), np.float32)
    limit = _bits(squared_radius)
    distance = np.empty(2 * _WIDTH, np.int32)
    found = np.empty(neighbors.shape[2] + 2 * _WIDTH, np.int64)
    for row in range(first, last):
        count = lengths[row]
        x, y, z = axes[0, :count], axes[1, :count], axes[2, :count]
        _split_axes(xyz[row, :count], x, y, z)
        _ball_one(x, y, z, queries[row], limit, distance, found, neighbors[row])

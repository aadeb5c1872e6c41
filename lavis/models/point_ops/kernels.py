"""Numba kernels over one cloud: exact, and compiled to vector instructions.

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

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

_WIDTH = 32  # points per bucket: two AVX-512 vectors; 16 and 64 were slower
_CELLS = 63  # Morton cells per axis, 6 bits; three of them fill two 9-bit sorting passes
_DIGIT_BITS = 9
_INFINITY = np.int32(0x7F800000)  # bits of float32 infinity
_NOWHERE = np.int32(0x7FFFFFFF)  # index of the padding in the last bucket; above every point's

# numpy's error model drops the test for division by zero, which would stop vectorisation.
_jit = numba.njit(nogil=True, cache=True, error_model="numpy")


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
def _ordered(bits):
    """Map the bits of any float32 to an int32 of the same order; its own inverse."""
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@_jit
def _extent(values):
    """Return the smallest and the largest of float32 values [N]."""
    low, high = np.int32(0x7FFFFFFF), np.int32(-0x80000000)
    for i in range(values.shape[0]):
        place = _ordered(_bits(values[i]))
        low = min(low, place)
        high = max(high, place)
    return _float(_ordered(low)), _float(_ordered(high))


@_jit
def _spread(cell):
    """Put two zero bits between the bits of a 6-bit number."""
    cell = (cell | (cell << 8)) & 0x0300F00F
    cell = (cell | (cell << 4)) & 0x030C30C3
    return (cell | (cell << 2)) & 0x09249249


@_jit
def _sort_pass(code, shift, source, target):
    """Move source [N] to target [N] in order of 9 bits of the codes; stable."""
    digits = 1 << _DIGIT_BITS
    slot = np.zeros(digits, np.int32)
    for i in range(source.shape[0]):
        slot[(code[i] >> shift) & (digits - 1)] += 1
    total = 0
    for digit in range(digits):
        count = slot[digit]
        slot[digit] = total
        total += count
    for i in source:
        digit = (code[i] >> shift) & (digits - 1)
        target[slot[digit]] = i
        slot[digit] += 1


@_jit
def _axes(xyz):
    """Return xyz [N,3] as [3,N]: one row per coordinate fills vectors without shuffling."""
    axes = np.empty((3, xyz.shape[0]), np.float32)
    for i in range(xyz.shape[0]):
        axes[0, i] = xyz[i, 0]
        axes[1, i] = xyz[i, 1]
        axes[2, i] = xyz[i, 2]
    return axes


@_jit
def _morton_codes(x, y, z, code):
    """Write the Morton codes of points inside their bounding cube to code [N]."""
    low_x, high_x = _extent(x)
    low_y, high_y = _extent(y)
    low_z, high_z = _extent(z)
    extent = max(high_x - low_x, high_y - low_y, high_z - low_z)
    scale = np.float32(_CELLS) / extent if extent > 0 else np.float32(0)
    if not (extent < np.inf and scale < np.inf):  # beyond float32: any order is correct
        code[:] = 0
        return
    for i in range(code.shape[0]):
        cell_x = np.int32((x[i] - low_x) * scale)
        cell_y = np.int32((y[i] - low_y) * scale)
        cell_z = np.int32((z[i] - low_z) * scale)
        code[i] = _spread(cell_x) | (_spread(cell_y) << 1) | (_spread(cell_z) << 2)


@_jit
def _morton_order(axes):
    """Return the points' indices [N] along a Morton curve through their bounding cube."""
    num_points = axes.shape[1]
    code = np.empty(num_points, np.int32)
    _morton_codes(axes[0], axes[1], axes[2], code)
    order = np.arange(num_points).astype(np.int32)
    half_sorted = np.empty(num_points, np.int32)
    _sort_pass(code, 0, order, half_sorted)
    _sort_pass(code, _DIGIT_BITS, half_sorted, order)
    return order


@_jit
def _buckets(axes):
    """Sort a cloud into K buckets of W points.

    Returns:
        points [K,3,W], index int32 [K,W], low [3,K] and high [3,K] corners of the boxes. The last
        bucket is padded with infinitely far points of index `_NOWHERE`.
    """
    order = _morton_order(axes)
    num_points = axes.shape[1]
    num_buckets = (num_points + _WIDTH - 1) // _WIDTH
    points = np.full((num_buckets, 3, _WIDTH), np.float32(np.inf), np.float32)
    index = np.full((num_buckets, _WIDTH), _NOWHERE, np.int32)
    low = np.empty((3, num_buckets), np.float32)
    high = np.empty((3, num_buckets), np.float32)
    for bucket in range(num_buckets):
        first = bucket * _WIDTH
        filled = min(_WIDTH, num_points - first)
        for j in range(filled):
            index[bucket, j] = order[first + j]
        for axis in range(3):
            for j in range(filled):
                points[bucket, axis, j] = axes[axis, order[first + j]]
            low[axis, bucket], high[axis, bucket] = _extent(points[bucket, axis, :filled])
    return points, index, low, high


@_jit
def _box_bounds(low_x, low_y, low_z, high_x, high_y, high_z, x, y, z, bound):
    """Write to bound [K] the bits of the squared distance from (x, y, z) to every box."""
    zero = np.float32(0)
    for i in range(bound.shape[0]):
        dx = max(max(low_x[i] - x, x - high_x[i]), zero)
        dy = max(max(low_y[i] - y, y - high_y[i]), zero)
        dz = max(max(low_z[i] - z, z - high_z[i]), zero)
        bound[i] = _bits(dx * dx + dy * dy + dz * dz)


@_jit
def _maximum(bits):
    """Return the largest of bits [K]."""
    largest = np.int32(-1)
    for i in range(bits.shape[0]):
        largest = max(largest, bits[i])
    return largest


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
def _first_farthest(farthest, largest, nearest, index):
    """Return the lowest point index at distance `largest`; farthest [K] are bucket maxima."""
    last, ties = np.int32(0), np.int32(0)
    for bucket in range(farthest.shape[0]):  # without a branch; nearly always one bucket
        ties += np.int32(farthest[bucket] == largest)
        last = np.int32(bucket) if farthest[bucket] == largest else last
    found = _first_in_bucket(largest, nearest[last], index[last])
    if ties > 1:
        for bucket in range(last):
            if farthest[bucket] == largest:
                found = min(found, _first_in_bucket(largest, nearest[bucket], index[bucket]))
    return found


@_jit
def sample_farthest(xyz, start, picked):
    """Fill picked int64 [S] by farthest-point sampling of xyz [N,3] from point `start`."""
    axes = _axes(xyz)
    points, index, low, high = _buckets(axes)
    num_buckets = index.shape[0]
    nearest = np.full(index.shape, _INFINITY, np.int32)
    for j in range(_WIDTH):  # padding is nearer than every point, so that it is never picked
        if index[num_buckets - 1, j] == _NOWHERE:
            nearest[num_buckets - 1, j] = -1
    farthest = np.full(num_buckets, _INFINITY, np.int32)
    bound = np.empty(num_buckets, np.int32)
    listed = np.empty(num_buckets + 1, np.int64)
    pick = start
    for step in range(picked.shape[0]):
        picked[step] = pick
        x, y, z = axes[0, pick], axes[1, pick], axes[2, pick]
        _box_bounds(low[0], low[1], low[2], high[0], high[1], high[2], x, y, z, bound)
        for i in range(_list_below(bound, farthest, listed)):
            bucket = listed[i]
            cell = points[bucket]
            farthest[bucket] = _lower(cell[0], cell[1], cell[2], x, y, z, nearest[bucket])
        largest = _maximum(farthest)
        if largest == 0:  # every point coincides with a pick; the lowest index is point 0
            picked[step + 1 :] = 0
            break
        pick = _first_farthest(farthest, largest, nearest, index)


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
def find_nearest(xyz, queries, neighbors):
    """Fill neighbors int64 [S,k] with the points of xyz [N,3] nearest to queries [S,3].

    A key is the distance's bits above the point's index: one comparison orders by both. The k-th
    key in the few nearest buckets limits the search in all others.
    """
    points, index, low, high = _buckets(_axes(xyz))
    num_buckets = index.shape[0]
    k = neighbors.shape[1]
    at_once = min((k + _WIDTH - 1) // _WIDTH + 3, num_buckets)
    bound = np.empty(num_buckets, np.int32)
    listed = np.empty(num_buckets + 1, np.int64)
    distance = np.empty(_WIDTH, np.int32)
    keys = np.empty(num_buckets * _WIDTH + 1, np.int64)
    kept = np.empty(k + 1, np.int64)
    for row in range(queries.shape[0]):
        x, y, z = queries[row, 0], queries[row, 1], queries[row, 2]
        _box_bounds(low[0], low[1], low[2], high[0], high[1], high[2], x, y, z, bound)
        above, reach, limit = np.int32(-1), np.int32(_threshold(bound, at_once, 1)), _INFINITY
        count = 0
        for _ in range(2):
            for i in range(_list_within(bound, above, reach, listed)):
                bucket = listed[i]
                cell = points[bucket]
                _distances(cell[0], cell[1], cell[2], x, y, z, distance)
                count = _append(distance, index[bucket], limit, keys, count)
            limit = np.int32(_threshold(keys[:count], k, 2) >> 32)
            above, reach = reach, limit
        worst = _threshold(keys[:count], k, 0)
        filled = 0
        for i in range(count):
            kept[filled] = keys[i]
            filled += np.int64(keys[i] <= worst)
        _write_sorted(kept[:k], neighbors[row])


@_jit
def find_in_ball(xyz, queries, squared_radius, neighbors):
    """Fill neighbors int64 [S,k] with the first points of xyz [N,3] inside each query's ball.

    Blocks of points are compared whole, in the order of the cloud, until k are found.
    """
    axes = _axes(xyz)
    x, y, z = axes[0], axes[1], axes[2]
    num_points = x.shape[0]
    k = neighbors.shape[1]
    limit = _bits(squared_radius)
    distance = np.empty(2 * _WIDTH, np.int32)
    found = np.empty(k + 2 * _WIDTH, np.int64)
    for row in range(queries.shape[0]):
        qx, qy, qz = queries[row, 0], queries[row, 1], queries[row, 2]
        count = 0
        for first in range(0, num_points, distance.shape[0]):
            last = min(first + distance.shape[0], num_points)
            block = distance[: last - first]
            _distances(x[first:last], y[first:last], z[first:last], qx, qy, qz, block)
            for j in range(last - first):
                found[count] = first + j
                count += np.int64(block[j] < limit)
            if count >= k:
                break
        if count == 0:
            found[0] = 0
        for j in range(k):
            neighbors[row, j] = found[j] if j < max(count, 1) else found[0]

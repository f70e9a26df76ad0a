"""A fixed binary tree over the slots, in whose order all sums are added up.

A node is a range ``(first, last)`` of slots; its children are the two halves. The order of the
additions does not depend on which process computes what, and so neither do the sums.
"""


def children(node):
    """Return the two halves of a node of more than one slot."""
    first, last = node
    middle = (first + last) // 2
    return (first, middle), (middle, last)


def subtrees(first, last, n_slots):
    """Return the largest nodes of the tree that lie within a range of slots, in order."""

    def within(node):
        if first <= node[0] and node[1] <= last:
            return [node]
        if node[1] <= first or last <= node[0]:
            return []
        left, right = children(node)
        return within(left) + within(right)

    return within((0, n_slots))


def add_up(node, known):
    """Add the arrays of the nodes in ``known`` up to ``node``, in place; return the sum."""
    if node in known:
        return known[node]
    left, right = children(node)
    total = add_up(left, known)
    total += add_up(right, known)
    return total


def sum_of_slots(values):
    """Return the sum of an array over its first axis, which has one entry for each slot."""
    known = {(i, i + 1): value for i, value in enumerate(values.copy())}
    if values.ndim == 1:  # numbers, not arrays
        known = {node: values[node[0] : node[1]].copy() for node in known}
        return float(add_up((0, len(values)), known)[0])
    return add_up((0, len(values)), known)

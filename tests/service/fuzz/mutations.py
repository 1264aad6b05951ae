"""Damage to bytes, as the fuzzers do it."""

NUMBERS = [b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4), b"\x80" * 4, b"\xff\xff\xff\xff\x0f"]


def mutated(random, seed, *, most=8, in_head=0.7, head=200):
    """A seed with one to `most` bytes changed, cut out, doubled or put in, or with numbers blown up.

    Args:
        in_head: share of the changes within the first `head` bytes.
    """
    data = bytearray(seed)
    for _ in range(random.integers(1, most + 1)):
        if not data:
            break
        position = int(random.integers(min(len(data), head) if random.random() < in_head else len(data)))
        kind = random.integers(5)
        if kind == 0:
            data[position] = random.integers(256)
        elif kind == 1:
            data[position] ^= 1 << random.integers(8)
        elif kind == 2:
            del data[position : position + int(random.integers(1, 40))]
        elif kind == 3:
            data[position:position] = data[position : position + int(random.integers(1, 40))]
        else:
            number = NUMBERS[random.integers(len(NUMBERS))]
            data[position : position + len(number)] = number
    return bytes(data)

#!/usr/bin/env python3
"""Writes dataplane/json/powers_internal.h: 128 bits of each power of five that a double can need.

    tools/powers_of_five.py > dataplane/json/powers_internal.h

Row q is the number c below 2^128 with its top bit set for which c * 2^e is 5^q, for the e that makes it so: cut off
for q >= 0, and for q < 0 the reciprocal rounded up (exactly so as far as 5^27, which 64 bits hold). The proof that
this is enough for correct rounding is in "Number Parsing at a Gigabyte per Second" (Lemire, 2021), section 5.
"""

MIN, MAX = -342, 308
EXACT_RECIPROCAL_MIN = -27


def top_bits(c):
    """The top 128 bits, the rest cut off."""
    shift = c.bit_length() - 128
    return c >> shift if shift >= 0 else c << -shift


def power(q):
    if q >= 0:
        return top_bits(5**q)
    divisor = 5**-q
    bits = (divisor - 1).bit_length()
    more = bits + 127 if q >= EXACT_RECIPROCAL_MIN else 2 * bits + 128
    return top_bits((1 << more) // divisor + 1)


def main():
    print("/* HOT. Made by tools/powers_of_five.py, which says what it holds; included by number.c only. */")
    print("#ifndef PENSTOCK_JSON_POWERS_INTERNAL_H")
    print("#define PENSTOCK_JSON_POWERS_INTERNAL_H\n")
    print("#include <stdint.h>\n")
    print(f"#define POWER_MIN ({MIN}) /* below it any 64-bit integer times 10^q rounds to 0 */")
    print(f"#define POWER_MAX {MAX}\n")
    print("/* clang-format off */")
    print("static const struct power_of_five {")
    print("    uint64_t high, low;")
    print("} powers_of_five[POWER_MAX - POWER_MIN + 1] = {")
    for q in range(MIN, MAX + 1):
        c = power(q)
        assert c.bit_length() == 128
        print(f"    {{0x{c >> 64:016x}, 0x{c & (1 << 64) - 1:016x}}}, /* {q} */")
    print("};")
    print("/* clang-format on */\n")
    print("#endif")


if __name__ == "__main__":
    main()

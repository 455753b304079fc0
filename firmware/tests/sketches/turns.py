"""Turns the knobs of firmware/examples/knobs.py as Arduino.h turns those of the other sketch, in lockstep with whoever is on the other end: each
turn ends with a byte 5, in both directions."""

import sys
import knobs

stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
link = knobs.Link(stdout.write)
pots = {"saturation": knobs.Turned(2), "mix": knobs.Turned(1)}
encoder = knobs.Encoder()
ms = 0
while True:
    quarter = 0 if ms < 500 else (ms - 500) // 25 if ms < 1400 else 36 - (ms - 1400) // 25 if ms < 1600 else 28
    both = (0, 2, 3, 1)[quarter % 4]
    clicks = encoder.read(both >> 1, both & 1)
    if clicks:
        link.add("hue", clicks)
    if ms % 50 == 0:
        readings = {"saturation": min(65535, 32768 + max(0, ms - 400) * 33), "mix": 65535 if ms < 400 else 32768 + ms % 3 * 90}
        for key, turned in pots.items():
            value = turned.read(readings[key])
            if value is not None:
                link.set(key, "%.2f" % value)
    if ms == 1000:
        link.set("freeze", "0" if link.told.get("freeze") == "1" else "1")
    # Its clock begins anew while it runs.
    link.speak((2**30 - 700 + ms) & 0x3FFFFFFF)
    ms += 1
    stdout.write(b"\x05")
    stdout.flush()
    heard = b""
    while not heard.endswith(b"\x05"):
        byte = stdin.read(1)
        if not byte:
            sys.exit()
        heard += byte
    link.hear(heard[:-1], (2**30 - 700 + ms) & 0x3FFFFFFF)

"""firmware/examples/knobs.py against the conformance file: every line that is sent there with a checksum is built, and every reply is taken apart."""

import sys
import knobs

built = read = 0
for line in open(sys.argv[1]):
    mark, _, text = line.rstrip("\n").partition(" ")
    if mark == "<":
        sequence, checked, words = knobs.parse(text)
        assert checked == ("*" in text) and words[0] in ("ok", "err", "-", "!"), text
        assert words[0] != "ok" or "rev" in knobs.values(words) or "n" in knobs.values(words), text
        read += 1
    if mark == ">" and " *" in text:
        body, _, digits = text.rpartition(" *")
        number, _, rest = body.partition(" ")
        sequence, rest = (int(number[1:]), rest) if number.startswith("#") else (None, body)
        if knobs.build(rest, sequence, True) == (text + "\n").encode():
            built += 1
        else:
            assert knobs.parse(text) is None, text
assert built >= 6 and read >= 80, (built, read)
assert knobs.parse("ok mix=1 *0000") is None and knobs.parse("#x ok") is None

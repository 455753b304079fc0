"""A knob box for Autochrome on a Raspberry Pi Pico (RP2040) with MicroPython, over its USB cable.

A potentiometer on GP26 is saturation, one on GP27 how much color is mixed in, an encoder on GP2 and GP3 turns the hue, a button on GP4 freezes the
picture, and the board's light is on while there is a live picture. Copy this file to the board as main.py.

What is said on the line is described in docs/panel.md; firmware/examples/panel-conformance.txt has every kind of line with its reply. Everything but
main() is plain Python, so that it can be tried without a board.
"""

LINE_MAX = 120
ANSWER_MS = 300
HELLO_MS = 1000
TRIES_MAX = 5


def checksum(data):
    """CRC-16/MODBUS of bytes."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def digits(crc):
    """The checksum's four digits: from 0 to 9 and on to : ; < = > ?"""
    return "".join(chr(48 + (crc >> shift & 15)) for shift in (12, 8, 4, 0))


def build(text, sequence=None, checked=False):
    """A line as bytes, from `SET mix=1` or the like."""
    if sequence is not None:
        text = "#%d %s" % (sequence, text)
    if checked:
        text = "%s *%s" % (text, digits(checksum(text.encode())))
    return (text + "\n").encode()


def parse(line):
    """Takes a line from the device apart, without its end: (sequence or None, checked, words). None if it is damaged."""
    checked = "*" in line
    if checked:
        text, given = line.rsplit("*", 1)
        if not text.endswith(" ") or given != digits(checksum(text[:-1].encode())):
            return None
        line = text[:-1]
    words = line.split(" ")
    sequence = None
    if words[0].startswith("#"):
        if not words[0][1:].isdigit():
            return None
        sequence = int(words.pop(0)[1:])
    return (sequence, checked, words) if words else None


def values(words):
    """The key=value words as a dictionary."""
    return dict(word.split("=", 1) for word in words if "=" in word)


class Link:
    """One end of the line: the box's. Asks one thing at a time, and asks again until it is answered.

    `write` takes bytes and `now` is in milliseconds. What the device says of its settings and of itself is in `told`.
    """

    def __init__(self, write, box="knobs", checked=True):
        self.write = write
        self.box = box
        self.checked = checked
        self.greeted = False
        self.greetings = 0
        self.told = {}
        self.refused = None
        self._sets = {}  # knob: value; the last one counts
        self._adds = {}  # knob: sum; all of them count
        self._asked = None
        self._adding = None
        self._setting = None
        self._sequence = 0
        self._tries = 0
        self._asked_at = 0
        self._heard = b""

    def set(self, key, value):
        self._sets[key] = value

    def add(self, key, step):
        self._adds[key] = self._adds.get(key, 0) + step

    def speak(self, now):
        """Says the next thing that there is to say."""
        if self._asked:
            # As MicroPython's ticks_diff: the clock begins again after 2**30 ms.
            if (now - self._asked_at) & 0x3FFFFFFF < (ANSWER_MS if self.greeted else HELLO_MS):
                return
            if self._tries < TRIES_MAX or not self.greeted:
                self._send(now)
                return
            self._begin_anew()
        if not self.greeted:
            self._ask("HELLO proto=1 box=%s fw=1%s" % (self.box, " crc=1" if self.checked else ""), now)
        elif self._adds:
            key, step = self._adding = next(iter(self._adds.items()))
            self._ask("ADD %s=%s" % (key, step), now)
        elif self._sets:
            key = next(iter(self._sets))
            self._setting = (key, self._sets[key])
            self._ask("SET %s=%s" % self._setting, now)

    def hear(self, data, now):
        """Takes bytes from the device."""
        self._heard += data
        while b"\n" in self._heard:
            line, self._heard = self._heard.split(b"\n", 1)
            if len(line) <= LINE_MAX + 1 and all(byte < 128 for byte in line):
                parsed = parse(line.decode().rstrip("\r"))
                if parsed:
                    self._understand(parsed, now)
        self._heard = self._heard[-LINE_MAX - 2 :]

    def _understand(self, parsed, now):
        sequence, checked, words = parsed
        hello = words[:2] == ["!", "hello"]
        if self.checked and self.greeted and not checked and not hello:
            return
        if hello:
            self._begin_anew()
        elif words[0] == "!":
            self.told.update(values(words))
        elif words[:2] == ["err", "11"]:
            # What was asked came over damaged. It has no number: the device does not trust a damaged one.
            if self._asked and self._tries < TRIES_MAX:
                self._send(now)
        elif self._asked and sequence == self._sequence and words[0] in ("ok", "err"):
            if words[:2] == ["err", "40"]:
                return  # busy: the same again, in a while
            if self._asked.startswith("HELLO"):
                self.greeted = words[0] == "ok"
                self.greetings += 1
            elif words[0] == "ok":
                self.told.update(values(words))
            if words[0] == "err":
                self.refused = " ".join(words)
            if self._adding:
                key, step = self._adding
                self._adding = None
                left = self._adds.pop(key) - step
                if left:
                    self._adds[key] = left
            if self._setting:
                key, value = self._setting
                self._setting = None
                if self._sets[key] == value:
                    del self._sets[key]
            self._asked = None

    def _begin_anew(self):
        self.greeted = False
        self._asked = self._adding = self._setting = None

    def _ask(self, text, now):
        self._asked = text
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._tries = 0
        self._send(now)

    def _send(self, now):
        self._asked_at = now
        self._tries += 1
        self.write(build(self._asked, self._sequence, self.checked))


class Turned:
    """A potentiometer's value between 0 and `end`, in steps of 1/50 of it, that stays where it is until it is clearly left."""

    def __init__(self, end):
        self.end = end
        self.raw = None

    def read(self, raw):
        """The new value of a 16-bit reading, or None."""
        if self.raw is not None and abs(raw - self.raw) < 1000:
            return None
        self.raw = raw
        return round(raw * 50 / 65535) * self.end / 50


class Encoder:
    """Clicks of a quadrature encoder: four changes make one, and one that bounces goes back and forth."""

    STEPS = (0, -1, 1, 0, 1, 0, 0, -1, -1, 0, 0, 1, 0, 1, -1, 0)

    def __init__(self):
        self.last = 0
        self.quarters = 0

    def read(self, a, b):
        """The clicks since the last call; `a` and `b` are 1 while the contact is closed."""
        self.last = (self.last << 2 | a << 1 | b) & 15
        self.quarters += self.STEPS[self.last]
        if abs(self.quarters) < 4:
            return 0
        clicks = 1 if self.quarters > 0 else -1
        self.quarters = 0
        return clicks


def main():
    import select
    import sys
    import time

    import micropython
    from machine import ADC, Pin

    # Noise must not stop the program by a Ctrl-C.
    micropython.kbd_intr(-1)
    port = select.poll()
    port.register(sys.stdin, select.POLLIN)
    link = Link(sys.stdout.buffer.write)
    pots = {"saturation": (ADC(26), Turned(2)), "mix": (ADC(27), Turned(1))}
    a, b, button = (Pin(number, Pin.IN, Pin.PULL_UP) for number in (2, 3, 4))
    light = Pin("LED", Pin.OUT)
    encoder = Encoder()
    pots_at = button_at = 0
    pressed = False
    greetings = 0
    while True:
        now = time.ticks_ms()
        clicks = encoder.read(1 - a.value(), 1 - b.value())
        if clicks:
            link.add("hue", clicks)
        if link.greetings != greetings:
            # A device that begins anew does not know where they stand.
            greetings = link.greetings
            for _, turned in pots.values():
                turned.raw = None
        if time.ticks_diff(now, pots_at) >= 50:
            pots_at = now
            for key, (adc, turned) in pots.items():
                value = turned.read(adc.read_u16())
                if value is not None:
                    link.set(key, "%.2f" % value)
        if (button.value() == 0) != pressed and time.ticks_diff(now, button_at) >= 30:
            pressed = not pressed
            button_at = now
            if pressed:
                link.set("freeze", "0" if link.told.get("freeze") == "1" else "1")
        while port.poll(0):
            link.hear(sys.stdin.buffer.read(1), now)
        light.value(link.told.get("cam") == "ok")
        link.speak(now)


try:
    import machine
except ImportError:
    machine = None

if machine and __name__ == "__main__":
    main()

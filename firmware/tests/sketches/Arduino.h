// Enough of an Arduino to compile firmware/examples/knobs/knobs.ino and to turn its knobs: the left potentiometer goes to its end, the right one to
// its middle, the encoder is turned by nine clicks forward and two back, and the button is pressed once.
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define A0 14
#define A1 15
#define LED_BUILTIN 13
#define INPUT_PULLUP 2
#define OUTPUT 1
#define HIGH 1
#define LOW 0
inline uint32_t clock_ms = 0xFFFFFF00u;  // begins anew while the sketch runs
inline uint32_t elapsed() { return clock_ms - 0xFFFFFF00u; }
inline uint32_t millis() { return clock_ms; }
inline void pinMode(uint8_t, uint8_t) {}
inline void digitalWrite(uint8_t, uint8_t) {}
inline int analogRead(uint8_t pin) {
  uint32_t ms = elapsed();
  if (pin == A0) return ms < 400 ? 512 : ms < 1400 ? 512 + (ms - 400) * 511 / 1000 : 1023;
  return ms < 400 ? 1023 : 511 + ms % 3;
}
inline int digitalRead(uint8_t pin) {
  uint32_t ms = elapsed();
  if (pin == 4) return ms >= 1000 && ms < 1100 ? LOW : HIGH;
  uint32_t quarter = ms < 500 ? 0 : ms < 1400 ? (ms - 500) / 25 : ms < 1600 ? 36 - (ms - 1400) / 25 : 28;
  static const uint8_t BOTH[4] = {0, 2, 3, 1};
  uint8_t closed = BOTH[quarter % 4];
  return pin == 2 ? (closed & 2 ? LOW : HIGH) : (closed & 1 ? LOW : HIGH);
}
struct Port {
  char in[8192];
  int length = 0, at = 0;
  void begin(long) {}
  void print(const char *text) { fputs(text, stdout); }
  void print(char c) { putchar(c); }
  void println(const char *text) { printf("%s\r\n", text); }
  int available() { return length - at; }
  int read() { return at < length ? (unsigned char)in[at++] : -1; }
};
inline Port Serial;

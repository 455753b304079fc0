// Runs the sketch a millisecond at a time, in lockstep with whoever is on the other end: each turn ends with a byte 5, in both directions.
#include "knobs.ino"
int main() {
  setup();
  for (;;) {
    loop();
    clock_ms++;
    putchar(5);
    fflush(stdout);
    Serial.length = Serial.at = 0;
    for (int c; (c = getchar()) != 5;) {
      if (c < 0) return 0;
      Serial.in[Serial.length++] = c;
    }
  }
}

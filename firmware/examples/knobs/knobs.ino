// A knob box for Autochrome: two potentiometers, an encoder, a button, and a light that is on while there is a live picture.
//
// The left potentiometer is saturation, the right one how much color is mixed in, the encoder turns the hue, and the button freezes the picture.
// What is said on the line is described in docs/panel.md; firmware/examples/panel-conformance.txt has every kind of line with its reply.
//
// The shortest box that works is `void loop() { Serial.println("SET saturation=0.5"); delay(1000); }`. This one also sees to it that no turn of a
// knob is lost or counted twice: a line has a number and a checksum, and is sent again until it is answered.

#include <Arduino.h>

const uint8_t SATURATION_PIN = A0, MIX_PIN = A1;  // potentiometers between 5 V and ground
const uint8_t ENCODER_A_PIN = 2, ENCODER_B_PIN = 3, BUTTON_PIN = 4;  // to ground
const uint8_t LIGHT_PIN = LED_BUILTIN;
const bool CHECKED = true;  // false: lines without checksums

const uint8_t LINE_MAX = 120;
const uint16_t ANSWER_MS = 300, HELLO_MS = 1000, POT_MS = 50, BUTTON_MS = 30;
const uint8_t TRIES_MAX = 5;

// The line that waits for its answer; empty if none does.
char asked[64];
uint16_t sequence = 0;
uint8_t tries = 0;
uint32_t asked_at = 0;
bool greeted = false;

char heard[LINE_MAX + 1];
uint8_t heard_length = 0;
bool heard_too_much = false;

// What is to be sent, in the units of the line times 100; -1: not known yet.
int saturation = -1, saturation_sent = -1, mix = -1, mix_sent = -1;
int clicks = 0, clicks_asked = 0;
bool freeze = false, freeze_pressed = false;

// CRC-16/MODBUS, as _crc16_update of avr-libc's <util/crc16.h>; here for every board.
uint16_t checksum(const char *text, uint8_t length) {
  uint16_t crc = 0xFFFF;
  while (length--) {
    crc ^= (uint8_t)*text++;
    for (uint8_t bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >> 1) ^ 0xA001 : crc >> 1;
  }
  return crc;
}

// The checksum's four digits: from 0 to 9 and on to : ; < = > ?
void write_digits(uint16_t crc, char *digits) {
  for (int8_t shift = 12; shift >= 0; shift -= 4) *digits++ = '0' + (crc >> shift & 15);
  *digits = 0;
}

void send_asked() {
  char line[LINE_MAX];
  snprintf(line, sizeof line, "#%u %s", (unsigned)sequence, asked);
  Serial.print(line);
  if (CHECKED) {
    char digits[5];
    write_digits(checksum(line, strlen(line)), digits);
    Serial.print(" *");
    Serial.print(digits);
  }
  Serial.print('\n');
  asked_at = millis();
  tries++;
}

// Sends `asked` under a new number.
void ask() {
  sequence++;
  tries = 0;
  send_asked();
}

void ask_hundredths(const char *key, int value) {
  snprintf(asked, sizeof asked, "SET %s=%d.%02d", key, value / 100, value % 100);
  ask();
}

// Says the next thing that there is to say, one at a time: HELLO before all else.
void speak() {
  if (asked[0]) {
    if (millis() - asked_at < (greeted ? ANSWER_MS : HELLO_MS)) return;
    if (!greeted || tries < TRIES_MAX) {
      send_asked();
      return;
    }
    // Nobody answers: the device may have begun anew.
    greeted = false;
    asked[0] = 0;
  }
  if (!greeted) {
    snprintf(asked, sizeof asked, "HELLO proto=1 box=knobs fw=1%s", CHECKED ? " crc=1" : "");
    ask();
  } else if (freeze_pressed) {
    freeze_pressed = false;
    snprintf(asked, sizeof asked, "SET freeze=%d", freeze ? 0 : 1);
    ask();
  } else if (clicks) {
    clicks_asked = clicks;
    snprintf(asked, sizeof asked, "ADD hue=%d", clicks);
    ask();
  } else if (saturation != saturation_sent) {
    saturation_sent = saturation;
    ask_hundredths("saturation", saturation);
  } else if (mix != mix_sent) {
    mix_sent = mix;
    ask_hundredths("mix", mix);
  }
}

bool begins(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

// A whole line from the device, without its checksum.
void understand(const char *text) {
  if (begins(text, "! hello ")) {
    // The device has begun anew.
    greeted = false;
    asked[0] = 0;
  } else if (begins(text, "! state ")) {
    digitalWrite(LIGHT_PIN, strstr(text, " cam=ok") ? HIGH : LOW);
  } else if (begins(text, "! set freeze=")) {
    freeze = text[13] == '1';
  } else if (begins(text, "err 11")) {
    // What was asked came over damaged. It has no number: the device does not trust a damaged one.
    if (asked[0] && tries < TRIES_MAX) send_asked();
  } else if (asked[0] && text[0] == '#' && (uint16_t)atol(text + 1) == sequence) {
    const char *reply = strchr(text, ' ');
    if (!reply || begins(reply, " err 40")) return;  // busy: the same again, in a while
    if (begins(asked, "HELLO")) {
      greeted = begins(reply, " ok ");
      saturation_sent = mix_sent = -1;  // a potentiometer stands where it stands
    }
    if (begins(asked, "ADD hue=")) clicks -= clicks_asked;  // at the end of the scale too
    if (begins(asked, "SET freeze=") && begins(reply, " ok ")) freeze = asked[11] == '1';
    asked[0] = 0;
  }
}

void listen() {
  while (Serial.available()) {
    char c = Serial.read();
    if (c == '\n') {
      heard[heard_length] = 0;
      char *star = strrchr(heard, '*');
      bool sound = !heard_too_much;
      if (star && star > heard) {
        char digits[5];
        star[-1] = 0;
        write_digits(checksum(heard, star - 1 - heard), digits);
        sound = sound && strcmp(star + 1, digits) == 0;
      } else if (CHECKED && greeted) {
        // Only the greeting of a device that has begun anew comes without.
        sound = sound && begins(heard, "! hello ");
      }
      if (sound) understand(heard);
      heard_length = 0;
      heard_too_much = false;
    } else if (c != '\r') {
      if (heard_length < LINE_MAX) heard[heard_length++] = c;
      else heard_too_much = true;
    }
  }
}

// A potentiometer in hundredths from 0 to `end`, in steps of 2; the old value unless it was clearly left.
int turned(uint8_t pin, int old, int end) {
  int raw = analogRead(pin);
  int now = (int)((long)raw * (end / 2) / 1023) * 2;
  bool clearly = old < 0 || abs(raw - (int)((long)old * 1023 / end)) > 4 * (1023 / end + 1);
  return clearly ? now : old;
}

void look() {
  static uint32_t pots_at = 0, button_at = 0;
  static uint8_t encoder = 0;
  static bool button = false;
  static int8_t quarters = 0;
  uint32_t now = millis();
  if (now - pots_at >= POT_MS) {
    pots_at = now;
    saturation = turned(SATURATION_PIN, saturation, 200);
    mix = turned(MIX_PIN, mix, 100);
  }
  // Four changes make a click; one that bounces goes back and forth.
  static const int8_t STEPS[16] = {0, -1, 1, 0, 1, 0, 0, -1, -1, 0, 0, 1, 0, 1, -1, 0};
  encoder = (encoder << 2 | (digitalRead(ENCODER_A_PIN) == LOW) << 1 | (digitalRead(ENCODER_B_PIN) == LOW)) & 15;
  quarters += STEPS[encoder];
  if (quarters >= 4 || quarters <= -4) {
    clicks += quarters / 4;
    quarters = 0;
  }
  bool pressed = digitalRead(BUTTON_PIN) == LOW;
  if (pressed != button && now - button_at >= BUTTON_MS) {
    button = pressed;
    button_at = now;
    if (pressed) freeze_pressed = true;
  }
}

void setup() {
  pinMode(ENCODER_A_PIN, INPUT_PULLUP);
  pinMode(ENCODER_B_PIN, INPUT_PULLUP);
  pinMode(BUTTON_PIN, INPUT_PULLUP);
  pinMode(LIGHT_PIN, OUTPUT);
  Serial.begin(115200);
}

void loop() {
  look();
  listen();
  speak();
}

// Colours and times in words, as both pages show them.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { hexOf, luminance, paint, rgbOf } from '../../../web/parts/color.js';
import { clock, dayOf, dayWords, relative, span } from '../../../web/parts/time.js';

test('a colour is read as hex, as a name, and as the nine digits of the older systems', () => {
  assert.deepEqual(rgbOf('#80c0ff'), [128, 192, 255]);
  assert.deepEqual(rgbOf('#8cf'), [136, 204, 255]);
  assert.deepEqual(rgbOf('128192255'), [128, 192, 255]);
  assert.deepEqual(rgbOf('000064000'), [0, 64, 0]);
  assert.deepEqual(rgbOf('rgb(1, 2, 3)'), [1, 2, 3]);
  assert.deepEqual(rgbOf('Teal'), [0, 128, 128]);
  assert.equal(hexOf([128, 192, 255]), '#80c0ff');
});

test('what is no colour is never handed on: the author gets one made from the name', () => {
  for (const color of [undefined, null, '', '999999999', 'url(//example.com/x)', 'red;color:blue', 'rgb(1,2,300)']) {
    assert.equal(rgbOf(color), null, String(color));
    assert.match(paint({ name: 'Ada', color }).color, /^rgb\(\d+ \d+ \d+\)$/);
  }
  assert.equal(paint({ name: 'Ada' }).color, paint({ name: 'Ada', color: 'nonsense' }).color);
  assert.notEqual(paint({ name: 'Ada' }).color, paint({ name: 'Grace' }).color);
});

test('the letter on an author\'s colour can be read, whatever the colour', () => {
  for (let hue = 0; hue < 256; hue += 5) {
    for (const color of [[hue, hue, hue], [hue, 0, 0], [0, hue, 255], [255, hue, 40]]) {
      const lit = luminance(/** @type {[number, number, number]} */ (color));
      const ink = paint({ name: '', color: `rgb(${color.join(',')})` }).ink === '#fff' ? 1 : 0;
      const contrast = (Math.max(lit, ink) + 0.05) / (Math.min(lit, ink) + 0.05);
      assert.ok(contrast >= 4.5, `${color}: ${contrast}`);
    }
  }
});

test('a span of time is said in its two largest units', () => {
  const said = [[0, '0 ms'], [80, '80 ms'], [4_200, '4.2 s'], [59_990, '1 min'], [72_000, '1 min 12 s'], [7_500_000, '2 h 5 min'], [273_600_000, '3 d 4 h']];
  for (const [ms, words] of said) assert.equal(span(/** @type {number} */ (ms)), words);
});

test('a time is said relative to now, and as its day once it is a week old', () => {
  const now = new Date(2026, 2, 12, 15, 4, 5).getTime();
  const before = (/** @type {number} */ s) => now - s * 1_000;
  assert.equal(relative(before(-3), now), 'just now');
  assert.equal(relative(before(12), now), '12 s ago');
  assert.equal(relative(before(299), now), '4 min ago');
  assert.equal(relative(before(86_400), now), '1 day ago');
  assert.equal(relative(before(86_400 * 9), now), 'Tuesday 3 March');
  assert.equal(clock(now), '15:04');
});

test('a day is called today, yesterday, or by its name, also over the end of a year', () => {
  const now = new Date(2026, 0, 1, 0, 30).getTime();
  assert.equal(dayWords(now, now), 'Today');
  assert.equal(dayWords(now - 3_600_000, now), 'Yesterday');
  assert.equal(dayWords(now - 2 * 86_400_000, now), 'Tuesday 30 December 2025');
  assert.equal(dayOf(now) === dayOf(now - 3_600_000), false);
});

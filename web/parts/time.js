// Times in words. Pure: the present is given, never asked for. All `at` are RFC 3339 or milliseconds since 1970.
// The formats are made once: making one costs more than a hundred uses.

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const DAY = new Intl.DateTimeFormat('en-GB', { weekday: 'long', day: 'numeric', month: 'long' });
const DAY_OF_YEAR = new Intl.DateTimeFormat('en-GB', { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
const WHOLE = new Intl.DateTimeFormat('en-GB', { dateStyle: 'full', timeStyle: 'long' });

/** @typedef {string | number} At */

/** @param {At} at */
export const millis = (at) => (typeof at === 'number' ? at : Date.parse(at));

/** @param {At} at @returns {string} `14:03`, in the reader's time zone */
export const clock = (at) => CLOCK.format(millis(at));

/** @param {At} at @returns {string} day, time to the second and zone: for `title` */
export const absolute = (at) => WHOLE.format(millis(at));

/** @param {At} at @returns {string} equal for two times of one day of the reader's time zone */
export function dayOf(at) {
  const date = new Date(millis(at));
  return `${date.getFullYear()}-${date.getMonth() + 1}-${date.getDate()}`;
}

/** @param {At} at @param {number} now @returns {string} `Today`, `Yesterday`, `Monday 3 March`, with the year if it is another */
export function dayWords(at, now) {
  const [date, today] = [new Date(millis(at)), new Date(now)];
  if (dayOf(at) === dayOf(now)) return 'Today';
  if (dayOf(at) === dayOf(new Date(today.getFullYear(), today.getMonth(), today.getDate() - 1).getTime())) return 'Yesterday';
  return (date.getFullYear() === today.getFullYear() ? DAY : DAY_OF_YEAR).format(date).replace(',', '');
}

/** @param {At} at @param {number} now @returns {string} `just now`, `12 s ago`, `5 min ago`, `3 h ago`, `2 days ago`; the day after a week */
export function relative(at, now) {
  const ms = now - millis(at);
  if (ms < 5_000) return 'just now';
  if (ms < 60_000) return `${Math.floor(ms / 1_000)} s ago`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ago`;
  if (ms < 86_400_000) return `${Math.floor(ms / 3_600_000)} h ago`;
  const days = Math.floor(ms / 86_400_000);
  return days < 7 ? `${days} ${days === 1 ? 'day' : 'days'} ago` : dayWords(at, now);
}

/** @param {number} ms @returns {string} a span: `80 ms`, `4.2 s`, `1 min 12 s`, `2 h 5 min`, `3 d 4 h` */
export function span(ms) {
  if (ms < 100) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 59_950) return `${(ms / 1_000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 3_600) return two(seconds, 60, 'min', 's');
  return seconds < 86_400 ? two(Math.floor(seconds / 60), 60, 'h', 'min') : two(Math.floor(seconds / 3_600), 24, 'd', 'h');
}

/** @param {number} count @param {number} size @param {string} big @param {string} small */
function two(count, size, big, small) {
  const rest = count % size;
  return `${Math.floor(count / size)} ${big}${rest ? ` ${rest} ${small}` : ''}`;
}

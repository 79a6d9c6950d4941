// Why something did not work, as a sentence for people. Pure.
//
// The server gives each reason a code that never changes, and words for whoever runs it: addresses, models, settings. A room is
// read by visitors, so only the code counts here; the monitor, the log and `antiphon replay why` have the words.
// A test holds both tables against the codes of the bots and of /openapi.json.

/** Codes of failed answers. @type {Record<string, (bot: string) => string>} */
const ANSWERS = {
  'model-unreachable': (bot) => `${bot} cannot be reached right now`,
  'model-broke-off': (bot) => `${bot} was interrupted`,
  'model-error': (bot) => `${bot} ran into an error`,
  'model-busy': (bot) => `${bot} is busy or still starting`,
  'model-not-found': (bot) => `${bot} is not set up correctly; please tell the operator`,
  'model-refused': (bot) => `${bot} did not accept this message; it may be too long`,
  'model-key': (bot) => `${bot} is not set up correctly; please tell the operator`,
  'model-protocol': (bot) => `${bot} is not set up correctly; please tell the operator`,
  'model-finish': (bot) => `${bot} stopped before the answer was complete`,
  'model-timeout': (bot) => `${bot} took too long`,
  'empty-answer': (bot) => `${bot} gave no answer`,
  unwanted: () => 'the answer is no longer wanted',
  'too-old': () => 'the question waited too long',
  'no-such-bot': (bot) => `${bot} is no longer here`,
  'attempts-used-up': (bot) => `${bot} stopped responding`,
};

/** A reason of the log is `code: words`; one that was tried several times has the last reason within. */
const CODE = /^([a-z]+(?:-[a-z]+)*)(?::\s*|$)/;

/**
 * @param {string} reason of a failed answer, as in the log
 * @param {string} [bot]
 * @returns {string} a sentence without a full stop
 */
export function reasonWords(reason, bot = 'the bot') {
  const [whole = '', code = ''] = CODE.exec(reason) ?? [];
  const within = code === 'attempts-used-up' ? (CODE.exec(reason.slice(whole.length))?.[1] ?? '') : '';
  const words = (Object.hasOwn(ANSWERS, within) && ANSWERS[within]) || (Object.hasOwn(ANSWERS, code) && ANSWERS[code]);
  return words ? words(bot) : `${bot} could not answer`;
}

const TRY_LATER = 'The server cannot do this right now. Please try again in a moment.';
const OTHER_ADDRESS = 'The server does not accept messages from this address. Please tell the operator.';
const OTHER_PAGE = 'The server did not understand this page. Please reload it.';

/** Codes of refusals. @type {Record<string, string>} */
const REFUSALS = {
  'text-too-long': 'This message is too long.',
  'body-too-large': 'This message is too long.',
  'empty-text': 'This message is empty.',
  'bad-text': 'This message has a character that cannot be sent.',
  'bad-said-at': OTHER_PAGE,
  'bad-name': 'This name cannot be used. Please choose another.',
  'bad-color': 'This colour cannot be used. Please choose another.',
  'not-your-name': 'This name belongs to somebody else. Please choose another.',
  'unknown-bot': 'This bot does not answer in this room.',
  'one-bot-only': 'Only one bot can be asked at a time.',
  'reply-to-elsewhere': 'The message that you reply to is not in this room.',
  'queue-full': 'Too many messages are waiting for this bot. Please try again later.',
  'id-taken': 'This message could not be sent. Please try again.',
  'no-such-message': 'This message does not exist.',
  'already-ended': 'This is over already.',
  'not-failed': 'This cannot be tried again now.',
  redacted: 'This message was deleted.',
  'bad-room': 'There is no room with this name.',
  'bad-moment': 'This is not a time.',
  'other-epoch': 'The history of this room was replaced. Please reload the page.',
  'log-trimmed': 'Messages as old as this are no longer kept.',
  'log-invalid': 'This part of the history cannot be read. Please tell the operator.',
  'import-only': OTHER_ADDRESS,
  'foreign-host': OTHER_ADDRESS,
  'host-not-allowed': OTHER_ADDRESS,
  'foreign-origin': OTHER_ADDRESS,
  'body-too-slow': 'The connection is too slow. Please try again.',
  'bad-json': OTHER_PAGE,
  'wrong-type': OTHER_PAGE,
  'not-json': OTHER_PAGE,
  'bad-priority': OTHER_PAGE,
  'bad-position': OTHER_PAGE,
  'bad-limit': OTHER_PAGE,
  'bad-kind': OTHER_PAGE,
  'bad-rooms': OTHER_PAGE,
  'bad-id': OTHER_PAGE,
  'at-looks-back': OTHER_PAGE,
  'unknown-parameter': OTHER_PAGE,
  'no-such-path': OTHER_PAGE,
  'method-not-allowed': OTHER_PAGE,
  'log-away': TRY_LATER,
  'log-failed': TRY_LATER,
  'log-full': 'The server has no space left. Please tell the operator.',
  'log-busy': TRY_LATER,
  'index-failed': TRY_LATER,
  behind: TRY_LATER,
  busy: TRY_LATER,
  stopping: TRY_LATER,
  internal: 'Something went wrong on the server. Please tell the operator.',
};

/** What this page's own client says when nobody answers: sentences for people already. */
const OWN = new Set(['unreachable', 'http']);

/**
 * @param {string} code of a refusal
 * @param {string} [detail] the server's sentence
 */
export function refusalWords(code, detail = '') {
  if (OWN.has(code)) return detail;
  return Object.hasOwn(REFUSALS, code) ? /** @type {string} */ (REFUSALS[code]) : `The server did not accept this (${code}).`;
}

/** Whether a code has a sentence of its own. @param {string} code */
export const isKnown = (code) => Object.hasOwn(ANSWERS, code) || Object.hasOwn(REFUSALS, code);

/** @param {unknown} error what a call to the server threw */
export function errorWords(error) {
  const { code, detail, message } = /** @type {{ code?: string, detail?: string, message?: string }} */ (error ?? {});
  return code ? refusalWords(code, detail) : (message ?? String(error));
}

// What the tests of the pages share: real servers that may be killed, a model under the test's control, Chromium, and a record of
// everything that a page must not do.
//
// ```js
// const h = harness();                      // once a file: starts Chromium before its tests, ends everything after them
// test('…', async () => {
//   const model = await h.model();          // or none: then the built-in one answers
//   const server = await h.server({ model });
//   const ann = await h.page(server, '/r/lobby');                       // a browser of her own
//   const again = await h.page(server, '/r/lobby', { in: ann });        // another tab of that browser
//   const answer = await model.asked();     // the bot asks: now the test says what the model does, word by word
//   await answer.say('one ');
// });
// ```
// After each test its pages, servers and models are gone, and it has failed if a page had an error in its console, an exception, a
// report of its Content-Security-Policy or a failed request that `h.allow` did not name.
// Not here: sleeping. Wait for something: `page.waitForFunction`, `locator.waitFor`, `model.asked`, `until`.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, afterEach, before } from 'node:test';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

/** Nothing that a test waits for takes this long on the slowest machine. */
export const PATIENCE_MS = 60_000;
/** Whether long tests have their full counts. */
export const SOAK = Boolean(process.env.ANTIPHON_SOAK);

const BINARY = process.env.ANTIPHON_BIN ?? fileURLToPath(new URL('../../target/release/antiphon', import.meta.url));
const CHROMIUM = process.env.ANTIPHON_CHROMIUM ?? '/usr/bin/chromium';
const FLAGS = [
  '--no-sandbox', // containers run tests as root
  '--disable-smooth-scrolling', // a turn of the wheel is there at once, not spread over frames that a busy machine drops
  '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

/** Faults that a test may bring about on purpose. */
const ALLOWED = {
  /** The server was killed, or is not there. */
  'server-gone': /ERR_(CONNECTION_REFUSED|CONNECTION_RESET|CONNECTION_CLOSED|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING|SOCKET_NOT_CONNECTED)/,
  /** The browser has no network. */
  offline: /ERR_(INTERNET_DISCONNECTED|NETWORK_CHANGED)/,
  /** A proxy, or a route of the test's, answers for a server that is away. */
  gateway: /\b50[234]\b/,
  /** The server refuses what is asked. */
  refused: /\b4\d\d\b/,
};

/** A page may always take back what it asked for, as when it closes a stream. */
const TAKEN_BACK = /^request: .*net::ERR_ABORTED/;

/** @typedef {import('playwright-core').Page} Page */
/** @typedef {import('playwright-core').BrowserContext} BrowserContext */

/** Registers with the test runner: call it once, at the top of a file. */
export function harness() {
  const h = new Harness();
  before(() => h.launch());
  afterEach(() => h.endTest());
  after(() => h.end());
  return h;
}

class Harness {
  /** @type {import('playwright-core').Browser | undefined} */
  browser;
  /** @type {Set<{ end(): Promise<void> }>} */
  #running = new Set();
  /** @type {Set<BrowserContext>} */
  #contexts = new Set();
  /** @type {string[]} */
  #faults = [];
  /** @type {Set<RegExp>} */
  #allowed = new Set();

  async launch() {
    this.browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS, headless: true });
  }

  /**
   * A server with a data folder of its own.
   * @param {{ model?: Model, args?: string[], settings?: string }} [options] `settings`: the text of its antiphon.toml, with bots and
   *   their models
   */
  async server({ model, args = [], settings } = {}) {
    const folder = await mkdtemp(join(tmpdir(), 'antiphon-pages-'));
    if (settings !== undefined) await writeFile(join(folder, 'antiphon.toml'), settings);
    const answers = model?.args ?? (settings === undefined ? ['--model', 'builtin'] : []);
    const server = new Server(folder, [...answers, ...(model ? [] : ['--pace', '1']), ...args]);
    this.#running.add(server);
    await server.start();
    return server;
  }

  async model() {
    const model = new Model();
    this.#running.add(model);
    await model.start();
    return model;
  }

  /**
   * Something else that ends with the test, as a proxy of its own.
   * @template {{ end(): Promise<void> }} T
   * @param {T} running
   * @returns {T}
   */
  keep(running) {
    this.#running.add(running);
    return running;
  }

  /** A browser of its own: storage, locks and channels. @param {import('playwright-core').BrowserContextOptions} [options] */
  async context(options) {
    if (!this.browser) throw new Error('Chromium was not launched');
    const context = await this.browser.newContext(options);
    this.#contexts.add(context);
    context.setDefaultTimeout(PATIENCE_MS);
    await context.exposeBinding('reportFault', (_, words) => void this.#faults.push(`policy: ${words}`));
    await context.addInitScript(() => {
      document.addEventListener('securitypolicyviolation', (report) => {
        /** @type {any} */ (window).reportFault(`${report.violatedDirective} ${report.blockedURI} ${report.sourceFile}`);
      });
    });
    context.on('page', (page) => this.#watch(page));
    return context;
  }

  /**
   * A page of a server: in a browser of its own, or, with `in`, in the browser of another page or a context. With `html` the
   * path shows that instead of what the server has there, under `policy` (by default as strict as the server's own).
   *
   * @param {Server} server
   * @param {string} path
   * @param {{ in?: Page | BrowserContext, html?: string, policy?: string, options?: import('playwright-core').BrowserContextOptions }} [options]
   */
  async page(server, path, { in: home, html, policy = POLICY, options } = {}) {
    const context = home ? ('context' in home ? home.context() : home) : await this.context(options);
    const page = await context.newPage();
    const url = server.url + path;
    if (html !== undefined) {
      const headers = { 'content-type': 'text/html; charset=utf-8', ...(policy && { 'content-security-policy': policy }) };
      await page.route(url, (route) => route.fulfill({ headers, body: html }));
    }
    await page.goto(url);
    return page;
  }

  /** Faults that this test brings about. @param {...keyof typeof ALLOWED} names */
  allow(...names) {
    for (const name of names) this.#allowed.add(ALLOWED[name]);
  }

  /** What went wrong in pages so far and was not allowed. */
  faults() {
    const allowed = [...this.#allowed, TAKEN_BACK];
    return this.#faults.filter((fault) => !allowed.some((pattern) => pattern.test(fault)));
  }

  /** The faults so far, which the test expected and so are none. */
  takeFaults() {
    const faults = this.faults();
    this.#faults = [];
    return faults;
  }

  /** @param {Page} page */
  #watch(page) {
    page.on('console', (message) => {
      if (message.type() !== 'error' && message.type() !== 'warning') return;
      this.#faults.push(`console: ${message.text()} (${message.location().url})`);
    });
    page.on('pageerror', (error) => this.#faults.push(`exception: ${error.stack ?? error.message}`));
    page.on('requestfailed', (request) => this.#faults.push(`request: ${request.url()} ${request.failure()?.errorText}`));
    page.on('crash', () => this.#faults.push(`crash: ${page.url()}`));
  }

  async endTest() {
    // First, so that what ends below is no fault of the pages.
    const faults = this.faults();
    for (const context of this.#contexts) await context.close();
    for (const running of this.#running) await running.end();
    this.#contexts.clear();
    this.#running.clear();
    this.#faults = [];
    this.#allowed.clear();
    if (faults.length > 0) throw new Error(`the pages had faults:\n${faults.join('\n')}`);
  }

  async end() {
    await this.browser?.close();
  }
}

/** As the server sends it with its own pages. */
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'";

/** Killed when this process ends, however it does. @type {Set<import('node:child_process').ChildProcess>} */
const children = new Set();
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL')));

export class Server {
  url = '';
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #child;
  #folder;
  #args;

  /** @param {string} folder @param {string[]} args */
  constructor(folder, args) {
    this.#folder = folder;
    this.#args = args;
  }

  /** On a free port, or again on the one it had. */
  async start() {
    if (!existsSync(BINARY)) throw new Error(`there is no ${BINARY}; run scripts/test-pages, or set ANTIPHON_BIN`);
    const listen = this.url === '' ? '127.0.0.1:0' : new URL(this.url).host;
    const args = ['serve', '--data', join(this.#folder, 'data'), '--listen', listen, ...this.#args];
    const child = spawn(BINARY, args, { cwd: this.#folder, stdio: ['ignore', 'pipe', 'pipe'] });
    children.add(child);
    this.#child = child;
    let said = '';
    child.stderr.on('data', (bytes) => { said = (said + bytes).slice(-4_000); });
    for await (const line of createInterface({ input: child.stdout })) {
      const [, address] = line.match(/listens on (http:\/\/\S+)/) ?? [];
      if (address) {
        this.url = address;
        child.stdout.resume();
        return;
      }
    }
    throw new Error(`the server ended before it listened:\n${said}`);
  }

  /** SIGKILL, as the kernel does when memory is short. */
  async kill() {
    const child = this.#child;
    if (!child) return;
    this.#child = undefined;
    children.delete(child);
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  async end() {
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** @param {string} path @returns {Promise<any>} */
  async get(path) {
    const response = await fetch(this.url + path);
    if (!response.ok) throw new Error(`GET ${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  /**
   * Posts as another program would.
   * @param {string} room
   * @param {string} text
   * @param {object} [more] e.g. `{ to: [] }`: nobody shall answer
   */
  async post(room, text, more = {}) {
    const body = JSON.stringify({ text, author: { name: 'Program' }, ...more });
    const path = `${this.url}/api/rooms/${room}/messages`;
    const response = await fetch(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    if (!response.ok) throw new Error(`a post was refused: ${response.status} ${await response.text()}`);
    return response.json();
  }

  /** All messages of a room, oldest first. @param {string} room @returns {Promise<any[]>} */
  async messages(room) {
    /** @type {any[]} */
    let all = [];
    for (;;) {
      const before = all[0] ? `&before=${all[0].position}` : '';
      const { messages } = await this.get(`/api/rooms/${room}/messages?limit=500${before}`);
      all = [...messages, ...all];
      if (messages.length < 500) return all;
    }
  }

  /** Open event streams. */
  async subscribers() {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    const [, count] = text.match(/^\S*subscribers\S* (\d+)$/m) ?? [];
    return Number(count);
  }
}

/** A model server that speaks OpenAI's dialect and does nothing by itself. */
export class Model {
  args = /** @type {string[]} */ ([]);
  #server = createServer((request, response) => this.#asked(request, response));
  /** @type {Answer[]} */
  #waiting = [];
  /** @type {((answer: Answer) => void)[]} */
  #asking = [];

  async start() {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    const { port } = /** @type {import('node:net').AddressInfo} */ (this.#server.address());
    this.args = ['--model', 'openai:fake', '--openai-base-url', `http://127.0.0.1:${port}/v1`];
  }

  /** The next question, once the bot asks it; answered by the test. @returns {Promise<Answer>} */
  asked() {
    const answer = this.#waiting.shift();
    if (answer) return Promise.resolve(answer);
    return within(new Promise((resolve) => { this.#asking.push(resolve); }), 'the bot asks the model');
  }

  async end() {
    const gone = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await gone;
  }

  /** @param {import('node:http').IncomingMessage} request @param {import('node:http').ServerResponse} response */
  async #asked(request, response) {
    if (request.url === '/v1/models') {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ object: 'list', data: [{ id: 'fake', object: 'model' }] }));
      return;
    }
    let body = '';
    for await (const bytes of request) body += bytes;
    const answer = new Answer(JSON.parse(body), response);
    const next = this.#asking.shift();
    if (next) next(answer);
    else this.#waiting.push(answer);
  }
}

/** The answer to one question, piece by piece as the test wants. */
export class Answer {
  #response;
  #begun = false;

  /** @param {any} request what the bot sent @param {import('node:http').ServerResponse} response */
  constructor(request, response) {
    this.request = request;
    this.#response = response;
  }

  /** The question: the last thing that was said. @returns {string} */
  get question() {
    return this.request.messages.at(-1).content;
  }

  /** Words. They are on the wire when this resolves. @param {string} text */
  say(text) {
    return this.#data({ choices: [{ index: 0, delta: { content: text }, finish_reason: null }] });
  }

  /** The end. @param {string} [reason] */
  async finish(reason = 'stop') {
    await this.#data({ choices: [{ index: 0, delta: {}, finish_reason: reason }] });
    await this.#data({ choices: [], usage: { prompt_tokens: 11, completion_tokens: 7 } });
    this.#response.end('data: [DONE]\n\n');
  }

  /** All at once. @param {string} text */
  async answer(text) {
    await this.say(text);
    await this.finish();
  }

  /** The model fails before its first word. @param {number} status @param {string} words */
  fail(status, words) {
    this.#response.writeHead(status, { 'content-type': 'application/json' });
    this.#response.end(JSON.stringify({ error: { message: words } }));
  }

  /** The connection is cut. */
  cut() {
    this.#response.destroy();
  }

  /** Resolves once the bot has gone away, as when the question was cancelled. */
  gone() {
    /** @type {Promise<unknown>} */
    const gone = this.#response.destroyed ? Promise.resolve() : once(this.#response, 'close');
    return within(gone, 'the bot goes away');
  }

  /** @param {object} event @returns {Promise<void>} */
  #data(event) {
    if (!this.#begun) this.#response.writeHead(200, { 'content-type': 'text/event-stream' });
    this.#begun = true;
    return new Promise((resolve, reject) => {
      this.#response.write(`data: ${JSON.stringify(event)}\n\n`, (error) => (error ? reject(error) : resolve()));
    });
  }
}

/**
 * Fails with words instead of waiting for ever.
 * @template T
 * @param {Promise<T>} promise
 * @param {string} what
 * @returns {Promise<T>}
 */
export function within(promise, what) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`this did not happen in ${PATIENCE_MS / 1000} s: ${what}`)), PATIENCE_MS);
  });
  return /** @type {Promise<T>} */ (Promise.race([promise, late]).finally(() => clearTimeout(timer)));
}

/**
 * Asks until the answer is what is wanted, of things that give no sign by themselves, like numbers of a server.
 * @param {string} what
 * @param {() => Promise<boolean>} good
 */
export async function until(what, good) {
  const end = Date.now() + PATIENCE_MS;
  while (!(await good())) {
    if (Date.now() > end) throw new Error(`this did not happen in ${PATIENCE_MS / 1000} s: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
}

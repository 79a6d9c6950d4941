// That the harness sees what a page must not do: without this a test of pages could not fail for it.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { harness, until } from '../harness.js';

const h = harness();

/** @param {string} body */
const html = (body) => `<!doctype html><html lang="en"><link rel="icon" href="data:,"><title>faults</title>${body}</html>`;

for (const [what, body, kinds] of /** @type {[string, string, string[]][]} */ ([
  ['an inline style', '<p style="color: red">red</p>', ['policy']],
  ['an inline script', '<script>document.title = "ran"</script>', ['policy']],
  ['an image of another host', '<img alt="" src="http://127.0.0.2:9/x.png">', ['policy']],
  ['a script that is not there', '<script src="/web/no-such.js"></script>', ['console']],
])) {
  test(`${what} is a fault`, async () => {
    const server = await h.server();
    await h.page(server, '/faults', { html: html(body) });
    for (const kind of kinds) {
      await until(`a fault of the kind ${kind}`, () => Promise.resolve(h.faults().some((fault) => fault.startsWith(kind))));
    }
    assert.ok(h.takeFaults().length > 0);
  });
}

test('an error in the console, an exception and a request that failed are faults, unless the test names them', async () => {
  const server = await h.server();
  const page = await h.page(server, '/faults', { html: html('') });
  await page.evaluate(() => {
    console.error('a mistake');
    setTimeout(() => { throw new Error('another'); });
  });
  await until('both are noted', () => Promise.resolve(h.faults().length >= 2));
  assert.match(h.takeFaults().join('\n'), /console: a mistake[^]*exception: Error: another/);
  await server.kill();
  await page.evaluate(() => fetch('/health/live').catch(() => undefined));
  await until('it is noted', () => Promise.resolve(h.faults().some((fault) => fault.startsWith('request'))));
  h.allow('server-gone');
  assert.deepEqual(h.faults(), []);
});

test('a page without faults has none', async () => {
  const server = await h.server();
  await h.page(server, '/faults', { html: html('<p>good</p>') });
  assert.deepEqual(h.faults(), []);
});

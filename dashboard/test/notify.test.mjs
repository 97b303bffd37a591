// Those who do not look are told: by the browser, and by a receiver of a webhook that is made on the page.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { accessibility, launch, open } from './browser.mjs';
import { eventually, Service } from './service.mjs';

/** Where pictures go, for a person to look at. */
const pictures = process.env.PICTURES;

/** @type {Service} */
let service;
/** @type {import('playwright-core').Browser} */
let browser;

before(async () => {
  const soon = ['--webhook-retry-first', '20', '--webhook-retry-for', '600'];
  [service, browser] = await Promise.all([Service.start('--webhook-allow', '127.0.0.1', ...soon), launch()]);
  service.simulate('--rate', '60', '--symbols', '6');
});

after(async () => {
  await browser?.close();
  await service?.stop();
});

/** @param {string} name @param {import('playwright-core').Page} page */
async function picture(name, page) {
  if (!pictures) return;
  await mkdir(pictures, { recursive: true });
  await page.screenshot({ path: path.join(pictures, `${name}.png`) });
}

/** A receiver that answers as it is told, and what it got. */
async function receiver() {
  /** @type {{id: string, time: string, signature: string, body: string, status: number}[]} */
  const got = [];
  const answer = { status: 500 };
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const part of request.setEncoding('utf8')) body += part;
    const header = (/** @type {string} */ name) => String(request.headers[name]);
    got.push({ id: header('webhook-id'), time: header('webhook-timestamp'), signature: header('webhook-signature'), body, status: answer.status });
    response.writeHead(answer.status).end();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const address = server.address();
  assert.ok(address && typeof address === 'object');
  return { got, answer, server, url: `http://127.0.0.1:${address.port}/signals` };
}

/** Notes what the browser is asked to show; it still shows it. */
function noteNotifications() {
  const Real = window.Notification;
  /** @type {{title: string, body?: string | undefined, tag?: string | undefined}[]} */
  const shown = [];
  Object.assign(window, { shown });
  window.Notification = class extends Real {
    /** @param {string} title @param {NotificationOptions} options */
    constructor(title, options = {}) {
      super(title, options);
      shown.push({ title, body: options.body, tag: options.tag });
    }
  };
  // A page of a test is never hidden by another.
  const page = { hidden: false };
  Object.assign(window, { hide: (/** @type {boolean} */ hidden) => (page.hidden = hidden) });
  Object.defineProperty(Document.prototype, 'hidden', { get: () => page.hidden });
}

/** @param {import('playwright-core').Page} page @returns {Promise<{title: string, body: string, tag: string}[]>} */
const shown = (page) => page.evaluate(() => /** @type {any} */ (window).shown);

/** @param {import('playwright-core').Page} page @param {boolean} hidden */
const hide = (page, hidden) => page.evaluate((value) => /** @type {any} */ (window).hide(value), hidden);

test('the browser tells of signals that pass the filter, once it is asked to and nobody looks', async () => {
  const { page, wrong } = await open(browser, { permissions: ['notifications'] });
  await page.addInitScript(noteNotifications);
  await page.goto(`${service.url}/#/AAPL/1s/signals`);
  await page.locator('.signals tbody tr').first().waitFor();
  const button = page.getByRole('button', { name: 'Notify me' });
  assert.equal(await button.getAttribute('aria-pressed'), 'false', 'nobody asked for it');
  await page.getByRole('combobox', { name: 'Strategy', exact: true }).selectOption('ema-20');
  await page.getByRole('combobox', { name: 'Side', exact: true }).selectOption('sell');

  const rows = page.locator('.signals tbody tr');
  const newest = () => rows.first().getAttribute('data-id');
  /** Waits for a further signal. */
  const further = async () => {
    const before = await newest();
    await eventually('a further signal', async () => (await newest()) !== before);
  };
  await hide(page, true);
  await further();
  assert.deepEqual(await shown(page), [], 'it was not asked to');
  await hide(page, false);
  await button.click();
  await page.getByRole('button', { name: 'Notify me', pressed: true }).waitFor();
  await further();
  assert.deepEqual(await shown(page), [], 'somebody looks');
  await hide(page, true);
  const all = await eventually('a notification', async () => {
    const all = await shown(page);
    return all.length > 0 && all;
  });
  for (const { title, body, tag } of all) {
    const signal = await service.json(`/v1/signals/${encodeURIComponent(tag)}`);
    assert.deepEqual([signal.strategy, signal.side], ['ema-20', 'sell']);
    assert.ok(title.startsWith(`▼ Sell ${signal.symbol} at `), title);
    assert.ok(body.startsWith(`ema-20: ${signal.reason}`), body);
  }

  // It is remembered, and can be taken back.
  await page.reload();
  await page.getByRole('button', { name: 'Notify me', pressed: true }).waitFor();
  await page.getByRole('button', { name: 'Notify me' }).click();
  await page.reload();
  await page.getByRole('button', { name: 'Notify me', pressed: false }).waitFor();
  assert.deepEqual(wrong, []);
  await page.context().close();
});

test('a browser that allows none says so', async () => {
  const { page } = await open(browser);
  await page.goto(`${service.url}/#/AAPL/1s/signals`);
  await page.getByRole('button', { name: 'Notify me' }).click();
  await page.getByRole('alert').getByText(/does not allow notifications|shows no notifications/).waitFor();
  assert.equal(await page.getByRole('button', { name: 'Notify me' }).getAttribute('aria-pressed'), 'false');
  await page.context().close();
});

test('a browser that lets no page make one says so, and nothing breaks', async () => {
  const { page, wrong } = await open(browser, { permissions: ['notifications'] });
  await page.addInitScript(noteNotifications);
  // As Chromium on Android.
  await page.addInitScript(() => {
    window.Notification = class extends window.Notification {
      /** @param {string} title */
      constructor(title) {
        super(title);
        throw new TypeError('Illegal constructor');
      }
    };
  });
  await page.goto(`${service.url}/#/AAPL/1s/signals`);
  await page.locator('.signals tbody tr').first().waitFor();
  await page.getByRole('button', { name: 'Notify me' }).click();
  await page.getByRole('button', { name: 'Notify me', pressed: true }).waitFor();
  await hide(page, true);
  await page.getByRole('alert').getByText(/makes no notifications.*Illegal constructor/).waitFor();
  await hide(page, false);
  assert.equal(await page.getByRole('button', { name: 'Notify me' }).getAttribute('aria-pressed'), 'false');
  const rows = page.locator('.signals tbody tr');
  const newest = await rows.first().getAttribute('data-id');
  await eventually('a further signal', async () => (await rows.first().getAttribute('data-id')) !== newest);
  assert.deepEqual(wrong, []);
  await page.context().close();
});

test('a webhook is made, fails, is seen to, and its dead letters are sent again', async () => {
  const { got, answer, server, url } = await receiver();
  const { page, wrong } = await open(browser, { colorScheme: 'dark' });
  await page.goto(`${service.url}/#/AAPL/1s/webhooks`);
  await page.getByText('Webhooks are shown to those who log in').waitFor();
  await page.getByRole('button', { name: 'New webhook' }).click();
  await page.getByLabel('Token').fill(service.token);
  await page.getByRole('dialog').getByRole('button', { name: 'Log in' }).click();

  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Address').fill('http://10.0.0.1/');
  await dialog.getByLabel('Description').fill('the desk');
  await dialog.getByLabel('Strategies').fill('ema-20');
  await dialog.getByRole('button', { name: 'Make it' }).click();
  await dialog.locator('.field.wrong').getByText(/has the address 10\.0\.0\.1, which is private/).waitFor();
  assert.deepEqual(await accessibility(page), []);
  await picture('webhook-refused', page);
  await dialog.getByLabel('Address').fill(url);
  await dialog.getByRole('button', { name: 'Make it' }).click();
  const secret = await page.getByTestId('secret').innerText();
  assert.match(secret, /^whsec_/);
  await picture('webhook-secret', page);
  await page.getByRole('button', { name: 'I have it' }).click();

  const row = page.locator('tr', { hasText: 'the desk' });
  await row.getByText('Failing').waitFor();
  await row.getByRole('button', { name: 'the desk' }).first().click();
  const details = page.getByRole('complementary', { name: 'Deliveries of the desk' });
  await details.getByText('Dead letters').waitFor();
  await details.getByText(/it answers 500/).first().waitFor();
  assert.deepEqual(await accessibility(page), []);
  await picture('webhook-failing', page);

  answer.status = 200;
  const dead = await details.locator('.letters').first().locator('code').first().innerText();
  await details.getByRole('button', { name: 'Send all again' }).click();
  const taken = await eventually('the dead letter at the receiver', async () => got.find(({ id, status }) => id === dead && status === 200));
  await row.getByText('Live').waitFor();
  const key = Buffer.from(secret.trim().slice('whsec_'.length), 'base64');
  const signed = createHmac('sha256', key).update(`${taken.id}.${taken.time}.${taken.body}`).digest('base64');
  assert.equal(taken.signature, `v1,${signed}`);
  const { type, data } = JSON.parse(taken.body);
  assert.equal(type, 'signal');
  assert.deepEqual(data, withoutMore(await service.json(`/v1/signals/${encodeURIComponent(dead)}`), data));
  assert.ok(got.every(({ id }) => id.startsWith('ema-20:')), 'the filter holds');
  await picture('webhook-live', page);

  await row.getByRole('button', { name: 'Disable' }).click();
  await row.getByText('Disabled').waitFor();
  await row.getByRole('button', { name: /^Remove/ }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
  await row.waitFor({ state: 'detached' });
  assert.deepEqual(wrong.filter((text) => !/ 422 /.test(text)), []);
  await page.context().close();
  server.closeAllConnections();
  server.close();
});

/** What an answer tells of a signal beside the signal itself is left out. @param {any} told @param {any} signal */
const withoutMore = (told, signal) => Object.fromEntries(Object.keys(signal).map((name) => [name, told[name]]));

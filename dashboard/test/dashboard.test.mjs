// The page against the real service and the real simulator, as a trader uses it.

import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { accessibility, dots, launch, open } from './browser.mjs';
import { band, eventually, Service } from './service.mjs';

/** Where pictures go, for a person to look at. */
const pictures = process.env.PICTURES;

/** @type {Service} */
let service;
/** @type {import('playwright-core').Browser} */
let browser;
/** @type {import('playwright-core').Page} */
let page;
/** @type {string[]} */
let wrong;

before(async () => {
  [service, browser] = await Promise.all([Service.start(), launch()]);
  service.simulate('--rate', '100', '--symbols', '12');
  ({ page, wrong } = await open(browser, { colorScheme: 'dark' }));
  await page.goto(service.url);
});

after(async () => {
  await browser?.close();
  await service?.stop();
});

/** @param {string} name @param {import('playwright-core').Page} of */
async function picture(name, of = page) {
  if (!pictures) return;
  await mkdir(pictures, { recursive: true });
  await of.screenshot({ path: path.join(pictures, `${name}.png`) });
}

/** @param {string} selector @param {import('playwright-core').Page} of */
const text = (selector, of = page) => of.locator(selector).first().innerText();

/** Waits until a text is another. @param {string} selector */
async function changes(selector) {
  const was = await text(selector);
  await eventually(`a change of ${selector}`, async () => (await text(selector)) !== was);
}

let failed = false;

/**
 * A step goes on from where the one before ended, so none is tried after one that failed.
 * @param {string} name @param {() => Promise<void>} act
 */
function step(name, act) {
  test(name, async (context) => {
    if (failed) return context.skip('a step before failed');
    failed = true;
    await act().catch(async (error) => {
      // What failed is the news, and not that no picture can be taken of it.
      await picture('failed').catch(() => undefined);
      throw error;
    });
    failed = false;
  });
}

const connection = '[data-testid=connection]';

async function logIn() {
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByLabel('Token').fill(service.token);
  await page.getByRole('dialog').getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('button', { name: /Log out/ }).waitFor();
}

const strategyFilter = () => page.getByRole('combobox', { name: 'Strategy', exact: true });

/** @param {string} name */
const tab = (name) => page.getByRole('tab', { name }).click();

step('prices, candles and lines move', async () => {
  await page.locator('.watch-rows li').nth(11).waitFor();
  await changes('[data-testid=last-price]');
  await changes('.watch-rows li:nth-child(2) .last');
  await changes('.readout');
  await changes('.legend .chip:first-child .chip-values');
  const chart = page.locator('.chart');
  const drawn = await chart.screenshot();
  await eventually('another picture of the chart', async () => !drawn.equals(await chart.screenshot()));
  // Price with two averages over it, and RSI in a pane of its own.
  assert.equal(await page.locator('.chart tr:has(canvas)').count(), 3, 'two panes and the axis of time');
  assert.equal(await text(connection), 'Live');
});

step('the candles are those of the service', async () => {
  await page.getByRole('button', { name: '1s', exact: true }).click();
  const box = await page.locator('.chart').boundingBox();
  assert.ok(box);
  // Some bars from the right, where all are closed.
  const { time, shown } = await eventually('a closed bar under the pointer', async () => {
    await page.mouse.move(box.x + box.width - 220, box.y + 60);
    const [at = '', ...rest] = (await page.locator('.readout > span').allInnerTexts()).map((part) => part.trim());
    return /^\d{4}-/.test(at) && { time: Date.parse(`${at.slice(0, 19).replace(' ', 'T')}Z`) / 1000, shown: rest.slice(0, 4) };
  });
  const { bars } = await service.json(`/v1/symbols/AAPL/bars?interval=1s&since=${time}&limit=1000`);
  const bar = bars.at(-1);
  assert.equal(bar.open_time, time);
  const expected = ['open', 'high', 'low', 'close'].map((part) => `${part[0]?.toUpperCase()} ${bar[part].toFixed(4)}`);
  assert.deepEqual(shown, expected);
});

step('each average lies over the candles, until its strategy is switched off', async () => {
  for (const id of ['ma-20', 'ema-20']) {
    const chip = page.getByRole('group', { name: 'Strategies on the chart' }).getByRole('button', { name: new RegExp(`^${id}`) });
    const colour = (await chip.locator('.swatch').getAttribute('class'))?.split(' ').find((name) => name.startsWith('line-')) ?? '';
    await eventually(`the line of ${id}`, async () => (await dots(page, colour)) > 50);
    await chip.click();
    await eventually(`no line of ${id}`, async () => (await dots(page, colour)) === 0);
    assert.equal(await chip.getAttribute('aria-pressed'), 'false');
    await chip.click();
    await eventually(`the line of ${id} again`, async () => (await dots(page, colour)) > 50);
  }
});

/** Drops a file, as a person does. @param {string} selector @param {string} file */
async function drop(selector, file) {
  const bytes = (await readFile(file)).toString('base64');
  const dataTransfer = await page.evaluateHandle(
    ([base64 = '', name = '']) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([Uint8Array.from(atob(base64), (of) => of.charCodeAt(0))], name));
      return transfer;
    },
    [bytes, path.basename(file)],
  );
  await page.dispatchEvent(selector, 'dragover', { dataTransfer });
  await page.locator('.drop-here').waitFor();
  await picture('drop');
  await page.dispatchEvent(selector, 'drop', { dataTransfer });
  await page.locator('.drop-here').waitFor({ state: 'detached' });
}

step('a plugin is dropped anywhere and its answer shown in full, also where it is refused', async () => {
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('dialog').waitFor();
  assert.deepEqual(await accessibility(page), [], 'the login');
  await page.keyboard.press('Escape');
  await logIn();
  await tab('Plugins');
  assert.deepEqual(await accessibility(page), [], 'the plugins');
  const input = page.locator('input[type=file]');
  await input.setInputFiles({ name: 'broken.wasm', mimeType: 'application/wasm', buffer: Buffer.from('no component') });
  await page.getByText(/^⚠ 422/).waitFor();
  const refused = await text('.outcome pre');
  assert.match(refused, /"stage": "check"/);
  assert.match(refused, /urn:wigwag:problem:refused/);
  await picture('refused');
  assert.deepEqual(await accessibility(page), [], 'a refusal');
  await tab('Signals');
  await drop('.chart', band);
  await page.getByText(/^✓ 201/).waitFor();
  await page.getByText('The whole answer').click();
  const answer = JSON.parse(await text('.outcome pre'));
  assert.deepEqual(answer, await service.json('/v1/plugins/band'));
  await picture('uploaded');
  await input.setInputFiles(band);
  await page.getByText(/^✓ 200/).waitFor();
});

step('an upload that takes longer is followed until its outcome is known, and that is shown in full', async () => {
  let asked = 0;
  const uploads = `${service.url}/v1/plugins`;
  await page.route(uploads, async (route) => {
    if (route.request().method() !== 'POST') return route.continue();
    // As the service answers after some seconds; it takes the component in, as it is asked to.
    const { digest } = await (await route.fetch()).json();
    const status = { digest, state: 'working', plugin: null, problem: null };
    return route.fulfill({ status: 202, headers: { Location: `/v1/plugins/uploads/${digest}` }, json: status });
  });
  await page.route(`${uploads}/uploads/*`, async (route) => {
    asked += 1;
    if (asked > 1) return route.continue();
    const answer = await (await route.fetch()).json();
    return route.fulfill({ json: { ...answer, state: 'working', plugin: null } });
  });
  await page.locator('input[type=file]').setInputFiles(band);
  await page.getByText(/^… 202/).waitFor();
  await page.getByText(/^✓ 200/).waitFor();
  assert.equal(asked, 2);
  await page.getByText('The whole answer').click();
  const answer = JSON.parse(await text('.outcome pre'));
  assert.deepEqual([answer.state, answer.problem], ['done', null]);
  assert.deepEqual(answer.plugin, await service.json('/v1/plugins/band'));
  await page.unroute(uploads);
  await page.unroute(`${uploads}/uploads/*`);
});

step('its parameters are set in a form, what is wrong is told beside the field, and its first signal comes', async () => {
  await page.getByRole('button', { name: 'Make a strategy of it' }).click();
  const dialog = page.getByRole('dialog');
  const period = dialog.getByLabel('period');
  assert.deepEqual(await period.evaluate((/** @type {HTMLInputElement} */ of) => [of.type, of.min, of.max, of.step, of.value]), ['number', '1', '10000', '1', '50']);
  await picture('form');
  assert.deepEqual(await accessibility(page), []);
  await dialog.getByLabel('Id').fill('my-band');
  await period.fill('5');
  await dialog.getByLabel('percent').fill('0.01');
  await dialog.getByLabel('Symbols').fill('not a symbol!');
  await dialog.getByRole('button', { name: 'Start it' }).click();
  await dialog.getByRole('alert').getByText(/SYMBOL!/).waitFor();
  await dialog.getByLabel('Symbols').fill('');
  await dialog.getByRole('button', { name: 'Start it' }).click();
  await dialog.waitFor({ state: 'detached' });
  assert.deepEqual((await service.json('/v1/strategies/my-band')).params, { percent: 0.01, period: 5 });
  await page.locator('tr', { hasText: 'my-band' }).getByText('Live').waitFor();
  await picture('strategies');
  await tab('Signals');
  await strategyFilter().selectOption('my-band');
  await page.locator('.signals tbody tr', { hasText: 'my-band' }).first().waitFor();
  assert.equal(await page.locator('.signals tbody tr', { hasNotText: 'my-band' }).count(), 0);
});

step('a signal is explained', async () => {
  await page.locator('.signals tbody tr').first().click();
  const explanation = page.getByRole('complementary', { name: 'Explanation of a signal' });
  const id = await explanation.locator('div', { has: page.getByText('Id', { exact: true }) }).locator('code').innerText();
  const signal = await service.json(`/v1/signals/${encodeURIComponent(id)}`);
  const told = await explanation.innerText();
  const parts = [signal.symbol, signal.reason, signal.plugin_digest, signal.params_digest, signal.partition, signal.offset, signal.row];
  for (const part of parts) assert.ok(told.includes(String(part)), `${part}: ${told}`);
  await picture('signals');
  assert.deepEqual(await accessibility(page), []);
  await page.keyboard.press('Escape');
  await explanation.waitFor({ state: 'detached' });
});

step('a signal of another symbol is shown where it stands on the chart', async () => {
  const other = (await text('.quote h2')) === 'MSFT' ? 'AAPL' : 'MSFT';
  const { signals } = await service.json(`/v1/signals?symbol=${other}&limit=1000`);
  const oldest = signals.at(-1);
  await page.goto(`${service.url}/#/${other}/1s/signals`);
  await strategyFilter().selectOption('');
  await page.getByLabel(/^Only/).check();
  await page.getByRole('button', { name: 'Hold' }).click();
  const last = page.locator('.signals tbody tr').last();
  const id = await last.getAttribute('data-id');
  await last.click();
  const aside = page.getByRole('complementary', { name: 'Explanation of a signal' });
  await aside.waitFor();
  await page.getByLabel(/^Only/).uncheck();
  await page.evaluate(() => (location.hash = '#/TSLA/1s/signals'));
  await eventually('another symbol', async () => (await text('.quote h2')) === 'TSLA');
  await aside.getByRole('button', { name: 'Show on the chart' }).click();
  await eventually('the signal’s symbol', async () => (await text('.quote h2')) === other);
  const { timestamp } = await service.json(`/v1/signals/${encodeURIComponent(id ?? '')}`);
  assert.ok(oldest.timestamp <= timestamp);
  const plot = await page.locator('.chart tr:first-child td:nth-child(2)').boundingBox();
  assert.ok(plot);
  await eventually('its second in the middle', async () => {
    await page.mouse.move(plot.x + plot.width / 2, plot.y + 60);
    const at = await page.locator('.readout > span').first().innerText();
    const shown = Date.parse(`${at.slice(0, 19).replace(' ', 'T')}Z`) / 1000;
    return Math.abs(shown - Math.floor(timestamp)) <= 1;
  });
  await picture('shown-on-chart');
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Go on' }).click();
});

step('the filter by strength looks at all signals, and not at the newest alone', async () => {
  const { signals } = await service.json('/v1/signals?limit=1000');
  const strengths = signals.map((/** @type {{strength: number}} */ { strength }) => strength);
  const strong = strengths.sort((/** @type {number} */ a, /** @type {number} */ b) => b - a)[4];
  await page.getByLabel('Strength from').fill(String(strong));
  await page.keyboard.press('Tab');
  const rows = page.locator('.signals tbody tr');
  await eventually('all of them and no other', async () => {
    const ids = await rows.evaluateAll((all) => all.map((row) => row.getAttribute('data-id') ?? ''));
    const { signals: all } = await service.json(`/v1/signals?min_strength=${strong}&limit=1000`);
    const known = new Set(all.map((/** @type {{id: string}} */ { id }) => id));
    return ids.length >= 5 && ids.every((id) => known.has(id));
  });
  await page.getByLabel('Strength from').fill('0');
  await page.keyboard.press('Tab');
});

step('a strategy is paused, resumed, changed and removed', async () => {
  await tab('Strategies');
  const row = page.locator('tr', { hasText: 'my-band' });
  await row.getByRole('button', { name: 'Pause' }).click();
  await row.getByText('Paused').waitFor();
  assert.equal((await service.json('/v1/strategies/my-band')).enabled, false);
  await row.getByRole('button', { name: 'Resume' }).click();
  await row.getByText('Live').waitFor();
  await row.getByRole('button', { name: 'Edit' }).click();
  await page.getByRole('dialog').getByLabel('period').fill('7');
  await page.getByRole('dialog').getByRole('button', { name: 'Change it' }).click();
  await row.getByText('period 7').waitFor();
  await row.getByRole('button', { name: 'my-band' }).first().click();
  await page.getByRole('complementary', { name: 'Details of my-band' }).getByText('Since offset').waitFor();
  assert.deepEqual(await accessibility(page), []);
  await row.getByRole('button', { name: 'Remove' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
  await row.waitFor({ state: 'detached' });
  assert.equal((await service.get('/v1/strategies/my-band')).status, 404);
});

step('what a plugin says is text, whatever it looks like', async () => {
  const bytes = await readFile(band);
  const texts = [
    ['Signals where the close comes back into a band around its average.', '<img src=x onerror=alert(1)><b>bold</b>'],
    ['close came back into the band from below', '<script>alert(2)</script>'],
    ['close came back into the band from above', '<script>alert(3)</script>'],
    ['Ticks in the average.', '<i>tilted</i>'],
  ];
  for (const [was = '', is = ''] of texts) {
    const at = bytes.indexOf(was);
    assert.ok(at > 0, `the plugin no longer says ${was}`);
    bytes.write(is.padEnd(was.length, '.'), at);
  }
  await tab('Plugins');
  await page.locator('input[type=file]').setInputFiles({ name: 'markup.wasm', mimeType: 'application/wasm', buffer: bytes });
  await page.locator('.card').getByText('<b>bold</b>').waitFor();
  await page.getByRole('button', { name: 'Make a strategy of it' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('<i>tilted</i>').waitFor();
  await dialog.getByLabel('Id').fill('markup');
  await dialog.getByLabel('period').fill('3');
  await dialog.getByLabel('percent').fill('0.01');
  await dialog.getByRole('button', { name: 'Start it' }).click();
  await tab('Signals');
  await strategyFilter().selectOption('markup');
  await page.locator('.signals .scroll').hover();
  await page.locator('.signals tbody tr', { hasText: '</script>' }).first().click();
  await page.getByRole('complementary').getByText('</script>').waitFor();
  assert.equal(await page.locator('#app :is(b, i, img, script)', { hasText: /bold|tilted|alert/ }).count(), 0);
  await service.json('/v1/strategies/markup');
});

step('health shows what goes through', async () => {
  await tab('Health');
  await page.getByText('Ready').waitFor();
  await eventually('a rate near that of the simulator', async () => {
    const rate = Number(await text('.tile .big'));
    return rate > 50 && rate < 200;
  });
  assert.equal(await page.locator('.health tbody tr').count(), 4, 'a row for each partition');
  await picture('health');
  assert.deepEqual(await accessibility(page), []);
});

step('a replica without an engine says so, and makes no rate up', async () => {
  // As one answers that runs other roles; the embedded log has all roles in one process.
  await page.route(`${service.url}/metrics`, async (route) => {
    const all = await (await route.fetch()).text();
    await route.fulfill({ body: all.split('\n').filter((line) => !line.includes('wigwag_engine_')).join('\n') });
  });
  await page.getByText('This replica runs no engine').waitFor();
  await eventually('no rate', async () => (await text('.tile .big')) === '–');
  assert.equal(await page.locator('.health tbody tr').count(), 0);
  await picture('health-no-engine');
  await page.unroute(`${service.url}/metrics`);
});

step('the keyboard goes through the page from its head to its foot', async () => {
  const { page: fresh, wrong: told } = await open(browser);
  await fresh.goto(`${service.url}/#/AAPL/1s/signals`);
  await fresh.locator('.signals tbody tr').first().waitFor();
  /** What has the focus. */
  const focused = () =>
    fresh.evaluate(() => {
      const of = /** @type {HTMLInputElement} */ (document.activeElement);
      const shows = getComputedStyle(of).outlineStyle !== 'none' || of.matches('.skip');
      const name = of.getAttribute('aria-label') ?? of.labels?.[0]?.innerText ?? of.innerText;
      return `${name.split('\n')[0]?.trim()}${shows ? '' : ' (not seen)'}`;
    });
  const seen = [];
  for (let presses = 0; presses < 24; presses += 1) {
    await fresh.keyboard.press('Tab');
    seen.push(await focused());
  }
  const head = ['Skip to the chart', 'Switch to dark', 'Log in', 'Find a symbol', 'Symbol ↑', 'Change', 'Symbols', '1s', '1m', '5m', '1h', '1d'];
  assert.deepEqual(seen.slice(0, head.length), head);
  const from = seen.findIndex((name) => name.startsWith('Chart of AAPL'));
  const chips = seen.slice(head.length, from);
  for (const id of ['ma-20', 'ema-20', 'rsi-14']) assert.ok(chips.some((name) => name.startsWith(id)), `${id}: ${chips}`);
  const panels = ['Signals', 'Tall panel', 'Strategy', 'Side', 'Strength from'];
  assert.deepEqual(seen.slice(from + 1, from + 1 + panels.length), panels);
  assert.deepEqual(seen.filter((name) => name.endsWith('(not seen)')), []);
  // The same way back.
  await fresh.keyboard.press('Shift+Tab');
  assert.equal(await focused(), seen.at(-2));
  await fresh.reload();
  await fresh.locator('.signals tbody tr').first().waitFor();
  await fresh.keyboard.press('Tab');
  await fresh.keyboard.press('Enter');
  assert.equal(await fresh.evaluate(() => document.activeElement?.id), 'chart');
  assert.deepEqual(told, []);
  await fresh.context().close();
});

step('by the keyboard alone one finds a symbol, its interval and the panels', async () => {
  await page.getByLabel('Find a symbol').focus();
  await page.keyboard.type('ms');
  await page.getByRole('listbox').focus();
  await page.keyboard.press('Home');
  await eventually('the symbol', async () => (await text('.quote h2')) === 'MSFT');
  assert.match(page.url(), /#\/MSFT\//);
  await page.getByLabel('Find a symbol').fill('');
  await page.getByRole('listbox').focus();
  await page.keyboard.press('ArrowUp');
  await eventually('the symbol above', async () => (await text('.quote h2')) === 'GOOGL');
  await page.getByRole('tab', { selected: true }).focus();
  await page.keyboard.press('ArrowLeft');
  assert.equal(await page.evaluate(() => document.activeElement?.id), 'tab-webhooks');
});

step('it is light where that is wanted, and fits a phone', async () => {
  const light = await open(browser, { colorScheme: 'light' });
  await light.page.goto(`${service.url}/#/AAPL/1s/signals`);
  await light.page.locator('.signals tbody tr').first().waitFor();
  assert.equal(await light.page.evaluate(() => document.documentElement.dataset.theme), 'light');
  await picture('light', light.page);
  assert.deepEqual(await accessibility(light.page), []);
  await light.page.getByRole('button', { name: 'Switch to dark' }).click();
  await light.page.reload();
  await light.page.locator('.signals tbody tr').first().waitFor();
  assert.equal(await light.page.evaluate(() => document.documentElement.dataset.theme), 'dark', 'it is remembered');
  await light.page.context().close();

  const phone = await open(browser, { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 });
  await phone.page.goto(`${service.url}/#/AAPL/1s/signals`);
  await phone.page.locator('.signals tbody tr').first().waitFor();
  const { shown, whole } = await phone.page.evaluate(() => ({ shown: innerWidth, whole: document.documentElement.scrollWidth }));
  assert.equal(whole, shown, 'nothing sticks out');
  await picture('phone', phone.page);
  assert.deepEqual(await accessibility(phone.page), []);
  await phone.page.locator('.signals tbody tr').first().tap();
  await phone.page.getByRole('complementary').waitFor();
  await picture('phone-signal', phone.page);
  await phone.page.context().close();
  assert.deepEqual([...light.wrong, ...phone.wrong], []);
});

step('nothing went wrong so far', async () => {
  // The two refusals that were asked for.
  const unexpected = wrong.filter((text) => !/Failed to load resource.* 422 /.test(text));
  assert.deepEqual([unexpected, wrong.length], [[], 2]);
});

step('the service is killed and comes again under the open page', async () => {
  await tab('Signals');
  await strategyFilter().selectOption('');
  await page.mouse.move(0, 0);
  await service.kill();
  await page.getByText(/Stale.*lost/).waitFor();
  await page.getByText(/last data \d+ s ago/).waitFor();
  await picture('stale');
  await service.restart();
  await page.locator(connection).getByText('Live', { exact: true }).waitFor();
  await changes('[data-testid=last-price]');
  // Its token is another one since, and the page knows.
  await page.getByRole('button', { name: 'Log in' }).waitFor();
  await changes('.signals tbody tr:first-child td:first-child');
  // What the page holds is what the service has: nothing twice, nothing left out.
  await page.getByRole('button', { name: 'Hold' }).click();
  const ids = await page.locator('.signals tbody tr').evaluateAll((rows) => rows.map((row) => row.getAttribute('data-id') ?? ''));
  assert.equal(new Set(ids).size, ids.length, 'each signal once');
  const { signals } = await service.json('/v1/signals?limit=1000');
  const place = (/** @type {string} */ id) => id.split(':').slice(1, 3).map(Number);
  for (const partition of [0, 1, 2, 3]) {
    const offsets = ids.filter((id) => place(id)[0] === partition).map((id) => place(id)[1] ?? 0);
    // Between the oldest and the newest message of which the table has something, all of it.
    const [from, to] = [Math.min(...offsets), Math.max(...offsets)];
    const within = (/** @type {string} */ id) => place(id)[0] === partition && (place(id)[1] ?? 0) > from && (place(id)[1] ?? 0) < to;
    const expected = signals.map((/** @type {{id: string}} */ { id }) => id).filter(within);
    assert.deepEqual(new Set(ids.filter(within)), new Set(expected), `partition ${partition}`);
  }
  // The connection that broke is told by the browser, and nothing else.
  const unexpected = wrong.filter((text) => !/ERR_CONNECTION_|WebSocket connection| (422|503) |ERR_INCOMPLETE|ERR_EMPTY/.test(text));
  assert.deepEqual(unexpected, []);
  if (pictures) await writeFile(path.join(pictures, 'log.txt'), wrong.join('\n'));
});

step('days of a file are replayed, and those before the first that are shown are loaded as one goes to the left', async () => {
  const own = await Service.start();
  const visitor = await open(browser);
  try {
    const days = Array.from({ length: 1_200 }, (_, n) => {
      const [date, open] = [new Date(Date.UTC(2010, 0, 1 + n)).toISOString().slice(0, 10), 100 + 20 * Math.sin(n / 40)];
      return `${date},${open},${open + 2},${open - 2},${open + Math.cos(n / 40)},${open},${1_000 + n}`;
    });
    const file = path.join(own.folder, 'AAPL.csv');
    await writeFile(file, ['Date,Open,High,Low,Close,Adj Close,Volume', ...days].join('\n'));
    own.simulate('--replay', file);
    // The last day stays open.
    await eventually('the days', async () => {
      const { bars } = await own.json(`/v1/symbols/AAPL/bars?interval=1d&until=2010-01-11T00:00:00Z`);
      const { bars: newest } = await own.json('/v1/symbols/AAPL/bars?interval=1d&limit=1');
      return bars.length === 10 && newest[0].open_time === Date.UTC(2010, 0, 1 + 1_198) / 1000;
    });
    /** @type {string[]} */
    const asked = [];
    visitor.page.on('request', (request) => request.url().includes('until=') && asked.push(request.url()));
    await visitor.page.goto(`${own.url}/#/AAPL/1d/signals`);
    await visitor.page.locator('.readout').waitFor();
    await visitor.page.locator('.signals tbody tr').first().waitFor();
    // In that year's last months they fall.
    await eventually('candles', async () => (await dots(visitor.page, 'down')) > 200);
    await picture('days', visitor.page);
    assert.deepEqual(asked, [], 'what is not looked at is not loaded');
    await visitor.page.locator('.chart').focus();
    const plot = await visitor.page.locator('.chart tr:first-child td:nth-child(2)').boundingBox();
    assert.ok(plot);
    /** The day at the chart's left. */
    const leftmost = async () => {
      await visitor.page.mouse.move(plot.x + 30, plot.y + 60);
      return (await visitor.page.locator('.readout > span').first().innerText()).slice(0, 10);
    };
    await eventually('the first year', async () => {
      for (let n = 0; n < 20; n += 1) await visitor.page.keyboard.press('ArrowLeft');
      return (await leftmost()).startsWith('2010-0');
    });
    await eventually('the average there', async () => (await dots(visitor.page, 'line-2')) > 50);
    await picture('older-days', visitor.page);
    assert.deepEqual(visitor.wrong, []);
  } finally {
    await visitor.page.context().close();
    await own.stop();
  }
});

step('a service that shows nothing without a token asks for one first', async () => {
  const closed = await Service.start('--reads', 'token');
  const visitor = await open(browser);
  try {
    closed.simulate('--rate', '50', '--symbols', '3');
    await visitor.page.goto(closed.url);
    await visitor.page.getByLabel('Token').fill('guessed');
    const dialog = visitor.page.getByRole('dialog');
    await dialog.getByRole('button', { name: 'Log in' }).click();
    await dialog.getByText('the token is not known here').waitFor();
    assert.equal(await visitor.page.locator('.watch-rows li').count(), 0);
    await visitor.page.getByLabel('Token').fill(closed.token);
    await dialog.getByRole('button', { name: 'Log in' }).click();
    await visitor.page.locator('.watch-rows li').nth(2).waitFor();
    await visitor.page.locator('.signals tbody tr').first().waitFor();
    assert.deepEqual(visitor.wrong.filter((text) => !/ 401 |WebSocket connection/.test(text)), []);
  } finally {
    await visitor.page.context().close();
    await closed.stop();
  }
});

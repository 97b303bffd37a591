// The picture of README: the page as it is, on a market with a past. Drawn at each run; `npm run picture` keeps it
// (docs/dashboard.png).

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { dots, launch, open } from './browser.mjs';
import { eventually, Service } from './service.mjs';
import { Walk } from './walk.mjs';

const HOURS = 3;

/** Where it is kept, if it is. */
const kept = process.env.PICTURE;

test('the picture has candles, averages, RSI and marks of signals, and one explained', async () => {
  const [service, browser] = await Promise.all([Service.start(), launch()]);
  try {
    const walk = new Walk(service.url, 2);
    await walk.past(HOURS * 3600);
    const stop = walk.live();
    await eventually('the past', async () => (await service.json('/v1/symbols/TSLA/bars?limit=1000')).bars.length > HOURS * 60 - 3);
    const { page, wrong } = await open(browser, { viewport: { width: 1280, height: 800 }, colorScheme: 'dark' });
    await page.goto(`${service.url}/#/MSFT/1m/signals`);
    // The table stands still under the pointer.
    await page.locator('.signals .scroll').hover();
    await page.locator('.signals tbody tr', { hasText: 'MSFT' }).first().click();
    await page.locator('.explanation').waitFor();
    for (const colour of ['up', 'down', 'line-1', 'line-2', 'line-3']) {
      await eventually(`dots of ${colour}`, async () => (await dots(page, colour)) > 100);
    }
    stop();
    // What was on its way has come when two pictures are the same.
    const picture = await eventually('a picture that stands still', async () => {
      const clock = { mask: [page.locator('.clock'), page.locator('.connection')] };
      const one = await page.screenshot(clock);
      return one.equals(await page.screenshot(clock)) && page.screenshot();
    });
    if (kept) await writeFile(kept, picture);
    // A mark is what explains its signal when it is clicked.
    await page.keyboard.press('Escape');
    await page.locator('.explanation').waitFor({ state: 'detached' });
    const plot = await page.locator('.chart tr:first-child td:nth-child(2)').boundingBox();
    assert.ok(plot);
    let x = plot.x + plot.width - 60;
    await eventually('a mark', async () => {
      for (let y = plot.y + 30; y < plot.y + plot.height; y += 5) await page.mouse.click(x, y);
      x -= 8;
      return (await page.locator('.explanation').count()) > 0;
    });
    assert.match(await page.locator('.explanation h3').innerText(), /(Buy|Sell) MSFT at/);
    assert.deepEqual(wrong, []);
  } finally {
    await browser.close();
    await service.stop();
  }
});

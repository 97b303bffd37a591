// Makes the picture of README (docs/dashboard.png): the page as it is, on a market with a past. `npm run picture`.

import { fileURLToPath } from 'node:url';
import { launch, open } from './browser.mjs';
import { eventually, Service } from './service.mjs';
import { Walk } from './walk.mjs';

const HOURS = 3;

const service = await Service.start();
const browser = await launch();
try {
  const walk = new Walk(service.url, 2);
  await walk.past(HOURS * 3600);
  const stop = walk.live();
  await eventually('the past', async () => (await service.json('/v1/symbols/TSLA')).ticks > (HOURS * 3600) / 2);
  const { page, wrong } = await open(browser, { viewport: { width: 1280, height: 800 }, colorScheme: 'dark' });
  await page.goto(`${service.url}/#/MSFT/1m/signals`);
  // The table stands still under the pointer.
  await page.locator('.signals .scroll').hover();
  await page.locator('.signals tbody tr', { hasText: 'MSFT' }).first().click();
  await page.locator('.explanation').waitFor();
  await page.waitForTimeout(4_000);
  await page.screenshot({ path: fileURLToPath(new URL('../../docs/dashboard.png', import.meta.url)) });
  stop();
  if (wrong.length > 0) throw new Error(wrong.join('\n'));
} finally {
  await browser.close();
  await service.stop();
}

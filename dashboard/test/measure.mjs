// Measures what README says of the page: until it is usable, its size, frames a second and the way of a tick to the chart under
// load. `npm run measure`; the simulator and the service run on the same cores as the browser.

import { readdir, readFile } from 'node:fs/promises';
import { loadavg } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { launch, open } from './browser.mjs';
import { eventually, Service } from './service.mjs';

const LOADS = 9;
const SECONDS = 15;
const [SYMBOLS, RATE] = ['50', '1000'];

/** @param {number[]} values @param {number} q */
function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}
const load = () => `load ${loadavg()[0]?.toFixed(1)}`;

async function size() {
  const dist = fileURLToPath(new URL('../dist', import.meta.url));
  let bytes = 0;
  for (const file of await readdir(dist, { recursive: true })) {
    if (/\.(html|js|css|svg)$/.test(file)) bytes += gzipSync(await readFile(path.join(dist, file)), { level: 9 }).length;
  }
  console.log(`size: ${(bytes / 1024).toFixed(1)} kB gzip in all`);
}

/** From navigation to prices, candles and signals on the screen, each time in a fresh browser profile. */
async function usable(/** @type {import('playwright-core').Browser} */ browser, /** @type {string} */ url) {
  const times = [];
  for (let n = 0; n < LOADS; n += 1) {
    const { page } = await open(browser);
    await page.addInitScript(() => {
      const look = () => {
        const parts = ['.watch-rows li', '.readout', '.signals tbody tr', '.chip-values'];
        if (parts.every((part) => document.querySelector(part))) Object.assign(window, { usableAt: performance.now() });
        else requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    });
    await page.goto(url);
    times.push(await eventually('a usable page', () => page.evaluate(() => Reflect.get(window, 'usableAt'))));
    await page.context().close();
  }
  console.log(`usable: p50 ${quantile(times, 0.5).toFixed(0)} ms, worst of ${LOADS} ${Math.max(...times).toFixed(0)} ms (${load()})`);
}

/** Frames, and from a tick's own time to the frame that draws it: simulator, ingest, commit, view, socket, page. */
async function frames(/** @type {import('playwright-core').Browser} */ browser, /** @type {string} */ url) {
  const { page } = await open(browser);
  await page.addInitScript(() => {
    const lags = /** @type {number[]} */ ([]);
    const gaps = /** @type {number[]} */ ([]);
    let waiting = /** @type {number[]} */ ([]);
    let count = 0;
    Object.assign(window, { measured: { lags, gaps, messages: () => count } });
    const Plain = WebSocket;
    Object.assign(window, {
      WebSocket: class extends Plain {
        /** @param {string | URL} address */
        constructor(address) {
          super(address);
          this.addEventListener('message', ({ data }) => {
            count += 1;
            const { event, data: tick } = JSON.parse(data);
            if (event === 'tick' && tick.symbol === 'AAPL') waiting.push(tick.timestamp * 1000);
          });
        }
      },
    });
    let before = performance.now();
    const frame = () => {
      const now = performance.now();
      gaps.push(now - before);
      before = now;
      // After the frame in which they are drawn.
      setTimeout(() => {
        for (const time of waiting) lags.push(Date.now() - time);
        waiting = [];
      });
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  await page.goto(url);
  await page.locator('.readout').waitFor();
  await page.waitForTimeout(3_000);
  const from = await page.evaluate(() => {
    const { lags, gaps, messages } = Reflect.get(window, 'measured');
    lags.length = 0;
    gaps.length = 0;
    return messages();
  });
  await page.waitForTimeout(SECONDS * 1000);
  const { lags, gaps, count } = await page.evaluate(() => {
    const of = Reflect.get(window, 'measured');
    return { lags: of.lags, gaps: of.gaps, count: of.messages() };
  });
  const late = gaps.filter((/** @type {number} */ gap) => gap > 34).length;
  console.log(
    `frames: ${(gaps.length / SECONDS).toFixed(1)} a second, ${late} of ${gaps.length} later than 34 ms, longest ${Math.max(...gaps).toFixed(0)} ms, ` +
      `${((count - from) / SECONDS).toFixed(0)} messages a second (${load()})`,
  );
  console.log(`tick to frame: p50 ${quantile(lags, 0.5).toFixed(0)} ms, p99 ${quantile(lags, 0.99).toFixed(0)} ms of ${lags.length} ticks of the charted symbol (${load()})`);
  await page.context().close();
}

const service = await Service.start();
const browser = await launch();
try {
  console.log(`${SYMBOLS} symbols, ${RATE} ticks a second, ${load()} before`);
  service.simulate('--rate', RATE, '--symbols', SYMBOLS);
  await eventually('signals', async () => (await service.json('/v1/signals?limit=200')).signals.length === 200);
  await size();
  await usable(browser, service.url);
  await frames(browser, service.url);
} finally {
  await browser.close();
  await service.stop();
}

// Debian's Chromium, and a page in it that notes whatever goes wrong: errors of scripts, of the console, against the policy.

import { createRequire } from 'node:module';
import { readFile } from 'node:fs/promises';
import { chromium } from 'playwright-core';

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
  });
}

/**
 * @param {import('playwright-core').Browser} browser
 * @param {import('playwright-core').BrowserContextOptions} options
 */
export async function open(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  /** @type {string[]} */
  const wrong = [];
  page.on('pageerror', (error) => wrong.push(`script: ${error.stack}`));
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') wrong.push(`console: ${message.text()}`);
  });
  page.on('dialog', (dialog) => {
    wrong.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  // Violations of the policy are errors of the console too, unless something swallows them.
  await page.exposeFunction('noteViolation', (/** @type {string} */ text) => wrong.push(`policy: ${text}`));
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      // @ts-expect-error: exposed above
      noteViolation(`${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  await page.addInitScript(axe);
  return { page, wrong };
}

/**
 * How many dots of the chart have a colour of the style sheet.
 * @param {import('playwright-core').Page} page @param {string} name
 * @returns {Promise<number>}
 */
export function dots(page, name) {
  return page.evaluate((colour) => {
    const hex = getComputedStyle(document.documentElement).getPropertyValue(`--${colour}`).trim();
    const [red, green, blue] = [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));
    let count = 0;
    for (const canvas of document.querySelectorAll('canvas')) {
      if (canvas.width === 0 || canvas.height === 0) continue;
      // A copy: the chart's own is not made to be read.
      const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true });
      copy?.drawImage(canvas, 0, 0);
      const data = copy?.getImageData(0, 0, canvas.width, canvas.height).data ?? [];
      for (let at = 0; at < data.length; at += 4) {
        if (data[at] === red && data[at + 1] === green && data[at + 2] === blue && data[at + 3] === 255) count += 1;
      }
    }
    return count;
  }, name);
}

/**
 * What axe finds wrong with the page as it is now.
 * @param {import('playwright-core').Page} page
 * @returns {Promise<string[]>}
 */
export function accessibility(page) {
  return page.evaluate(async () => {
    // @ts-expect-error: injected above
    const { violations } = await window.axe.run(document, { resultTypes: ['violations'] });
    return violations.map(
      (/** @type {{id: string, help: string, nodes: {html: string, failureSummary: string}[]}} */ { id, help, nodes }) =>
        `${id}: ${help}\n${nodes.map(({ html, failureSummary }) => `  ${html.slice(0, 160)}\n    ${failureSummary}`).join('\n')}`,
    );
  });
}

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

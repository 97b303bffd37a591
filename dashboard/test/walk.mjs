// A made-up market that has a past: hours of it at once, and then on as time goes. The simulator knows no past.

import { setInterval } from 'node:timers';

const STARTS = { AAPL: 187.4, AMZN: 142.9, GOOGL: 131.2, MSFT: 402.5, NFLX: 489.3, NVDA: 116.8, SAP: 212.6, TSLA: 244.1, V: 268.7 };

export class Walk {
  /** @param {string} url @param {number} everySeconds */
  constructor(url, everySeconds) {
    this.url = url;
    this.everySeconds = everySeconds;
    this.prices = new Map(Object.entries(STARTS));
    this.trends = new Map(Object.keys(STARTS).map((symbol) => [symbol, 0]));
    this.state = 7;
  }

  /** From -1 to 1; the same at each run. */
  random() {
    this.state = (Math.imul(this.state, 1_664_525) + 1_013_904_223) >>> 0;
    return this.state / 2 ** 31 - 1;
  }

  /** @param {number} time */
  tick(time) {
    return [...this.prices].map(([symbol, price]) => {
      const trend = (this.trends.get(symbol) ?? 0) * 0.99 + this.random() * 0.000004;
      this.trends.set(symbol, trend);
      const close = Math.round(price * (1 + trend * Math.sqrt(this.everySeconds) + this.random() * 0.0005) * 100) / 100;
      this.prices.set(symbol, close);
      const [low, high] = [Math.min(price, close), Math.max(price, close)];
      const volume = Math.round(100 + 400 * (this.random() + 1) ** 3);
      return { stock_symbol: symbol, opening_price: price, closing_price: close, high, low, volume, timestamp: time };
    });
  }

  /** @param {object[]} ticks */
  async send(ticks) {
    const body = ticks.map((tick) => JSON.stringify(tick)).join('\n');
    const answer = await fetch(`${this.url}/ingest`, { method: 'POST', headers: { 'Content-Type': 'application/x-ndjson' }, body });
    if (!answer.ok) throw new Error(`ingest answered ${answer.status}: ${await answer.text()}`);
  }

  /** @param {number} seconds */
  async past(seconds) {
    const now = Date.now() / 1000;
    let ticks = [];
    for (let time = now - seconds; time < now; time += this.everySeconds) {
      ticks.push(...this.tick(time));
      if (ticks.length < 9_000) continue;
      await this.send(ticks);
      ticks = [];
    }
    await this.send(ticks);
  }

  /** Goes on; answers how to stop. */
  live() {
    const timer = setInterval(() => void this.send(this.tick(Date.now() / 1000)).catch(() => undefined), this.everySeconds * 1000);
    return () => clearInterval(timer);
  }
}

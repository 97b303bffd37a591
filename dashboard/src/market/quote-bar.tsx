// The figures of the chosen symbol's session, over the chart.

import { computed, useComputed } from '@preact/signals';
import { percent, price, short, signed } from '../shell/format';
import { symbol } from '../shell/place';
import { type Quote, quoteOf, quotes } from './symbols';

const chosen = computed(() => (quotes.value, quoteOf(symbol.value)));

export function QuoteBar() {
  const quote = chosen.value;
  return (
    <div class="quote">
      <h2>{symbol.value || 'No symbol'}</h2>
      {quote && <Price key={quote.symbol} quote={quote} />}
      {quote && <Figures key={`${quote.symbol}-figures`} quote={quote} />}
    </div>
  );
}

function Price({ quote }: { quote: Quote }) {
  const change = useComputed(() => quote.last.value - quote.session.value.open);
  const is = change.value < 0 ? 'down' : 'up';
  return (
    <p class="quote-price">
      <strong data-testid="last-price">{price(quote.last.value, quote.digits)}</strong>
      <span class={is}>
        <span aria-hidden="true">{change.value < 0 ? '▼' : '▲'} </span>
        {signed(change.value, quote.digits)} ({percent((change.value / quote.session.value.open) * 100)})
      </span>
    </p>
  );
}

function Figures({ quote }: { quote: Quote }) {
  const { open, high, low, vwap, volume, ticks } = quote.session.value;
  const last = quote.last.value;
  const figures: [string, string][] = [
    ['Open', price(open, quote.digits)],
    ['High', price(Math.max(high, last), quote.digits)],
    ['Low', price(Math.min(low, last), quote.digits)],
    ['VWAP', vwap === null ? '–' : price(vwap, quote.digits)],
    ['Volume', short(volume)],
    ['Ticks', short(ticks)],
  ];
  return (
    <dl class="figures">
      {figures.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

// The watch list: each symbol with its price and change, moved through with the arrow keys.

import { computed, signal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { percent, price } from '../shell/format';
import { symbol } from '../shell/place';
import { loaded, type Quote, quotes } from './symbols';

type Order = 'symbol' | 'change';

const wanted = signal('');
const order = signal<Order>('symbol');

const shown = computed(() => {
  const text = wanted.value.trim().toUpperCase();
  const list = quotes.value.filter((quote) => quote.symbol.includes(text));
  if (order.value === 'symbol') return list;
  const change = (quote: Quote) => quote.session.value.change_percent;
  return [...list].sort((a, b) => change(b) - change(a));
});

export function WatchList() {
  return (
    <section class="watch" aria-label="Watch list">
      <div class="watch-head">
        <input
          type="search"
          placeholder="Find a symbol"
          aria-label="Find a symbol"
          value={wanted}
          onInput={(event) => {
            wanted.value = event.currentTarget.value;
          }}
        />
        <div class="watch-columns">
          <OrderButton of="symbol">Symbol</OrderButton>
          <span>Last</span>
          <OrderButton of="change">Change</OrderButton>
        </div>
      </div>
      <Rows />
    </section>
  );
}

function OrderButton({ of, children }: { of: Order; children: string }) {
  return (
    <button type="button" class="plain" aria-pressed={order.value === of} onClick={() => (order.value = of)}>
      {children}
      <span aria-hidden="true">{order.value === of ? (of === 'symbol' ? ' ↑' : ' ↓') : ''}</span>
    </button>
  );
}

function Rows() {
  const list = useRef<HTMLUListElement>(null);
  const rows = shown.value;
  const at = rows.findIndex((quote) => quote.symbol === symbol.value);

  useEffect(() => {
    list.current?.querySelector('[aria-selected=true]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }, [symbol.value]);

  const move = (event: KeyboardEvent) => {
    const to = { ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1, ArrowLeft: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    const quote = to === undefined ? undefined : rows[Math.max(0, Math.min(rows.length - 1, to))];
    if (!quote) return;
    event.preventDefault();
    symbol.value = quote.symbol;
  };

  if (rows.length === 0) {
    return <p class="empty">{loaded.value ? (wanted.value ? 'No symbol of this name.' : 'No tick has come yet.') : 'Loading …'}</p>;
  }
  return (
    <ul
      ref={list}
      class="watch-rows"
      role="listbox"
      aria-label="Symbols"
      tabIndex={0}
      aria-activedescendant={at >= 0 ? `watch-${rows[at]?.symbol}` : undefined}
      onKeyDown={move}
    >
      {rows.map((quote) => (
        <Row key={quote.symbol} quote={quote} selected={quote.symbol === symbol.value} />
      ))}
    </ul>
  );
}

function Row({ quote, selected }: { quote: Quote; selected: boolean }) {
  return (
    <li
      id={`watch-${quote.symbol}`}
      role="option"
      aria-selected={selected}
      onClick={() => {
        symbol.value = quote.symbol;
      }}
    >
      <span class="name">
        {quote.symbol}
        <Latest quote={quote} />
      </span>
      <Last quote={quote} />
      <Change quote={quote} />
    </li>
  );
}

function Latest({ quote }: { quote: Quote }) {
  const latest = quote.latest.value;
  if (!latest) return null;
  const what = `newest signal: ${latest.side}`;
  return (
    <span class={`mark ${latest.side}`} role="img" aria-label={what} title={what}>
      {latest.side === 'buy' ? '▲' : '▼'}
    </span>
  );
}

function Last({ quote }: { quote: Quote }) {
  return <span class="last">{price(quote.last.value, quote.digits)}</span>;
}

/** Against the session's open, with the newest price. */
function Change({ quote }: { quote: Quote }) {
  const { open } = quote.session.value;
  const change = ((quote.last.value - open) / open) * 100;
  return <span class={change < 0 ? 'down' : change > 0 ? 'up' : ''}>{percent(change)}</span>;
}

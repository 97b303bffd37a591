// The page's head: name, how the connection is, the time, dark or light, who is logged in.

import { signal } from '@preact/signals';
import { connection, lastHeard } from '../api/live';
import { newestTick } from '../market/symbols';
import { clock, duration } from './format';
import { LoginButton } from './login';
import { switchTheme, theme } from './theme';

const now = signal(Date.now());
setInterval(() => {
  now.value = Date.now();
}, 1_000);

export function Header() {
  const other = theme.value === 'dark' ? 'light' : 'dark';
  return (
    <header class="head">
      <h1>
        <svg class="flag" viewBox="0 0 32 32" aria-hidden="true">
          <path class="pole" d="M8 3v26" />
          <path class="field" d="M8 4h19v15H8z" />
          <path class="corner" d="M8 4h19L8 19z" />
        </svg>
        Wigwag
      </h1>
      <ConnectionState />
      <span class="fill" />
      <span class="muted clock">{clock(now.value / 1000)} UTC</span>
      <button type="button" class="icon" aria-label={`Switch to ${other}`} title={`Switch to ${other}`} onClick={switchTheme}>
        {theme.value === 'dark' ? '☀' : '☾'}
      </button>
      <LoginButton />
    </header>
  );
}

function ConnectionState() {
  const state = connection.value;
  const age = Math.max(0, (now.value - lastHeard.value) / 1000);
  const market = newestTick.value > 0 ? now.value / 1000 - newestTick.value : null;
  return (
    <p class={`connection ${state}`}>
      <span class="dot" aria-hidden="true" />
      <span role="status" data-testid="connection">
        {state === 'live' ? 'Live' : state === 'connecting' ? 'Connecting' : 'Stale: the connection is lost, trying again'}
      </span>
      {state === 'stale' && <span>· last data {duration(Math.max(1, Math.round(age)))} ago</span>}
      {state === 'live' && market !== null && market > 5 && <span class="muted">· newest tick {duration(market)} old</span>}
    </p>
  );
}

// Begins: follows what the page shows, and draws it.

import { render } from 'preact';
import { connect } from './api/live';
import { followSession } from './api/session';
import { ChartPanel } from './chart/panel';
import { followMarket } from './market/symbols';
import { WatchList } from './market/watch-list';
import { DropHere } from './plugins/drop';
import { refreshPlugins } from './plugins/list';
import { followDrops } from './plugins/upload';
import { Header } from './shell/header';
import { LoginDialog } from './shell/login';
import { Notices } from './shell/notice';
import { Panels, tall } from './shell/tabs';
import { followSignals } from './signals/feed';
import { StrategyDialog } from './strategies/form';
import { followStrategies } from './strategies/list';
import { RemovalDialog } from './shell/removal';
import { WebhookDialog } from './webhooks/form';

function Page() {
  return (
    <>
      <a class="skip" href="#chart" onClick={(event) => (event.preventDefault(), document.getElementById('chart')?.focus())}>
        Skip to the chart
      </a>
      <Header />
      <main class={tall.value ? 'tall' : ''}>
        <WatchList />
        <ChartPanel />
        <Panels />
      </main>
      <footer>
        <span>Times are UTC.</span>
        <a href="/openapi.json">API</a>
        <a href="/assets/licenses.txt">Licences</a>
        <span>
          Charts by <a href="https://www.tradingview.com/">TradingView Lightweight Charts™</a>
        </span>
      </footer>
      <LoginDialog />
      <StrategyDialog />
      <WebhookDialog />
      <RemovalDialog />
      <Notices />
      <DropHere />
    </>
  );
}

const root = document.getElementById('app');
if (root) render(<Page />, root);
connect();
followMarket();
followSignals();
followStrategies();
followDrops();
void refreshPlugins();
followSession();

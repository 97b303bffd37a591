// Which lines a chart has: those that the strategies' plugins describe. Each strategy keeps its colour, and can be switched off.

import { computed } from '@preact/signals';
import type { PluginInfo, SeriesInfo, StrategyInfo } from '../api/wire';
import { plugins } from '../plugins/list';
import { stored } from '../shell/stored';
import { symbol } from '../shell/place';
import { strategies } from '../strategies/list';
import type { Line, Stroke } from './price-chart';

/** A strategy as the chart shows it. */
export interface Shown {
  id: string;
  colour: string;
  stroke: Stroke;
  series: SeriesInfo[];
  on: boolean;
}

const COLOURS = 6;
const STROKES: Stroke[] = ['solid', 'dashed', 'dotted'];

/** Ids of strategies that were switched off, joined by commas. */
const hidden = stored<string>('hidden', '');

/** A strategy's plugin by its digest: a newer upload of the name may describe itself otherwise. */
export function pluginOf(strategy: StrategyInfo, all: readonly PluginInfo[]): PluginInfo | undefined {
  return all.find(({ digest }) => digest === strategy.plugin_digest) ?? all.find(({ name }) => name === strategy.plugin);
}

export const shown = computed<Shown[]>(() => {
  const off = new Set(hidden.value.split(','));
  const charted = strategies.value.filter(
    ({ enabled, symbols }) => enabled && (symbols === null || symbols.includes(symbol.value)),
  );
  let over = 0;
  return charted.map((strategy, n) => {
    const series = pluginOf(strategy, plugins.value)?.series ?? [];
    const isOver = series.some(({ placement }) => placement === 'over-price');
    return {
      id: strategy.id,
      colour: `line-${(n % COLOURS) + 1}`,
      // Lines over the price differ in their stroke too.
      stroke: isOver ? (STROKES[over++ % STROKES.length] ?? 'solid') : 'solid',
      series,
      on: !off.has(strategy.id),
    };
  });
});

/** What of `shown` the drawing depends on, as text: the lists are made anew with each poll. */
export const shownKey = computed(() => JSON.stringify(shown.value));

export function toggle(id: string): void {
  const off = hidden.peek().split(',').filter(Boolean);
  hidden.value = (off.includes(id) ? off.filter((other) => other !== id) : [...off, id]).join(',');
}

export const lineId = (strategy: string, series: string) => `${strategy}/${series}`;

/** The lines of the strategies that are on. */
export function linesOf(all: readonly Shown[]): Line[] {
  return all
    .filter(({ on }) => on)
    .flatMap(({ id, colour, stroke, series }) =>
      series.map(({ name, placement }) => ({
        id: lineId(id, name),
        pane: placement === 'own-pane' ? id : null,
        colour,
        stroke,
      })),
    );
}

// Dark or light: as the system says, or as was chosen here.

import { computed, effect, signal } from '@preact/signals';
import { stored } from './stored';

const system = matchMedia('(prefers-color-scheme: light)');
const systemIsLight = signal(system.matches);
system.addEventListener('change', () => {
  systemIsLight.value = system.matches;
});

const chosen = stored<'' | 'dark' | 'light'>('theme', '');

export const theme = computed<'dark' | 'light'>(() => chosen.value || (systemIsLight.value ? 'light' : 'dark'));

/** Takes the other one; where that is what the system says, it is followed again. */
export function switchTheme(): void {
  const other = theme.peek() === 'dark' ? 'light' : 'dark';
  chosen.value = (other === 'light') === systemIsLight.peek() ? '' : other;
}

effect(() => {
  document.documentElement.dataset.theme = theme.value;
});

/** A colour of the style sheet as it is now, for what is drawn on a canvas. */
export const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// A signal whose value is kept in this browser.

import { effect, signal, type Signal } from '@preact/signals';

export function stored<T extends string | boolean>(name: string, initial: T): Signal<T> {
  const key = `wigwag.${name}`;
  const kept = localStorage.getItem(key);
  const value = signal<T>(kept === null ? initial : (JSON.parse(kept) as T));
  effect(() => localStorage.setItem(key, JSON.stringify(value.value)));
  return value;
}

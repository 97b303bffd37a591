// Asks before something is removed.

import { signal } from '@preact/signals';
import { Problem } from '../api/http';
import { Dialog } from './dialog';
import { tell } from './notice';

interface Removal {
  what: string;
  consequence: string;
  act: () => Promise<unknown>;
}

const asked = signal<Removal | null>(null);

export function askToRemove(removal: Removal): void {
  asked.value = removal;
}

export function RemovalDialog() {
  const removal = asked.value;
  if (!removal) return null;
  const close = () => {
    asked.value = null;
  };
  const act = async () => {
    close();
    try {
      await removal.act();
      tell(`Removed ${removal.what}.`);
    } catch (error) {
      tell(error instanceof Problem ? error.message : String(error), 'warn');
    }
  };
  return (
    <Dialog title={`Remove ${removal.what}?`} onClose={close}>
      <p>{removal.consequence}</p>
      <div class="actions">
        <button type="button" autofocus onClick={close}>
          Keep it
        </button>
        <button type="button" class="danger" onClick={() => void act()}>
          Remove
        </button>
      </div>
    </Dialog>
  );
}

// Shown over the page while a file is held over it.

import { hovering } from './upload';

export function DropHere() {
  if (!hovering.value) return null;
  return (
    <p class="drop-here" aria-hidden="true">
      Let go to upload the plugin
    </p>
  );
}

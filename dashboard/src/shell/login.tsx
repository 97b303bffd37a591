// Asks for a token, which becomes a session that no script can read.

import { useState } from 'preact/hooks';
import { Problem } from '../api/http';
import { asking, logIn, logOut, session } from '../api/session';
import { Dialog } from './dialog';
import { tell } from './notice';

export function LoginButton() {
  const { name } = session.value;
  if (name === null) {
    return (
      <button type="button" onClick={() => (asking.value = {})}>
        Log in
      </button>
    );
  }
  return (
    <button type="button" title={`Logged in as ${name}`} onClick={() => void logOut().then(() => tell('Logged out.'))}>
      Log out <span class="muted name">{name}</span>
    </button>
  );
}

export function LoginDialog() {
  const [problem, setProblem] = useState('');
  const asked = asking.value;
  if (!asked) return null;
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const token = new FormData(event.currentTarget as HTMLFormElement).get('token');
    try {
      await logIn(String(token ?? '').trim());
      setProblem('');
      asking.value = null;
      tell(`Logged in as ${session.peek().name}.`);
      asked.then?.();
    } catch (error) {
      setProblem(error instanceof Problem ? error.message : String(error));
    }
  };
  return (
    <Dialog
      title="Log in"
      onClose={() => {
        setProblem('');
        asking.value = null;
      }}
    >
      <form class="fields" onSubmit={submit}>
        <p class="muted">
          {session.value.may_read ? 'To change plugins and strategies, the service needs a token.' : 'This service shows nothing without a token.'}{' '}
          Without configured tokens it prints one when it starts, and writes it to <code>admin.token</code> in its data folder.
        </p>
        <label>
          Token
          <input name="token" type="password" autocomplete="current-password" required autofocus aria-describedby="login-problem" />
        </label>
        <p id="login-problem" role="alert" class="problem">
          {problem}
        </p>
        <div class="actions">
          <button type="submit" class="primary">
            Log in
          </button>
        </div>
      </form>
    </Dialog>
  );
}

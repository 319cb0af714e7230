// The token: asked for once, kept for the tab, and the words for what became of a change.

import { ApiError, accepts, token } from './api.js';
import { h, button, put, show, icon } from './dom.js';

const NOTE_MS = 8_000;
const NOTES_MAX = 3;
const listeners = new Set();

export function whenTokenChanges(listener) {
  listeners.add(listener);
}

// Whether personal fields are shown. It ends with the tab.
let isRevealed = false;
const revealListeners = new Set();

export const reveal = {
  get: () => isRevealed,
  subscribe(listener) {
    revealListeners.add(listener);
    return () => revealListeners.delete(listener);
  },
  async toggle() {
    if (!isRevealed && !token.get() && !(await askForToken('Personal fields are shown to those who have the token.')))
      return;
    isRevealed = !isRevealed;
    for (const listener of [...revealListeners]) listener(isRevealed);
  },
};

// A switch that every view with people in it has.
export function revealSwitch() {
  const control = h(
    'button.switch',
    { type: 'button', role: 'switch', onclick: () => reveal.toggle() },
    icon('eye'),
    h('span', null, 'Reveal personal fields'),
  );
  const update = () => control.setAttribute('aria-checked', String(isRevealed));
  update();
  return { control, stop: reveal.subscribe(update) };
}

// Asks for the token; false if the person thought better of it.
export function askForToken(why) {
  return new Promise((resolve) => {
    const field = h('input', {
      id: 'token',
      type: 'password',
      autocomplete: 'off',
      spellcheck: 'false',
      required: true,
      aria: { describedby: 'token-why token-said' },
    });
    const said = h('p.said', { id: 'token-said', role: 'alert' });
    const form = h(
      'form',
      { method: 'dialog' },
      h('h2', { id: 'token-title' }, 'Token needed'),
      h(
        'p',
        { id: 'token-why' },
        why,
        ' The token is printed where userpipe was started on a terminal; otherwise it is in the file that its log names. It stays in this tab only.',
      ),
      h('label', { for: 'token' }, 'Token'),
      field,
      said,
      h(
        'div.actions',
        null,
        button('Cancel', () => dialog.close()),
        h('button.primary', { type: 'submit' }, 'Use token'),
      ),
    );
    const dialog = h('dialog.modal', { aria: { labelledby: 'token-title' } }, form);
    let isAccepted = false;
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      const candidate = field.value.trim();
      try {
        if (!(await accepts(candidate))) throw new ApiError('This token was refused. Nothing was changed.', null, 401);
        token.set(candidate);
        isAccepted = true;
        for (const listener of listeners) listener();
        dialog.close();
      } catch (error) {
        put(said, error.status === 401 ? 'This token was refused. Nothing was changed.' : error.message);
        field.select();
      }
    });
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(isAccepted);
    });
    document.body.append(dialog);
    dialog.showModal();
    field.focus();
  });
}

// Makes a change: with the token, once more if the one we had is refused, and with words for what happened.
export async function change(why, act, tell) {
  if (!token.get() && !(await askForToken(why))) return null;
  for (;;) {
    try {
      const result = await act();
      note('ok', tell(result));
      return result;
    } catch (error) {
      if (error.status === 401) {
        token.forget();
        if (await askForToken(`The server refused the token that this tab had. ${why}`)) continue;
        return null;
      }
      note('blocked', error.hint ? `${error.message}: ${error.hint}` : error.message);
      return null;
    }
  }
}

// Says something once, to eyes and screen readers.
export function note(kind, text) {
  const home = document.getElementById('notes');
  const item = h(
    `div.note.is-${kind}`,
    null,
    icon(kind),
    h('span', null, text),
    h('button.quiet', { type: 'button', aria: { label: 'Dismiss' }, onclick: () => item.remove() }, icon('close')),
  );
  home.append(item);
  while (home.children.length > NOTES_MAX) home.firstElementChild.remove();
  setTimeout(() => item.remove(), kind === 'ok' ? NOTE_MS : NOTE_MS * 2);
  show(home, true);
}

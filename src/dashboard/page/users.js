// Who arrived last, read back from the sink, and one by id.

import { get } from './api.js';
import { button, errorNotice, h, icon, notice, put, show, syncRows, table } from './dom.js';
import { shortId, time } from './format.js';
import { inSink, openUser } from './record.js';
import { reveal, revealSwitch } from './session.js';

const USERS_MAX = 25;
const REFRESH_MS = 2_000;

export function users(home) {
  const list = table('Users, the last sent first', [
    { name: 'Sent' },
    { name: 'Name' },
    { name: 'E-mail' },
    { name: 'Gender' },
    { name: 'Address' },
    { name: 'In the sink' },
    { name: 'Row of' },
    { name: 'Id' },
  ]);
  const field = h('input', {
    id: 'user-id',
    type: 'text',
    autocomplete: 'off',
    spellcheck: 'false',
    placeholder: '00000000-0000-0000-0000-000000000000',
    required: true,
  });
  const said = h('p.said', { role: 'alert' });
  const form = h(
    'form.search',
    { role: 'search', aria: { label: 'Find a user' } },
    h('p.field.long', null, h('label', { for: 'user-id' }, 'A user’s id'), field),
    h('button', { type: 'submit' }, icon('search'), h('span', null, 'Find')),
    said,
  );
  const hold = button(
    'Hold',
    () => {
      isHeld = !isHeld;
      put(hold.lastElementChild, isHeld ? 'Go on' : 'Hold');
    },
    { glyph: 'paused' },
  );
  const secret = revealSwitch();
  const stopReveal = reveal.subscribe(() => load());
  const empty = h('div');
  home.append(
    h('h2.unseen', null, 'Users'),
    h(
      'section',
      { aria: { labelledby: 'users-title' } },
      h(
        'div.heading',
        null,
        h('h3', { id: 'users-title' }, 'Users'),
        h('p.schedule', null, 'the last of the topic, each read back from the sink'),
        h('div.controls', null, secret.control, hold),
      ),
      form,
      list.region,
      empty,
    ),
  );
  let isHeld = false;
  let isLoading = false;
  let loadedAt = 0;

  async function load() {
    isLoading = true;
    loadedAt = Date.now();
    try {
      const { users: told, sink_error: trouble } = await get('/api/users', { limit: USERS_MAX, reveal: reveal.get() });
      syncRows(list.body, told, { key: (user) => user.id, version: (user) => JSON.stringify(user), render: row });
      show(list.region, told.length > 0);
      empty.replaceChildren(
        ...(trouble
          ? [errorNotice({ message: trouble.error, hint: trouble.hint })]
          : told.length
            ? []
            : [notice('No users yet.', 'The first record that is sent to the topic appears here.')]),
      );
    } catch (error) {
      empty.replaceChildren(errorNotice(error));
    }
    isLoading = false;
  }

  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    put(said, '');
    try {
      const user = await get(`/api/users/${encodeURIComponent(field.value.trim())}`, { reveal: reveal.get() });
      if (!user.record && user.in_sink === false && !user.ledger)
        put(said, 'Neither topic, sink nor ledger knows this id.');
      else openUser(user);
    } catch (error) {
      put(said, error.hint ? `${error.message}: ${error.hint}` : error.message);
    }
  });

  load();
  return {
    update() {
      if (!isHeld && !isLoading && Date.now() - loadedAt >= REFRESH_MS) load();
    },
    unmount() {
      stopReveal();
      secret.stop();
    },
  };
}

function row(user) {
  const record = user.record ?? {};
  const open = h('button.link.id', { type: 'button', title: user.id, onclick: () => openUser(user) }, shortId(user.id));
  return h(
    'tr',
    null,
    h('td', null, time(user.sent_at, { millis: true })),
    h('td', null, name(record)),
    h('td', null, h('bdi', null, record.email ?? '–')),
    h('td', null, record.gender ?? '–'),
    h('td.value', null, h('bdi', null, record.address ?? '–')),
    h('td', null, inSink(user.in_sink, user.lag_ms)),
    h('td', null, time(user.row_timestamp, { millis: true })),
    h('td', null, open),
  );
}

function name({ first_name: first, last_name: last }) {
  const parts = [first, last].filter(Boolean);
  return parts.length ? parts.flatMap((part, index) => [index ? ' ' : '', h('bdi', null, part)]) : '–';
}

// The page: which part is shown, and what goes on around it.

import { errorNotice, h, mark, put, show } from './dom.js';
import { count } from './format.js';
import { mountHeader } from './header.js';
import { connect, subscribe, world } from './live.js';
import { askForToken } from './session.js';
import { overview } from './overview.js';
import { runs } from './runs.js';
import { messages } from './messages.js';
import { partitions } from './partitions.js';
import { letters } from './letters.js';
import { users } from './users.js';
import { configuration } from './configuration.js';

const VIEWS = [
  { name: 'overview', label: 'Overview', mount: overview },
  { name: 'runs', label: 'Runs', mount: runs },
  { name: 'messages', label: 'Messages', mount: messages },
  { name: 'partitions', label: 'Partitions', mount: partitions },
  { name: 'dead-letters', label: 'Dead letters', mount: letters, badge: () => world.dead_letters },
  { name: 'users', label: 'Users', mount: users },
  { name: 'configuration', label: 'Configuration', mount: configuration },
];

const main = document.getElementById('view');
const links = new Map();
let current = null;

function tabs() {
  const list = document.getElementById('tabs');
  for (const view of VIEWS) {
    const badge = view.badge ? h('span.badge', { hidden: true }) : null;
    const link = h('a', { href: `#/${view.name}` }, view.label, badge);
    links.set(view.name, { link, badge, view });
    list.append(h('li', null, link));
  }
}

// `#/runs/ID` is the part and what is open in it. Only one part exists at a time: what is not shown costs nothing.
function route({ focus }) {
  const [name, ...rest] = location.hash.replace(/^#\/?/, '').split('/').map(decodeURIComponent);
  const view = VIEWS.find((it) => it.name === name) ?? VIEWS[0];
  if (current?.view === view && current.part.open) {
    current.part.open(rest[0] ?? null);
    return;
  }
  current?.part.unmount?.();
  main.replaceChildren();
  for (const [key, { link }] of links) {
    if (key === view.name) mark(link, 'aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  links.get(view.name).link.scrollIntoView({ block: 'nearest', inline: 'center' });
  document.title = view === VIEWS[0] ? 'userpipe' : `${view.label} · userpipe`;
  current = { view, part: view.mount(main, rest[0] ?? null) };
  current.part.update?.(world);
  if (focus) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

function update(state) {
  for (const { badge, view } of links.values()) {
    if (!badge) continue;
    const value = view.badge();
    show(badge, value > 0);
    put(badge, count(value));
  }
  gate(state.connection);
  current?.part.update?.(state);
}

// A server that wants the token for reading is asked for it once, and again when the person says so.
let isAsking = false;
let wasAsked = false;

async function gate(connection) {
  if (connection.state !== 'refused' || isAsking || wasAsked) return;
  isAsking = true;
  wasAsked = true;
  if (await askForToken('This address is not loopback, so reading needs the token too.')) {
    wasAsked = false;
    current = null;
    route({ focus: false });
  } else {
    const again = h(
      'button.primary',
      {
        type: 'button',
        onclick: () => {
          wasAsked = false;
          gate(connection);
        },
      },
      'Enter the token',
    );
    main.replaceChildren(errorNotice({ message: 'Nothing is shown without the token.', hint: '' }), again);
  }
  isAsking = false;
}

document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
tabs();
mountHeader();
subscribe(update);
addEventListener('hashchange', () => route({ focus: true }));
route({ focus: false });
connect();

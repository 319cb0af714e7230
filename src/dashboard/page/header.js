// The top of the page: what runs, whether it is up, how fast and how far behind it is, and whether what is shown is now.

import { post } from './api.js';
import { button, h, icon, mark, put, shapeOf, show } from './dom.js';
import { ago, clock, count, plural, span } from './format.js';
import { subscribe } from './live.js';
import { change } from './session.js';

const THEMES = ['system', 'light', 'dark'];
const NAMES = ['source', 'ledger', 'bus', 'sink', 'registry', 'dead letters'];

export function mountHeader() {
  const lights = mountLights();
  const figures = mountFigures();
  mountTheme();
  subscribe((world) => {
    connection(world);
    if (!world.overview) return;
    put(document.getElementById('command'), world.overview.command);
    pipeline(world.overview);
    lights(world.overview.lights);
    trouble(world);
    figures(world.overview);
  });
}

function pipeline({ pipeline: { topic, group }, version }) {
  const home = document.getElementById('pipeline');
  const text = [topic && `topic ${topic}`, group && `group ${group}`, `v${version}`].filter(Boolean).join('  ·  ');
  put(home, text);
  mark(home, 'title', text);
}

// Colour, shape and words: each says it alone.
function mountLights() {
  const list = document.getElementById('lights');
  const made = new Map();
  return (lights) => {
    for (const light of lights) {
      let row = made.get(light.name);
      if (!row) {
        const word = h('span.word');
        const detail = h('span.detail', { dir: 'auto' });
        const item = h('li.light', { tabindex: '0' }, h('span.shape'), h('span.name', null, light.name), word, detail);
        row = { item, word, detail, shape: item.firstElementChild, was: null };
        made.set(light.name, row);
        const after = NAMES.slice(NAMES.indexOf(light.name) + 1)
          .map((name) => made.get(name)?.item)
          .find(Boolean);
        list.insertBefore(item, after ?? null);
      }
      if (row.was !== light.state) {
        row.was = light.state;
        row.item.className = `light is-${shapeOf(light.state)}`;
        row.shape.replaceChildren(icon(shapeOf(light.state)));
      }
      put(row.word, light.state);
      put(row.detail, light.detail ?? '');
    }
  };
}

// What is wrong is said in words, not only in a tooltip; a run that failed too, wherever the person looks.
function trouble({ overview: { lights }, runs }) {
  const bad = lights.filter(({ state }) => state === 'blocked' || state === 'retrying');
  const last = runs?.runs.find(({ state }) => state === 'success' || state === 'failed');
  if (last?.state === 'failed') {
    bad.push({ name: 'last run', state: 'blocked', detail: last.error, link: `#/runs/${last.run_id}` });
  }
  let home = document.getElementById('trouble');
  if (!home) {
    home = h('ul.trouble', { id: 'trouble', aria: { label: 'What is in the way' } });
    document.querySelector('.vitals').after(home);
  }
  const text = bad.map(({ name, detail }) => `${name}${detail}`).join('\n');
  show(home, bad.length > 0);
  if (home.dataset.text === text) return;
  home.dataset.text = text;
  home.replaceChildren(
    ...bad.map(({ name, state, detail, link }) =>
      h(
        `li.is-${shapeOf(state)}`,
        null,
        icon(shapeOf(state)),
        link ? h('a', { href: link }, name) : h('strong', null, name),
        ' ',
        h('span', { dir: 'auto' }, detail ?? state),
      ),
    ),
  );
}

function mountFigures() {
  const home = document.getElementById('figures');
  const figure = (label, title) => {
    const value = h('dd');
    home.append(h('div.figure', { title }, h('dt', null, label), value));
    return value;
  };
  const p50 = figure('p50', 'Half of the records took less than this from fetch to row');
  const p99 = figure('p99', 'All but one in a hundred took less than this from fetch to row');
  const lag = figure('lag', 'Records on the topic that the group has not committed');
  const verified = figure('last verify', 'Whether every id of the ledger is where it belongs');
  const words = h('span');
  const verify = button(
    'Verify',
    () =>
      change(
        'A check of all ids reads every store, which needs the token.',
        () => post('/api/verify'),
        () => 'The check of all ids has begun; its result will appear at “last verify”.',
      ),
    { kind: 'quiet', glyph: 'verify' },
  );
  verified.append(words, verify);
  return ({ latency, lag: behind, verify: last }) => {
    put(p50, latency ? span(latency.p50_ms) : '–');
    put(p99, latency ? span(latency.p99_ms) : '–');
    put(lag, count(behind));
    put(words, told(last));
    mark(words, 'class', `state ${!last || last.is_running ? 'is-off' : last.ok ? 'is-ok' : 'is-blocked'}`);
    verify.disabled = last?.is_running === true;
    mark(
      verified.parentElement,
      'title',
      last?.summary ?? 'Whether every id of the ledger is where it belongs: not checked since this process began',
    );
  };
}

// The last check of all ids, in a few words.
function told(last) {
  if (last?.is_running) return 'checking…';
  if (!last?.at) return 'never';
  if (last.holes === null || last.holes === undefined) return `failed, ${ago(last.at)}`;
  const foreign = last.foreign ? `, ${count(last.foreign)} foreign` : '';
  return `${last.holes ? plural(last.holes, 'hole') : 'whole'}${foreign}, ${ago(last.at)}`;
}

function connection({ connection: { state, retry_at: retryAt, seen_at: seenAt, error } }) {
  const home = document.getElementById('connection');
  const wait = retryAt ? Math.max(0, Math.ceil((retryAt - Date.now()) / 1000)) : 0;
  const stale = seenAt ? `stale since ${clock(seenAt)}` : 'nothing received yet';
  const texts = {
    connecting: ['connecting…', 'unknown'],
    live: ['live', 'ok'],
    lost: [`${stale}, ${wait > 0 ? 'reconnecting' : 'connecting'}`, 'retrying'],
    refused: ['token needed', 'blocked'],
  };
  const [text, shape] = texts[state];
  put(home, text);
  mark(home, 'class', `connection is-${shape}`);
  mark(home, 'title', error ? `${error.message}. Next attempt in ${wait} s` : '');
  document.documentElement.classList.toggle('stale', state === 'lost');
}

function mountTheme() {
  const control = document.getElementById('theme');
  control.append(icon('theme'));
  const told = () => {
    const theme = document.documentElement.dataset.theme ?? 'system';
    const text = `Theme: ${theme === 'system' ? 'as the system' : theme}`;
    mark(control, 'aria-label', text);
    mark(control, 'title', text);
    return theme;
  };
  told();
  control.addEventListener('click', () => {
    const next = THEMES[(THEMES.indexOf(told()) + 1) % THEMES.length];
    if (next === 'system') {
      delete document.documentElement.dataset.theme;
      localStorage.removeItem('userpipe-theme');
    } else {
      document.documentElement.dataset.theme = next;
      localStorage.setItem('userpipe-theme', next);
    }
    told();
    dispatchEvent(new Event('themechange'));
  });
}

// Elements, made from data as text: nothing here parses HTML, so nothing that a record says can become markup.

const SVG = 'http://www.w3.org/2000/svg';

// h('button.quiet', {type: 'button', onclick}, 'Text', child): an element with its classes, attributes and children.
// Attributes that are null or false are left out; functions are listeners; `data` and `aria` take objects.
export function h(spec, attributes, ...children) {
  const [tag, ...classes] = spec.split('.');
  const element = document.createElement(tag || 'div');
  if (classes.length) element.className = classes.join(' ');
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else if (name === 'data') Object.assign(element.dataset, value);
    else if (name === 'aria')
      for (const [key, text] of Object.entries(value)) {
        if (text !== null && text !== undefined) element.setAttribute(`aria-${key}`, text);
      }
    else if (name in element && name !== 'list' && typeof value !== 'string') element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// One of the shapes of index.html; it is decoration, the words are beside it.
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', `icon icon-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  svg.setAttribute('viewBox', '0 0 16 16');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `#i-${name}`);
  svg.append(use);
  return svg;
}

export function svg(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// Writes a text only where it differs: most of a tick changes nothing, and an untouched node is not laid out again.
export function put(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

export function mark(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

export function show(element, isShown) {
  if (element.hidden === isShown) element.hidden = !isShown;
}

// A table with a caption for those who cannot see it, in a region that scrolls by itself and by keyboard.
export function table(caption, columns) {
  const body = h('tbody');
  const head = columns.map(({ name, kind, label }) =>
    h(kind ? `th.${kind}` : 'th', { scope: 'col' }, label ? h('span.unseen', null, label) : name),
  );
  const element = h('table', null, h('caption.unseen', null, caption), h('thead', null, h('tr', null, head)), body);
  const region = h('div.scroller', { role: 'region', tabindex: '0', aria: { label: caption } }, element);
  return { region, element, body };
}

// Makes the rows of a table those of a list, keeping what is unchanged. `version` says what a row shows.
export function syncRows(body, items, { key, version, render }) {
  const old = new Map([...body.children].map((row) => [row.dataset.key, row]));
  let place = body.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    const now = String(version(item));
    let row = old.get(name);
    old.delete(name);
    if (row && row.dataset.version !== now) {
      const fresh = render(item);
      const hadFocus = row.contains(document.activeElement) ? focusPath(row) : null;
      if (row === place) place = fresh;
      row.replaceWith(fresh);
      row = fresh;
      if (hadFocus !== null) [...fresh.querySelectorAll('button, input, a')][hadFocus]?.focus({ preventScroll: true });
    } else if (!row) {
      row = render(item);
    }
    row.dataset.key = name;
    row.dataset.version = now;
    if (row === place) place = place.nextElementSibling;
    else body.insertBefore(row, place);
  }
  for (const row of old.values()) row.remove();
}

function focusPath(row) {
  return [...row.querySelectorAll('button, input, a')].indexOf(document.activeElement);
}

// What a person sees where there is nothing yet, or where something went wrong.
export function notice(title, text, kind = 'empty') {
  const words = [h('strong', null, title), text ? h('span', null, text) : null];
  return h(`div.notice.${kind}`, null, icon(kind === 'error' ? 'blocked' : 'off'), h('p', null, words));
}

export function errorNotice(error) {
  return notice(error.message, error.hint ?? '', 'error');
}

// A state as shape, colour and word.
export function state(name, words) {
  return h(`span.state.${slug(name)}`, null, icon(shapeOf(name)), h('span', null, words ?? name));
}

const SHAPES = {
  ok: 'ok',
  success: 'ok',
  delivered: 'ok',
  stable: 'ok',
  yes: 'ok',
  retrying: 'retrying',
  running: 'running',
  requested: 'running',
  pending: 'running',
  'in flight': 'running',
  rebalancing: 'running',
  waiting: 'running',
  blocked: 'blocked',
  failed: 'blocked',
  lost: 'blocked',
  no: 'blocked',
  skipped: 'skipped',
  missed: 'missed',
  empty: 'off',
  purged: 'skipped',
  deleted: 'skipped',
  rejected: 'blocked',
  'dead letter': 'blocked',
  off: 'off',
  paused: 'paused',
};

export function shapeOf(name) {
  return SHAPES[String(name).toLowerCase()] ?? 'unknown';
}

export function slug(name) {
  return `is-${shapeOf(name)}`;
}

export function button(label, onclick, { kind = '', glyph = null, ...attributes } = {}) {
  const spec = kind ? `button.${kind}` : 'button';
  return h(spec, { type: 'button', onclick, ...attributes }, glyph ? icon(glyph) : null, h('span', null, label));
}

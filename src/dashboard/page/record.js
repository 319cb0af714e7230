// A drawer with one record in full and the trace of its user: where it was seen, hop by hop.

import { get } from './api.js';
import { button, errorNotice, h, icon, shapeOf, state } from './dom.js';
import { bytes, shortId, span, time } from './format.js';

const VALUE_MAX = 100_000;

// Opens beside the page; Escape closes it, and the focus goes back to where it was.
export function openDrawer(title, ...content) {
  document.querySelector('dialog.drawer')?.close();
  const dialog = h(
    'dialog.drawer',
    { aria: { labelledby: 'drawer-title' } },
    h(
      'div.heading',
      null,
      h('h2', { id: 'drawer-title' }, title),
      h(
        'button.quiet.square',
        { type: 'button', aria: { label: 'Close' }, onclick: () => dialog.close() },
        icon('close'),
      ),
    ),
    content,
  );
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

// A record of a topic, as the tail and the scan give it.
export function openMessage(message) {
  const facts = h(
    'dl.facts.wide',
    null,
    fact('time', time(message.timestamp, { millis: true })),
    fact('partition', message.partition),
    fact('offset', message.offset),
    fact('size', bytes(message.value_bytes)),
    fact('key', message.key === null ? 'none' : h('code', { dir: 'auto' }, message.key)),
    fact('topic', message.topic),
  );
  openDrawer(
    `Record ${message.partition}:${message.offset}`,
    message.reason ? h('p.failure', { dir: 'auto' }, icon('blocked'), `No user: ${message.reason}`) : null,
    facts,
    valueOf(message.value),
    headersOf(message.headers),
    message.id ? traceOf(message.id) : null,
  );
}

export function openLetter(letter, actions) {
  const from = letter.source ? `${letter.source.topic} ${letter.source.partition}:${letter.source.offset}` : null;
  const id = typeof letter.value === 'object' ? letter.value?.id : null;
  openDrawer(
    `Dead letter ${letter.partition}:${letter.offset}`,
    h('p.failure', { dir: 'auto' }, icon('blocked'), `${letter.stage}: ${letter.reason}`),
    h(
      'dl.facts.wide',
      null,
      fact('time', time(letter.time ?? letter.timestamp, { millis: true })),
      fact('attempts', letter.attempts),
      fact('came from', from),
      fact('key', letter.key === null ? 'none' : h('code', { dir: 'auto' }, letter.key)),
      fact('replays', letter.replays),
      fact('replayed', letter.is_replayed ? 'yes' : 'no'),
    ),
    h('div.actions', null, actions),
    valueOf(letter.value),
    traceOf(id ?? letter.key, { onlyIds: true }),
  );
}

// A user by id: its row, and the trace.
export function openUser(user) {
  openDrawer(
    `User ${shortId(user.id)}`,
    h(
      'dl.facts.wide',
      null,
      fact('id', h('code', null, user.id)),
      fact('in the sink', inSink(user.in_sink)),
      fact('row written for', time(user.row_timestamp, { millis: true })),
      fact('in the ledger', user.ledger === undefined || user.ledger === null ? null : user.ledger ? 'yes' : 'no'),
    ),
    user.record ? valueOf(user.record) : null,
    traceOf(user.id),
  );
}

export function inSink(found, behindMs = 0) {
  if (found === null || found === undefined) return state('unknown', 'not known');
  if (found && behindMs > 0) return state('retrying', `a row ${span(behindMs)} older`);
  return found ? state('ok', 'yes') : state('missed', 'not yet');
}

function fact(label, value) {
  return value === null || value === undefined ? null : h('div', null, h('dt', null, label), h('dd', null, value));
}

function valueOf(value) {
  if (value !== null && typeof value === 'object') {
    return h(
      'section',
      null,
      h('h3', null, 'Value'),
      h(
        'dl.fields',
        null,
        Object.entries(value).map(([name, field]) =>
          h(
            'div',
            null,
            h('dt', null, name),
            h(
              'dd',
              { dir: 'auto' },
              field === null ? 'null' : typeof field === 'object' ? JSON.stringify(field) : String(field),
            ),
          ),
        ),
      ),
    );
  }
  const text = value === null || value === undefined ? 'null: a tombstone, which deletes the user' : String(value);
  return h(
    'section',
    null,
    h('h3', null, 'Value'),
    h('pre', { tabindex: '0', dir: 'auto', aria: { label: 'Value' } }, text.slice(0, VALUE_MAX)),
  );
}

function headersOf(headers) {
  if (!headers?.length) return null;
  return h(
    'section',
    null,
    h('h3', null, 'Headers'),
    h(
      'dl.fields',
      null,
      headers.map(([name, text]) => h('div', null, h('dt', null, name), h('dd', { dir: 'auto' }, text ?? '–'))),
    ),
  );
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

// A record that has just come is on its way: it is looked for again, so often and with growing pauses.
const ON_ITS_WAY = ['in flight', 'waiting'];
const LOOKS_MAX = 6;
const PAUSE_MS = 700;

// Asked for by hand: it reads the user's partition from its beginning.
function traceOf(id, { onlyIds = false } = {}) {
  if (onlyIds && !UUID.test(String(id))) return null;
  const result = h('div', { aria: { live: 'polite' } });
  const home = h('section.trace', null, h('h3', null, 'Trace'), result);
  load();

  async function load() {
    result.replaceChildren(h('p.quiet-text', null, 'Reading ledger, topic, dead letters and sink…'));
    await look(1);
  }

  async function look(number) {
    try {
      const trace = await get(`/api/trace/${encodeURIComponent(id)}`);
      result.replaceChildren(...steps(trace));
      if (!ON_ITS_WAY.includes(trace.verdict)) return;
      if (number === LOOKS_MAX) {
        result.append(button('Look again', load, { glyph: 'replay' }));
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * 2 ** (number - 1)));
      // Nobody waits for it in a drawer that was closed.
      if (home.isConnected) await look(number + 1);
    } catch (error) {
      result.replaceChildren(errorNotice(error), button('Try again', load, { glyph: 'replay' }));
    }
  }
  return home;
}

function steps(trace) {
  const items = [];
  const step = (kind, title, ...words) =>
    items.push(
      h(
        `li.step.is-${shapeOf(kind)}`,
        null,
        icon(shapeOf(kind)),
        h(
          'div',
          null,
          h('strong', null, title),
          h(
            'p',
            null,
            words.filter(Boolean).flatMap((word) => [word, ' ']),
          ),
        ),
      ),
    );
  for (const it of trace.ledger ?? []) {
    step(
      'ok',
      'Ledger',
      'stored ',
      time(it.stored_at, { millis: true }),
      it.run
        ? h(
            'a.id',
            { href: `#/runs/${it.run}`, onclick: () => document.querySelector('dialog.drawer')?.close() },
            `run ${shortId(it.run)}`,
          )
        : null,
    );
    if (it.sent_at) step('ok', 'Sent', time(it.sent_at, { millis: true }), `to ${it.partition}:${it.offset}`);
    else step('pending', 'Not sent yet', 'the next relay sends it');
  }
  for (const it of trace.rejections ?? []) step('blocked', 'Rejected', time(it.at), it.reason);
  for (const it of trace.topic ?? []) {
    step(
      it.kind === 'undecodable' ? 'blocked' : it.committed ? 'ok' : 'pending',
      'Topic',
      `${it.kind} at ${it.partition}:${it.offset},`,
      it.committed ? 'committed by the group' : 'not committed yet',
      it.dead_letter ? ', a dead letter' : null,
    );
  }
  for (const it of trace.dead_letters ?? [])
    step(
      'blocked',
      'Dead letter',
      `${it.partition}:${it.offset},`,
      `${it.stage}: ${it.error}`,
      it.replayed ? '(replayed)' : null,
    );
  if (trace.sink) step('ok', 'Sink', 'the row is of ', time(trace.sink.timestamp, { millis: true }));
  else step('missed', 'Sink', 'no row');
  if (trace.purged) step('skipped', 'Purged', 'the user is suppressed');
  const verdict = h(
    'p.verdict',
    null,
    state(trace.verdict),
    trace.reason ? h('span', { dir: 'auto' }, `: ${trace.reason}`) : null,
  );
  return [verdict, h('ol.steps', null, items)];
}

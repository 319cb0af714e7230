// The topic as it comes, and a search of it: by key, text, time or offset, with progress, and with an end to it.

import { stream } from './api.js';
import { button, errorNotice, h, icon, mark, notice, put, show, table } from './dom.js';
import { bytes, count, moment, plural, preview, shortId } from './format.js';
import { openMessage } from './record.js';
import { reveal, revealSwitch } from './session.js';

const ROWS_MAX = 200;
const TAIL_RETRY_MS = 2_000;

export function messages(home) {
  const list = table('Records, newest first', [
    { name: 'Time' },
    { name: 'Part.', kind: 'number' },
    { name: 'Offset', kind: 'number' },
    { name: 'Key' },
    { name: 'Value' },
    { name: 'Size', kind: 'number' },
  ]);
  const form = searchForm();
  const said = h('p.said', { role: 'status' });
  const bar = h('progress', { max: 1, value: 0, hidden: true, aria: { label: 'How much of the topic was searched' } });
  const follow = h(
    'button',
    { type: 'button', aria: { pressed: 'true' }, onclick: () => setMode('tail') },
    'Live tail',
  );
  const search = h('button', { type: 'button', aria: { pressed: 'false' }, onclick: () => setMode('scan') }, 'Search');
  const hold = button('Hold', () => setHeld(!isHeld), { glyph: 'paused' });
  const cancel = button('Cancel', () => stop('Cancelled.'), { glyph: 'close', hidden: true });
  const empty = h('div');
  const secret = revealSwitch();
  const stopReveal = reveal.subscribe(() => restart());
  home.append(
    h('h2.unseen', null, 'Messages'),
    h(
      'section',
      { aria: { labelledby: 'messages-title' } },
      h(
        'div.heading',
        null,
        h('h3', { id: 'messages-title' }, 'Messages'),
        h('div.choices', { role: 'group', aria: { label: 'What is shown' } }, follow, search),
        form.topic,
        h('div.controls', null, secret.control, hold, cancel),
      ),
      form.element,
      h('div.progress', null, bar, said),
      list.region,
      empty,
    ),
  );

  let mode = 'tail';
  let isHeld = false;
  let controller = null;
  let waiting = [];
  let held = 0;
  let skipped = 0;
  let progress = null;
  let isScheduled = false;

  // Rows are made once a frame at most, and the oldest go: the table never grows past ROWS_MAX.
  function schedule() {
    if (isScheduled) return;
    isScheduled = true;
    requestAnimationFrame(() => {
      isScheduled = false;
      flush();
    });
  }

  function flush() {
    const fresh = waiting.slice(-ROWS_MAX);
    waiting = [];
    if (fresh.length) {
      const rows = fresh.map(row);
      if (mode === 'tail') list.body.prepend(...rows.reverse());
      else list.body.append(...rows);
      while (list.body.children.length > ROWS_MAX && mode === 'tail') list.body.lastElementChild.remove();
      empty.replaceChildren();
    }
    show(list.region, list.body.children.length > 0);
    tell();
  }

  function row(message) {
    const isBad = message.reason !== null && message.reason !== undefined;
    const open = () => openMessage(message);
    const key = h(
      'button.link.id',
      {
        type: 'button',
        title: message.key ?? '',
        onclick: (event) => {
          event.stopPropagation();
          open();
        },
      },
      message.key === null ? 'no key' : shortId(message.key),
    );
    return h(
      isBad ? 'tr.clickable.bad' : 'tr.clickable',
      { onclick: open },
      h('td', null, moment(message.timestamp, { millis: true })),
      h('td.number', null, message.partition),
      h('td.number', null, message.offset),
      h('td', null, key),
      h(
        'td.value',
        null,
        isBad ? h('span.failure-tag', { title: message.reason }, icon('blocked'), 'no user') : null,
        preview(message.value),
      ),
      h('td.number', null, bytes(message.value_bytes)),
    );
  }

  function tell() {
    if (mode === 'tail') {
      const parts = [
        isHeld ? `Held; ${plural(held, 'record')} since` : controller ? 'Following' : '',
        skipped ? `${count(skipped)} more went by that are not shown` : '',
      ];
      put(said, parts.filter(Boolean).join('. '));
    } else if (progress) {
      const { scanned, total, matched, isDone, isCut } = progress;
      if (total) {
        bar.value = Math.min(1, scanned / total);
        show(bar, !isDone);
      }
      put(
        said,
        `${isDone ? 'Searched' : 'Searching:'} ${count(scanned)}${total ? ` of ${count(total)}` : ''} records, ${plural(matched, 'match', 'matches')}${isCut ? '; there may be more: raise the limit' : ''}`,
      );
    }
  }

  function setHeld(wanted) {
    isHeld = wanted;
    held = 0;
    put(hold.lastElementChild, isHeld ? 'Go on' : 'Hold');
    tell();
  }

  function setMode(wanted) {
    mode = wanted;
    mark(follow, 'aria-pressed', String(mode === 'tail'));
    mark(search, 'aria-pressed', String(mode === 'scan'));
    form.setMode(mode);
    restart();
  }

  function clear() {
    waiting = [];
    skipped = 0;
    progress = null;
    list.body.replaceChildren();
    empty.replaceChildren();
    show(list.region, false);
    show(bar, false);
    put(said, '');
  }

  function stop(words) {
    controller?.abort();
    controller = null;
    show(cancel, false);
    show(bar, false);
    if (words)
      put(
        said,
        progress
          ? `${words} ${count(progress.scanned)} records were searched, ${plural(progress.matched, 'match', 'matches')}.`
          : words,
      );
  }

  function restart() {
    stop();
    clear();
    setHeld(false);
    show(hold, mode === 'tail');
    if (mode === 'tail') tail();
    else
      empty.replaceChildren(
        notice('Nothing was searched for yet.', 'Give a key, a text, a time or an offset, and start.'),
      );
  }

  async function tail() {
    const mine = new AbortController();
    controller = mine;
    empty.replaceChildren(notice('Waiting for records.', 'The next one that is sent to the topic appears here.'));
    while (controller === mine) {
      try {
        await stream(
          '/api/messages/tail',
          { topic: form.topicName(), reveal: reveal.get() },
          (event, data) => {
            if (controller !== mine) return;
            if (event === 'skipped') {
              skipped = data.skipped;
              schedule();
              return;
            }
            if (event !== 'message') {
              empty.replaceChildren(errorNotice({ message: data.error, hint: data.hint }));
              return;
            }
            if (isHeld) {
              held += 1;
              schedule();
              return;
            }
            waiting.push(data);
            if (waiting.length > ROWS_MAX) waiting.shift();
            schedule();
          },
          { signal: mine.signal },
        );
      } catch (error) {
        if (mine.signal.aborted) return;
        empty.replaceChildren(errorNotice(error));
      }
      await new Promise((resolve) => {
        setTimeout(resolve, TAIL_RETRY_MS);
      });
    }
  }

  async function scan(parameters) {
    stop();
    clear();
    const mine = new AbortController();
    controller = mine;
    show(cancel, true);
    progress = { scanned: 0, total: null, matched: 0, isDone: false, isCut: false };
    tell();
    try {
      await stream(
        '/api/messages/scan',
        { ...parameters, topic: form.topicName(), reveal: reveal.get() },
        (event, data) => {
          if (controller !== mine) return;
          if (event === 'progress') Object.assign(progress, { scanned: data.scanned, total: data.total });
          else if (event === 'message') {
            waiting.push(data);
            progress.matched += 1;
          } else if (event === 'done')
            Object.assign(progress, { scanned: data.scanned, matched: data.matched, isCut: data.is_cut, isDone: true });
          else if (event === 'error') empty.replaceChildren(errorNotice({ message: data.error, hint: data.hint }));
          schedule();
        },
        { signal: mine.signal },
      );
      if (controller !== mine) return;
      progress.isDone = true;
      flush();
      if (!list.body.children.length && !empty.children.length)
        empty.replaceChildren(
          notice('No record matches.', 'The key is compared whole, the text anywhere in the value.'),
        );
    } catch (error) {
      if (mine.signal.aborted) return;
      empty.replaceChildren(errorNotice(error));
      put(said, '');
    }
    if (controller === mine) stop();
  }

  form.onsubmit(scan);
  form.ontopic(() => restart());
  form.setMode(mode);
  restart();
  return {
    unmount() {
      stop();
      stopReveal();
      secret.stop();
    },
  };
}

const FROM = [
  ['newest', 'the newest'],
  ['beginning', 'the beginning'],
  ['time', 'a time'],
  ['offset', 'an offset'],
];

function searchForm() {
  const field = (label, input, spec = 'p.field') => h(spec, null, h('label', { for: input.id }, label), input);
  const topic = h(
    'select',
    { id: 'topic', aria: { label: 'Topic' } },
    h('option', { value: 'bus' }, 'records'),
    h('option', { value: 'dead-letters' }, 'dead letters'),
  );
  const from = h(
    'select',
    { id: 'from' },
    FROM.map(([value, label]) => h('option', { value }, label)),
  );
  const newest = h('input', { id: 'newest', type: 'number', min: '1', max: '1000000', value: '10000' });
  const at = h('input', { id: 'at', type: 'datetime-local', step: '1' });
  const offset = h('input', { id: 'offset', type: 'number', min: '0', value: '0' });
  const partition = h('input', { id: 'partition', type: 'number', min: '0', placeholder: 'all' });
  const key = h('input', {
    id: 'key',
    type: 'text',
    autocomplete: 'off',
    spellcheck: 'false',
    placeholder: 'a whole key, as a user’s id',
  });
  const text = h('input', {
    id: 'text',
    type: 'text',
    autocomplete: 'off',
    spellcheck: 'false',
    dir: 'auto',
    placeholder: 'anywhere in the value',
  });
  const limit = h('input', { id: 'limit', type: 'number', min: '1', max: '1000', value: '100' });
  const fields = { newest: field('How many', newest), time: field('Since', at), offset: field('Offset', offset) };
  const element = h(
    'form.search',
    { role: 'search', aria: { label: 'Search the topic' } },
    field('From', from),
    fields.newest,
    fields.time,
    fields.offset,
    field('Partition', partition),
    field('Key', key, 'p.field.long'),
    field('Text', text, 'p.field.long'),
    field('Matches at most', limit),
    h('button.primary', { type: 'submit' }, icon('search'), h('span', null, 'Search')),
  );
  const choose = () => {
    for (const [name, it] of Object.entries(fields)) show(it, from.value === name);
  };
  choose();
  from.addEventListener('change', choose);

  function start() {
    if (from.value === 'newest') return `-${newest.value || 10_000}`;
    if (from.value === 'time' && at.value) return `@${new Date(at.value).toISOString()}`;
    if (from.value === 'offset') return offset.value || '0';
    return 'beginning';
  }

  return {
    element,
    topic,
    topicName: () => topic.value,
    ontopic: (listener) => topic.addEventListener('change', listener),
    onsubmit: (listener) =>
      element.addEventListener('submit', (event) => {
        event.preventDefault();
        listener({
          from: start(),
          partition: partition.value,
          key: key.value.trim(),
          text: text.value,
          limit: limit.value,
        });
      }),
    setMode: (mode) => show(element, mode === 'scan'),
  };
}

// Dead letters: why they are there, what they say, and sending chosen ones again.

import { get, post } from './api.js';
import { button, errorNotice, h, mark, notice, put, show, state, syncRows, table } from './dom.js';
import { count, plural, preview, time } from './format.js';
import { world as page } from './live.js';
import { openLetter } from './record.js';
import { change, reveal, revealSwitch } from './session.js';

const LETTERS_MAX = 200;
const REFRESH_MS = 2_000;
const nameOf = ({ partition, offset }) => `${partition}:${offset}`;

export function letters(home) {
  const list = table('Dead letters, newest first', [
    { name: 'Chosen', label: 'Chosen' },
    { name: 'At' },
    { name: 'Time' },
    { name: 'Stage' },
    { name: 'Reason' },
    { name: 'Value' },
    { name: 'Attempts', kind: 'number' },
    { name: 'Replayed' },
  ]);
  const bars = h('ul.reasons', {
    aria: { label: 'Reasons, most frequent first. Choose one to see its letters only.' },
  });
  const total = h('p.schedule');
  const all = h('input', { id: 'choose-all', type: 'checkbox', onchange: () => chooseAll(all.checked) });
  const replay = button('Replay', () => replayChosen([...chosen].map(([, letter]) => letter)), {
    kind: 'primary',
    glyph: 'replay',
    disabled: true,
  });
  const secret = revealSwitch();
  const stopReveal = reveal.subscribe(() => load());
  const empty = h('div');
  const tools = h(
    'div.controls',
    null,
    secret.control,
    h('label.check', { for: 'choose-all' }, all, 'Choose all shown'),
    replay,
  );
  home.append(
    h('h2.unseen', null, 'Dead letters'),
    h(
      'section',
      { aria: { labelledby: 'letters-title' } },
      h('div.heading', null, h('h3', { id: 'letters-title' }, 'Dead letters'), total, tools),
      bars,
      list.region,
      empty,
    ),
  );

  const chosen = new Map();
  let told = null;
  let reason = null;
  let seen = page.version.dead_letters;
  let loadedAt = 0;
  let isLoading = false;

  async function load() {
    isLoading = true;
    loadedAt = Date.now();
    seen = page.version.dead_letters;
    try {
      told = await get('/api/dead-letters', { limit: LETTERS_MAX, reveal: reveal.get() });
      empty.replaceChildren();
      render();
    } catch (error) {
      empty.replaceChildren(errorNotice(error));
    }
    isLoading = false;
  }

  const keyOf = (it) => `${it.stage} ${it.reason}`;
  const shown = () => (told?.letters ?? []).filter((it) => reason === null || keyOf(it) === reason);

  function render() {
    const rows = shown();
    const here = new Set(rows.map(nameOf));
    for (const name of [...chosen.keys()]) if (!here.has(name)) chosen.delete(name);
    const most = Math.max(1, ...told.reasons.map((it) => it.count));
    syncRows(bars, told.reasons, {
      key: keyOf,
      version: (it) => `${it.count} ${most} ${reason === keyOf(it)}`,
      render: (it) => bar(it, most),
    });
    syncRows(list.body, rows, {
      key: nameOf,
      version: (it) => `${JSON.stringify(it)} ${chosen.has(nameOf(it))}`,
      render: row,
    });
    show(list.region, rows.length > 0);
    show(tools, told.letters.length > 0);
    show(bars, told.reasons.length > 0);
    put(
      total,
      told.total > told.letters.length
        ? `${plural(told.total, 'letter')}, the newest ${count(told.letters.length)} here`
        : plural(told.total, 'letter'),
    );
    if (!told.letters.length)
      empty.replaceChildren(
        notice('No dead letters.', 'Every record so far could be decoded and written, or waits its turn.'),
      );
    tellChosen();
  }

  function bar(it, most) {
    const fill = h('span.fill');
    fill.style.width = `${Math.max(0.5, (it.count / most) * 100).toFixed(1)}%`;
    const isOnly = reason === keyOf(it);
    return h(
      'li',
      null,
      h(
        'button.reason',
        {
          type: 'button',
          title: it.reason,
          aria: { pressed: String(isOnly) },
          onclick: () => {
            reason = isOnly ? null : keyOf(it);
            render();
          },
        },
        h('span.words', null, h('span.chip', null, it.stage), h('span', { dir: 'auto' }, it.reason)),
        h('span.groove', null, fill),
        h('span.number', null, count(it.count)),
      ),
    );
  }

  function row(letter) {
    const name = nameOf(letter);
    const box = h('input', {
      type: 'checkbox',
      checked: chosen.has(name),
      disabled: letter.is_replayed,
      aria: { label: `Choose ${name}` },
      onchange: () => {
        if (box.checked) chosen.set(name, letter);
        else chosen.delete(name);
        tellChosen();
      },
    });
    const open = () =>
      openLetter(
        letter,
        letter.is_replayed
          ? null
          : button('Replay this one', () => replayChosen([letter]), { kind: 'primary', glyph: 'replay' }),
      );
    return h(
      'tr',
      null,
      h('td', null, box),
      h(
        'td',
        null,
        h('button.link.id', { type: 'button', onclick: open, aria: { label: `Open dead letter ${name}` } }, name),
      ),
      h('td', null, time(letter.time ?? letter.timestamp)),
      h('td', null, letter.stage),
      h('td.value', { title: letter.reason }, h('bdi', null, letter.reason)),
      h('td.value', null, preview(letter.value, 100)),
      h('td.number', null, count(letter.attempts)),
      h(
        'td',
        null,
        letter.is_replayed ? state('ok', 'yes') : letter.replays ? `no, sent ${count(letter.replays)}× before` : 'no',
      ),
    );
  }

  function chooseAll(wanted) {
    chosen.clear();
    if (wanted) for (const letter of shown().filter((it) => !it.is_replayed)) chosen.set(nameOf(letter), letter);
    render();
  }

  function tellChosen() {
    put(replay.lastElementChild, chosen.size ? `Replay ${count(chosen.size)} chosen` : 'Replay chosen');
    replay.disabled = chosen.size === 0;
    all.checked = chosen.size > 0 && chosen.size === shown().filter((it) => !it.is_replayed).length;
    mark(all, 'aria-checked', String(all.checked));
  }

  async function replayChosen(which) {
    const body = { letters: which.map(({ partition, offset }) => ({ partition, offset })) };
    const answer = await change(
      'A replay sends records to their topic again, which needs the token.',
      () => post('/api/dead-letters/replay', body),
      tellReplay,
    );
    if (!answer) return;
    document.querySelector('dialog.drawer')?.close();
    chosen.clear();
    load();
  }

  load();
  return {
    update({ version }) {
      if (!isLoading && version.dead_letters !== seen && Date.now() - loadedAt >= REFRESH_MS) load();
    },
    unmount() {
      stopReveal();
      secret.stop();
    },
  };
}

function tellReplay({ replayed, skipped }) {
  const sent = `${plural(replayed, 'letter was', 'letters were')} sent to the topic again`;
  if (!skipped?.length) return `${sent}.`;
  return `${sent}; ${plural(skipped.length, 'was', 'were')} not: ${[...new Set(skipped.map(({ why }) => why))].join('; ')}.`;
}

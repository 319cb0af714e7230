// Runs as a grid of states over time, as Airflow shows them; one of them in full; start one, pause and resume.

import { get, post } from './api.js';
import { button, errorNotice, h, icon, mark, notice, put, shapeOf, show, state, syncRows, table } from './dom.js';
import { clock, count, moment, shortId, span, time, until } from './format.js';
import { upsert, refreshRuns, world as page } from './live.js';
import { change } from './session.js';

const SQUARES_MAX = 100;
const ROWS_MAX = 100;
const HELD = ['success', 'failed', 'running', 'skipped', 'missed'];

// The controls and the grid, here and on the overview.
export function mountRunStrip({ onpick, picked = () => null }) {
  const schedule = h('p.schedule');
  const trigger = button('Run now', start, { kind: 'primary', glyph: 'play' });
  const pause = button('Pause', () => setPaused(!page.runs?.is_paused), { glyph: 'paused' });
  const controls = h('div.controls', null, trigger, pause);
  const bars = h('div.squares', {
    role: 'group',
    aria: { label: 'Runs, oldest first. Arrow keys move, Enter opens.' },
  });
  const axis = h('div.axis', { aria: { hidden: 'true' } });
  const scroll = h('div.scroller.grid', null, h('div.lane', null, bars, axis));
  const legend = h(
    'p.key-of-states',
    null,
    HELD.map((name) => state(name)),
  );
  const empty = h('div');
  const element = h(
    'section',
    { aria: { labelledby: 'runs-title' } },
    h('div.heading', null, h('h3', { id: 'runs-title' }, 'Runs'), schedule, controls),
    scroll,
    empty,
    legend,
  );
  let shown = null;
  let shownRuns = 0;

  bars.addEventListener('keydown', (event) => {
    const all = [...bars.children];
    const at = all.indexOf(document.activeElement);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || to === undefined || !all[to]) return;
    event.preventDefault();
    focusOn(all, to);
  });

  function focusOn(all, to) {
    for (const it of all) it.tabIndex = -1;
    all[to].tabIndex = 0;
    all[to].focus();
  }

  function square(run, longest) {
    const { run_id: id, state: name, started_at: started, duration_ms: took } = run;
    const bar = h('span.length');
    bar.style.height = `${took ? Math.max(6, Math.round(Math.sqrt(took / longest) * 100)) : 0}%`;
    const words = [
      name,
      moment(started),
      took ? span(took) : null,
      run.produced ? `${count(run.produced)} records` : null,
      run.attempts > 1 ? `${run.attempts} attempts` : null,
    ];
    const text = words.filter(Boolean).join(', ');
    return h(
      `button.square-of-run.is-${shapeOf(name)}`,
      { type: 'button', title: text, tabindex: '-1', data: { id }, aria: { label: text }, onclick: () => onpick(id) },
      h('span.track', null, bar),
      h('span.box', null, icon(shapeOf(name))),
    );
  }

  function update({ runs, runs_error: error, version, overview }) {
    const signature = `${version.runs} ${picked()} ${overview?.may_schedule}`;
    if (signature === shown) {
      tellSchedule(runs);
      return;
    }
    shown = signature;
    const list = (runs?.runs ?? []).slice(0, SQUARES_MAX).reverse();
    const longest = Math.max(1, ...list.map(({ duration_ms: took }) => took ?? 0));
    show(scroll, list.length > 0);
    show(legend, list.length > 0);
    const atEnd = shownRuns === 0 || scroll.scrollLeft + scroll.clientWidth >= scroll.scrollWidth - 40;
    syncRows(bars, list, {
      key: ({ run_id: id }) => id,
      version: (run) => `${run.state} ${run.duration_ms} ${run.attempts} ${run.produced} ${longest}`,
      render: (run) => square(run, longest),
    });
    const all = [...bars.children];
    for (const it of all) mark(it, 'aria-pressed', String(it.dataset.id === picked()));
    if (all.length && !all.some(({ tabIndex }) => tabIndex === 0)) all.at(-1).tabIndex = 0;
    label(list);
    shownRuns = list.length;
    if (atEnd) scroll.scrollLeft = scroll.scrollWidth;
    if (error && !runs) empty.replaceChildren(errorNotice(error));
    else if (runs && !list.length)
      empty.replaceChildren(
        notice(
          'No runs yet.',
          overview?.may_schedule
            ? 'Start one with “Run now”, or wait for the schedule.'
            : 'Runs appear when a process is started with: userpipe run --interval 1m',
        ),
      );
    else empty.replaceChildren();
    show(controls, overview?.may_schedule !== false);
    tellSchedule(runs);
  }

  // Every tenth run has its time below it.
  function label(list) {
    const texts = list.map((run, index) => (index % 10 === 0 ? clock(run.started_at).slice(0, 5) : ''));
    if (axis.dataset.texts === texts.join()) return;
    axis.dataset.texts = texts.join();
    axis.replaceChildren(...texts.map((text, index) => h(index > texts.length - 3 ? 'span.last' : 'span', null, text)));
  }

  function tellSchedule(runs) {
    if (!runs) return;
    const wait = runs.next_at ? new Date(runs.next_at).getTime() - Date.now() : null;
    const next = wait === null ? null : wait > 0 ? `next in ${until(wait)}` : 'due now';
    put(
      schedule,
      runs.is_paused
        ? `${runs.schedule ?? 'schedule'}, paused`
        : [runs.schedule ?? 'no schedule', runs.schedule ? next : null].filter(Boolean).join(', '),
    );
    mark(schedule, 'class', runs.is_paused ? 'schedule is-paused' : 'schedule');
    put(pause.lastElementChild, runs.is_paused ? 'Resume' : 'Pause');
    show(pause, runs.schedule !== null);
  }

  return { element, update };
}

async function start() {
  const told = await change(
    'Starting a run needs the token.',
    () => post('/api/runs/trigger'),
    ({ run_id: id }) => `Run ${shortId(id)} was asked for; it begins within a second or two.`,
  );
  if (told) refreshRuns();
}

async function setPaused(isPaused) {
  const told = await change(
    isPaused ? 'Pausing the schedule needs the token.' : 'Resuming the schedule needs the token.',
    () => post(isPaused ? '/api/schedule/pause' : '/api/schedule/resume'),
    (answer) =>
      answer.is_paused ? 'The schedule is paused: due runs are skipped until it is resumed.' : 'The schedule goes on.',
  );
  if (told && page.runs) {
    page.runs.is_paused = told.is_paused;
    refreshRuns();
  }
}

// The part of its own: the grid, one run, and the list.
export function runs(home, opened) {
  let picked = opened;
  const strip = mountRunStrip({
    onpick: (id) => {
      location.hash = `#/runs/${id}`;
    },
    picked: () => picked,
  });
  const panel = h('section.panel.run-panel', { aria: { label: 'The chosen run' } });
  const list = table('Runs, newest first', [
    { name: 'State' },
    { name: 'Started' },
    { name: 'Trigger' },
    { name: 'Took', kind: 'number' },
    { name: 'Fetched', kind: 'number' },
    { name: 'Rejected', kind: 'number' },
    { name: 'Sent', kind: 'number' },
    { name: 'Attempts', kind: 'number' },
    { name: 'Run' },
  ]);
  home.append(h('h2.unseen', null, 'Runs'), strip.element, h('div.beside', null, list.region, panel));
  let shown = -1;
  let panelShown = null;

  function row(run) {
    return h(
      'tr',
      { class: run.run_id === picked ? 'chosen' : null },
      h('td', null, state(run.state)),
      h('td', null, time(run.started_at)),
      h('td', null, run.trigger),
      h('td.number', null, span(run.duration_ms)),
      h('td.number', null, count(run.fetched)),
      h('td.number', null, count(run.rejected)),
      h('td.number', null, count(run.produced)),
      h('td.number', null, count(run.attempts)),
      h('td', null, h('a.id', { href: `#/runs/${run.run_id}`, title: run.run_id }, shortId(run.run_id))),
    );
  }

  async function tell(id) {
    const run = id ?? page.runs?.runs[0]?.run_id;
    if (!run) {
      panel.replaceChildren(notice('No run is chosen.', 'Choose a square above to see what happened.'));
      return;
    }
    try {
      const whole = await get(`/api/runs/${encodeURIComponent(run)}`);
      upsert({ ...whole, log: undefined });
      if ((picked ?? page.runs?.runs[0]?.run_id) === run) panel.replaceChildren(...describe(whole));
    } catch (error) {
      panel.replaceChildren(errorNotice(error));
    }
  }

  return {
    open(id) {
      picked = id;
      panelShown = null;
      shown = -1;
      this.update(page);
    },
    update(world) {
      strip.update(world);
      if (!world.runs || shown === world.version.runs) return;
      shown = world.version.runs;
      const rows = world.runs.runs.slice(0, ROWS_MAX);
      syncRows(list.body, rows, {
        key: (run) => run.run_id,
        version: (run) => `${JSON.stringify(run)} ${run.run_id === picked}`,
        render: row,
      });
      show(list.region, rows.length > 0);
      const run = picked ? rows.find(({ run_id: id }) => id === picked) : rows[0];
      const version = `${picked ?? run?.run_id} ${run?.state} ${run?.attempts}`;
      if (version !== panelShown) {
        panelShown = version;
        tell(picked);
      }
    },
  };
}

function describe(run) {
  const fact = (label, value) =>
    value === null || value === undefined || value === ''
      ? null
      : h('div', null, h('dt', null, label), h('dd', null, value));
  const log = run.log ?? [];
  return [
    h('h3', null, state(run.state), ' ', h('span.id', { title: run.run_id }, shortId(run.run_id))),
    run.error ? h('p.failure', { dir: 'auto' }, run.error) : null,
    h(
      'dl.facts.wide',
      null,
      fact('took', run.duration_ms === null ? null : span(run.duration_ms)),
      fact('trigger', run.trigger),
      fact('slot', run.scheduled_for && time(run.scheduled_for)),
      fact('started', time(run.started_at)),
      fact('ended', run.finished_at && time(run.finished_at)),
      fact('fetched', count(run.fetched)),
      fact('rejected', count(run.rejected)),
      fact('sent', count(run.produced)),
      fact('attempts', count(run.attempts)),
      fact('retries', count(Math.max(0, (run.attempts ?? 1) - 1))),
      fact('seed', run.seed && h('code', null, run.seed)),
    ),
    h('h4', null, 'Log'),
    log.length
      ? h(
          'div.log',
          { role: 'region', tabindex: '0', aria: { label: 'The last lines of the log of this run' } },
          log.map(({ at, level, message }) =>
            h(
              `p.line.level-${String(level).toLowerCase()}`,
              null,
              h('time', { datetime: at }, clock(at, { millis: true })),
              ' ',
              h('b', null, level),
              ' ',
              h('span', { dir: 'auto' }, message),
            ),
          ),
        )
      : h(
          'p.quiet-text',
          null,
          run.state === 'running' ? 'Nothing was said so far. A run of another process has its log when it ends.' : 'Nothing was said during this run.',
        ),
  ].filter(Boolean);
}

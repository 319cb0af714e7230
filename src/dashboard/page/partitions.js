// Where the topic begins and ends, how far the group is, when it will be there, and who reads what.

import { h, notice, put, mark, show, state, syncRows, table } from './dom.js';
import { count, rate, shortId, span } from './format.js';

// What is left shows, however little it is of all.
const NEARLY = 0.97;

export function partitions(home) {
  const group = h('p.group', { dir: 'auto' });
  const sums = h('dl.figures.flat');
  const rows = table('Partitions of the topic', [
    { name: 'Part.', kind: 'number' },
    { name: 'Low', kind: 'number' },
    { name: 'Committed', kind: 'number' },
    { name: 'High', kind: 'number' },
    { name: 'Consumed', label: 'How much is consumed' },
    { name: 'Lag', kind: 'number' },
    { name: 'Per second', kind: 'number' },
    { name: 'Caught up', kind: 'number' },
    { name: 'Owner' },
  ]);
  const members = table('Members of the group', [
    { name: 'Member' },
    { name: 'Client' },
    { name: 'Host' },
    { name: 'Partitions' },
    { name: 'Lag', kind: 'number' },
  ]);
  const empty = h('div');
  const nobody = h('div');
  home.append(
    h('h2.unseen', null, 'Partitions and group'),
    h(
      'section',
      { aria: { labelledby: 'partitions-title' } },
      h('div.heading', null, h('h3', { id: 'partitions-title' }, 'Partitions'), sums),
      rows.region,
      empty,
    ),
    h(
      'section',
      { aria: { labelledby: 'group-title' } },
      h('div.heading', null, h('h3', { id: 'group-title' }, 'Group'), group),
      members.region,
      nobody,
    ),
  );

  function row(it) {
    const done = h('span.done');
    const reached = it.high > it.low ? ((it.committed ?? it.low) - it.low) / (it.high - it.low) : 1;
    const part = Math.max(0, Math.min(it.lag > 0 ? NEARLY : 1, reached));
    done.style.width = `${(part * 100).toFixed(1)}%`;
    const percent = `${Math.floor(Math.min(1, reached) * 100)} %`;
    return h(
      'tr',
      null,
      h('th.number', { scope: 'row' }, it.partition),
      h('td.number', null, count(it.low)),
      h('td.number', null, count(it.committed)),
      h('td.number', null, count(it.high)),
      h('td', null, h('span.meter', null, h('span.groove', null, done), h('span', null, percent))),
      h(it.lag > 0 ? 'td.number.some' : 'td.number', null, count(it.lag)),
      h('td.number', null, rate(it.per_second)),
      h('td.number', null, eta(it.lag, it.eta_ms)),
      h('td.id', { title: it.owner ?? '' }, it.owner ? shortId(it.owner) : 'nobody'),
    );
  }

  function memberRow(member, all) {
    const lag = all
      .filter(({ partition }) => member.partitions.includes(partition))
      .reduce((sum, it) => sum + (it.lag ?? 0), 0);
    const owned = member.partitions.map((partition) => h('span.chip', null, partition));
    return h(
      'tr',
      null,
      h('th', { scope: 'row', title: member.member_id }, h('span.id', null, shortId(member.member_id))),
      h('td', null, member.client_id ?? '–'),
      h('td', null, member.host ?? '–'),
      h('td', null, owned.length ? owned : 'none'),
      h('td.number', null, count(lag)),
    );
  }

  function sum(all) {
    const lag = all.reduce((total, it) => total + (it.lag ?? 0), 0);
    const perSecond = all.reduce((total, it) => total + (it.per_second ?? 0), 0);
    const together = all.some((it) => it.lag > 0 && it.eta_ms === null)
      ? null
      : Math.max(0, ...all.map((it) => it.eta_ms ?? 0));
    const facts = [
      ['lag', count(lag)],
      ['per second', rate(perSecond)],
      ['caught up', eta(lag, together)],
    ];
    if (sums.children.length !== facts.length)
      sums.replaceChildren(...facts.map(([name]) => h('div.figure', null, h('dt', null, name), h('dd'))));
    facts.forEach(([, value], index) => put(sums.children[index].lastElementChild, value));
  }

  return {
    update({ partitions: told }) {
      if (!told) return;
      const all = told.partitions ?? [];
      sum(all);
      syncRows(rows.body, all, { key: (it) => it.partition, version: (it) => JSON.stringify(it), render: row });
      syncRows(members.body, told.members ?? [], {
        key: (it) => it.member_id,
        version: (it) => `${JSON.stringify(it)} ${all.map(({ lag }) => lag)}`,
        render: (it) => memberRow(it, all),
      });
      show(rows.region, all.length > 0);
      show(members.region, told.members?.length > 0);
      const words = `${told.group ?? 'no group'}: ${told.state ?? 'unknown'}`;
      if (isNew(group, words))
        group.replaceChildren(state(told.state ?? 'unknown'), ' ', h('code', null, told.group ?? 'no group'));
      setNotice(
        empty,
        all.length ? null : ['The topic is not there yet.', 'It is created when the first record is sent.'],
      );
      setNotice(
        nobody,
        told.members?.length
          ? null
          : ['The group has no members.', 'Nothing is delivered until somebody runs: userpipe consume'],
      );
    },
  };
}

// When nothing is left before the group, at its present rate.
function eta(lag, ms) {
  if (lag === 0) return 'yes';
  return ms === null || ms === undefined ? 'not at this rate' : `in ${span(ms)}`;
}

function isNew(element, words) {
  if (element.dataset.words === words) return false;
  mark(element, 'data-words', words);
  return true;
}

function setNotice(home, words) {
  if (!isNew(home, words ? words[0] : '')) return;
  home.replaceChildren(...(words ? [notice(...words)] : []));
}

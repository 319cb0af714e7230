// What the process runs with, where each value came from, and the shape of a record.

import { get } from './api.js';
import { button, errorNotice, h, notice, put, show, table } from './dom.js';
import { plural } from './format.js';
import { note } from './session.js';

const COPIED_MS = 2_000;

export function configuration(home) {
  const settings = table('Effective settings', [{ name: 'Setting' }, { name: 'Value' }, { name: 'From' }]);
  const columns = table('Columns of a record', [{ name: 'Column' }, { name: 'Type' }, { name: 'In every record' }]);
  const filter = h('input', {
    id: 'filter',
    type: 'search',
    autocomplete: 'off',
    spellcheck: 'false',
    oninput: () => choose(),
  });
  const onlySet = h('input', { id: 'only-set', type: 'checkbox', onchange: () => choose() });
  const said = h('p.schedule', { role: 'status' });
  const encoding = h('p.schedule');
  const ddl = h('pre', { tabindex: '0', aria: { label: 'Schema of the sink' } });
  const copy = button('Copy', async () => {
    try {
      await navigator.clipboard.writeText(ddl.textContent);
      put(copy.lastElementChild, 'Copied');
      setTimeout(() => put(copy.lastElementChild, 'Copy'), COPIED_MS);
    } catch {
      note('blocked', 'The browser does not let this page write to the clipboard.');
    }
  });
  const empty = h('div');
  const schema = h(
    'section',
    { aria: { labelledby: 'schema-title' } },
    h('div.heading', null, h('h3', { id: 'schema-title' }, 'Schema'), encoding, h('div.controls', null, copy)),
    h('div.beside.even', null, columns.region, ddl),
  );
  home.append(
    h('h2.unseen', null, 'Schema and configuration'),
    h(
      'section',
      { aria: { labelledby: 'settings-title' } },
      h(
        'div.heading',
        null,
        h('h3', { id: 'settings-title' }, 'Configuration'),
        said,
        h(
          'div.controls',
          null,
          h('label.check', { for: 'only-set' }, onlySet, 'Only what was set'),
          h('label', { for: 'filter' }, 'Filter'),
          filter,
        ),
      ),
      settings.region,
      empty,
    ),
    schema,
  );
  let all = [];

  function choose() {
    const wanted = filter.value.trim().toLowerCase();
    let shown = 0;
    for (const { row, text, isDefault } of all) {
      const fits = text.includes(wanted) && !(onlySet.checked && isDefault);
      show(row, fits);
      shown += fits ? 1 : 0;
    }
    put(said, shown === all.length ? plural(all.length, 'setting') : `${shown} of ${plural(all.length, 'setting')}`);
    empty.replaceChildren(
      ...(all.length && !shown ? [notice('No setting fits.', 'Names, values and origins are searched.')] : []),
    );
  }

  async function load() {
    try {
      const told = await get('/api/config');
      all = told.settings.map(({ command, name, value, origin }) => {
        const label = command ? [h('span.quiet-text', null, `${command} `), name] : name;
        const isDefault = String(origin).startsWith('default');
        const text = value === null || value === undefined ? h('span.quiet-text', null, 'not set') : String(value);
        const row = h(
          'tr',
          null,
          h('th.plain', { scope: 'row' }, h('code', null, label)),
          h('td', { dir: 'auto' }, text),
          h('td', null, h(isDefault ? 'span.chip' : 'span.chip.set', null, origin)),
        );
        return { row, text: `${command} ${name} ${value} ${origin}`.toLowerCase(), isDefault };
      });
      settings.body.replaceChildren(...all.map(({ row }) => row));
      columns.body.replaceChildren(
        ...told.columns.map(({ name, type, optional }) =>
          h(
            'tr',
            null,
            h('th.plain', { scope: 'row' }, h('code', null, name)),
            h('td', null, type),
            h('td', null, optional ? 'no' : 'yes'),
          ),
        ),
      );
      put(encoding, `on the wire: ${told.encoding}`);
      put(ddl, told.ddl ?? '');
      show(ddl, Boolean(told.ddl));
      show(copy, Boolean(told.ddl));
      choose();
    } catch (error) {
      empty.replaceChildren(errorNotice(error));
      show(schema, false);
    }
  }

  load();
  return {};
}

/* What stands above a table: search, grouping, filters, columns, comparing. It shows a state and reports wishes. */
(function () {
  'use strict';

  const { node, marked } = window.molebench;
  const CHOICES = 20; // a column with more distinct texts than this is searched, not chosen from
  const WORTHWHILE = 8; // fewer rows than this are seen at a glance

  /** An entry of a select. */
  const option = (value, text) => node('option', { value }, text);

  /** A control under its name. */
  const labelled = (text, control, className = '') => node('label', { className }, node('span', {}, text), control);

  /** The distinct texts of a column in order. */
  function texts(rows, column) {
    const found = new Set(rows.map((row) => row.cells[column.index].text));
    return [...found].sort(new Intl.Collator('en', { numeric: true }).compare);
  }

  /** The smallest and largest number of a column, or nothing where there are not two. */
  function span(rows, column) {
    let [low, high] = [Infinity, -Infinity];
    for (const row of rows) {
      const value = window.molebench.table.bare(row.cells[column.index].sort);
      if (value !== null) [low, high] = [Math.min(low, value), Math.max(high, value)];
    }
    return low < high ? [low, high] : null;
  }

  /** A small panel below its name; Escape and a click elsewhere close it. */
  function menu(title, className, ...children) {
    const summary = node('summary', {}, title);
    const made = node('details', { className: `menu ${className}` }, summary, node('div', { className: 'panel' }, ...children));
    made.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || !made.open) return;
      made.open = false;
      summary.focus();
    });
    document.addEventListener('click', (event) => {
      if (!made.contains(event.target)) made.open = false;
    });
    return made;
  }

  /** A choice among the texts of a column. */
  function chooser(column, rows, act) {
    const values = texts(rows, column);
    if (values.length < 2 || values.length > CHOICES) return [];
    const options = [option('', 'any'), ...values.filter(Boolean).map((text) => option(text, text))];
    const select = marked(node('select', {}, ...options), { 'aria-label': column.title });
    select.addEventListener('change', () => {
      act((state) => ({ filters: { ...state.filters, [column.key]: select.value }, page: 0 }), true);
    });
    const show = (state) => (select.value = state.filters[column.key] ?? '');
    return [{ node: labelled(column.title, select), show }];
  }

  /** One end of a range of numbers. */
  function bound(column, kind, hint, act) {
    const input = marked(node('input', { type: 'number', step: 'any', placeholder: `${Number(hint.toPrecision(4))}` }), {
      'aria-label': `${column.title}, ${kind === 'min' ? 'at least' : 'at most'}`,
    });
    input.addEventListener('input', () => act((state) => ({ [kind]: { ...state[kind], [column.key]: input.value }, page: 0 })));
    return { node: input, show: (state) => fill(input, state[kind][column.key] ?? '') };
  }

  /** A range of numbers for a column. */
  function range(column, rows, act) {
    const found = span(rows, column);
    if (!found) return [];
    const ends = [bound(column, 'min', found[0], act), bound(column, 'max', found[1], act)];
    const whole = node('div', { className: 'range' }, node('span', {}, column.title), ...ends.map((end) => end.node));
    return [{ node: whole, show: (state) => ends.forEach((end) => end.show(state)) }];
  }

  /** Sets what a field shows, but leaves alone what is being typed. */
  function fill(input, value) {
    if (input.value !== value && !(document.activeElement === input && input.validity.badInput)) input.value = value;
  }

  /** The filters of all columns. */
  function filters(columns, rows, act) {
    const parts = columns.flatMap((column) => (column.number ? range : chooser)(column, rows, act));
    if (!parts.length) return [];
    const made = menu('Filters', 'filters', ...parts.map((part) => part.node));
    const show = (state) => {
      const set = [state.filters, state.min, state.max].flatMap((kind) => Object.values(kind)).filter((v) => v !== '');
      made.firstChild.textContent = set.length ? `Filters (${set.length})` : 'Filters';
      parts.forEach((part) => part.show(state));
    };
    return [{ node: made, show }];
  }

  /** Which columns are shown; the first, which names the row, always is. */
  function chosen(columns, act) {
    const boxes = columns.slice(1).map((column) => {
      const box = node('input', { type: 'checkbox', checked: true });
      box.addEventListener('change', () => {
        act((state) => ({ hide: state.hide.filter((k) => k !== column.key).concat(box.checked ? [] : column.key) }), true);
      });
      return { column, box, node: node('label', { className: 'check' }, box, node('span', {}, column.title)) };
    });
    const show = (state) => boxes.forEach(({ column, box }) => (box.checked = !state.hide.includes(column.key)));
    return { node: menu('Columns', 'columns', ...boxes.map((box) => box.node)), show };
  }

  /** The search through all columns. */
  function search(act) {
    const input = node('input', { type: 'search', autocomplete: 'off', spellcheck: false });
    input.addEventListener('input', () => act(() => ({ q: input.value, page: 0 })));
    return { node: labelled('Search', input, 'search'), show: (state) => fill(input, state.q) };
  }

  /** By which column rows stand together. */
  function grouping(columns, act) {
    const texts = columns.filter((column) => !column.number).map((column) => option(column.key, column.title));
    const select = node('select', {}, option('', 'nothing'), ...texts);
    select.addEventListener('change', () => act(() => ({ group: select.value, page: 0 }), true));
    return { node: labelled('Group by', select), show: (state) => (select.value = state.group) };
  }

  /** Opens the comparison once two rows are chosen. */
  function comparing(act) {
    const button = node('button', { type: 'button', className: 'compare' });
    button.addEventListener('click', () => act(() => ({ open: true }), true));
    const show = (state) => {
      button.disabled = state.pick.length !== 2;
      button.textContent = state.pick.length ? `Compare (${state.pick.length} of 2)` : 'Compare: tick two rows';
    };
    return { node: button, show };
  }

  /** Back to the table as it was at first. */
  function resetting(act) {
    const button = node('button', { type: 'button' }, 'Reset');
    button.addEventListener('click', () => act(() => window.molebench.state.fresh(), true));
    return { node: button, show: (state, touched) => (button.disabled = !touched) };
  }

  /** All of them in a row. act(change, step): change makes a patch from a state. */
  function tools(name, columns, rows, act) {
    const many = rows.length >= WORTHWHILE ? [search(act), grouping(columns, act), ...filters(columns, rows, act)] : [];
    const parts = [...many, chosen(columns, act), comparing(act), resetting(act)];
    const count = marked(node('p', { className: 'count' }), { role: 'status' });
    const bar = node('div', { className: 'tools' }, ...parts.map((part) => part.node), count);
    return {
      node: marked(bar, { role: 'group', 'aria-label': `Tools for the table: ${name}` }),
      show: (state, touched) => parts.forEach((part) => part.show(state, touched)),
      say: (text) => {
        if (count.textContent !== text) count.textContent = text;
      },
    };
  }

  window.molebench.tools = tools;
})();

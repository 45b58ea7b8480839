/* Makes a table that stands in the page one that can be sorted, searched, filtered, grouped and compared.

   The state of a table is what its address says (state.js). Whatever a reader does changes the state; the state is
   then applied to DataTables and to the tools, so that a link, a reload and the back button show the same. */
(function () {
  'use strict';

  const { node, marked, state: states } = window.molebench;
  const { all, columns: columnsOf, bare } = window.molebench.table;
  const PAGE = 100; // rows
  const collator = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });

  /** Text as DataTables reads it before it searches: it decodes entities, so there must be nothing else to decode. */
  const escaped = (text) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');

  /** An order in which what is missing comes last, whichever way. */
  const missingLast = (compare, missing) => (a, b) => (missing(a) ? (missing(b) ? 0 : 1) : missing(b) ? -1 : compare(a, b));

  /** A text that says that there is none. */
  const absent = (text) => text === '' || text === '\u2013';

  /** A number that is missing: DataTables makes an empty text of null. */
  const none = (value) => !Number.isFinite(value);

  // the names are those of the headings' data-type, which DataTables reads too
  DataTable.type('number', {
    order: {
      asc: missingLast((a, b) => a - b, none),
      desc: missingLast((a, b) => b - a, none),
    },
  });
  DataTable.type('text', {
    order: {
      asc: missingLast(collator.compare, absent),
      desc: missingLast((a, b) => collator.compare(b, a), absent),
    },
  });
  DataTable.ext.errMode = 'throw';

  /** Where a cell may lead: to this site or over https. */
  function safe(href) {
    if (!URL.canParse(href, location.href)) return false;
    const { protocol } = new URL(href, location.href);
    return protocol === 'https:' || protocol === location.protocol;
  }

  /** What a cell shows: its own nodes where it stood in the page, else its text, with its link. */
  function shown({ source, text, href }) {
    const made = document.createDocumentFragment();
    if (source) made.append(...[...source.childNodes].map((child) => child.cloneNode(true)));
    else made.append(href && safe(href) ? node('a', { href }, text) : text || '\u2013');
    return made;
  }

  /** A value of a cell for DataTables' purposes. */
  function value(column, row, purpose) {
    const cell = row.cells[column.index];
    if (purpose === 'display') return shown(cell);
    if (purpose === 'filter') return escaped(cell.text);
    if (purpose === 'sort') return column.number ? bare(cell.sort) : cell.text;
    return cell.text;
  }

  /** Which rows a state's filters let through in a column; null where it has none there. */
  function sieve(column, state) {
    const [is, min, max] = [state.filters, state.min, state.max].map((kind) => kind[column.key] ?? '');
    if (is === '' && min === '' && max === '') return null;
    return (text, row) => {
      const { text: own, sort } = row.cells[column.index];
      const number = bare(sort);
      const within = (min === '' || (number !== null && number >= min)) && (max === '' || (number !== null && number <= max));
      return (is === '' || own === is) && within;
    };
  }

  /** A table with everything that belongs to it. */
  class Enhanced {
    constructor(table, rows) {
      this.table = table;
      this.slug = table.dataset.table;
      this.rows = new Map(rows.map((row) => [row.id, row]));
      this.columns = columnsOf(table);
      this.head = [...(table.tBodies[0].rows[0]?.cells ?? [])].map((cell) => ({ tag: cell.localName, name: cell.className }));
      this.place = table.closest('.scroll') ?? table;
      this.tools = window.molebench.tools(this.name(), this.columns, rows, (change, step) => this.change(change(this.state), step));
      this.compare = window.molebench.compare(this.slug, this.columns, () => this.state.open && this.change({ open: false }, true));
      this.data = this.start(rows);
      this.furnish();
      this.restore();
      this.find();
    }

    /** Turns to the row that the address leads to: it may stand on a later page than the first. */
    find() {
      const place = [...this.rows.values()].findIndex(({ anchor }) => anchor && location.hash === `#${anchor}`);
      if (place < 0) return;
      this.data.page(Math.floor(place / PAGE)).draw('page');
      document.getElementById(location.hash.slice(1)).scrollIntoView();
    }

    /** What the table is called. */
    name() {
      return window.molebench.table.tidy(this.table.caption?.textContent ?? '') || this.slug;
    }

    /** Hands the rows to DataTables. */
    start(rows) {
      this.table.tBodies[0].replaceChildren();
      return new DataTable(this.table, {
        data: rows,
        columns: this.columns.map((column) => this.column(column)),
        layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: 'paging' },
        paging: rows.length > PAGE,
        pageLength: PAGE,
        autoWidth: false,
        deferRender: true,
        order: [],
        orderMulti: true,
        rowGroup: { enable: false, dataSrc: null, startRender: (group, text) => this.heading(group, text) },
        createdRow: (tr, row) => this.dress(tr, row),
        language: { zeroRecords: 'No row is like that.', emptyTable: 'No rows.' },
      });
    }

    /** A column as DataTables wants it described. */
    column(column) {
      const { tag = 'td', name = '' } = this.head[column.index] ?? {};
      return {
        data: (row, purpose) => value(column, row, purpose),
        name: column.key,
        type: column.number ? 'number' : 'text',
        ariaTitle: column.title,
        cellType: tag,
        className: name,
        orderSequence: ['asc', 'desc', ''],
      };
    }

    /** A new row of the page: its id, its heading and the box that chooses it for a comparison. */
    dress(tr, row) {
      tr.dataset.id = row.id;
      if (row.anchor) tr.id = row.anchor;
      const cells = [...tr.cells];
      cells.filter((cell) => cell.localName === 'th').forEach((cell) => (cell.scope = 'row'));
      row.cells.forEach(({ sort }, index) => sort !== null && (cells[index].dataset.value = sort));
      const words = row.cells.slice(0, 4).map((cell) => cell.text);
      const box = marked(node('input', { type: 'checkbox', className: 'pick', checked: this.state?.pick.includes(row.id) }), {
        'aria-label': `Compare ${words.join(', ')}`,
      });
      box.addEventListener('change', () => this.pick(row.id, box.checked));
      cells[0].prepend(box);
    }

    /** The row above a group. */
    heading(group, text) {
      const column = this.columns.find(({ key }) => key === this.state.group);
      const count = this.counts.get(text);
      return node('span', {}, `${column.title}: `, node('strong', {}, text || '\u2013'), ` (${count} ${count === 1 ? 'row' : 'rows'})`);
    }

    /** Puts tools, pages and dialog where they belong: around what scrolls, not in it. */
    furnish() {
      this.place.before(this.tools.node);
      this.place.after(...this.data.table().container().querySelectorAll('.dt-paging'), this.compare.node);
      this.data.on('order', () => this.quiet || this.change({ sort: this.sorted(), page: 0 }, true));
      this.data.on('page', () => this.quiet || this.change({ page: this.data.page() }, true));
      this.data.on('draw', () => this.tools.say(this.said()));
      addEventListener('popstate', () => states.anchor() || this.restore());
    }

    /** The order DataTables is in, in a state's words. */
    sorted() {
      return this.data.order().filter(([, way]) => way).map(([index, way]) => [this.columns[index].key, way]);
    }

    /** How many rows are shown. */
    said() {
      const { recordsDisplay: some, recordsTotal: every, page, pages } = this.data.page.info();
      const rows = some === every ? `${every} rows` : `${some} of ${every} rows`;
      return pages > 1 ? `${rows}, page ${page + 1} of ${pages}` : rows;
    }

    /** Chooses a row for a comparison, or no longer; the third takes the place of the first. */
    pick(id, chosen) {
      const others = this.state.pick.filter((other) => other !== id);
      this.change({ pick: chosen ? [...others, id].slice(-2) : others }, true);
    }

    /** A new state: into the address and the page. */
    change(patch, step = false) {
      const dropped = (kind) => Object.fromEntries(Object.entries(kind).filter(([, v]) => v !== ''));
      const next = { ...this.state, ...patch };
      this.state = { ...next, filters: dropped(next.filters), min: dropped(next.min), max: dropped(next.max) };
      states.write(this.slug, this.state, step);
      this.apply();
    }

    /** The state that the address holds, as far as this table knows what it names. */
    restore() {
      const found = states.read(this.slug);
      const known = (key) => this.columns.some((column) => column.key === key);
      const pick = found.pick.filter((id) => this.rows.has(id));
      const group = known(found.group) ? found.group : '';
      const hide = found.hide.filter((key) => known(key) && key !== this.columns[0].key);
      this.state = { ...found, sort: found.sort.filter(([key]) => known(key)), hide, pick, open: found.open && pick.length === 2, group };
      this.apply();
    }

    /** Shows the state. DataTables tells of what is done to it here as well, hence the quiet. */
    apply() {
      this.quiet = true;
      const { state, data, columns } = this;
      const index = (key) => columns.findIndex((column) => column.key === key);
      data.search(state.q);
      columns.forEach((column) => {
        data.column(column.index).search.fixed('own', sieve(column, state));
        data.column(column.index).visible(!state.hide.includes(column.key), false);
      });
      data.order.fixed(state.group ? { pre: [[index(state.group), 'asc']] } : {});
      data.order(state.sort.map(([key, way]) => [index(key), way]));
      data.rowGroup().disable();
      data.draw();
      this.group(index(state.group));
      data.page(Math.min(state.page, Math.max(0, data.page.info().pages - 1))).draw('page');
      this.mark();
      this.quiet = false;
    }

    /** Groups what is found by a column; a group's rows are counted over all pages. */
    group(index) {
      if (index < 0) return;
      const text = (row) => row.cells[index].text;
      this.counts = new Map();
      for (const row of this.data.rows({ search: 'applied' }).data().toArray()) this.counts.set(text(row), (this.counts.get(text(row)) ?? 0) + 1);
      this.data.rowGroup().dataSrc(text);
      this.data.rowGroup().enable();
    }

    /** What is chosen, on the page and in the tools. */
    mark() {
      const { pick, open } = this.state;
      for (const box of this.table.querySelectorAll('input.pick')) {
        const row = box.closest('tr');
        box.checked = pick.includes(row.dataset.id);
        row.classList.toggle('picked', box.checked);
      }
      this.tools.show(this.state, JSON.stringify(this.state) !== JSON.stringify(states.fresh()));
      this.tools.say(this.said());
      this.compare.show(open ? pick.map((id) => this.rows.get(id)) : null);
    }
  }

  /** Enhances a table; where that fails it stands as it is. */
  async function enhance(table) {
    const rows = await all(table);
    if (rows.length > 1) new Enhanced(table, rows);
  }

  document.querySelectorAll('table.enhanced').forEach(enhance);
})();

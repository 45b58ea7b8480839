/* Two rows side by side, with what differs marked and numbers subtracted. */
(function () {
  'use strict';

  const { node, marked } = window.molebench;

  /** A cell that heads a row or column. */
  const heading = (text, scope) => node('th', { scope }, text);

  /** A number with its sign, to four figures. */
  function signed(value) {
    const text = String(Number(Math.abs(value).toPrecision(4)));
    return value > 0 ? `+${text}` : value < 0 ? `\u2212${text}` : text;
  }

  /** What is between two cells of a column: a number, or whether they differ. */
  function difference(column, one, other) {
    const [a, b] = [one.sort, other.sort].map(window.molebench.table.bare);
    if (column.number && a !== null && b !== null) return a === b ? 'the same' : signed(b - a);
    return one.text === other.text ? 'the same' : 'differs';
  }

  /** A column of the table as a line of the comparison. */
  function line(column, one, other) {
    const [a, b] = [one.cells[column.index], other.cells[column.index]];
    const says = difference(column, a, b);
    const cells = [a.text, b.text, says].map((text) => node('td', { className: column.number ? 'number' : '' }, text || '\u2013'));
    return node('tr', { className: says === 'the same' ? 'same' : 'differs' }, heading(column.title, 'row'), ...cells);
  }

  /** The two rows as a table of three columns and their difference. */
  function sheet(columns, one, other) {
    const titles = ['', 'first row', 'second row', 'second less first'].map((text) => heading(text, 'col'));
    titles[0].textContent = 'column';
    const body = columns.map((column) => line(column, one, other));
    return node('table', {}, node('thead', {}, node('tr', {}, ...titles)), node('tbody', {}, ...body));
  }

  /** The dialog. closed: what to do once the reader has left it. */
  function compare(slug, columns, closed) {
    const title = node('h2', { id: `compare-${slug}` }, 'Two rows compared');
    const only = node('input', { type: 'checkbox' });
    const close = node('button', { type: 'button' }, 'Close');
    const scroll = marked(node('div', { className: 'scroll', tabIndex: 0 }), { role: 'region', 'aria-labelledby': title.id });
    const top = node('div', { className: 'top' }, title, close);
    const choice = node('label', { className: 'check' }, only, node('span', {}, 'Only what differs'));
    const dialog = marked(node('dialog', { className: 'compare' }, top, choice, scroll), { 'aria-labelledby': title.id });
    close.addEventListener('click', () => dialog.close());
    only.addEventListener('change', () => dialog.classList.toggle('only', only.checked));
    dialog.addEventListener('close', closed);
    return {
      node: dialog,
      show: (pair) => {
        if (pair) scroll.replaceChildren(sheet(columns, ...pair));
        if (pair && !dialog.open) dialog.showModal();
        if (!pair && dialog.open) dialog.close();
      },
    };
  }

  window.molebench.compare = compare;
})();

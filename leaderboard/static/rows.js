/* The rows of a table as plain data: those that stand in the page, and those that shards bring ('molebench.rows([...])'). */
(function () {
  'use strict';

  const waiting = [];

  /** Text as a reader sees it: one space where there was white space. */
  const tidy = (text) => text.replace(/\s+/g, ' ').trim();

  /** What a column is: its key, whether it holds numbers, and its name in words. */
  function columns(table) {
    return [...table.tHead.rows[0].cells].map((cell, index) => ({
      index,
      key: cell.dataset.key || `column-${index + 1}`,
      number: cell.dataset.type === 'number',
      title: tidy(cell.textContent),
    }));
  }

  /** The number that a cell is sorted by; null where there is none. */
  function bare(value) {
    return value === null || value === undefined || value === '' || !isFinite(value) ? null : Number(value);
  }

  /** A cell of the page. Its nodes are kept and shown again as they were. */
  function standing(cell) {
    return { text: tidy(cell.textContent), sort: cell.dataset.value ?? null, source: cell };
  }

  /** The rows that stand in the page. */
  function inPage(table) {
    return [...table.tBodies[0].rows]
      .filter((row) => row.dataset.id)
      .map((row) => ({ id: row.dataset.id, anchor: row.id, cells: [...row.cells].map(standing) }));
  }

  /** A row as a shard writes it. */
  function unpacked({ id, cells }) {
    return { id, cells: cells.map(([text, href, sort]) => ({ text: tidy(String(text)), href, sort })) };
  }

  /** Loads one script; it hands its rows to window.molebench.rows while it runs. */
  function shard(address) {
    return new Promise((done, failed) => {
      const script = document.createElement('script');
      script.src = address;
      script.onload = () => done(waiting.splice(0).map(unpacked));
      script.onerror = () => failed(new Error(`${address} cannot be read`));
      document.head.append(script);
    });
  }

  /** Every row of a table: a shard's word counts where both have a row, since it is the same. */
  async function all(table) {
    const found = new Map(inPage(table).map((row) => [row.id, row]));
    for (const address of (table.dataset.shards || '').split(/\s+/).filter(Boolean)) {
      for (const row of await shard(address)) if (!found.has(row.id)) found.set(row.id, row);
    }
    return [...found.values()];
  }

  /** Takes the rows of the shard that is being run. */
  const rows = (given) => void waiting.push(...given);

  window.molebench = Object.assign(window.molebench || {}, { rows, table: { all, columns, bare, tidy } });
})();

/* What a reader chose in a table, as a part of the page's address: '#?<table>.q=mole&<table>.sort=delta_total.desc'. */
(function () {
  'use strict';

  /** The choices of a table that nobody has touched. */
  const fresh = () => ({ q: '', sort: [], group: '', hide: [], page: 0, filters: {}, min: {}, max: {}, pick: [], open: false });

  /** Every parameter behind '#?'; a plain anchor has none. */
  function parameters() {
    return new URLSearchParams(location.hash.startsWith('#?') ? location.hash.slice(2) : '');
  }

  /** 'a.desc,b.asc' as [[a, desc], [b, asc]]. */
  function directions(text) {
    return words(text)
      .map((word) => [word.slice(0, word.lastIndexOf('.')), word.slice(word.lastIndexOf('.') + 1)])
      .filter(([key, way]) => key && (way === 'asc' || way === 'desc'));
  }

  /** 'a,b' as [a, b]. */
  function words(text) {
    return text.split(',').filter(Boolean);
  }

  /** One parameter of a table, put into its place among the choices. */
  function take(state, name, value) {
    const [kind, key] = [name.split('.', 1)[0], name.slice(name.indexOf('.') + 1)];
    if (name === 'q' || name === 'group') state[name] = value;
    else if (name === 'sort') state.sort = directions(value);
    else if (name === 'hide') state.hide = words(value);
    else if (name === 'page') state.page = Math.max(0, Math.trunc(Number(value) - 1) || 0);
    else if (name === 'pick' || name === 'compare') state.pick = words(value).slice(0, 2);
    else if (kind === 'is') state.filters[key] = value;
    else if ((kind === 'min' || kind === 'max') && value !== '' && isFinite(value)) state[kind][key] = value;
    if (name === 'compare') state.open = state.pick.length === 2;
  }

  /** The choices that the address holds for a table. */
  function read(table) {
    const state = fresh();
    for (const [name, value] of parameters()) {
      if (name.startsWith(`${table}.`)) take(state, name.slice(table.length + 1), value);
    }
    return state;
  }

  /** A table's choices as parameters; what is as it was at first says nothing. */
  function entries(state) {
    const named = (kind) => Object.entries(state[kind === 'is' ? 'filters' : kind]).map(([k, v]) => [`${kind}.${k}`, v]);
    return [
      ['q', state.q],
      ['sort', state.sort.map((one) => one.join('.')).join(',')],
      ['group', state.group],
      ['hide', state.hide.join(',')],
      ['page', state.page ? String(state.page + 1) : ''],
      [state.open ? 'compare' : 'pick', state.pick.join(',')],
      ...['is', 'min', 'max'].flatMap(named),
    ].filter(([, value]) => value !== '');
  }

  /** Puts a table's choices into the address, as a step that the back button undoes or in place of the last one. */
  function write(table, state, step) {
    const all = [...parameters()].filter(([name]) => !name.startsWith(`${table}.`));
    const now = new URLSearchParams([...all, ...entries(state).map(([name, value]) => [`${table}.${name}`, value])]);
    const address = location.href.split('#')[0] + (now.size ? `#?${now}` : '');
    if (address === location.href) return;
    if (step) history.pushState(null, '', address);
    else history.replaceState(null, '', address);
  }

  /** Whether the address leads to a place on the page and so says nothing about tables. */
  const anchor = () => location.hash.length > 1 && !location.hash.startsWith('#?');

  window.molebench = Object.assign(window.molebench || {}, { state: { fresh, read, write, anchor } });
})();

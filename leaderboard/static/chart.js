/* Puts a live chart in place of each picture: hover or arrow keys tell the numbers. Without this the picture stays.

   Vega runs with its interpreter, so nothing is evaluated, and may load nothing. */
(function () {
  'use strict';

  const { node, marked } = window.molebench;
  const NARROW = 480; // pixels
  const quiet = matchMedia('(prefers-reduced-motion: reduce)').matches;

  /** A colour of style.css as the browser computes it: Vega knows no variables. */
  function colour(name) {
    const probe = document.body.appendChild(document.createElement('span'));
    probe.style.color = `var(--${name})`;
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  /** What a chart takes from the page's colours and letters. */
  function looks() {
    const [ink, soft, line] = ['ink', 'soft', 'line'].map(colour);
    const font = getComputedStyle(document.body).fontFamily;
    const text = { labelColor: soft, titleColor: ink, labelFont: font, titleFont: font, labelFontSize: 12, titleFontSize: 12 };
    return {
      background: 'transparent',
      font,
      axis: { ...text, domainColor: line, gridColor: line, tickColor: line, titleFontWeight: 600, labelSeparation: 8 },
      legend: { ...text, titleFontWeight: 600 },
      header: text,
      title: { color: ink, font, subtitleColor: soft },
      text: { color: ink },
      view: { stroke: line },
    };
  }

  /** A specification for a place that is only so many pixels wide: on a phone, names are cut rather than the chart. */
  function fitted(spec, width) {
    if (width >= NARROW) return spec;
    const single = (key, value) => (key === 'legend' && value ? { ...value, columns: 1, labelLimit: width * 0.6 } : value);
    const { config, ...rest } = JSON.parse(JSON.stringify(spec), single);
    return { ...rest, config: { ...config, axis: { ...config?.axis, labelLimit: width * 0.35, titleLimit: width * 0.65 } } };
  }

  /** Loads nothing and leads nowhere but to pages of this site. */
  const loader = {
    load: () => Promise.reject(new Error('charts load nothing')),
    http: () => Promise.reject(new Error('charts load nothing')),
    file: () => Promise.reject(new Error('charts load nothing')),
    sanitize: (href) =>
      /^[\w./#-]+$/.test(href) ? Promise.resolve({ href }) : Promise.reject(new Error('charts lead nowhere else')),
  };

  /** A small window with what a mark says, near it. */
  class Tip {
    constructor() {
      this.node = marked(node('div', { className: 'tip', hidden: true }), { role: 'status' });
    }

    /** Shows a value of Vega's: an object of names and numbers, or one text. Its texts stay texts. */
    show(value, x, y) {
      this.node.hidden = value === null || value === undefined || value === '';
      if (this.node.hidden) return;
      const pairs = typeof value === 'object' ? Object.entries(value) : [['', value]];
      this.node.replaceChildren(...pairs.map(([name, v]) => node('div', {}, node('span', {}, name), ' ', node('b', {}, String(v)))));
      const { offsetWidth: wide, offsetParent: place } = this.node;
      this.node.style.left = `${Math.max(0, Math.min(x + 12, place.clientWidth - wide))}px`;
      this.node.style.top = `${y + 12}px`;
    }
  }

  /** Every mark that has something to say, in the order of the page: group marks hold others. */
  function speaking(item, x = 0, y = 0) {
    return (item.items ?? []).flatMap((one) => {
      const at = [x + (item.marktype ? (one.x ?? 0) : 0), y + (item.marktype ? (one.y ?? 0) : 0)];
      const own = one.tooltip === undefined || one.items ? [] : [{ tip: one.tooltip, x: at[0], y: at[1] }];
      return [...own, ...speaking(one, ...(one.items && item.marktype === 'group' ? at : [x, y]))];
    });
  }

  /** A figure whose picture has become a view. */
  class Live {
    constructor(figure) {
      this.figure = figure;
      this.spec = JSON.parse(figure.querySelector('script.spec').textContent);
      this.picture = figure.querySelector('img');
      this.tip = new Tip();
      this.place = node('div', { className: 'live' });
      this.chosen = -1;
    }

    /** A view in the colours of the hour. */
    view() {
      const { spec } = vegaLite.compile(fitted(this.spec, this.place.clientWidth), { config: looks(), logger: vega.logger(vega.None) });
      return new vega.View(vega.parse(spec, null, { ast: true }), {
        expr: vega.expressionInterpreter,
        renderer: 'canvas',
        container: this.canvas,
        loader,
        logLevel: vega.None,
        hover: !quiet,
        tooltip: (_, event, item, value) => void this.hovered(event, value),
      });
    }

    /** What the pointer is over; Vega tells of no event when a view ends. */
    hovered(event, value) {
      if (!event) return this.tip.show(null);
      const { left, top } = this.place.getBoundingClientRect();
      this.tip.show(value, event.clientX - left, event.clientY - top);
    }

    /** Draws; the first time the picture makes place for it. */
    async draw() {
      this.canvas = node('div', { className: 'canvas' });
      const first = !this.place.isConnected;
      if (first) this.picture.before(this.place);
      this.last?.finalize();
      this.place.replaceChildren(this.canvas, this.tip.node);
      try {
        this.last = await this.view().runAsync();
      } catch (error) {
        this.place.remove();
        this.picture.hidden = false;
        throw error;
      }
      this.picture.hidden = true;
      this.describe();
    }

    /** What a screen reader is told, and where the keys lead. */
    describe() {
      marked(this.canvas, { role: 'application', 'aria-roledescription': 'chart', 'aria-label': this.picture.alt, tabindex: 0 });
      this.canvas.title = '';
      this.canvas.addEventListener('keydown', (event) => this.key(event));
      this.canvas.addEventListener('blur', () => this.tip.show(null));
    }

    /** Arrow keys go from mark to mark; Escape ends it. */
    key(event) {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === 'Escape') this.tip.show(null);
      if (!step) return;
      event.preventDefault();
      const marks = speaking(this.last.scenegraph().root);
      if (!marks.length) return;
      this.chosen = (this.chosen + step + marks.length) % marks.length;
      const { tip, x, y } = marks[this.chosen];
      const [left, top] = this.last.origin();
      this.tip.show(tip, x + left, y + top);
    }
  }

  /** Draws a figure once it comes near the window, and again when the colours change. */
  function enliven(figure) {
    const live = new Live(figure);
    let near = false;
    const draw = () => near && live.draw().catch(() => figure.classList.add('still'));
    new IntersectionObserver(
      (seen, observer) => {
        if (!seen.some((one) => one.isIntersecting)) return;
        near = true;
        observer.disconnect();
        draw();
      },
      { rootMargin: '300px' },
    ).observe(figure);
    document.addEventListener('molebench:theme', draw);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  }

  document.querySelectorAll('figure.chart:has(script.spec)').forEach(enliven);
})();

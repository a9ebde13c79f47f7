// Draws the page from server-sent events. Names come from anyone: they are set as text, never as markup.
'use strict';
(() => {
  const byId = (id) => document.getElementById(id);
  const svgNS = 'http://www.w3.org/2000/svg';
  const keep = 300;

  function element(name, text, attributes) {
    const e = document.createElement(name);
    if (text !== undefined && text !== null) e.textContent = text;
    for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
    return e;
  }

  const per = (n) => n === 0 ? '0' : n < 0.05 ? '<0.1' : n < 10 ? n.toFixed(1) : Math.round(n).toLocaleString('en');
  const percent = (part, all) => all > 0 ? (100 * part / all).toFixed(1) + ' %' : '–';
  const count = (n) => n.toLocaleString('en');
  const ms = (n) => n >= 1000 ? (n / 1000).toFixed(2) + ' s' : n >= 1 ? n.toPrecision(3) + ' ms' : Math.round(n * 1000) + ' µs';
  function bytes(n) {
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
    let i = 0;
    for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
    return (i === 0 ? n : n.toFixed(1)) + ' ' + units[i];
  }
  const clock = (t) => new Date(t).toISOString().slice(11, 23);

  let state = null;
  let points = [];
  let changes = [];
  let paused = false;
  let stream = null;

  // fill replaces the rows of a table where they have changed, so that a focus inside stays where it is.
  function fill(id, rows, empty) {
    const body = byId(id);
    const before = body.children;
    if (rows.length === 0) rows = [row([[empty, 'text']])];
    for (let i = 0; i < rows.length; i++) {
      if (i >= before.length) body.append(rows[i]);
      else if (!before[i].isEqualNode(rows[i]) && !replaceCells(before[i], rows[i])) before[i].replaceWith(rows[i]);
    }
    while (body.children.length > rows.length) body.lastElementChild.remove();
  }

  // replaceCells changes those cells of a row that differ. It refuses where the focus would be lost.
  function replaceCells(before, after) {
    if (before.children.length !== after.children.length) return false;
    const cells = [...after.children];
    for (let i = 0; i < cells.length; i++) {
      const old = before.children[i];
      if (old.isEqualNode(cells[i])) continue;
      const button = old.querySelector('button'), other = cells[i].querySelector('button');
      if (button && other && document.activeElement === button) {
        button.textContent = other.textContent;
        Object.assign(button.dataset, other.dataset);
        continue;
      }
      old.replaceWith(cells[i]);
    }
    return true;
  }

  // row makes one of cells: text and class each. The first names the row.
  function row(cells, title) {
    const tr = element('tr');
    cells.forEach(([content, kind], i) => {
      const cell = i === 0 && cells.length > 1 ? element('th', null, { scope: 'row' }) : element('td');
      if (kind) cell.className = kind;
      if (content instanceof Node) cell.append(content);
      else cell.textContent = content;
      if (title && i === 0) cell.title = title;
      tr.append(cell);
    });
    return tr;
  }

  function drawHealth() {
    const list = byId('health');
    const items = state.health.map((h) => {
      const li = element('li', null, { class: h.level });
      const word = { ok: 'Good: ', note: 'Note: ', bad: 'Problem: ' }[h.level] || '';
      li.setAttribute('aria-label', word + h.text);
      li.textContent = h.text;
      return li;
    });
    list.replaceChildren(...items);
    document.title = (state.healthy ? '' : '(!) ') + 'tiercache';
  }

  function card(title, bar, pairs) {
    const div = element('div');
    div.append(element('h3', title));
    if (bar) {
      const m = element('meter', bar.text, { min: 0, max: bar.max, value: bar.value, 'aria-label': bar.text });
      div.append(m);
    }
    const dl = element('dl');
    for (const [k, v] of pairs) {
      if (v === '' || v === undefined) continue;
      dl.append(element('dt', k), element('dd', v));
    }
    div.append(dl);
    return div;
  }

  function drawTiers() {
    const l = state.local, r = state.remote;
    const of = (n, most) => most > 0 ? bytes(n) + ' of ' + bytes(most) : bytes(n);
    byId('tiers').replaceChildren(
      card('Local tier', l.maxBytes > 0 ? { value: l.bytes, max: l.maxBytes, text: of(l.bytes, l.maxBytes) } : null, [
        ['size', of(l.bytes, l.maxBytes)],
        ['entries', count(l.entries) + (l.maxEntries > 0 ? ' of ' + count(l.maxEntries) : '')],
        ['left it', count(l.evictions) + ' for space, ' + count(l.expired) + ' expired, ' + count(l.invalidated) + ' invalidated'],
        ['can be older by', state.servesLocal ? ms(state.stalenessMs) + ' now, ' + ms(state.maxStalenessMs) + ' at most' : 'not served'],
      ]),
      card('Remote tier', r.maxBytes > 0 ? { value: r.bytes, max: r.maxBytes, text: of(r.bytes, r.maxBytes) } : null, [
        ['server', r.address.startsWith(r.server) ? r.address : [r.server, r.address].filter(Boolean).join(', ')],
        ['mode', r.mode],
        ['memory', r.bytes > 0 ? of(r.bytes, r.maxBytes) : ''],
        ['policy', r.policy],
        ['position', state.position],
      ]));
  }

  function drawRates() {
    const which = byId('which').value;
    const of = (p) => which === '' ? p.all : p.of[which];
    const svg = byId('rates');
    const W = 800, H = 220;
    const shapes = [];
    for (const y of [0.25, 0.5, 0.75]) {
      const g = document.createElementNS(svgNS, 'line');
      for (const [k, v] of [['x1', 0], ['x2', W], ['y1', y * H], ['y2', y * H], ['class', 'grid']]) g.setAttribute(k, v);
      shapes.push(g);
    }
    const end = points.length ? points[points.length - 1].t : 0;
    const span = Math.max(60, Math.ceil((points.length ? end - points[0].t : 0) / 1000)) * 1000;
    const shown = span < 90000 ? 'minute' : Math.round(span / 60000) + ' minutes';
    let runs = [], run = [];
    for (const p of points) {
      const r = of(p);
      const x = W * (1 - (end - p.t) / span);
      if (!r || r.reads <= 0 || x < 0) {
        if (run.length) runs.push(run);
        run = [];
        continue;
      }
      const local = Math.min(1, r.local / r.reads), remote = Math.min(1 - local, r.remote / r.reads);
      run.push({ x, a: local, b: local + remote });
    }
    if (run.length) runs.push(run);
    const area = (name, from, to) => {
      for (const points of runs) {
        const ps = points.length > 1 ? points : [{ ...points[0], x: points[0].x - 3 }, points[0]];
        const path = document.createElementNS(svgNS, 'path');
        const up = ps.map((p) => p.x.toFixed(1) + ' ' + (H * (1 - to(p))).toFixed(1));
        const down = ps.map((p) => p.x.toFixed(1) + ' ' + (H * (1 - from(p))).toFixed(1)).reverse();
        path.setAttribute('d', 'M' + up.concat(down).join('L') + 'Z');
        path.setAttribute('class', name);
        shapes.push(path);
      }
    };
    area('a-local', () => 0, (p) => p.a);
    area('a-remote', (p) => p.a, (p) => p.b);
    area('a-load', (p) => p.b, () => 1);
    svg.replaceChildren(...shapes);
    const last = points.length ? of(points[points.length - 1]) : null;
    byId('rates-text').textContent = last && last.reads > 0
      ? 'Now ' + per(last.reads) + ' reads/s: ' + percent(last.local, last.reads) + ' answered by the local tier, ' +
        percent(last.remote, last.reads) + ' by the remote tier, ' + per(last.loads) + ' loads/s. The picture shows the last ' + shown + '.'
      : 'No reads now. The picture shows the last ' + shown + '.';
  }

  function drawNamespaces() {
    fill('namespaces', state.namespaces.map((n) => row([
      [n.name, 'name'], [per(n.reads)], [percent(n.local, n.reads)], [percent(n.remote, n.reads)], [per(n.loads)],
      [per(n.errors)], [per(n.stale)], [count(n.entries)], [bytes(n.bytes)],
    ])), 'No cache was made yet.');
    const more = state.namespacesInAll - state.namespaces.length;
    byId('namespaces-note').textContent = [
      more > 0 ? 'And ' + count(more) + ' more.' : '',
      state.sizesPartial ? 'Entries and sizes are estimated from a part of the local tier.' : '',
      'Sizes in the server: tierctl stats.',
    ].filter(Boolean).join(' ');
    const names = state.namespaces.map((n) => n.name);
    const which = byId('which');
    const want = ['', ...names];
    if ([...which.options].map((o) => o.value).join('\n') !== want.join('\n') && document.activeElement !== which) {
      const chosen = which.value;
      which.replaceChildren(...want.map((n) => element('option', n === '' ? 'all' : n, { value: n })));
      which.value = want.includes(chosen) ? chosen : '';
      byId('namespace-list').replaceChildren(...names.map((n) => element('option', null, { value: n })));
    }
  }

  function drawTables() {
    fill('times', state.times.map((t) => row([[t.what, 'text'], [per(t.perSecond)], [ms(t.p50Ms)], [ms(t.p99Ms)], [ms(t.maxMs)]])), 'Nothing in the last minute.');
    fill('hottest', state.hottest.map((h) => {
      const b = element('button', h.key, { type: 'button', class: 'link' });
      b.dataset.key = JSON.stringify(h.exactly || [h.namespace, h.key]);
      b.title = 'explain';
      return row([[b, 'name'], [h.namespace, 'name'], [per(h.perSecond)]]);
    }), 'No reads in the last minute.');
    byId('hot-note').textContent = 'Estimated over the last minute' + (state.oneIn > 1.01 ? ' from one read in ' + count(Math.round(state.oneIn)) : '') + '. A key leads to its explanation.';
    fill('fleet', state.fleet.map((p) => row([[p.name, 'name'], [p.up], [p.mode, 'text'], [p.lag], [per(p.reads)], [percent(p.local, p.reads)],
      [percent(p.remote, p.reads)], [per(p.loads)], [bytes(p.bytes)], [p.says || 'none', p.says ? 'text error' : 'text']])), 'No process reports.');
    fill('totals', state.totals.map((t) => row([[t.what, 'text'], [count(t.n)]], t.note)), '');
  }

  function drawChanges() {
    fill('changes', changes.slice(-200).reverse().map((c) => row([[clock(c.time), ''], [c.kind, 'text'], [c.name, 'name']])), 'None in the last ten minutes.');
  }

  function draw() {
    drawHealth();
    drawTiers();
    drawNamespaces();
    drawRates();
    drawTables();
    drawChanges();
    byId('live').textContent = 'As of ' + clock(state.time).slice(0, 8) + ' UTC';
    document.body.dataset.drawn = String(Number(document.body.dataset.drawn || 0) + 1);
  }

  function follow() {
    stream = new EventSource('events');
    stream.addEventListener('state', (e) => {
      state = JSON.parse(e.data);
      if (state.history) points = state.history;
      else if (state.point && (points.length === 0 || points[points.length - 1].t < state.point.t)) points.push(state.point);
      points = points.slice(-keep);
      if (!paused) draw();
    });
    stream.addEventListener('changes', (e) => {
      changes = changes.concat(JSON.parse(e.data)).slice(-500);
      if (!paused && state) drawChanges();
    });
    stream.addEventListener('end', (e) => {
      stream.close();
      byId('live').textContent = 'Ended: ' + JSON.parse(e.data).error;
    });
    stream.onopen = () => { changes = []; };
    stream.onerror = () => { byId('live').textContent = 'The process does not answer. Trying again…'; };
  }

  byId('pause').addEventListener('click', (e) => {
    paused = !paused;
    e.target.setAttribute('aria-pressed', String(paused));
    e.target.textContent = paused ? 'Go on' : 'Pause';
    if (!paused && state) draw();
    else byId('live').textContent = 'Paused';
  });
  byId('which').addEventListener('change', () => { if (state) drawRates(); });

  function showExplanation(x) {
    const out = byId('explanation');
    out.replaceChildren();
    if (!x.tiers) {
      out.append(element('p', x.error, { class: 'error' }));
      return;
    }
    if (x.error) out.append(element('p', 'The remote tier did not answer: ' + x.error, { class: 'error' }));
    const pairs = (list) => {
      const dl = element('dl');
      for (const [k, v] of list) if (v !== undefined && v !== '') dl.append(element('dt', k), element('dd', v));
      return dl;
    };
    out.append(pairs([['key', x.namespace + ' / ' + x.key], ['in the server', x.remoteKey]]));
    for (const t of x.tiers) {
      out.append(element('h3', t.tier === 'local' ? 'Local tier of this process' : 'Remote tier'));
      if (!t.present) {
        out.append(element('p', 'It holds nothing.'));
        continue;
      }
      out.append(pairs([
        ['holds', t.negative ? '“not found”' : 'a value'],
        ['believed', t.valid ? 'yes' : 'no: ' + t.why],
        ['changed at', t.changedAt ? t.changedAt.replace('T', ' ').replace('Z', ' UTC') : ''],
        ['as of', t.asOf], ['age', t.age], ['TTL left', t.ttl],
        ['made from', (t.sources || []).join(', ')],
      ]));
    }
  }

  async function explain(namespace, key) {
    const q = new URLSearchParams({ namespace, key });
    try {
      const answer = await fetch('explain?' + q);
      showExplanation(await answer.json());
    } catch (err) {
      showExplanation({ error: String(err) });
    }
  }

  const asked = byId('explain').elements;
  byId('explain').addEventListener('submit', (e) => { e.preventDefault(); explain(asked.namespace.value, asked.key.value); });
  byId('hottest').addEventListener('click', (e) => {
    const b = e.target.closest('button');
    if (!b) return;
    const [namespace, key] = JSON.parse(b.dataset.key);
    asked.namespace.value = namespace;
    asked.key.value = key; // without line breaks, which an input field does not hold
    explain(namespace, key);
    asked.key.focus();
  });

  const act = byId('act');
  if (act) {
    const { do: what, namespace, name, minutes } = act.elements;
    const arrange = () => {
      for (const label of act.querySelectorAll('[data-for]')) {
        const used = label.dataset.for.split(' ').includes(what.value);
        label.hidden = !used;
        label.querySelector('input').required = used;
      }
    };
    what.addEventListener('change', arrange);
    arrange();
    act.addEventListener('submit', async (e) => {
      e.preventDefault();
      if (what.value === 'all' && !confirm('Invalidate everything? Every entry becomes a miss, in every process.')) return;
      const done = byId('done');
      done.className = '';
      done.textContent = '…';
      try {
        const answer = await fetch('act', {
          method: 'POST',
          headers: { 'Content-Type': 'application/json', 'X-Tierdebug-Token': document.querySelector('meta[name=tierdebug-token]').content },
          body: JSON.stringify({ do: what.value, name: what.value === 'all' ? '' : name.value, namespace: what.value === 'key' ? namespace.value : '', minutes: what.value === 'bypass' ? Number(minutes.value) : 0 }),
        });
        const said = await answer.json();
        done.className = answer.ok ? '' : 'error';
        done.textContent = said.done || said.error;
      } catch (err) {
        done.className = 'error';
        done.textContent = String(err);
      }
    });
  }

  follow();
})();

// Boards: the card of a group, and the live tables of jobs and workers. The kernel sends a whole board once
// (cellq.notebook.boards.board.Board) and from then on only what has changed. Clocks tick here by themselves. Whatever comes
// from a job is set as text, never read as markup.
//
//   model "board" ── whole ──▶ held ◀── changes ── messages of the kernel
//                               └──▶ each view draws what differs from what it shows

const page = (globalThis.__cellq_page ??= Math.random().toString(36).slice(2));

// -------------------------------------------------------------------------------- what the kernel has told

function stamped(lines, at) {
  for (const line of Object.values(lines)) line.at = at;
  return lines;
}

// One per widget, whichever views come and go.
function hold(model, views) {
  const at = performance.now();
  const board = model.get("board");
  const held = { ...board, lines: stamped({ ...board.lines }, at), at };
  model.on("msg:custom", (news) => {
    if (news?.cmd !== "board") return;
    const now = performance.now();
    if (news.whole) Object.assign(held, news.whole, { lines: stamped(news.whole.lines, now), at: now });
    if (news.head) Object.assign(held, { head: news.head, at: now });
    if (news.lines) Object.assign(held.lines, stamped(news.lines, now));
    if (news.order) {
      held.order = news.order;
      const kept = new Set(news.order);
      for (const key of Object.keys(held.lines)) if (!kept.has(key)) delete held.lines[key];
    }
    for (const view of views) view();
  });
  // A kernel that was restarted knows nothing of this board: it must not look as if it were kept up to date.
  model.on("comm_live_update", async () => {
    const whole = await model.widget_manager?.get_model(held.id).catch(() => null);
    held.stale = whole?.comm_live === false;
    for (const view of views) view();
  });
  return held;
}

// --------------------------------------------------------------------------------------------- small things

function make(tag, name = "", text = "") {
  const node = document.createElement(tag);
  if (name) node.className = `cq-${name}`;
  if (text) node.textContent = text;
  return node;
}

// A node that is written to only if that changes something: the page is laid out anew for every write.
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function attribute(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

// The same words as duration() in card.py, whole seconds.
function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

function told(value, at) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "object") return String(value);
  if (!value.ticks) return value.text;
  const seconds = value.seconds + (value.ticks * (performance.now() - at)) / 1000;
  return `${value.words} ${duration(seconds)}`.trim();
}

function press(name, command, label, act) {
  const button = make("button", name, label);
  button.type = "button";
  button.dataset.command = command;
  button.addEventListener("click", () => button.getAttribute("aria-disabled") !== "true" && act(button));
  return button;
}

// ------------------------------------------------------------------------------------------------ the table

function tableOf(columns, name, hidden, send) {
  const scroll = make("div", "scroll");
  const table = make("table", "table");
  const head = make("thead");
  const body = make("tbody");
  const row = make("tr");
  for (const column of columns) {
    const cell = make("th", "", column);
    cell.scope = "col";
    row.append(cell);
  }
  row.append(make("td")); // above the buttons
  head.append(row);
  if (!hidden) table.append(head);
  table.append(body);
  scroll.append(table);
  scroll.tabIndex = 0; // so that it can be scrolled by keys
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", name);
  const rows = new Map();

  function newRow(key) {
    const found = { row: make("tr"), below: null, cells: [], presses: make("td", "presses"), buttons: [] };
    found.row.dataset.key = key;
    columns.forEach((column, i) => {
      const name = column === "#" ? "id" : column.replace(" ", "-");
      const cell = make("td", i === columns.length - 1 ? "col-rest" : `col-${name}`);
      found.cells.push(cell);
      found.row.append(cell);
    });
    found.row.append(found.presses);
    rows.set(key, found);
    return found;
  }

  function drawButtons(found, key, line) {
    while (found.buttons.length > line.buttons.length) found.buttons.pop().remove();
    line.buttons.forEach((button, i) => {
      let node = found.buttons[i];
      if (!node) {
        node = press("press", button.cmd, button.label, () => {
          const now = found.line.buttons[i];
          send({ cmd: now.cmd, key });
          if (now.cmd === "output") return;
          node.setAttribute("aria-disabled", "true"); // until the kernel has answered, or seems not to
          setTimeout(() => attribute(node, "aria-disabled", !found.line.buttons[i]?.open), 4000);
        });
        found.buttons.push(node);
        found.presses.append(node);
      }
      write(node, button.label);
      node.dataset.command = button.cmd;
      attribute(node, "aria-label", `${button.label} ${line.about}`);
      attribute(node, "aria-disabled", !button.open);
      if (button.cmd === "output") attribute(node, "aria-expanded", line.below !== null);
    });
  }

  function drawBelow(found, line) {
    if (line.below === null) {
      found.below?.remove();
      found.below = null;
      return;
    }
    if (!found.below) {
      found.below = make("tr", "below");
      const cell = make("td");
      cell.colSpan = columns.length + 1;
      const text = make("pre");
      text.tabIndex = 0;
      text.setAttribute("aria-label", `Output of ${line.about}`);
      cell.append(text);
      found.below.append(cell);
      found.row.after(found.below);
      found.fresh = true;
    }
    const text = found.below.querySelector("pre");
    const atEnd = found.fresh || text.scrollTop + text.clientHeight >= text.scrollHeight - 8;
    found.fresh = false;
    write(text, line.below);
    if (atEnd) text.scrollTop = text.scrollHeight;
  }

  function draw(order, lines) {
    for (const [key, found] of rows) {
      if (lines[key]) continue;
      found.row.remove();
      found.below?.remove();
      rows.delete(key);
    }
    let before = null;
    for (const key of order) {
      const line = lines[key];
      if (!line) continue;
      const found = rows.get(key) ?? newRow(key);
      const place = before ? before.nextSibling : body.firstChild;
      if (found.row !== place) {
        body.insertBefore(found.row, place);
        if (found.below) found.row.after(found.below);
      }
      before = found.below ?? found.row;
      if (found.line === line) continue;
      found.line = line;
      found.row.className = `cq-${line.state || "plain"}${line.inner ? " cq-inner" : ""}`;
      drawButtons(found, key, line);
      drawBelow(found, line);
      before = found.below ?? found.row;
      line.cells.forEach((cell, i) => {
        const text = told(cell, line.at);
        write(found.cells[i], text);
        const full = text.length > 24 ? text : "";
        if (found.cells[i].title !== full) found.cells[i].title = full;
      });
    }
  }

  function tick(lines) {
    for (const [key, found] of rows) {
      lines[key]?.cells.forEach((cell, i) => cell?.ticks && write(found.cells[i], told(cell, lines[key].at)));
    }
  }

  return { node: scroll, draw, tick };
}

// ----------------------------------------------------------------------------------------- the card of a group

function groupHead(board, send) {
  const head = make("div", "head");
  const parts = Object.fromEntries(
    ["mark", "name", "jobs", "state", "clock", "rate", "left"].map((name) => [name, make("span", name)]),
  );
  const end = make("span", "end");
  const cancel = press("press", "cancel", "", () => {
    cancel.setAttribute("aria-disabled", "true");
    write(cancel, "Cancelling…");
    send({ cmd: "cancel", key: "" });
  });
  const bar = make("div", "bar");
  const counts = make("div", "counts");
  const notes = notesOf();
  for (const name of ["jobs", "clock", "rate", "left"]) parts[name].classList.add("cq-quiet");
  parts.mark.setAttribute("aria-hidden", "true");
  parts.clock.setAttribute("aria-hidden", "true");
  parts.left.setAttribute("aria-hidden", "true");
  parts.state.setAttribute("role", "status");
  bar.setAttribute("role", "progressbar");
  bar.setAttribute("aria-valuemin", "0");
  end.append(cancel);
  head.append(...Object.values(parts), end);

  const segments = new Map();
  for (const one of board.head.counts) {
    const segment = make("span", `part cq-${one.state}`);
    const count = make("span", `count cq-${one.state}`);
    const mark = make("span", "mark", one.mark);
    const words = make("span");
    mark.setAttribute("aria-hidden", "true");
    count.append(mark, " ", words);
    counts.append(count);
    if (one.state !== "pending") bar.append(segment);
    segments.set(one.state, { segment, count, words });
  }

  function tick() {
    const { head: now, at } = board;
    write(parts.clock, told(now.clock, at));
    write(parts.left, now.left ? `${told(now.left, at)} left` : "");
  }

  function draw(root) {
    const now = board.head;
    root.className = `cq-board cq-${now.state}`;
    for (const name of ["mark", "name", "jobs", "rate"]) write(parts[name], now[name]);
    write(parts.state, now.label);
    for (const name of ["name", "rate", "left", "clock"]) parts[name].hidden = !now[name];
    for (const one of now.counts) {
      const { segment, count, words } = segments.get(one.state);
      segment.style.width = `${(100 * one.count) / Math.max(1, now.total)}%`;
      write(words, `${one.count.toLocaleString("en")} ${one.word}`);
      // Those of every run stay, so that nothing moves sideways when the first one fails.
      count.hidden = one.count === 0 && (one.state === "cancelled" || one.state === "failed" || now.ended);
    }
    const done = now.counts.reduce((sum, one) => sum + ("pending running".includes(one.state) ? 0 : one.count), 0);
    attribute(bar, "aria-valuemax", now.total);
    attribute(bar, "aria-valuenow", done);
    attribute(bar, "aria-label", `${now.name || "jobs"}: ended`);
    cancel.hidden = !now.cancel;
    if (cancel.getAttribute("aria-disabled") !== "true") write(cancel, now.cancel);
    attribute(cancel, "aria-label", `${cancel.textContent} of ${now.jobs}`);
    notes.draw(now.notes);
    tick();
  }

  return { nodes: [head, bar, counts, notes.node], draw, tick };
}

// ------------------------------------------------------------------------------------- the heads of the tables

function notesOf() {
  const node = make("div", "notes");
  node.setAttribute("role", "status");
  return {
    node,
    draw(notes) {
      const shown = notes.join("\n");
      if (node.dataset.shown === shown) return;
      node.dataset.shown = shown;
      node.replaceChildren(...notes.map((note) => make("div", "note", note)));
    },
  };
}

function jobsHead(board, send) {
  const head = make("div", "head");
  const chips = make("div", "chips");
  const find = make("input", "find");
  const foot = make("div", "foot");
  const told = make("span", "quiet");
  const more = press("press", "more", "Show more", () => send({ cmd: "more" }));
  const notes = notesOf();
  const chosen = new Set();
  const nodes = new Map();
  chips.setAttribute("role", "group");
  chips.setAttribute("aria-label", "States");
  told.setAttribute("role", "status");
  find.type = "search";
  find.placeholder = "name or id";
  find.setAttribute("aria-label", "Find jobs by name or id");

  const ask = () => send({ cmd: "filter", states: [...chosen], text: find.value });
  let pause = 0;
  find.addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(ask, 250);
  });
  find.addEventListener("keydown", (event) => event.stopPropagation()); // not a shortcut of the notebook's

  for (const one of board.head.states) {
    const chip = press(`chip cq-${one.state}`, "filter", "", () => {
      if (!chosen.delete(one.state)) chosen.add(one.state);
      attribute(chip, "aria-pressed", chosen.has(one.state));
      ask();
    });
    const mark = make("span", "mark", one.mark);
    const words = make("span");
    mark.setAttribute("aria-hidden", "true");
    if (one.chosen) chosen.add(one.state);
    chip.append(mark, words);
    chips.append(chip);
    nodes.set(one.state, { chip, words });
  }
  find.value = board.head.text;
  foot.append(told, more);
  head.append(make("b", "name", "Jobs"), chips, find);

  function draw(root) {
    root.className = "cq-board";
    for (const one of board.head.states) {
      const { chip, words } = nodes.get(one.state);
      write(words, ` ${one.count.toLocaleString("en")} ${one.state}`);
      attribute(chip, "aria-pressed", chosen.has(one.state));
    }
    write(told, board.head.told);
    more.hidden = !board.head.more;
    notes.draw(board.head.notes);
  }

  return { nodes: [head, notes.node], foot, draw, tick() {} };
}

function workersHead(board, send) {
  const head = make("div", "head");
  const told = make("span", "quiet");
  const end = make("span", "end");
  const notes = notesOf();
  const start = press("press", "start", "", () => {
    start.setAttribute("aria-disabled", "true");
    write(start, "Starting…");
    send({ cmd: "start" });
  });
  told.setAttribute("role", "status");
  end.append(start);
  head.append(make("b", "name", "Workers"), told, end);

  function draw(root) {
    root.className = "cq-board";
    write(told, board.head.told);
    write(start, board.head.start);
    attribute(start, "aria-disabled", !board.head.open);
    notes.draw(board.head.notes);
  }

  return { nodes: [head, notes.node], draw, tick() {} };
}

// ---------------------------------------------------------------------------------------------- the view

const NAMES = { group: "Jobs of this group", jobs: "Jobs", workers: "Workers" };
const STALE = {
  group: "The kernel was restarted: this is how it stood then. The jobs go on; %load_ext cellq brings the card back.",
  jobs: "The kernel was restarted: this is how it stood then. Run the cell again.",
  workers: "The kernel was restarted: this is how it stood then. Run the cell again.",
};
const HEADS = { group: groupHead, jobs: jobsHead, workers: workersHead };

function show(model, el, board, views) {
  const view = Math.random().toString(36).slice(2);
  const root = make("div", "board");
  const head = HEADS[board.kind](board, (message) => model.send(message));
  const stale = make("div", "note");
  stale.setAttribute("role", "status");
  const table = tableOf(board.columns, NAMES[board.kind], board.kind === "group", (message) => model.send(message));
  if (board.kind !== "group") table.node.classList.add("cq-tall");
  root.append(...head.nodes, stale, table.node);
  if (head.foot) root.append(head.foot);
  el.append(root);

  let drawing = 0;
  let tall = 0;
  function draw() {
    drawing = 0;
    head.draw(root);
    root.classList.toggle("cq-stale", Boolean(board.stale));
    stale.hidden = !board.stale;
    write(stale, board.stale ? STALE[board.kind] : "");
    table.draw(board.order, board.lines);
    table.node.hidden = board.order.length === 0 && !tall;
    // While somebody types or chooses the table keeps its height: what stands below must not jump with every letter.
    if (head.nodes[0].contains(document.activeElement)) tall = Math.max(tall, table.node.offsetHeight);
    else tall = 0;
    table.node.style.minHeight = tall ? `${tall}px` : "";
  }

  let seen = false;
  let heard = 0;
  function tell(now) {
    if (now === seen && performance.now() - heard < 20000) return;
    seen = now;
    heard = performance.now();
    model.send({ cmd: now ? "view" : "gone", view, page });
  }
  function news() {
    drawing ||= requestAnimationFrame(draw); // however many changes come, one drawing per frame
    if (seen) tell(true); // now and then: a page that was closed does not
  }
  const watcher = new IntersectionObserver((entries) => tell(entries.at(-1).isIntersecting));

  head.nodes[0].addEventListener("focusin", () => (tall = table.node.offsetHeight));
  head.nodes[0].addEventListener("focusout", () => (drawing ||= requestAnimationFrame(draw)));
  views.add(news);
  draw();
  tell(true);
  watcher.observe(el);
  const ticking = setInterval(() => {
    if (!root.isConnected || board.stale) return;
    head.tick();
    table.tick(board.lines);
  }, 1000);
  return () => {
    clearInterval(ticking);
    cancelAnimationFrame(drawing);
    watcher.disconnect();
    views.delete(news);
    tell(false);
  };
}

export default () => {
  const views = new Set();
  let board = null;
  return {
    initialize({ model }) {
      board = hold(model, views);
    },
    render({ model, el }) {
      return show(model, el, board, views);
    },
  };
};

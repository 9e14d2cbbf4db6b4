// The live card of one job. The kernel sends its face (cellq.notebook.cards.card.Face) whenever that changes; clocks tick here
// by themselves. What a job is called or says is set as text, never read as markup.
//
//     the job runs        the widget's view, made by `render`
//     it has ended        plain HTML in the notebook: that is what is saved, and it needs no kernel
//     it may be retried   that HTML, adopted: while the model lives, a card with buttons takes its place on the page

// One id per loaded page: the kernel learns by it that a page was reloaded.
const page = (globalThis.__cellq_page ??= Math.random().toString(36).slice(2));

const LOOKS = [0, 50, 100, 200, 400, 800]; // milliseconds after the end at which the plain HTML is looked for
const OFTEN = 1000; // and again and again

function make(tag, name, text = "") {
  const node = document.createElement(tag);
  node.className = `cellq-${name}`;
  node.textContent = text;
  return node;
}

// The same words as duration() in card.py, whole seconds.
function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

function track(bar) {
  const node = make("span", "track");
  node.setAttribute("role", "progressbar");
  if (bar.share === null) return node;
  node.setAttribute("aria-valuemin", "0");
  node.setAttribute("aria-valuemax", "100");
  node.append(make("span", "fill"));
  return node;
}

// A card that follows its model: its element, and how to let go of it.
function follow(model) {
  const card = make("div", "card");
  const head = make("div", "head");
  const mark = make("span", "mark");
  const said = make("span", "said");
  const name = make("b", "name");
  const state = make("span", "state");
  const clock = make("span", "clock");
  const rest = make("span", "rest");
  const facts = make("span", "facts");
  const id = make("span", "id");
  const buttons = make("span", "buttons");
  const bars = make("div", "bars");
  const notes = make("div", "notes");
  card.setAttribute("role", "group");
  mark.setAttribute("aria-hidden", "true");
  said.setAttribute("role", "status");
  said.setAttribute("aria-live", "polite");
  said.setAttribute("aria-atomic", "true");
  said.append(name, " ", state);
  head.append(mark, said, clock, rest, facts, id, buttons);
  card.append(head, bars, notes);

  let face = null;
  let drawnAt = 0;
  let restAt = 0;
  let rows = 0;
  const asked = new Set(); // buttons that were pressed, until they change

  function tick() {
    const now = performance.now();
    const told = face.clock;
    if (!told) clock.textContent = "";
    else if (!told.ticks) clock.textContent = told.text;
    else clock.textContent = `${told.words} ${duration(told.seconds + (told.ticks * (now - drawnAt)) / 1000)}`.trim();
    const left = (face.rest ?? 0) - (now - restAt) / 1000;
    rest.textContent = left >= 0.5 ? `${duration(left)} left` : "";
  }

  function drawBars() {
    // Kept, not made anew: a bar that is replaced would start from nothing instead of moving on.
    while (bars.children.length > 3 * face.bars.length) bars.lastChild.remove();
    face.bars.forEach((bar, i) => {
      const endless = bar.share === null;
      let middle = bars.children[3 * i + 1];
      if (!middle) {
        middle = track(bar);
        bars.append(make("span", "label"), middle, make("span", "numbers"));
      } else if ((middle.firstChild === null) !== endless) {
        const other = track(bar);
        middle.replaceWith(other);
        middle = other;
      }
      bars.children[3 * i].textContent = bars.children[3 * i].title = bar.label;
      bars.children[3 * i + 2].textContent = bars.children[3 * i + 2].title = bar.numbers;
      middle.classList.toggle("cellq-endless", endless && bar.open);
      middle.setAttribute("aria-label", bar.label || "progress");
      middle.setAttribute("aria-valuetext", bar.numbers);
      if (!endless) {
        const percent = 100 * bar.share;
        const fill = middle.firstChild;
        // Forward it glides; a bar that begins again does not run backwards.
        fill.style.transition = percent < Number(middle.getAttribute("aria-valuenow")) ? "none" : "";
        fill.style.width = `${percent}%`;
        middle.setAttribute("aria-valuenow", percent.toFixed(1));
      }
    });
    // An inner bar comes and goes with each outer step; the card must not change its height with it.
    rows = face.ended ? face.bars.length : Math.max(rows, face.bars.length);
    bars.style.minHeight = rows ? `${20 * rows + 3}px` : "";
    bars.hidden = rows === 0;
  }

  function drawButtons() {
    const names = face.actions.map((action) => JSON.stringify(action));
    for (const name of asked) if (!names.includes(name)) asked.delete(name);
    while (buttons.children.length > names.length) buttons.lastChild.remove();
    face.actions.forEach((action, i) => {
      let button = buttons.children[i];
      if (!button) {
        button = make("button", "button");
        button.type = "button";
        button.addEventListener("click", () => press(i));
        buttons.append(button);
      }
      const pressed = asked.has(names[i]);
      const label = pressed && action.pressed ? action.pressed : action.label;
      if (button.textContent !== label) button.textContent = label;
      button.setAttribute("aria-label", `${label} ${action.about || face.name}`);
      // Not `disabled`: that would take the focus away from whoever has just pressed it.
      button.setAttribute("aria-disabled", pressed || !action.open);
      button.dataset.command = action.command;
    });
  }

  function press(i) {
    const action = face.actions[i];
    const name = JSON.stringify(action);
    if (!action.open || asked.has(name)) return;
    asked.add(name);
    drawButtons();
    model.send({ cmd: action.command, job: action.job });
  }

  function draw() {
    const before = face;
    face = model.get("face");
    if (!face || !face.state) return;
    drawnAt = performance.now();
    // The estimate of a slow bar stays the same while others move: it runs on from when it was made.
    if (face.rest !== before?.rest) restAt = drawnAt;
    if (face.ended && card.contains(document.activeElement)) globalThis.__cellq_focus = face.id;
    card.className = `cellq-card cellq-${face.state} cellq-of-${face.id}`;
    card.setAttribute("aria-label", `job ${face.name}`);
    mark.textContent = face.mark;
    if (name.textContent !== face.name) name.textContent = face.name;
    if (state.textContent !== face.label) state.textContent = face.label;
    facts.replaceChildren(...face.facts.map((fact) => make("span", "fact", fact)));
    facts.title = face.facts.join(" · ");
    id.textContent = face.short;
    id.title = face.id;
    drawButtons();
    drawBars();
    notes.replaceChildren(...face.notes.map((note) => make("div", "note", note)));
    tick();
  }

  model.on("change:face", draw);
  draw();
  const ticking = setInterval(() => face && card.isConnected && tick(), 1000);
  card.__cellq_stop = () => {
    clearInterval(ticking);
    model.off("change:face", draw);
    delete card.__cellq_stop;
  };
  return card;
}

// Whoever pressed a button that is gone stays where it was, and does not have to come back from the top of the page.
function keepFocus(card) {
  delete globalThis.__cellq_focus;
  card.tabIndex = -1;
  card.focus({ preventScroll: true });
}

function initialize({ model }) {
  let adopted = [];

  function adopt() {
    const face = model.get("face");
    if (!face?.ended) return;
    adopted = adopted.filter((card) => card.isConnected || card.__cellq_stop());
    for (const plain of document.querySelectorAll(`.cellq-of-${CSS.escape(face.id)}`)) {
      if (plain.__cellq_stop) continue; // a live one
      let card = plain;
      if (face.actions.length) {
        card = follow(model);
        plain.replaceWith(card);
        adopted.push(card);
      }
      if (globalThis.__cellq_focus === face.id && document.activeElement === document.body) keepFocus(card);
    }
  }

  let looks = [];
  function look() {
    looks.forEach(clearTimeout);
    looks = LOOKS.map((after) => setTimeout(adopt, after));
  }

  model.on("change:face", look);
  look();
  const looking = setInterval(adopt, OFTEN); // a page may draw the plain HTML anew at any time
  return () => {
    looks.forEach(clearTimeout);
    clearInterval(looking);
    model.off("change:face", look);
    for (const card of adopted) card.__cellq_stop?.();
  };
}

function render({ model, el }) {
  const card = follow(model);
  el.classList.add("cellq-live");
  el.append(card);
  model.send({ cmd: "view", page });
  return () => card.__cellq_stop?.();
}

export default { initialize, render };

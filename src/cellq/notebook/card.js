// The live card of one job. The kernel sends its face (cellq.notebook.card.Face) whenever that changes; the clock ticks
// here by itself. What a job is called or says is set as text, never read as markup.

// One id per loaded page: the kernel learns by it that a page was reloaded.
const page = (globalThis.__cellq_page ??= Math.random().toString(36).slice(2));

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
  if (bar.share === null) {
    node.classList.add("cellq-endless");
    return node;
  }
  node.setAttribute("role", "progressbar");
  node.setAttribute("aria-valuemin", "0");
  node.setAttribute("aria-valuemax", "100");
  node.append(make("span", "fill"));
  return node;
}

function render({ model, el }) {
  const card = make("div", "card");
  const head = make("div", "head");
  const mark = make("span", "mark");
  const name = make("b", "name");
  const state = make("span", "state");
  const clock = make("span", "clock");
  const facts = make("span", "fact");
  const id = make("span", "id");
  const cancel = make("button", "cancel", "Cancel");
  const bars = make("div", "bars");
  const notes = make("div", "notes");
  mark.setAttribute("aria-hidden", "true");
  state.setAttribute("role", "status");
  state.setAttribute("aria-live", "polite");
  clock.setAttribute("aria-hidden", "true"); // a screen reader must not read every second
  cancel.type = "button";
  head.append(mark, name, state, clock, facts, id, cancel);
  card.append(head, bars, notes);
  el.append(card);

  let face = null;
  let drawnAt = 0;
  let asked = false;
  let rows = 0;

  function tick() {
    const told = face.clock;
    if (!told) clock.textContent = "";
    else if (!told.ticks) clock.textContent = told.text;
    else {
      const seconds = told.seconds + (told.ticks * (performance.now() - drawnAt)) / 1000;
      clock.textContent = `${told.words} ${duration(seconds)}`.trim();
    }
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
      } else if (middle.classList.contains("cellq-endless") !== endless) {
        const other = track(bar);
        middle.replaceWith(other);
        middle = other;
      }
      bars.children[3 * i].textContent = bar.label;
      bars.children[3 * i + 2].textContent = bar.numbers;
      if (!endless) {
        const percent = 100 * bar.share;
        middle.setAttribute("aria-label", bar.label || "progress");
        middle.setAttribute("aria-valuenow", percent.toFixed(1));
        middle.firstChild.style.width = `${percent}%`;
      }
    });
    // An inner bar comes and goes with each outer step; the card must not change its height with it.
    rows = face.ended ? face.bars.length : Math.max(rows, face.bars.length);
    bars.style.minHeight = rows ? `${20 * rows + 3}px` : "";
    bars.hidden = rows === 0;
  }

  function draw() {
    face = model.get("face");
    if (!face || !face.state) return;
    drawnAt = performance.now();
    card.className = `cellq-card cellq-${face.state}`;
    mark.textContent = face.mark;
    name.textContent = face.name;
    if (state.textContent !== face.label) state.textContent = face.label;
    facts.textContent = face.facts.join(" · ");
    facts.hidden = face.facts.length === 0;
    id.textContent = face.short;
    id.title = face.id;
    const stopping = asked || face.label === "stopping";
    cancel.hidden = face.ended;
    cancel.disabled = stopping;
    cancel.textContent = stopping ? "Cancelling…" : "Cancel";
    cancel.setAttribute("aria-label", `Cancel ${face.name}`);
    drawBars();
    notes.replaceChildren(...face.notes.map((note) => make("div", "note", note)));
    tick();
  }

  cancel.addEventListener("click", () => {
    asked = true;
    model.send({ cmd: "cancel" });
    draw();
  });
  model.on("change:face", draw);
  draw();
  model.send({ cmd: "view", page });
  const ticking = setInterval(() => face && el.isConnected && tick(), 1000);
  return () => {
    clearInterval(ticking);
    model.off("change:face", draw);
  };
}

export default { render };

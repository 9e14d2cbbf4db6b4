// Writes a job's output into the notebook of this page, where messages do not find the way: after a reload, or when the
// kernel is another one by now. The cells are those that hold the job's card; what stands below the card is replaced.

const VIEW = "application/vnd.jupyter.widget-view+json";
const MODEL = /^cellq-([0-9a-f]{8}-[0-9a-f-]{27})/;
const GROUP = /^cellq-group-/;
const BOARD = /class="cq-board/;
const CARD = /cellq-card cellq-(\w+)/;
const ID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/;

// The job that an output is the card of, and whether that card is still to change; null for any other output.
function cardIn(output) {
  const model = MODEL.exec(output.data?.[VIEW]?.model_id ?? "");
  if (model) return { job: model[1], open: true };
  const html = String(output.data?.["text/html"] ?? "");
  const card = CARD.exec(html);
  const id = card && ID.exec(html.slice(card.index));
  return id && { job: id[0], open: card[1] === "pending" || card[1] === "running" };
}

// The group that an output is the live card of, or "".
function groupIn(output) {
  const model = output.data?.[VIEW]?.model_id ?? "";
  return GROUP.test(model) ? model : "";
}

// All cards of jobs: the outputs of the cell, the card's place among them, and where the next card or the end is.
function* cards(cells) {
  for (const cell of cells) {
    const { outputs } = cell;
    let last = null;
    for (let i = 0; cell.type === "code" && i < outputs.length; i++) {
      const output = outputs.get(i);
      const card = cardIn(output);
      if (!card && !BOARD.test(output.data?.["text/html"] ?? "")) continue;
      if (last) yield { ...last, end: i };
      last = card && { ...card, cell, outputs, place: i };
    }
    if (last) yield { ...last, end: outputs.length };
  }
}

// The live cards of groups.
function* groups(cells) {
  for (const { type, outputs } of cells) {
    for (let place = 0; type === "code" && place < outputs.length; place++) {
      const group = groupIn(outputs.get(place));
      if (group) yield { group, outputs, place };
    }
  }
}

// The same content may be written to several cells, and a notebook keeps what it is given.
const copy = (value) => JSON.parse(JSON.stringify(value));

function initialize({ model }) {
  const context = model.widget_manager?.context; // of JupyterLab and Notebook 7; other front ends have no such thing
  const kernel = () => context.sessionContext?.session?.kernel;
  const displays = new WeakMap(); // outputs of a cell → display id → places

  // The card, and nothing below it. (All at once: an output model that loses single outputs goes on writing into them.)
  function begin({ cell, outputs, place, end }, shown) {
    const all = outputs.toJSON();
    if (place === 0 && end === all.length) cell.trusted = true; // as when it is run: nothing of before is left
    all.splice(place, end - place, shown);
    outputs.fromJSON(all);
    displays.delete(outputs);
  }

  // A card where there is none: the notebook was not saved since the cell was run. What an earlier run left gives way.
  function insert(id, job, shown) {
    for (const cell of context.model.cells) {
      if (cell.id !== id || cell.type !== "code") continue;
      const there = [...cards([cell])];
      if (there.some((card) => card.job > job) || (cell.outputs.length && !there.length)) continue; // ids grow with time
      cell.trusted = true;
      cell.outputs.fromJSON([shown]);
    }
  }

  function update(outputs, id, content) {
    for (const place of displays.get(outputs)?.get(id) ?? []) {
      const { output_type, execution_count } = outputs.get(place).toJSON();
      const count = output_type === "execute_result" ? { execution_count } : {};
      outputs.set(place, { output_type, ...count, ...copy({ data: content.data, metadata: content.metadata ?? {} }) });
    }
  }

  function add({ outputs, place, end }, kind, { transient, ...content }) {
    const output = { output_type: kind, ...copy(content) };
    if (end === outputs.length) outputs.add(output);
    else {
      // Another card follows: a cell that enqueued several jobs.
      const all = outputs.toJSON();
      const last = all[end - 1];
      if (kind === "stream" && end - 1 > place && last.output_type === "stream" && last.name === output.name) {
        all[end - 1] = { ...last, text: [last.text, output.text].flat().join("") };
      } else all.splice(end, 0, output);
      outputs.fromJSON(all);
    }
    const id = transient?.display_id;
    if (!id) return;
    if (!displays.has(outputs)) displays.set(outputs, new Map());
    const places = displays.get(outputs);
    places.set(id, [...(places.get(id) ?? []), end]);
  }

  // A group's card: it takes the place of the one that is there, which may be of another kernel's widget.
  function writeGroup(name, cell, kind, content) {
    const shown = { output_type: "display_data", data: content.data, metadata: content.metadata ?? {} };
    const there = [...groups(context.model.cells)].filter(({ group }) => group === name);
    for (const { outputs, place } of there) {
      const all = outputs.toJSON();
      all[place] = copy(shown);
      outputs.fromJSON(all);
    }
    if (there.length || kind !== "display_data" || !cell) return;
    for (const one of context.model.cells) {
      if (one.id !== cell || one.type !== "code" || one.outputs.length) continue;
      one.trusted = true;
      one.outputs.fromJSON([copy(shown)]);
    }
  }

  function write({ job, cell, kind, content }) {
    if (GROUP.test(job)) {
      writeGroup(job, cell, kind, content);
      return;
    }
    const ofCard = content.transient?.display_id?.startsWith(`cellq-${job}`);
    const shown = ofCard && {
      output_type: "display_data",
      ...copy({ data: content.data, metadata: content.metadata ?? {} }),
    };
    const there = [...cards(context.model.cells)].filter((card) => card.job === job);
    if (!there.length && kind === "display_data" && shown && cell) insert(cell, job, shown);
    for (const card of there) {
      if (shown && kind === "display_data") begin(card, shown);
      else if (shown) card.outputs.set(card.place, shown);
      else if (kind === "clear_output") continue; // the card comes again, and drops what is below it
      else if (kind === "update_display_data") update(card.outputs, content.transient?.display_id, content);
      else add(card, kind, content);
    }
  }

  function hear(message) {
    if (message.to === kernel()?.clientId) write(message);
  }

  function here() {
    const all = [...cards(context.model.cells)];
    // In a cell with several cards it cannot be told whose output is whose: if one job is to be shown, all are.
    const cells = new Set(all.filter((card) => card.open).map((card) => card.outputs));
    const [open, final] = [true, false].map((wanted) => all.filter((card) => cells.has(card.outputs) === wanted));
    const ids = (some) => [...new Set(some.map((card) => card.job))];
    const names = [...new Set([...groups(context.model.cells)].map(({ group }) => group))];
    const session = kernel()?.clientId ?? "";
    model.send({ cmd: "here", session, jobs: ids(open), final: ids(final), groups: names });
  }

  if (!context?.model?.cells) return undefined;
  model.on("msg:custom", hear);
  context.ready.then(here);
  return () => model.off("msg:custom", hear);
}

export default { initialize };

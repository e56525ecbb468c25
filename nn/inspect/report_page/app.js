// ---- app: the state of the page, and its rendering ----

const state = {
  sentence: 0,
  kind: "", // "self" or "cross"
  mechanism: "",
  layer: "",
  head: 0, // -1: the mean of the heads
  focus: null, // the selection: {side: "query" or "key", index, other: the other index of a cell}
  held: null, // the pinned focus, which stays when the pointer leaves
};
let weights = null; // of the selected layer
let image = null; // of the selected head
let cell = 16; // side of a heat map cell in CSS pixels

const sentence = () => report.sentences[state.sentence];
const matrix = () => weights.matrix(state.head);
const headName = () =>
  weights.heads === 1 ? "" : state.head < 0 ? "mean of the heads" : `head ${state.head + 1}`;

// ---- choices ----

// Fills a <select>; with only one option it is hidden if `optional`.
function fillSelect(id, values, chosen, optional) {
  byId(id).replaceChildren(...values.map((value) =>
    element("option", { value, selected: value === chosen }, value || "(no name)")));
  if (optional) byId(`${id}-control`).hidden = values.length < 2;
}

const kindNames = { self: "its own tokens", cross: "the other sequence" };

function fillKinds(kinds) {
  byId("kind").hidden = kinds.length < 2;
  byId("kind").replaceChildren(byId("kind").firstElementChild, ...kinds.map((kind) =>
    element("label", {},
      element("input", { type: "radio", name: "kind", value: kind, checked: kind === state.kind }),
      element("span", { title: kindNames[kind] }, kind))));
}

function fillHeads() {
  const legend = byId("heads").firstElementChild;
  const heads = Array.from({ length: weights.heads }, (_, h) => h);
  byId("heads").hidden = weights.heads === 1;
  byId("heads").replaceChildren(legend, ...[-1, ...heads].map((head) => {
    const canvas = element("canvas", { "aria-hidden": "true" });
    const values = weights.matrix(head);
    drawThumbnail(canvas, matrixImage(values, weights.T, weights.S, scaleOf(values)));
    return element("label", {},
      element("input", { type: "radio", name: "head", value: head, checked: head === state.head }),
      element("span", { className: "frame" }, canvas),
      element("span", {}, head < 0 ? "mean" : String(head + 1)));
  }));
}

const keep = (value, values) => (values.includes(value) ? value : values[0]);

// Makes the selections consistent with the maps of the sentence; keeps valid selections.
function updateSelection() {
  let maps = sentence().maps;
  byId("attention").hidden = maps.length === 0;
  weights = null;
  if (maps.length === 0) return;
  const kinds = distinct(maps.map((map) => map.kind));
  state.kind = keep(state.kind, kinds);
  maps = maps.filter((map) => map.kind === state.kind);
  const mechanisms = distinct(maps.map((map) => map.mechanism));
  state.mechanism = keep(state.mechanism, mechanisms);
  maps = maps.filter((map) => map.mechanism === state.mechanism);
  const layers = distinct(maps.map((map) => map.layer));
  state.layer = keep(state.layer, layers);
  weights = weightsOf(sentence(), maps.find((map) => map.layer === state.layer));
  state.head = weights.heads === 1 ? 0 : Math.min(state.head, weights.heads - 1);
  fillKinds(kinds);
  fillSelect("mechanism", mechanisms, state.mechanism, true);
  fillSelect("layer", layers, state.layer, false);
}

// ---- drawing ----

function scaleOf(values) {
  const scale = byId("scale").value;
  return scale === "row" ? "row" : scale === "full" ? 1 : maximum(values);
}

function drawSentence() {
  byId("sentence").value = state.sentence;
  byId("sentence-title").textContent = visible(sentence().title);
  byId("prediction").textContent = sentence().prediction;
  byId("prediction").hidden = !sentence().prediction;
  drawEvidence();
}

// Blue is for, orange against: distinguishable for color-blind readers too.
function evidenceColor(share) {
  const paper = chips[theme()];
  if (share >= 0) return rampColor(share * 0.75, paper);
  const orange = theme() === "dark" ? [214, 120, 40] : [232, 138, 58];
  return paper.map((low, i) => Math.round(low + (orange[i] - low) * -share));
}

function drawEvidence() {
  const evidence = sentence().evidence;
  byId("evidence").hidden = !evidence;
  if (!evidence) return;
  const tokens = sentence().sequences[evidence.sequence].tokens;
  const top = Math.max(...evidence.weights.map(Math.abs)) || 1;
  const signed = evidence.weights.some((w) => w < 0);
  const text = (w) => (signed && w > 0 ? "+" : "") + String(w).replace("-", "−");
  byId("evidence-label").textContent = evidence.label || "Contribution of each token";
  byId("evidence-tokens").replaceChildren(...tokens.map((token, i) => {
    const word = element("span", { dir: "auto" }, visible(token));
    paint(word, evidenceColor(evidence.weights[i] / top));
    return element("span", { className: "token", title: token }, word,
      element("small", {}, text(evidence.weights[i])));
  }));
  const entry = (share, name) => {
    const swatch = element("i", {});
    paint(swatch, evidenceColor(share));
    return element("span", {}, swatch, name);
  };
  const entries = [];
  if (evidence.positive) entries.push(entry(1, evidence.positive));
  if (signed && evidence.negative) entries.push(entry(-1, evidence.negative));
  byId("evidence-legend").replaceChildren(...entries);
}

function drawAttention() {
  if (!weights) return;
  byId("query-label").textContent = `${weights.queries.name}: queries`;
  byId("key-label").textContent = `${weights.keys.name}: keys`;
  drawStrip(byId("query-tokens"), weights.queries.tokens, "query");
  drawStrip(byId("key-tokens"), weights.keys.tokens, "key");
  fillHeads();
  drawHead();
}

// Draws the parts that depend on the head, the colors and the window size.
function drawHead() {
  if (!weights) return;
  const { T, S, queries, keys } = weights;
  const scale = scaleOf(matrix());
  image = matrixImage(matrix(), T, S, scale);
  for (const input of byId("heads").querySelectorAll("input"))
    input.checked = Number(input.value) === state.head;
  drawLabels(byId("row-labels"), queries.tokens, "query");
  drawLabels(byId("column-labels"), keys.tokens, "key");
  cell = cellSize(S);
  byId("scroller").style.setProperty("--cell", `${cell}px`);
  byId("legend-high").textContent = scale === "row" ? "largest of the row" : percent(scale);
  byId("legend").querySelector("i").style.background =
    `linear-gradient(to right, ${ramps[theme()].map(css).join(", ")})`;
  byId("scroller").setAttribute("aria-label",
    `${state.layer} ${headName()}: ${T} queries, ${S} keys`);
  drawTable();
  drawFocus();
}

// The cell size that fits the width next to the row labels, within limits; wider maps scroll.
function cellSize(S) {
  const columns = byId("columns");
  const style = getComputedStyle(columns);
  const detailsWidth = style.gridTemplateColumns.includes(" ")
    ? byId("details").offsetWidth + parseFloat(style.columnGap) : 0;
  const width = columns.clientWidth - detailsWidth - byId("row-labels").offsetWidth;
  return Math.max(15, Math.min(38, Math.floor(width / Math.max(1, S))));
}

function drawTable() {
  const box = byId("table").lastElementChild;
  box.replaceChildren();
  if (byId("table").open)
    box.append(weightTable(matrix(), weights, `${state.layer} ${headName()}: ` +
      `each row has the weights of a query token of ${weights.queries.name}`));
}

// Draws the parts that depend on the selected token.
function drawFocus() {
  if (!weights) return;
  const { T, S } = weights;
  const { side, index, other } = state.focus || {};
  const ofQuery = side === "query" ? rowOf(matrix(), S, index) : null;
  const ofKey = side === "key" ? columnOf(matrix(), T, S, index) : null;
  const shown = ofQuery || (ofKey ? null : columnMeans(matrix(), T, S));
  const label = (tokens) => (i, w) =>
    `${visible(tokens[i])}, ${i + 1} of ${tokens.length}` + (w === null ? "" : `, ${percent(w)}`);
  colorStrip(byId("query-tokens"), ofKey, ofQuery ? index : -1, label(weights.queries.tokens));
  colorStrip(byId("key-tokens"), shown, ofKey ? index : -1, label(weights.keys.tokens));
  const mark = !side ? null
    : side === "query" ? { t: index, s: other ?? -1 } : { t: other ?? -1, s: index };
  drawHeat(byId("heat"), image, T, S, cell, mark);
  for (const box of [byId("row-labels"), byId("column-labels")])
    for (const name of box.children) {
      const at = Number(name.dataset.index);
      name.classList.toggle("chosen", mark !== null &&
        at === (name.dataset.side === "query" ? mark.t : mark.s));
    }
  byId("strips").classList.toggle("held", state.held !== null);
  drawCell(mark);
  drawDetails(ofQuery, ofKey);
}

function drawCell(mark) {
  const whole = mark && mark.t >= 0 && mark.s >= 0;
  byId("cell").textContent = !whole ? ""
    : `${visible(weights.queries.tokens[mark.t])} → ${visible(weights.keys.tokens[mark.s])}: ` +
      percent(matrix()[mark.t * weights.S + mark.s]);
}

function drawDetails(ofQuery, ofKey) {
  const { T, S, queries, keys } = weights;
  const parts = [];
  const add = (title, values, tokens, whole) =>
    parts.push(element("h4", {}, title), bars(values, tokens, 7, whole));
  const heading = (sequence, index) => parts.push(
    element("h3", { dir: "auto" }, visible(sequence.tokens[index])),
    element("p", { className: "faint" },
      `token ${index + 1} of ${sequence.tokens.length}, ${sequence.name}` +
      (state.held ? ", pinned" : "")));
  const index = state.focus ? state.focus.index : -1;
  const same = queries === keys;
  if (ofQuery) {
    heading(queries, index);
    add("attends to", ofQuery, keys.tokens, true);
    parts.push(element("p", { className: "faint" },
      `perplexity of the weights: ${spread(ofQuery).toFixed(1)} tokens`));
    if (same) add("attended by", columnOf(matrix(), T, S, index), queries.tokens, false);
    if (weights.heads > 1) parts.push(...headList(index));
  } else if (ofKey) {
    heading(keys, index);
    add("attended by", ofKey, queries.tokens, false);
    if (same) add("attends to", rowOf(matrix(), S, index), keys.tokens, true);
  } else {
    parts.push(element("h3", {}, "All tokens"),
      element("p", { className: "faint" }, "Select a token to show its weights."));
    add("mean weight of each key", columnMeans(matrix(), T, S), keys.tokens, true);
  }
  byId("details").replaceChildren(...parts);
}

// The key with the largest weight for query t in each head; a click selects the head.
function headList(t) {
  const { S, keys, heads } = weights;
  const items = Array.from({ length: heads }, (_, h) => {
    const row = rowOf(weights.matrix(h), S, t);
    const [first] = largest(row, 1);
    return element("li", {},
      element("button", { type: "button", "data-head": h, "aria-pressed": h === state.head },
        element("span", {}, `${h + 1}`),
        first === undefined ? element("span", {}, "nothing") : tokenName(keys.tokens, first),
        element("span", { className: "number" }, first === undefined ? "" : percent(row[first]))));
  });
  return [element("h4", {}, "largest weight in each head"),
    element("ol", { className: "head-list" }, ...items)];
}

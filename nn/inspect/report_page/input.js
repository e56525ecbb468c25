// ---- input: selection by pointer and keyboard, themes ----

const say = (text) => { byId("status").textContent = text; };

function chooseSentence(index) {
  const count = report.sentences.length;
  state.sentence = (index + count) % count;
  state.focus = state.held = null;
  updateSelection();
  drawSentence();
  drawAttention();
}

function chooseMap(changes) {
  const before = weights && [weights.queries, weights.keys];
  Object.assign(state, changes);
  updateSelection();
  if (before[0] !== weights.queries || before[1] !== weights.keys) state.focus = state.held = null;
  drawAttention();
  say(`${state.kind}, ${state.layer} ${headName()}`);
}

function chooseHead(head) {
  const count = weights.heads;
  if (count === 1) return;
  state.head = head < -1 ? count - 1 : head >= count ? -1 : head;
  drawHead();
  say(headName());
}

function chooseNext(list, current, step, name) {
  const at = list.indexOf(current);
  chooseMap({ [name]: list[(at + step + list.length) % list.length] });
}

const optionsOf = (id) => [...byId(id).options].map((option) => option.value);
const kindsOf = () => [...byId("kind").querySelectorAll("input")].map((input) => input.value);

function focusOn(focus, aloud) {
  state.focus = focus;
  if (state.held && focus) state.held = focus;
  drawFocus();
  if (!aloud || !focus) return;
  const { side, index } = focus;
  const query = side === "query";
  const values = query ? rowOf(matrix(), weights.S, index)
    : columnOf(matrix(), weights.T, weights.S, index);
  const tokens = (query ? weights.keys : weights.queries).tokens;
  const top = largest(values, 3).map((i) => `${visible(tokens[i])} ${percent(values[i])}`);
  say(byId("cell").textContent ||
    `${query ? "attends to" : "attended by"} ${top.join(", ") || "nothing"}`);
}

function hold(focus) {
  const same = state.held && focus && state.held.side === focus.side &&
    state.held.index === focus.index && state.held.other === focus.other;
  state.held = same ? null : focus;
  state.focus = focus;
  drawFocus();
}

// The token or cell under the pointer or with the keyboard focus, or null.
function focusAt(event) {
  if (event.target === byId("heat")) {
    const box = byId("heat").getBoundingClientRect();
    const t = Math.floor((event.clientY - box.top) / cell);
    const s = Math.floor((event.clientX - box.left) / cell);
    const inside = t >= 0 && t < weights.T && s >= 0 && s < weights.S;
    return inside ? { side: "query", index: t, other: s } : null;
  }
  const token = event.target.closest?.("[data-side]");
  return token && { side: token.dataset.side, index: Number(token.dataset.index) };
}

function tokenButton(focus) {
  return byId(`${focus.side}-tokens`).children[focus.index];
}

// The selection when the pointer has left: the pinned token, or the one with the keyboard focus.
const resting = () => state.held || focusAt({ target: document.activeElement });

function moveInStrip(event, { side, index }) {
  const length = { query: weights.T, key: weights.S };
  const other = side === "query" ? "key" : "query";
  const clamp = (i, n) => Math.max(0, Math.min(n - 1, i));
  const targets = {
    ArrowLeft: [side, index - 1], ArrowRight: [side, index + 1],
    Home: [side, 0], End: [side, length[side] - 1],
    ArrowUp: ["query", index], ArrowDown: ["key", index],
  };
  const target = targets[event.key];
  if (!target || (target[0] === side && event.key.match(/Up|Down/))) return;
  const to = tokenButton({ side: target[0], index: clamp(target[1], length[target[0]]) });
  for (const strip of [side, other])
    for (const button of byId(`${strip}-tokens`).children) button.tabIndex = -1;
  to.tabIndex = 0;
  const rest = byId(`${to.dataset.side === "query" ? "key" : "query"}-tokens`).firstElementChild;
  if (rest) rest.tabIndex = 0;
  to.focus();
  event.preventDefault();
}

function moveInHeat(event) {
  const { T, S } = weights;
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
    Home: [0, -S], End: [0, S] };
  const step = steps[event.key];
  if (!step || T === 0 || S === 0) return;
  const now = state.focus && state.focus.other !== undefined ? state.focus : null;
  const t = now ? Math.max(0, Math.min(T - 1, now.index + step[0])) : 0;
  const s = now ? Math.max(0, Math.min(S - 1, now.other + step[1])) : 0;
  focusOn({ side: "query", index: t, other: s }, true);
  byId("row-labels").children[t].scrollIntoView({ block: "nearest", inline: "nearest" });
  revealColumn(s);
  event.preventDefault();
}

// Scrolls so that column s is fully visible.
function revealColumn(s) {
  const scroller = byId("scroller");
  const left = byId("row-labels").offsetWidth;
  const from = s * cell, to = from + cell;
  if (from < scroller.scrollLeft) scroller.scrollLeft = from;
  if (to + left > scroller.scrollLeft + scroller.clientWidth)
    scroller.scrollLeft = to + left - scroller.clientWidth;
}

const letters = {
  h: () => chooseHead(state.head + 1),
  H: () => chooseHead(state.head - 1),
  m: () => chooseHead(-1),
  l: () => chooseNext(optionsOf("layer"), state.layer, 1, "layer"),
  L: () => chooseNext(optionsOf("layer"), state.layer, -1, "layer"),
  k: () => chooseNext(kindsOf(), state.kind, 1, "kind"),
  s: () => chooseSentence(state.sentence + 1),
  S: () => chooseSentence(state.sentence - 1),
  d: () => chooseTheme(theme() === "dark" ? "light" : "dark"),
};

function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("select")) return;
  if (event.key === "Escape") {
    state.held = null;
    return focusOn(null);
  }
  const letter = byId("letters").checked && letters[event.key];
  if (letter && (weights || "sSd".includes(event.key))) return letter();
  if (!weights) return;
  if (event.target === byId("scroller")) {
    if (event.key === "Enter" && state.focus) return hold(state.focus);
    return moveInHeat(event);
  }
  const focus = event.target.closest("#strips") && focusAt(event);
  if (focus) moveInStrip(event, focus);
}

// ---- light and dark ----

const darkSystem = matchMedia("(prefers-color-scheme: dark)");
const stored = { // localStorage may be blocked for a file opened from disk
  get: () => { try { return localStorage.getItem("report-theme"); } catch { return null; } },
  set: (value) => { try { localStorage.setItem("report-theme", value); } catch { return; } },
};

function applyTheme() {
  const chosen = stored.get() || (darkSystem.matches ? "dark" : "light");
  document.documentElement.dataset.theme = state.theme || chosen;
  byId("theme").textContent = theme() === "dark" ? "☀ Light" : "☾ Dark";
}

function chooseTheme(name) {
  state.theme = name;
  stored.set(name);
  applyTheme();
  drawSentence();
  drawAttention();
}

// ---- start ----

function listen() {
  const on = (id, type, f) => byId(id).addEventListener(type, f);
  on("sentence", "change", () => chooseSentence(Number(byId("sentence").value)));
  on("previous", "click", () => chooseSentence(state.sentence - 1));
  on("next", "click", () => chooseSentence(state.sentence + 1));
  on("kind", "change", (event) => chooseMap({ kind: event.target.value }));
  on("mechanism", "change", () => chooseMap({ mechanism: byId("mechanism").value }));
  on("layer", "change", () => chooseMap({ layer: byId("layer").value }));
  on("heads", "change", (event) => chooseHead(Number(event.target.value)));
  on("scale", "change", drawAttention);
  on("table", "toggle", drawTable);
  on("theme", "click", () => chooseTheme(theme() === "dark" ? "light" : "dark"));
  on("details", "click", (event) => {
    const button = event.target.closest("[data-head]");
    if (button) chooseHead(Number(button.dataset.head));
  });
  for (const area of ["strips", "scroller"]) {
    on(area, "pointermove", (event) => {
      if (event.pointerType === "mouse" && !state.held) focusOn(focusAt(event) || resting());
    });
    on(area, "pointerleave", () => focusOn(resting()));
    on(area, "click", (event) => { if (focusAt(event)) hold(focusAt(event)); });
    on(area, "focusin", (event) => { if (focusAt(event)) focusOn(focusAt(event), true); });
    on(area, "focusout", () => { if (!state.held) focusOn(null); });
  }
  document.addEventListener("keydown", onKey);
  addEventListener("resize", () => requestAnimationFrame(drawHead));
  darkSystem.addEventListener("change", () => { applyTheme(); drawSentence(); drawAttention(); });
}

function start() {
  byId("title").textContent = report.title;
  byId("description").textContent = report.description;
  byId("facts").replaceChildren(...report.facts.map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", { dir: "auto" }, value))));
  byId("sentence").replaceChildren(...report.sentences.map((one, i) =>
    element("option", { value: i }, `${i + 1}. ${visible(one.title)}`)));
  byId("sentence-controls").hidden = report.sentences.length < 2;
  applyTheme();
  listen();
  chooseSentence(0);
}

start();

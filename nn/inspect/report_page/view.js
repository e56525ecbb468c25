// ---- view: elements and drawing; knows no state but what it is given ----

const byId = (id) => document.getElementById(id);

// Texts only ever become text nodes and attributes, never markup.
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties))
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Colours from nothing to the largest weight, evenly brighter or darker; the first is the card's.
const ramps = {
  light: [[255, 255, 255], [214, 228, 245], [146, 186, 228], [62, 128, 196], [14, 62, 124]],
  dark: [[22, 27, 34], [24, 58, 92], [34, 104, 158], [88, 170, 226], [224, 242, 255]],
};
const chips = { light: [238, 242, 247], dark: [31, 38, 47] }; // the ground of tokens, --soft
const theme = () => document.documentElement.dataset.theme;

// `paper` replaces the first: the ground that the colour stands on.
function rampColour(at, paper) {
  const ramp = paper ? [paper, ...ramps[theme()].slice(1)] : ramps[theme()];
  const place = Math.min(1, Math.max(0, at)) * (ramp.length - 1);
  const below = Math.min(ramp.length - 2, Math.floor(place));
  return ramp[below].map((low, i) =>
    Math.round(low + (ramp[below + 1][i] - low) * (place - below)));
}

const css = (rgb) => `rgb(${rgb.join(" ")})`;

// Relative luminance (WCAG 2): which of two inks stands out more.
function luminance(rgb) {
  const [r, g, b] = rgb.map((c) => ((c / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
const inkOn = (rgb) => (luminance(rgb) > 0.18 ? "#10151c" : "#ffffff");

function paint(target, rgb) {
  target.style.backgroundColor = rgb ? css(rgb) : "";
  target.style.color = rgb ? inkOn(rgb) : "";
}

// A matrix as one pixel a weight, to be drawn enlarged.
function matrixImage(matrix, T, S, scale) {
  const image = new ImageData(Math.max(1, S), Math.max(1, T));
  const shades = Array.from({ length: 256 }, (_, i) => [...rampColour(i / 255), 255]);
  for (let t = 0; t < T; ++t) {
    const row = matrix.subarray(t * S, (t + 1) * S);
    const top = scale === "row" ? maximum(row) : scale;
    for (let s = 0; s < S; ++s) {
      const share = top > 0 ? Math.min(1, row[s] / top) : 0;
      image.data.set(shades[Math.round(share * 255)], (t * S + s) * 4);
    }
  }
  const small = element("canvas", { width: image.width, height: image.height });
  small.getContext("2d").putImageData(image, 0, 0);
  return small;
}

// The same, as small as the button of a head.
function drawThumbnail(canvas, image) {
  const longer = Math.max(image.width, image.height);
  const side = 44 * Math.max(1, window.devicePixelRatio);
  canvas.width = Math.max(8, Math.round((side * image.width) / longer));
  canvas.height = Math.max(8, Math.round((side * image.height) / longer));
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = longer > side;
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
}

// The heat map, with lines between the cells, and with the row and column of `mark` framed; either
// is -1 where there is none.
function drawHeat(canvas, image, T, S, cell, mark) {
  // Sharp on fine screens, but no canvas is larger than browsers can bear.
  const longer = Math.max(1, S, T) * cell;
  const ratio = Math.min(Math.max(1, window.devicePixelRatio), 4096 / longer);
  const style = getComputedStyle(document.documentElement);
  canvas.width = S * cell * ratio;
  canvas.height = T * cell * ratio;
  canvas.style.width = `${S * cell}px`;
  canvas.style.height = `${T * cell}px`;
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = false;
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  pen.scale(ratio, ratio);
  pen.strokeStyle = style.getPropertyValue("--line");
  pen.lineWidth = 1;
  pen.beginPath();
  const step = cell < 20 ? 5 : 1; // lines between small cells would hide them
  for (let s = 0; s <= S; s += step) pen.rect(s * cell, 0, 0, T * cell);
  for (let t = 0; t <= T; t += step) pen.rect(0, t * cell, S * cell, 0);
  pen.stroke();
  if (!mark) return;
  pen.strokeStyle = style.getPropertyValue("--focus");
  pen.lineWidth = 2;
  if (mark.t >= 0) pen.strokeRect(1, mark.t * cell + 1, S * cell - 2, cell - 2);
  if (mark.s >= 0) pen.strokeRect(mark.s * cell + 1, 1, cell - 2, T * cell - 2);
}

// A row of tokens that can be pointed at, one of them reached by Tab.
function drawStrip(strip, tokens, side) {
  strip.replaceChildren(...tokens.map((token, index) => element("button",
    { type: "button", className: "token", tabIndex: index === 0 ? 0 : -1, title: token,
      "data-side": side, "data-index": index },
    element("span", { dir: "auto" }, visible(token)), element("small", {}, ""))));
}

// Shows a weight for each token of a strip; `chosen` is the token that is looked at, or -1.
function colourStrip(strip, weights, chosen, describe) {
  const top = weights ? maximum(weights) : 0;
  [...strip.children].forEach((button, i) => {
    const share = weights && top > 0 ? weights[i] / top : 0;
    paint(button.firstChild, share > 0.004 ? rampColour(share, chips[theme()]) : null);
    button.lastChild.textContent = weights && weights[i] > 0 ? percent(weights[i]) : "";
    button.classList.toggle("chosen", i === chosen);
    button.setAttribute("aria-label", describe(i, weights ? weights[i] : null));
  });
}

// Labels along an edge of the heat map.
function drawLabels(box, tokens, side) {
  box.replaceChildren(...tokens.map((token, index) => element("span",
    { title: token, "data-side": side, "data-index": index },
    element("span", { dir: "auto" }, visible(token)))));
}

// A token's text; one that stands in the sequence several times gets its place.
function tokenName(tokens, i) {
  const several = tokens.indexOf(tokens[i]) !== tokens.lastIndexOf(tokens[i]);
  return element("span", { className: "name", title: tokens[i] },
    element("bdi", {}, visible(tokens[i])), ...(several ? [element("sub", {}, i + 1)] : []));
}

// Tokens with bars, the largest weight first, and how many others there are; what these have
// together is told where the weights are shares of one whole.
function bars(weights, tokens, count, whole) {
  const top = largest(weights, count);
  const scale = top.length ? weights[top[0]] : 1;
  const total = weights.reduce((a, b) => a + b, 0);
  const rest = total - top.reduce((sum, i) => sum + weights[i], 0);
  const list = element("ol", { className: "bars" }, ...top.map((i) => {
    const bar = element("i");
    bar.style.width = `${(100 * weights[i]) / scale}%`;
    return element("li", {},
      tokenName(tokens, i),
      element("span", { className: "track" }, bar),
      element("span", { className: "number" }, percent(weights[i])));
  }));
  const others = weights.filter((w) => w > 0).length - top.length;
  if (others > 0)
    list.append(element("li", { className: "rest" },
      element("span", { className: "name" }, `${others} more`), element("span"),
      element("span", { className: "number" }, whole ? percent(rest) : "")));
  return top.length ? list : element("p", { className: "faint" }, "nothing");
}

// All weights of a head as a table, for those who read rather than see, and for copying.
function weightTable(matrix, weights, caption) {
  const { T, S, queries, keys } = weights;
  const head = element("tr", {}, element("td"), ...keys.tokens.map((token) =>
    element("th", { scope: "col", dir: "auto" }, visible(token))));
  const rows = queries.tokens.map((token, t) => element("tr", {},
    element("th", { scope: "row", dir: "auto" }, visible(token)),
    ...rowOf(matrix, S, t).map((w) => element("td", {}, percent(w)))));
  return element("table", {}, element("caption", {}, caption),
    element("thead", {}, head), element("tbody", {}, ...rows));
}

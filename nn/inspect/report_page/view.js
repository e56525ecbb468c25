// ---- view: elements and drawing, without access to the state of the page ----

const byId = (id) => document.getElementById(id);

// Texts become only text nodes and attributes, never markup.
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties))
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Colors from weight 0 to the largest, with uniform lightness steps; the first is the card's color.
const ramps = {
  light: [[255, 255, 255], [214, 228, 245], [146, 186, 228], [62, 128, 196], [14, 62, 124]],
  dark: [[22, 27, 34], [24, 58, 92], [34, 104, 158], [88, 170, 226], [224, 242, 255]],
};
const chips = { light: [238, 242, 247], dark: [31, 38, 47] }; // the background of tokens, --soft
const theme = () => document.documentElement.dataset.theme;

// `paper`, the background color, replaces the first color.
function rampColor(at, paper) {
  const ramp = paper ? [paper, ...ramps[theme()].slice(1)] : ramps[theme()];
  const position = Math.min(1, Math.max(0, at)) * (ramp.length - 1);
  const below = Math.min(ramp.length - 2, Math.floor(position));
  return ramp[below].map((low, i) =>
    Math.round(low + (ramp[below + 1][i] - low) * (position - below)));
}

const css = (rgb) => `rgb(${rgb.join(" ")})`;

// Relative luminance (WCAG 2), to select the text color with more contrast.
function luminance(rgb) {
  const [r, g, b] = rgb.map((c) => ((c / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
const inkOn = (rgb) => (luminance(rgb) > 0.18 ? "#10151c" : "#ffffff");

function paint(target, rgb) {
  target.style.backgroundColor = rgb ? css(rgb) : "";
  target.style.color = rgb ? inkOn(rgb) : "";
}

// A matrix as an image with one pixel per weight, to be drawn enlarged.
function matrixImage(matrix, T, S, scale) {
  const image = new ImageData(Math.max(1, S), Math.max(1, T));
  const shades = Array.from({ length: 256 }, (_, i) => [...rampColor(i / 255), 255]);
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

// The same in the size of a head's button.
function drawThumbnail(canvas, image) {
  const longer = Math.max(image.width, image.height);
  const side = 44 * Math.max(1, window.devicePixelRatio);
  canvas.width = Math.max(8, Math.round((side * image.width) / longer));
  canvas.height = Math.max(8, Math.round((side * image.height) / longer));
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = longer > side;
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
}

// The heat map, with lines between the cells and frames around the row and column of `mark` (-1:
// none).
function drawHeat(canvas, image, T, S, cell, mark) {
  // Sharp on high-resolution screens, but within the canvas size limit of browsers.
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

// A list of token buttons, one of them reachable by Tab.
function drawStrip(strip, tokens, side) {
  strip.replaceChildren(...tokens.map((token, index) => element("button",
    { type: "button", className: "token", tabIndex: index === 0 ? 0 : -1, title: token,
      "data-side": side, "data-index": index },
    element("span", { dir: "auto" }, visible(token)), element("small", {}, ""))));
}

// Shows a weight for each token of a strip; `chosen` is the selected token, or -1.
function colorStrip(strip, weights, chosen, describe) {
  const top = weights ? maximum(weights) : 0;
  [...strip.children].forEach((button, i) => {
    const share = weights && top > 0 ? weights[i] / top : 0;
    paint(button.firstChild, share > 0.004 ? rampColor(share, chips[theme()]) : null);
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

// The text of a token, with its position if the sequence contains it several times.
function tokenName(tokens, i) {
  const several = tokens.indexOf(tokens[i]) !== tokens.lastIndexOf(tokens[i]);
  return element("span", { className: "name", title: tokens[i] },
    element("bdi", {}, visible(tokens[i])), ...(several ? [element("sub", {}, i + 1)] : []));
}

// Tokens with bars, the largest weight first, and the number of other tokens; with their sum if the
// weights are shares of one total (`whole`).
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

// All weights of a head as a table, for screen readers and for copying.
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

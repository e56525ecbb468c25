// ---- data: decoding of the report, and statistics of weights ----

const report = JSON.parse(document.getElementById("data").textContent);

// The weights of a map as floats, (heads, T, S). Each row is stored as: its number of weights
// without trailing zeros (16 bits), its largest weight (a 32-bit float), and each weight in units
// of 1/255 of the largest (8 bits).
function decode(map, T, S) {
  const bytes = Uint8Array.from(atob(map.weights), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const weights = new Float32Array(map.heads * T * S);
  let at = 0;
  for (let row = 0; row < map.heads * T; ++row) {
    const count = view.getUint16(at, true);
    const largest = view.getFloat32(at + 2, true);
    at += 6;
    for (let s = 0; s < count; ++s) weights[row * S + s] = (bytes[at + s] / 255) * largest;
    at += count;
  }
  return weights;
}

// The weights of one layer for one sentence, decoded on first use.
class Weights {
  constructor(sentence, map) {
    this.map = map;
    this.queries = sentence.sequences[map.queries];
    this.keys = sentence.sequences[map.keys];
    this.heads = map.heads;
    this.T = this.queries.tokens.length;
    this.S = this.keys.tokens.length;
    this.all = decode(map, this.T, this.S);
    this.mean = null;
  }

  // The (T, S) matrix of a head; for head -1 the mean over the heads.
  matrix(head) {
    const size = this.T * this.S;
    if (head >= 0) return this.all.subarray(head * size, (head + 1) * size);
    if (!this.mean) {
      this.mean = new Float32Array(size);
      for (let i = 0; i < this.all.length; ++i) this.mean[i % size] += this.all[i] / this.heads;
    }
    return this.mean;
  }
}

const decoded = new Map();
function weightsOf(sentence, map) {
  if (!decoded.has(map)) decoded.set(map, new Weights(sentence, map));
  return decoded.get(map);
}

function rowOf(matrix, S, t) {
  return Array.from(matrix.subarray(t * S, (t + 1) * S));
}

function columnOf(matrix, T, S, s) {
  return Array.from({ length: T }, (_, t) => matrix[t * S + s]);
}

// The mean weight of each key over the queries.
function columnMeans(matrix, T, S) {
  const means = new Array(S).fill(0);
  for (let i = 0; i < T * S; ++i) means[i % S] += matrix[i] / T;
  return means;
}

// The indices of the largest values, the largest first, without zeros.
function largest(values, count) {
  return values
    .map((_, i) => i)
    .filter((i) => values[i] > 0)
    .sort((a, b) => values[b] - values[a] || a - b)
    .slice(0, count);
}

const maximum = (values) => values.reduce((a, b) => Math.max(a, b), 0);

// The perplexity of the weights, exp of the entropy: n for uniform weights over n tokens.
function spread(row) {
  const total = row.reduce((a, b) => a + b, 0);
  if (!(total > 0)) return 0;
  let entropy = 0;
  for (const w of row) if (w > 0) entropy -= (w / total) * Math.log(w / total);
  return Math.exp(entropy);
}

function percent(weight) {
  const value = weight * 100;
  if (value === 0) return "0\u202f%";
  if (value < 0.1) return "<0.1\u202f%";
  return (value < 9.95 ? value.toFixed(1) : value.toFixed(0)) + "\u202f%";
}

// A token in visible form: blanks, control characters and the empty token become symbols, other
// invisible characters their code.
function visible(token) {
  if (token === "") return "∅";
  if (/^\s+$/.test(token) === false && /^[\p{Cf}\p{Z}\p{Mn}]+$/u.test(token))
    return [...token].map((c) => `U+${c.codePointAt(0).toString(16).toUpperCase()}`).join(" ");
  const signs = { "\n": "⏎", "\t": "⇥", "\r": "␍" };
  const shown = token.replace(/[\u0000-\u001f]/g, (c) =>
    signs[c] || String.fromCharCode(0x2400 + c.charCodeAt(0)));
  return /^\s+$/.test(shown) ? "␣".repeat(shown.length) : shown;
}

const distinct = (values) => [...new Set(values)];

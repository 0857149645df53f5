// What Python packed (adjax/report/pack.py), as views: typed arrays, sorted once, counted many times.

function bytes(text) {
  const raw = atob(text);
  const out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out;
}

const asFloats = (text) => new Float32Array(bytes(text).buffer);
const asShorts = (text) => new Int16Array(bytes(text).buffer);
const asIndices = (text) => new Uint32Array(bytes(text).buffer);

// How many of an ascending array are <= x.
function countUpTo(sorted, x) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= x) low = middle + 1;
    else high = middle;
  }
  return low;
}

// How many of an ascending array are < x.
function countBelow(sorted, x) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Scores of one kind: ascending without NaN, which is above all. `total` images, of which these may be a sample.
class Group {
  constructor(scores, total) {
    this.kept = scores.length;
    this.total = total;
    this.weight = this.kept ? total / this.kept : 0;
    this.sorted = scores.filter((x) => !Number.isNaN(x)).sort();
    this.unknown = this.kept - this.sorted.length;
  }

  // Images that are not <= threshold.
  flagged(threshold) {
    return Math.round(this.weight * (this.kept - countUpTo(this.sorted, threshold)));
  }

  quantile(q) {
    if (!this.sorted.length) return NaN;
    const at = q * (this.sorted.length - 1);
    const low = Math.floor(at);
    const high = Math.min(low + 1, this.sorted.length - 1);
    return this.sorted[low] + (at - low) * (this.sorted[high] - this.sorted[low]);
  }
}

class View {
  constructor(packed) {
    Object.assign(this, { name: packed.name, classes: packed.classes, nominal: packed.nominal, stranger: packed.stranger, counts: packed.counts });
    this.threshold = Number(packed.threshold);
    this.scores = asFloats(packed.scores);
    this.rows = packed.rows === null ? null : asIndices(packed.rows);
    this.truth = packed.truth === null ? null : bytes(packed.truth);
    this.labels = packed.labels === null ? null : asShorts(packed.labels);
    this.heldOut = packed.heldOut === null ? null : asFloats(packed.heldOut);
    this.heldOutCount = packed.heldOutCount;
    this.features = packed.features && {
      points: asFloats(packed.features.points),
      truth: bytes(packed.features.truth),
      labels: asShorts(packed.features.labels),
      about: packed.features.about,
    };
    this.large = packed.large;
    this.pictures = packed.pictures.map((p) => ({ ...p, score: Number(p.score) }));
    const known = this.truth !== null;
    this.normal = new Group(known ? this.scores.filter((_, i) => !this.truth[i]) : this.scores, this.counts[0]);
    this.anomalous = new Group(known ? this.scores.filter((_, i) => this.truth[i]) : new Float32Array(0), this.counts[1]);
  }

  get known() {
    return this.truth !== null;
  }

  row(i) {
    return this.rows === null ? i : this.rows[i];
  }

  // Conformal p-value (1 + #{held out >= score}) / (n + 1), or null if nothing was held out.
  pValue(score) {
    if (this.heldOut === null) return null;
    const kept = this.heldOut.length;
    const above = Number.isNaN(score) ? 0 : kept - countBelow(this.heldOut, score);
    return (1 + (above * this.heldOutCount) / kept) / (this.heldOutCount + 1);
  }

  // The rate of false alarms that held-out images promise at a threshold: (1 + #{held out > threshold}) / (n + 1).
  falseAlarms(threshold) {
    if (this.heldOut === null) return null;
    const kept = this.heldOut.length;
    const above = kept - countUpTo(this.heldOut, threshold);
    return (1 + (above * this.heldOutCount) / kept) / (this.heldOutCount + 1);
  }

  // The threshold for a rate of false alarms: the k-th highest held-out score, k = ⌊(n + 1) α⌋; NaN if n can't promise it.
  conformal(alpha) {
    const [n, kept] = [this.heldOutCount, this.heldOut.length];
    const k = Math.floor((n + 1) * alpha * (1 + 1e-12));
    return k < 1 ? NaN : this.heldOut[kept - Math.max(1, Math.floor((k * kept) / n))];
  }

  // The confusion table at a threshold and what follows from it.
  outcome(threshold) {
    const fp = this.normal.flagged(threshold);
    const tp = this.anomalous.flagged(threshold);
    const tn = this.normal.total - fp;
    const fn = this.anomalous.total - tp;
    return {
      fp, tp, tn, fn,
      tpr: tp / (tp + fn),
      fpr: fp / (fp + tn),
      precision: tp / (tp + fp),
      f1: (2 * tp) / (2 * tp + fp + fn),
      accuracy: (tp + tn) / (tp + tn + fp + fn),
    };
  }

  // The steps of the ROC curve from (0, 0): [false positives, true positives, threshold], one a distinct score.
  get steps() {
    if (this.cachedSteps) return this.cachedSteps;
    const [a, b] = [this.normal, this.anomalous];
    const steps = [[0, 0, Infinity]];
    if (a.unknown + b.unknown) steps.push([a.unknown, b.unknown, Infinity]);
    let i = a.sorted.length;
    let j = b.sorted.length;
    while (i || j) {
      const top = Math.max(i ? a.sorted[i - 1] : -Infinity, j ? b.sorted[j - 1] : -Infinity);
      while (i && a.sorted[i - 1] === top) i--;
      while (j && b.sorted[j - 1] === top) j--;
      steps.push([a.kept - i, b.kept - j, top]);
    }
    this.cachedSteps = steps;
    return steps;
  }

  // Area under the ROC curve: ties count half.
  get auroc() {
    let area = 0;
    for (let k = 1; k < this.steps.length; k++) {
      const [[x0, y0], [x1, y1]] = [this.steps[k - 1], this.steps[k]];
      area += ((x1 - x0) * (y0 + y1)) / 2;
    }
    return area / (this.normal.kept * this.anomalous.kept);
  }

  // Average precision, anomalies positive: the sum of precision times the step in recall.
  get aupr() {
    let sum = 0;
    for (let k = 1; k < this.steps.length; k++) {
      const [x, y] = this.steps[k];
      const precision = (y * this.anomalous.weight) / (x * this.normal.weight + y * this.anomalous.weight);
      sum += (y - this.steps[k - 1][1]) * precision;
    }
    return sum / this.anomalous.kept;
  }

  // The threshold with the highest F1 on these very images.
  get bestF1() {
    let best = -1;
    let at = this.threshold;
    this.steps.forEach(([x, y], k) => {
      const flagged = x * this.normal.weight + y * this.anomalous.weight;
      const f1 = (2 * y * this.anomalous.weight) / (flagged + this.anomalous.total);
      const next = k + 1 < this.steps.length ? this.steps[k + 1][2] : -Infinity; // flagged: all above the next score
      if (f1 > best && Number.isFinite(next)) [best, at] = [f1, next];
    });
    return at;
  }
}

const DATA = JSON.parse(document.getElementById("data").textContent);
const VIEWS = DATA.views.map((v) => new View(v));

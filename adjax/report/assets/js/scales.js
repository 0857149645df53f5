// Scales: a value's place between 0 and 1, and back; ticks.

function niceTicks(low, high, count = 6) {
  if (!(high > low)) return [low];
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) ticks.push(Number((k * step).toPrecision(12)));
  return ticks;
}

function linear(low, high, text = short) {
  const width = high - low || 1;
  return {
    low, high, text,
    ticks: niceTicks(low, high),
    at: (x) => (x - low) / width,
    from: (t) => low + t * width,
  };
}

function logarithmic(low, high, ticks, text) {
  const [a, b] = [Math.log(low), Math.log(high)];
  return { low, high, text, ticks, at: (x) => (Math.log(Math.max(x, low)) - a) / (b - a), from: (t) => Math.exp(a + t * (b - a)) };
}

// The scale for a view's scores, stretched where a quarter of a kind would share one bar of a histogram.
function scoreScale(view) {
  const base = bulkAndTail(view);
  const groups = [view.normal, view.anomalous].filter((g) => g.sorted.length);
  const crowded = groups.some((g) => {
    for (let k = 0; k < 60; k++) {
      const [from, to] = [base.from(k / 60), base.from((k + 1) / 60)];
      if (countBelow(g.sorted, to) - countBelow(g.sorted, from) > g.kept / 4 && g.sorted[0] !== g.sorted[g.sorted.length - 1]) return true;
    }
    return false;
  });
  return crowded ? stretched(base, groups) : base;
}

// Half the width by value, half by how many images lie there, each kind counting alike.
function stretched(base, groups) {
  const inner = groups.flatMap((g) => Array.from({ length: 65 }, (_, k) => g.quantile(k / 64)));
  const marks = [...base.ticks, ...inner, base.from(0), base.from(1)].filter((x) => base.at(x) >= -1e-9 && base.at(x) <= 1 + 1e-9);
  const xs = [...new Set(marks)].sort((a, b) => a - b);
  const rank = (x) => groups.reduce((sum, g) => sum + countUpTo(g.sorted, x) / g.sorted.length, 0) / groups.length;
  const ts = xs.map((x) => (base.at(x) + rank(x)) / 2);
  const [first, last] = [ts[0], ts[ts.length - 1]];
  const places = ts.map((t) => (t - first) / (last - first));
  const at = (x) => between(xs, places, x);
  const from = (t) => between(places, xs, t);
  return { low: base.low, high: base.high, ticks: roundTicks(base.low, base.high, at), text: short, about: "stretched where images are many", at, from };
}

// Linear interpolation in ascending tables; constant beyond their ends.
function between(xs, ys, x) {
  if (x <= xs[0]) return ys[0];
  const k = xs.findIndex((v) => v >= x);
  if (k < 0) return ys[ys.length - 1];
  const width = xs[k] - xs[k - 1];
  return width > 0 ? ys[k - 1] + ((x - xs[k - 1]) / width) * (ys[k] - ys[k - 1]) : ys[k];
}

// Round numbers along any scale: 0, 1, 2, 5, 10, … where they have room, the roundest first; then nice ones in the gaps.
function roundTicks(low, high, at, room = 0.06) {
  const ticks = [];
  const take = (x) => {
    if (x >= low && x <= high && ticks.every((t) => Math.abs(at(t) - at(x)) >= room)) ticks.push(x);
  };
  take(0);
  for (const m of [1, 5, 2]) {
    for (let power = 12; power >= -12; power--) [1, -1].forEach((sign) => take(sign * Number(`${m}e${power}`)));
  }
  const ends = [low, ...ticks.sort((x, y) => x - y), high];
  ends.slice(1).forEach((to, k) => {
    const gap = at(to) - at(ends[k]);
    if (gap > 2 * room) niceTicks(ends[k], to, Math.max(2, gap / (2 * room))).forEach(take);
  });
  return ticks.sort((x, y) => x - y);
}

// For scores: linear where the bulk lies, logarithmic beyond where a tail is heavy, so that both can be seen.
function bulkAndTail(view) {
  const [bulk, others] = [view.normal, view.anomalous];
  const finite = [...[bulk, others].flatMap((g) => [g.sorted[0], g.sorted[g.sorted.length - 1]]), view.threshold];
  const marks = finite.filter(Number.isFinite);
  let [low, high] = [Math.min(...marks), Math.max(...marks)];
  if (!marks.length) [low, high] = [0, 1];
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const [left, right] = [bulk.quantile(0.05), bulk.quantile(0.95)];
  const spread = right - left;
  if (!(spread > 0 && 8 * spread < high - low)) {
    const margin = 0.02 * (high - low);
    return linear(low - (low >= 0 && low < margin ? low : margin), high + margin);
  }
  const bend = Math.max(Math.abs(left), Math.abs(right), Math.abs(view.threshold) < right + 4 * spread ? Math.abs(view.threshold) : 0);
  const atZero = bend < 20 * spread;
  const centre = atZero ? 0 : (left + right) / 2;
  const unit = atZero ? bend : 2 * spread;
  if (atZero && low >= 0 && low < bend / 4) low = 0;
  const bent = (x) => {
    const u = (x - centre) / unit;
    return Math.abs(u) <= 1 ? u : Math.sign(u) * (1 + Math.log(Math.abs(u)));
  };
  const straight = (v) => centre + unit * (Math.abs(v) <= 1 ? v : Math.sign(v) * Math.exp(Math.abs(v) - 1));
  const [a, b] = [bent(low), bent(high) + 0.03 * (bent(high) - bent(low))];
  const at = (x) => (bent(x) - a) / (b - a);
  return {
    low, high, text: short, ticks: roundTicks(low, high, at),
    about: atZero ? `logarithmic beyond ${short(unit)}` : `logarithmic ${short(unit)} away from ${short(centre)}`,
    at, from: (t) => straight(a + t * (b - a)),
  };
}

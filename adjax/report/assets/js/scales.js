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

// For scores: linear where the bulk lies, logarithmic beyond where a tail is heavy, so that both can be seen.
function scoreScale(view) {
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
  const inner = niceTicks(Math.max(low, centre - unit), Math.min(high, centre + unit), 4);
  const outer = [];
  for (let power = -12; power < 13; power++) {
    for (const m of [1, 2, 5]) {
      const x = m * 10 ** power;
      if (atZero && x > 1.3 * unit) outer.push(x, -x);
      if (!atZero && m === 1 && x > 3 * unit) outer.push(Number((centre + x).toPrecision(3)), Number((centre - x).toPrecision(3)));
    }
  }
  const ticks = [...inner, ...outer].filter((x) => x >= low && x <= high).sort((x, y) => x - y);
  return {
    low, high, ticks, text: short,
    about: atZero ? `logarithmic beyond ${short(unit)}` : `logarithmic ${short(unit)} away from ${short(centre)}`,
    at: (x) => (bent(x) - a) / (b - a),
    from: (t) => straight(a + t * (b - a)),
  };
}

// A plane of feature space: normal images in the colours of their classes, what doesn't belong on top.

function startFeatures() {
  onView.push(() => {
    const { view } = state;
    const f = view.features;
    byId("features-about").textContent = f ? f.about : "This view has no features.";
    byId("plane").replaceChildren();
    if (!f) return;
    const groups = featureGroups(view, f);
    const range = (k) => {
      const sorted = Float32Array.from({ length: f.points.length / 2 }, (_, i) => f.points[2 * i + k]).sort();
      const [low, high] = [0.002, 0.998].map((q) => sorted[Math.round(q * (sorted.length - 1))]);
      const margin = 0.06 * (high - low) || 1;
      return linear(low - margin, high + margin);
    };
    const plot = new Plot(byId("plane"), range(0), range(1), { xLabel: "direction 1", yLabel: "direction 2", height: 440 });
    for (const { mark, rows } of groups) {
      const points = rows.map((i) => [plot.px(f.points[2 * i]), plot.py(f.points[2 * i + 1])]);
      const inside = ([x, y]) => x >= plot.left && x <= plot.right && y >= plot.top && y <= plot.bottom;
      plot.dots(points.filter(inside), { class: `points ${mark}` });
    }
    legend(byId("plane"), groups.map(({ mark, name, rows }) => [`${mark} point`, `${name} (${rows.length})`]));
    dataTable("plane-data", () => planeTable(f, groups));
  });
}

function featureGroups(view, f) {
  const named = view.classes.length > 1;
  const groups = new Map();
  for (let i = 0; i < f.truth.length; i++) {
    const key = f.truth[i] ? "anomalous" : named && f.labels[i] >= 0 ? f.labels[i] : "normal";
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(i);
  }
  const name = (key) => (typeof key === "number" ? view.classes[key] : !view.known ? "images" : key === "anomalous" ? view.stranger : key);
  const order = (key) => (key === "anomalous" ? 1e6 : key === "normal" ? -1 : key);
  return [...groups].sort(([a], [b]) => order(a) - order(b)).map(([key, rows]) => ({
    mark: typeof key === "number" ? `class-${key % 10}` : key,
    name: name(key),
    rows,
  }));
}

function planeTable(f, groups) {
  const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
  const rows = groups.map(({ name, rows }) => [
    name, whole(rows.length), short(median(rows.map((i) => f.points[2 * i]))), short(median(rows.map((i) => f.points[2 * i + 1]))),
  ]);
  return { columns: ["group", "images drawn", "median of direction 1", "median of direction 2"], rows };
}

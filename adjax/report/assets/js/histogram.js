// Scores of normal and anomalous images, each as shares of its kind; the line is the threshold, and can be dragged.

const BINS = 60;

function startHistogram() {
  const host = byId("histogram");
  let plot = null;
  let marks = [];
  onView.push(() => {
    const { view, scale } = state;
    const shares = [view.normal, view.anomalous].filter((g) => g.kept).map((g) => bins(g, scale));
    const top = Math.max(...shares.flat(), 1e-9);
    const xLabel = `score${scale.about ? ` (${scale.about})` : ""}`;
    plot = new Plot(host, scale, linear(0, 1.08 * top, (x) => percent(x, top < 0.05 ? 1 : 0)), { xLabel, yLabel: view.known ? "share of its kind" : "share of images" });
    shares.forEach((heights, k) => area(plot, scale, heights, k ? "anomalous" : "normal"));
    marks = [
      plot.add("rect", { class: "flagged-area", y: plot.top, height: plot.bottom - plot.top }),
      plot.add("line", { class: "threshold", y1: plot.top, y2: plot.bottom }),
    ];
    const entries = [["normal", `${view.known ? "normal" : "images"}, n = ${whole(view.normal.total)}`]];
    if (view.known) entries.push(["anomalous", `anomalous, n = ${whole(view.anomalous.total)}`]);
    legend(host, [...entries, ["flagged-area", "flagged"]]);
    dataTable("histogram-data", () => histogramTable(view, scale));
    drag(plot);
  });
  onThreshold.push(() => {
    const at = Math.min(plot.right, Math.max(plot.left, plot.px(state.threshold)));
    marks[0].setAttribute("x", at);
    marks[0].setAttribute("width", plot.right - at);
    marks[1].setAttribute("x1", at);
    marks[1].setAttribute("x2", at);
  });
}

// Shares of the group in bins of equal width on the scale; NaN is in none.
function bins(group, scale) {
  const edges = Array.from({ length: BINS + 1 }, (_, k) => scale.from(k / BINS));
  const below = edges.map((x) => countBelow(group.sorted, x));
  [below[0], below[BINS]] = [0, group.sorted.length];
  return below.slice(1).map((n, k) => (n - below[k]) / group.kept);
}

function area(plot, scale, heights, kind) {
  const points = heights.flatMap((h, k) => [k, k + 1].map((edge) => [plot.px(scale.from(edge / BINS)), plot.py(h)]));
  const [first, last] = [points[0][0], points[points.length - 1][0]];
  const d = `M${first} ${plot.bottom}L${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}L${last} ${plot.bottom}Z`;
  plot.add("path", { class: `area ${kind}`, d });
}

function drag(plot) {
  const value = (event) => {
    const x = event.clientX - plot.svg.getBoundingClientRect().left;
    return Math.fround(plot.x.from((x - plot.left) / (plot.right - plot.left)));
  };
  plot.svg.classList.add("draggable");
  plot.svg.addEventListener("pointerdown", (event) => {
    plot.svg.setPointerCapture(event.pointerId);
    moveThreshold(value(event));
  });
  plot.svg.addEventListener("pointermove", (event) => {
    if (plot.svg.hasPointerCapture(event.pointerId)) moveThreshold(value(event));
  });
}

function histogramTable(view, scale) {
  const groups = view.known ? [view.normal, view.anomalous] : [view.normal];
  const shares = groups.map((g) => bins(g, scale));
  const rows = Array.from({ length: BINS }, (_, k) => [
    `${short(scale.from(k / BINS))} to ${short(scale.from((k + 1) / BINS))}`,
    ...shares.map((s, g) => whole(s[k] * groups[g].total)),
  ]);
  return { columns: ["score", ...(view.known ? ["normal images", "anomalous images"] : ["images"])], rows };
}

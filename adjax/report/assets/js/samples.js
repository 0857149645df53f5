// Score against the index of the image: drift, blocks and batches show here.

const MAX_DRAWN = 4000;

function startSamples() {
  let plot = null;
  let line = null;
  onView.push(() => {
    const { view, scale } = state;
    const n = view.scores.length;
    const step = Math.max(1, n / MAX_DRAWN);
    const drawnRows = Array.from({ length: Math.min(n, MAX_DRAWN) }, (_, k) => Math.floor(k * step));
    const host = byId("samples-plot");
    plot = new Plot(host, linear(0, view.row(n - 1) || 1, whole), scale, { xLabel: "index of the image", yLabel: "score", height: 320 });
    const kinds = view.known ? ["normal", "anomalous"] : ["normal"];
    kinds.forEach((kind, k) => {
      const rows = drawnRows.filter((i) => !view.known || view.truth[i] === k);
      const points = rows.map((i) => [plot.px(view.row(i)), Math.max(plot.top, plot.py(view.scores[i]))]);
      plot.dots(points.filter(([, y]) => Number.isFinite(y)), { class: `points ${kind}${n < 300 ? " few" : ""}` });
    });
    line = plot.add("line", { class: "threshold", x1: plot.left, x2: plot.right });
    const entries = kinds.map((kind) => [kind, view.known ? kind : "images"]);
    legend(host, [...entries.map(([kind, text]) => [`${kind} point`, text]), ["line", `threshold; ${whole(drawnRows.length)} of ${whole(n)} drawn`]]);
    dataTable("samples-plot-data", () => samplesTable(view));
  });
  onThreshold.push(() => {
    const y = Math.min(plot.bottom, Math.max(plot.top, plot.py(state.threshold)));
    line.setAttribute("y1", y);
    line.setAttribute("y2", y);
  });
}

// Twenty stretches of the index: what the scores are like in each.
function samplesTable(view) {
  const n = view.scores.length;
  const parts = Math.min(20, n);
  const rows = Array.from({ length: parts }, (_, k) => {
    const [from, to] = [Math.floor((k * n) / parts), Math.floor(((k + 1) * n) / parts)];
    const group = new Group(view.scores.slice(from, to), to - from);
    const share = view.known ? view.truth.slice(from, to).reduce((a, b) => a + b, 0) / (to - from) : NaN;
    return [`${whole(view.row(from))} to ${whole(view.row(to - 1))}`, ...[0.05, 0.5, 0.95].map((q) => short(group.quantile(q))), percent(share, 1)];
  });
  return { columns: ["index", "5% quantile", "median score", "95% quantile", "of them anomalous"], rows };
}

// ROC and precision–recall of every view that knows the truth; the one shown is drawn strong, its threshold a dot.

function startCurves() {
  const judged = VIEWS.filter((v) => v.known && v.normal.kept && v.anomalous.kept);
  const dots = [];
  const rate = linear(0, 1, short);
  const kinds = [
    { id: "roc", xLabel: "false positive rate", yLabel: "true positive rate", points: rocPoints, at: (o) => [o.fpr, o.tpr] },
    { id: "pr", xLabel: "recall", yLabel: "precision", points: prPoints, at: (o) => [o.tpr, o.precision] },
  ];
  onView.push(() => {
    dots.length = 0;
    for (const { id, xLabel, yLabel, points, at } of kinds) {
      const plot = new Plot(byId(id), rate, rate, { xLabel, yLabel, square: true });
      if (id === "roc") plot.line([[plot.px(0), plot.py(0)], [plot.px(1), plot.py(1)]], { class: "chance" });
      const order = [...judged.filter((v) => v !== state.view), ...judged.filter((v) => v === state.view)];
      for (const view of order) {
        const line = points(view).map(([x, y]) => [plot.px(x), plot.py(y)]);
        plot.line(line, { class: `curve series-${judged.indexOf(view) % 10}${view === state.view ? " strong" : ""}` });
      }
      dots.push([plot, plot.add("circle", { class: "dot", r: 6 }), at]);
      dataTable(`${id}-data`, () => curveTable(state.view, id));
    }
    byId("areas").replaceChildren(scrolling(areasTable(judged), "Areas under the curves"));
  });
  onThreshold.push(() => {
    const o = state.view.outcome(state.threshold);
    for (const [plot, dot, at] of dots) {
      const [x, y] = at(o);
      dot.setAttribute("visibility", Number.isFinite(x + y) ? "visible" : "hidden");
      dot.setAttribute("cx", Number.isFinite(x) ? plot.px(x) : 0);
      dot.setAttribute("cy", Number.isFinite(y) ? plot.py(y) : 0);
    }
  });
}

function rocPoints(view) {
  return view.steps.map(([x, y]) => [x / view.normal.kept, y / view.anomalous.kept]);
}

// Stairs: between two recalls there is the precision of the higher one, as average precision counts it.
function prPoints(view) {
  const points = [];
  let recall = 0;
  for (const [x, y] of view.steps.slice(1)) {
    const precision = (y * view.anomalous.weight) / (x * view.normal.weight + y * view.anomalous.weight);
    points.push([recall, precision]);
    recall = y / view.anomalous.kept;
    points.push([recall, precision]);
  }
  return points;
}

function areasTable(judged) {
  const rows = judged.map((v) => [v.name, fixed(v.auroc), fixed(v.aupr), whole(v.normal.total), whole(v.anomalous.total)]);
  const table = plainTable(["curve", "AUROC", "AUPR", "normal images", "anomalous images"], rows);
  judged.forEach((v, k) => {
    const mark = element("span", { class: `mark series-${k % 10}`, "aria-hidden": "true" });
    table.tBodies[0].rows[k].cells[0].prepend(mark);
  });
  return makeSortable(table);
}

// The curve where its horizontal axis has round values.
function curveTable(view, id) {
  if (!view.known) return { columns: ["no truth in this view"], rows: [] };
  const columns = id === "roc" ? ["false positive rate at most", "true positive rate", "threshold"] : ["recall at least", "precision", "threshold"];
  const shares = [0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1];
  const rows = shares.map((share) => {
    const within = view.steps.filter(([x, y]) => (id === "roc" ? x / view.normal.kept <= share : y / view.anomalous.kept >= share));
    const [x, y, threshold] = id === "roc" ? within[within.length - 1] : within[0];
    const precision = (y * view.anomalous.weight) / (x * view.normal.weight + y * view.anomalous.weight);
    return [percent(share, 1), percent(id === "roc" ? y / view.anomalous.kept : precision), `from ${short(threshold)}`];
  });
  return { columns, rows };
}

// Does a promised false positive rate hold? Thresholds set by held-out images, tried on the test's normal images.

const RATES = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5];

function startCalibration() {
  onView.push(() => {
    const { view } = state;
    const about = byId("calibration-about");
    byId("calibration-plot").replaceChildren();
    byId("calibration-table").replaceChildren();
    if (view.heldOut === null || !view.known || !view.normal.kept) {
      about.textContent = "This view has no held-out normal images to calibrate with.";
      return;
    }
    const [n, m] = [view.heldOutCount, view.normal.total];
    about.textContent =
      `A threshold for a false positive rate α is set by ${whole(n)} normal images that nothing was fitted to (conformal), then tried on the ` +
      `${whole(m)} normal images of the test. The band is where chance alone puts 95% of such trials. ` +
      `It holds for images like those held out: other cameras, places or times may break it. The smallest rate that ${whole(n)} images can promise is ${percent(1 / (n + 1), 3)}.`;
    const found = RATES.filter((a) => a >= 1 / (n + 1)).map((a) => ({ a, realised: realised(view, a), band: band(a, n, m) }));
    calibrationPlot(view, found, n, m);
    const rows = found.map(({ a, realised, band: [low, high] }) => [
      percent(a, 1), percent(realised), `${percent(low)} to ${percent(high)}`,
      realised > high ? "more than promised" : realised < low ? "less than allowed" : "as promised",
    ]);
    const table = plainTable(["nominal", "realised", "expected, 95%", "verdict"], rows);
    table.id = "calibration-rows";
    byId("calibration-table").replaceChildren(scrolling(table, "Calibration"), savedRate(view));
  });
}

// The share of the test's normal images whose p-value is at most alpha: those above the k-th highest held-out score.
function realised(view, alpha) {
  const [n, kept] = [view.heldOutCount, view.heldOut.length];
  const k = Math.floor((Math.floor((n + 1) * alpha * (1 + 1e-12)) * kept) / n);
  if (k < 1) return 0;
  if (k > kept) return 1;
  return 1 - countUpTo(view.normal.sorted, view.heldOut[kept - k]) / view.normal.kept;
}

// Both samples are finite: n held out set the threshold, m of the test try it.
function band(alpha, n, m) {
  const flagged = Math.floor((n + 1) * alpha * (1 + 1e-12));
  const mean = flagged / (n + 1);
  const sd = Math.sqrt(mean * (1 - mean) * (1 / (n + 2) + 1 / m));
  return [Math.max(0, mean - 1.96 * sd), Math.min(1, mean + 1.96 * sd)];
}

function savedRate(view) {
  const saved = view.outcome(view.threshold).fpr;
  const meant = view.nominal === null ? "" : `; it was set to flag ${percent(view.nominal, 1)}`;
  return element("p", {}, `The threshold as saved flags ${percent(saved)} of the test's normal images${meant}.`);
}

function calibrationPlot(view, found, n, m) {
  const low = Math.min(Math.max(0.5 / (n + 1), 0.0005), 0.05);
  const ticks = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1];
  const scale = logarithmic(low, 1, ticks, (x) => `${Number((100 * x).toPrecision(2))}%`);
  const plot = new Plot(byId("calibration-plot"), scale, scale, { xLabel: "nominal rate", yLabel: "realised rate", square: true });
  const grid = Array.from({ length: 81 }, (_, k) => scale.from(k / 80)).filter((a) => a >= 1 / (n + 1));
  const bands = grid.map((a) => band(a, n, m));
  const outline = [...grid.map((a, k) => [a, bands[k][1]]), ...grid.map((a, k) => [a, bands[k][0]]).reverse()];
  plot.add("polygon", { class: "band", points: outline.map(([x, y]) => `${plot.px(x)},${plot.py(y)}`).join(" ") });
  plot.line([[plot.px(low), plot.py(low)], [plot.px(1), plot.py(1)]], { class: "chance" });
  plot.line(grid.map((a) => [plot.px(a), plot.py(realised(view, a))]), { class: "curve series-0 strong" });
  plot.dots(found.map(({ a, realised }) => [plot.px(a), plot.py(realised)]), { class: "points big normal" });
  legend(byId("calibration-plot"), [["series-0", "realised"], ["band", "expected, 95%"]]);
}

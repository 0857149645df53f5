// Figures against a hyper-parameter, each on axes of its own; values stand at equal distances, since one may be 0.

function startSweep() {
  const { name, values, metrics } = DATA.sweep;
  onView.push(() => {
    const host = byId("sweep-plots");
    const panels = metrics.map(([title]) => element("div", { class: "plot", role: "img", "aria-label": `${title} against ${name}; in the table below` }));
    host.replaceChildren(...metrics.map(([title], k) => element("div", {}, element("h3", {}, title), panels[k])));
    metrics.forEach(([, points], k) => sweepPlot(panels[k], name, values, points)); // when all have their width
    dataTable("sweep-data", () => ({
      columns: [name, ...metrics.map(([title]) => title)],
      rows: values.map((value, k) => [short(value), ...metrics.map(([, points]) => spread(points[k]))]),
    }));
  });
}

const spread = ([mean, sd, n]) => fixed(Number(mean)) + (n > 1 ? ` ± ${fixed(Number(sd))}` : "");

function sweepPlot(host, name, values, points) {
  const ends = points.flatMap(([mean, sd]) => [mean - sd, mean + sd]).filter(Number.isFinite);
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const margin = 0.12 * (high - low) || 0.01;
  const x = { ...linear(-0.4, values.length - 0.6), ticks: values.map((_, k) => k), text: (k) => short(values[k]) };
  const plot = new Plot(host, x, linear(low - margin, high + margin), { xLabel: name, yLabel: "", height: 220 });
  points.forEach(([mean, sd], k) => {
    plot.add("line", { class: "error-bar", x1: plot.px(k), x2: plot.px(k), y1: plot.py(mean - sd), y2: plot.py(mean + sd) });
  });
  plot.line(points.map(([mean], k) => [plot.px(k), plot.py(mean)]), { class: "curve series-0 strong" });
  plot.dots(points.map(([mean], k) => [plot.px(k), plot.py(mean)]), { class: "points big normal" });
}

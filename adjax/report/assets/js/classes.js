// A row for each class of images: how much of it is flagged at the threshold. Keeps its order when the threshold moves.

function startClasses() {
  let groups = [];
  let sort = null;
  onView.push(() => {
    groups = classGroups(state.view);
  });
  onThreshold.push(() => {
    const { known } = state.view;
    const rows = groups.map(({ name, kind, group, auroc }) => {
      const flagged = group.flagged(state.threshold);
      const counts = [whole(group.total), whole(flagged), percent(flagged / group.total), short(group.quantile(0.5))];
      return known ? [name, kind, ...counts, fixed(auroc)] : [name, ...counts];
    });
    const counted = ["images", "flagged", "share flagged", "median score"];
    const columns = known ? ["class", "kind", ...counted, "AUROC against the other kind"] : ["nearest class", ...counted];
    const table = plainTable(columns, rows);
    const focused = [...byId("class-table").querySelectorAll("button")].indexOf(document.activeElement);
    makeSortable(table, sort, (chosen) => (sort = chosen));
    byId("class-table").replaceChildren(scrolling(table, "Class by class"));
    if (focused >= 0) byId("class-table").querySelectorAll("button")[focused].focus();
  });
}

function classGroups(view) {
  if (view.labels === null) return [];
  const of = new Map();
  view.scores.forEach((score, i) => {
    const key = `${view.labels[i]}/${view.known ? view.truth[i] : ""}`;
    if (!of.has(key)) of.set(key, []);
    of.get(key).push(score);
  });
  return [...of].sort(([a], [b]) => Number.parseInt(a) - Number.parseInt(b)).map(([key, scores]) => {
    const [label, truth] = key.split("/");
    const weight = truth === "1" ? view.anomalous.weight : view.normal.weight;
    const group = new Group(Float32Array.from(scores), Math.round(weight * scores.length));
    const name = view.classes[Number(label)] ?? (truth === "1" ? view.stranger : "no class");
    const kind = truth === "" ? NONE : truth === "1" ? "anomalous" : "normal";
    return { name, kind, group, auroc: classAuroc(view, group, truth) };
  });
}

// The share of pairs (an image of the class, one of the other kind) in the right order; ties count half.
function classAuroc(view, group, truth) {
  if (truth === "") return NaN;
  const others = truth === "1" ? view.normal : view.anomalous;
  if (!others.kept) return NaN;
  let below = group.unknown * (others.sorted.length + others.unknown / 2);
  for (const x of group.sorted) below += (countBelow(others.sorted, x) + countUpTo(others.sorted, x)) / 2;
  const share = below / (group.kept * others.kept);
  return truth === "1" ? share : 1 - share;
}

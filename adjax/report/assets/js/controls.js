// The slider, the number beside it, thresholds to try, and what the threshold means: rates and the confusion table.

function startControls() {
  const [slider, exact, select] = ["slider", "exact", "view"].map(byId);
  slider.addEventListener("input", () => moveThreshold(Math.fround(state.scale.from(Number(slider.value)))));
  exact.addEventListener("change", () => moveThreshold(Number.parseFloat(exact.value)));
  VIEWS.forEach((view, k) => select.append(element("option", { value: k }, view.name)));
  byId("view-choice").hidden = VIEWS.length < 2;
  select.addEventListener("change", () => showView(VIEWS[Number(select.value)]));
  onView.push(() => byId("choices").replaceChildren(...choices(state.view).map(([text, value]) => choice(text, value))));
  onThreshold.push(() => {
    slider.value = Math.min(1, Math.max(0, state.scale.at(state.threshold)));
    exact.value = Number.isFinite(state.threshold) ? Number(state.threshold.toPrecision(6)) : "";
    const text = verdict();
    slider.setAttribute("aria-valuetext", `${short(state.threshold)}: ${text}`);
    byId("verdict").textContent = text;
    byId("outcome").replaceChildren(...(state.view.known ? confusion() : tally()));
    for (const button of byId("choices").children) {
      button.setAttribute("aria-pressed", String(Number(button.value) === state.threshold));
    }
  });
}

function choice(text, value) {
  const button = element("button", { type: "button", value: String(value) }, text);
  button.addEventListener("click", () => moveThreshold(value));
  return button;
}

// Names and thresholds that one may want to go to; a rate that there are too few images for is none of them.
function choices(view) {
  const found = [["as saved", view.threshold]];
  for (const rate of [0.01, 0.05]) {
    if (view.heldOut !== null) found.push([`at most ${100 * rate}% of normal images flagged`, view.conformal(rate)]);
    else if (rate * view.normal.total >= 1) {
      found.push([`${100 * rate}% of ${view.known ? "normal" : "all"} images flagged`, view.normal.quantile(1 - rate)]);
    }
  }
  if (view.known && view.anomalous.kept) {
    found.push(["95% of anomalies caught", below(view.anomalous.quantile(0.05))]);
    found.push(["best F1 on these images (optimistic)", view.bestF1]);
  }
  return found.filter(([, value]) => Number.isFinite(value)).map(([text, value]) => [text, Math.fround(value)]);
}

// A little less than x: so that x itself is flagged.
function below(x) {
  return x - Math.abs(x) * 1e-6 - 1e-12;
}

function verdict() {
  const { view, threshold } = state;
  const o = view.outcome(threshold);
  const rule = `Flagged if score > ${short(threshold)}`;
  if (!view.known) return `${rule}: ${whole(o.fp)} of ${whole(o.fp + o.tn)} images (${percent(o.fpr)})`;
  return `${rule}: ${percent(o.tpr)} of anomalies, ${percent(o.fpr)} of normal images; F1 ${fixed(o.f1)}`;
}

function confusion() {
  const o = state.view.outcome(state.threshold);
  const table = plainTable(
    ["", "flagged", "passed", "all"],
    [
      ["anomalous", whole(o.tp), whole(o.fn), whole(o.tp + o.fn)],
      ["normal", whole(o.fp), whole(o.tn), whole(o.fp + o.tn)],
      ["all", whole(o.tp + o.fp), whole(o.fn + o.tn), whole(o.tp + o.fn + o.fp + o.tn)],
    ],
  );
  table.id = "confusion";
  table.tBodies[0].rows[0].cells[2].className = table.tBodies[0].rows[1].cells[1].className = "wrong";
  table.tBodies[0].rows[0].cells[1].className = table.tBodies[0].rows[1].cells[2].className = "right";
  const rates = plainTable(
    ["rate", "", "meaning"],
    [
      ["TPR (recall)", percent(o.tpr), "of anomalies, flagged"],
      ["FPR", percent(o.fpr), "of normal images, flagged"],
      ["precision", percent(o.precision), "of flagged images, anomalous"],
      ["F1", fixed(o.f1), "of the anomalous class"],
      ["accuracy", percent(o.accuracy), "of all images, right"],
    ],
  );
  rates.id = "rates";
  return [element("h3", {}, "Confusion table"), table, rates, ...sampled()];
}

function tally() {
  const o = state.view.outcome(state.threshold);
  const rows = [["flagged", whole(o.fp), percent(o.fpr)], ["passed", whole(o.tn), percent(1 - o.fpr)]];
  const p = state.view.falseAlarms(state.threshold);
  const table = plainTable(["", "images", "share"], rows);
  table.id = "tally";
  const note = p === null ? "" : `By the detector's held-out normal images, at most ${percent(p)} of normal images would be flagged here, on average.`;
  return [element("h3", {}, "Decisions"), table, element("p", { class: "about" }, note), ...sampled()];
}

function sampled() {
  const { view } = state;
  if (view.rows === null) return [];
  const kept = view.scores.length;
  const text = `This page holds ${whole(kept)} of ${whole(view.counts[0] + view.counts[1])} scores, evenly spaced in rank: counts are to the nearest ${whole(Math.max(view.normal.weight, view.anomalous.weight))}.`;
  return [element("p", { class: "about" }, text)];
}

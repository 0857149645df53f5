// Images at the threshold: the worst false alarms, the worst misses, and those nearest to the line.

const FIRST_SHOWN = 12;

function startGallery() {
  const shown = new Map(); // strip -> how many of it the reader asked for
  onView.push(() => {
    byId("gallery-about").textContent = state.view.known
      ? "The worst mistakes at the threshold above, and what it catches. Often the label is wrong, or the image shows what the score can't see."
      : "What the threshold above flags, and what lies close to it. Nobody has said yet which of these are right.";
  });
  const draw = () => {
    const strips = state.view.known ? judgedStrips() : predictedStrips();
    byId("strips").replaceChildren(...strips.map((s) => strip(s, shown, draw)));
  };
  onThreshold.push(draw);
}

const height = (p) => (Number.isNaN(p.score) ? Infinity : p.score);
const isFlagged = (p) => !(p.score <= state.threshold);

function judgedStrips() {
  const { view, threshold } = state;
  const o = view.outcome(threshold);
  const alarms = view.pictures.filter((p) => !p.truth && isFlagged(p)).sort((a, b) => height(b) - height(a));
  const misses = view.pictures.filter((p) => p.truth && !isFlagged(p)).sort((a, b) => height(a) - height(b));
  const caught = view.pictures.filter((p) => p.truth && isFlagged(p)).sort((a, b) => height(b) - height(a));
  return [
    { id: "alarms", title: "False alarms", about: "normal images, flagged; the highest scores first", total: o.fp, pictures: alarms.slice(0, 24) },
    { id: "misses", title: "Misses", about: "anomalies, not flagged; the lowest scores first", total: o.fn, pictures: misses.slice(0, 24) },
    { id: "caught", title: "Caught", about: "anomalies, flagged; the highest scores first", total: o.tp, pictures: caught.slice(0, 24) },
    edge(),
  ];
}

function predictedStrips() {
  const { view, threshold } = state;
  const flagged = view.pictures.filter(isFlagged).sort((a, b) => height(b) - height(a));
  return [
    { id: "alarms", title: "Most anomalous", about: "flagged; the highest scores first", total: view.outcome(threshold).fp, pictures: flagged.slice(0, 48) },
    edge(),
  ];
}

// Six on either side of the threshold, in ascending order of score.
function edge() {
  const sorted = state.view.pictures.filter((p) => Number.isFinite(p.score)).sort((a, b) => a.score - b.score);
  const at = sorted.filter((p) => !isFlagged(p)).length;
  const pictures = sorted.slice(Math.max(0, at - 6), at + 6);
  return { id: "edge", title: "Nearest to the threshold", about: "of the images in this page, six on either side; the lowest score first", total: null, pictures };
}

function strip({ id, title, about, total, pictures }, shown, again) {
  const most = shown.get(id) ?? FIRST_SHOWN;
  const seen = pictures.slice(0, most);
  const count = total === null ? "" : total ? `: ${whole(total)}` : ": none";
  const made = element("div", { class: "strip", id: `strip-${id}` }, element("h3", {}, title + count));
  const says = total === null || !total ? about : `${about}${total > seen.length ? `; ${seen.length} shown` : ""}`;
  const kinds = seen.length && seen[0].kinds.length > 1 ? `. Left to right: ${seen[0].kinds.join(", ")}` : "";
  if (total !== 0) made.append(element("p", { class: "about" }, `${says}${kinds}.`));
  made.append(element("div", { class: state.view.large ? "pictures large" : "pictures" }, ...seen.map(picture)));
  if (pictures.length > most) {
    const more = element("button", { type: "button" }, `Show ${pictures.length - most} more`);
    more.addEventListener("click", () => {
      shown.set(id, pictures.length);
      again();
      byId(`strip-${id}`).querySelectorAll("figure")[most]?.focus();
    });
    made.append(more);
  }
  return made;
}

function picture(p) {
  const { view } = state;
  const kind = p.truth === null ? "" : p.truth ? "anomalous" : "normal";
  const known = p.label !== null && p.label >= 0 && view.classes.length > 1;
  const name = known ? view.classes[p.label] : p.truth ? view.stranger : kind;
  const label = known && !view.known ? `nearest: ${name}` : name;
  const verdict = isFlagged(p) ? "flagged" : "passed";
  const value = view.pValue(p.score);
  const file = p.name || `#${whole(p.row)}`;
  const images = p.images.map((src, k) => {
    const kindOf = p.kinds[k];
    return element("img", { src, alt: `${kindOf} of ${file}${label && `, ${label}`}, score ${short(p.score)}, ${verdict}`, title: kindOf });
  });
  const lines = [
    element("b", {}, short(p.score)),
    ...(value === null ? [] : [element("span", {}, `p ${value < 0.001 ? value.toExponential(1) : value.toFixed(3)}`)]),
    element("span", { class: "name", title: file }, element("bdi", {}, file)),
    ...(label ? [element("span", {}, label)] : []),
    ...(view.known ? [] : [element("span", { class: "verdict" }, verdict)]),
  ];
  const caption = element("figcaption", {}, ...lines);
  const enlarge = element("button", { type: "button", class: "images", "aria-label": `Enlarge ${file}` }, ...images);
  enlarge.addEventListener("click", () => showLarge(images, caption));
  return element("figure", { class: `${kind || (isFlagged(p) ? "anomalous" : "normal")} ${verdict}`, tabindex: "-1" }, enlarge, caption);
}

// Pictures and what is said of them, as large as the window; Escape, or a press anywhere, closes it.
function showLarge(images, caption) {
  const close = element("button", { type: "button" }, "Close");
  const shown = [...images, caption].map((node) => node.cloneNode(true));
  const large = element("dialog", { class: state.view.large ? "large" : "", "aria-label": "Enlarged" }, element("div", { class: "images" }, ...shown.slice(0, -1)), shown.at(-1), close);
  large.addEventListener("click", () => large.close());
  large.addEventListener("close", () => large.remove());
  document.body.append(large);
  large.showModal();
}

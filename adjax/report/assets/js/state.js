// The one thing that changes: which view is shown, and where its threshold is.

const state = { view: VIEWS[0], threshold: VIEWS.length ? VIEWS[0].threshold : NaN, scale: null };
const onView = []; // called when another view is shown, or the width has changed
const onThreshold = []; // called when the threshold has moved
let pending = false;

function showView(view) {
  Object.assign(state, { view, threshold: view.threshold, scale: scoreScale(view) });
  onView.forEach((f) => f());
  onThreshold.forEach((f) => f());
}

function moveThreshold(value) {
  if (Number.isNaN(value)) return;
  state.threshold = value;
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    onThreshold.forEach((f) => f());
  });
}

function redraw() {
  onView.forEach((f) => f());
  onThreshold.forEach((f) => f());
}

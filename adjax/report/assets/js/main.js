// Starts whatever the page has, and draws again when its width changes.

function start() {
  const parts = {
    threshold: startControls, histogram: startHistogram, gallery: startGallery, curves: startCurves, classes: startClasses,
    features: startFeatures, samples: startSamples, sweep: startSweep, calibration: startCalibration,
  };
  for (const table of document.querySelectorAll("table[data-sortable]")) makeSortable(table);
  if (!VIEWS.length) return;
  for (const [id, begin] of Object.entries(parts)) if (byId(id)) begin();
  showView(VIEWS[0]);
  let width = document.documentElement.clientWidth;
  new ResizeObserver(() => {
    const now = document.documentElement.clientWidth;
    if (now !== width) {
      width = now;
      redraw();
    }
  }).observe(document.documentElement);
}

start();

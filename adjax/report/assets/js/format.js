// Numbers as people read them.

const NONE = "–";

function percent(x, digits = 2) {
  return Number.isFinite(x) ? `${(100 * x).toFixed(digits)}%` : NONE;
}

function fixed(x, digits = 4) {
  return Number.isFinite(x) ? x.toFixed(digits) : NONE;
}

function whole(x) {
  return Number.isFinite(x) ? Math.round(x).toLocaleString("en") : NONE;
}

// Four significant digits, no trailing zeros.
function short(x) {
  if (x === null || Number.isNaN(x)) return "NaN";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
  return String(Number(x.toPrecision(4)));
}

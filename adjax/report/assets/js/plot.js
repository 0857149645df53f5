// A plot: axes drawn at the width that there is, so that text keeps its size on a phone.

class Plot {
  constructor(host, x, y, { xLabel, yLabel, height = 280, square = false }) {
    this.width = Math.max(host.clientWidth, 240);
    this.height = square ? Math.min(this.width, 420) : height;
    this.left = 58;
    this.right = this.width - 22;
    this.top = 12;
    this.bottom = this.height - 44;
    Object.assign(this, { x, y });
    this.svg = drawn("svg", { width: this.width, height: this.height, viewBox: `0 0 ${this.width} ${this.height}`, "aria-hidden": "true" });
    this.axes(xLabel, yLabel);
    host.replaceChildren(this.svg);
  }

  px(value) {
    return this.left + this.x.at(value) * (this.right - this.left);
  }

  py(value) {
    return this.bottom - this.y.at(value) * (this.bottom - this.top);
  }

  axes(xLabel, yLabel) {
    let last = -Infinity;
    for (const tick of this.x.ticks) {
      const at = this.px(tick);
      const text = this.x.text(tick);
      const half = 3.6 * text.length;
      if (at < this.left - 1 || at > this.right + 1 || at - half < last + 6) continue;
      last = at + half;
      this.add("line", { class: "grid-line", x1: at, x2: at, y1: this.top, y2: this.bottom });
      this.add("text", { class: "tick", x: at, y: this.bottom + 16, "text-anchor": "middle" }, text);
    }
    last = Infinity;
    for (const tick of this.y.ticks) {
      const at = this.py(tick);
      if (at < this.top - 1 || at > this.bottom + 1 || at > last - 14) continue;
      last = at;
      this.add("line", { class: "grid-line", x1: this.left, x2: this.right, y1: at, y2: at });
      this.add("text", { class: "tick", x: this.left - 7, y: at + 4, "text-anchor": "end" }, this.y.text(tick));
    }
    const middle = (this.top + this.bottom) / 2;
    this.add("text", { class: "label", x: (this.left + this.right) / 2, y: this.height - 8, "text-anchor": "middle" }, xLabel);
    this.add("text", { class: "label", "text-anchor": "middle", transform: `translate(11 ${middle}) rotate(-90)` }, yLabel);
  }

  add(tag, attributes, text = null) {
    const made = drawn(tag, attributes, text);
    this.svg.append(made);
    return made;
  }

  // A line through points of pixels; those that nobody could tell apart are left out.
  line(points, attributes) {
    let d = "";
    let [lastX, lastY] = [NaN, NaN];
    points.forEach(([x, y], k) => {
      if (k && k < points.length - 1 && Math.abs(x - lastX) + Math.abs(y - lastY) < 0.3) return;
      d += `${k ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
      [lastX, lastY] = [x, y];
    });
    return this.add("path", { fill: "none", ...attributes, d });
  }

  // Dots, as one path of lines without length: thousands cost nothing.
  dots(points, attributes) {
    const d = points.map(([x, y]) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`).join("");
    return this.add("path", { fill: "none", "stroke-linecap": "round", ...attributes, d });
  }
}

// What the colours mean; marks are small squares of the same classes as what is drawn.
function legend(host, entries) {
  const items = entries.map(([mark, text]) => element("li", {}, element("span", { class: `mark ${mark}`, "aria-hidden": "true" }), text));
  host.append(element("ul", { class: "legend" }, ...items));
}

// Fills the <details> below a plot when it is first opened, and again when what it shows has changed.
function dataTable(id, make) {
  const details = byId(id);
  const fill = () => {
    if (!details.open) return;
    const { columns, rows } = make();
    [...details.children].slice(1).forEach((child) => child.remove());
    details.append(scrolling(plainTable(columns, rows), details.querySelector("summary").textContent));
  };
  details.ontoggle = fill;
  fill();
}

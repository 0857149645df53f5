// Tables, and sorting them by a press on a heading.

function scrolling(table, label) {
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, table);
}

function plainTable(columns, rows) {
  const head = element("tr", {}, ...columns.map((c) => element("th", { scope: "col" }, c)));
  const body = rows.map(([first, ...rest]) =>
    element("tr", {}, element("th", { scope: "row" }, first), ...rest.map((c) => element("td", {}, c))),
  );
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
}

// What a cell is sorted by: its number if it begins with one, else its text; nothing comes last.
function sortKey(cell) {
  const text = cell.textContent.trim();
  const number = Number.parseFloat(text.replaceAll(",", "").replace("−", "-"));
  return text === "" || text === NONE ? null : Number.isNaN(number) || !/^[-−\d.]/.test(text) ? text : number;
}

function sortRows(table, column, direction) {
  const body = table.tBodies[0];
  const sign = direction === "descending" ? -1 : 1;
  const keyed = [...body.rows].map((row) => [sortKey(row.cells[column]), row]);
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return sign * (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
  });
  body.append(...keyed.map(([, row]) => row));
}

// Headings become buttons; `sort` says how it is sorted now, so that a table made anew can be sorted alike.
function makeSortable(table, sort = null, remember = () => {}) {
  const headings = [...table.tHead.rows[0].cells];
  const apply = (column, direction) => {
    headings.forEach((h, k) => (k === column ? h.setAttribute("aria-sort", direction) : h.removeAttribute("aria-sort")));
    sortRows(table, column, direction);
  };
  headings.forEach((heading, column) => {
    const button = element("button", { type: "button", class: "sort" }, heading.textContent);
    button.addEventListener("click", () => {
      const now = heading.getAttribute("aria-sort");
      const first = column ? "descending" : "ascending"; // of figures the largest first, of names A to Z
      const other = first === "ascending" ? "descending" : "ascending";
      const direction = now === first ? other : first;
      apply(column, direction);
      remember([column, direction]);
    });
    heading.replaceChildren(button);
  });
  if (sort) apply(...sort);
  return table;
}

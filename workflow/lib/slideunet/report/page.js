// Sorting and filtering of tables, links to slides and keys. Without it the page has all its content, too.
const DASH = "\u2013";

const valueOf = (cell) => {
  const text = cell.textContent.trim();
  // Thousands are apart by thin spaces.
  const number = Number(text.replace(/\s/g, "").replace("\u2212", "-"));
  return text === "" || text === DASH ? null : Number.isNaN(number) ? text : number;
};

const compare = (a, b) =>
  typeof a === "number" && typeof b === "number"
    ? a - b
    : String(a).localeCompare(String(b), undefined, { numeric: true });

/** Sort the rows of a table by a column, "ascending" or "descending"; what has no value comes last. */
function sort(table, column, direction) {
  const sign = direction === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row.cells[column]), row]);
  rows.sort(([a], [b]) => (a === null) - (b === null) || (a === null ? 0 : sign * compare(a, b)));
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  for (const [column, head] of heads.entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const direction = head.ariaSort === "ascending" ? "descending" : "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", direction);
      sort(table, column, direction);
    });
  }
}

const plain = (text) => text.toLowerCase().replace(/\s/g, "");
const HOLDS = {
  "<": (a, b) => a < b,
  ">": (a, b) => a > b,
  "<=": (a, b) => a <= b,
  ">=": (a, b) => a >= b,
  "=": (a, b) => a === b,
};

/** Whether a row has a word; a word like `dice<0.8` is a condition if there is such a column. */
function fits(row, word, columns) {
  const [, name, sign, number] = word.match(/^(.+?)([<>]=?|=)(-?[\d.]+)$/) ?? [];
  if (columns.includes(name)) {
    const value = valueOf(row.cells[columns.indexOf(name)]);
    return value !== null && HOLDS[sign](value, Number(number));
  }
  return [...row.cells].some((cell) => cell.textContent.toLowerCase().includes(word));
}

function makeFilterable(table) {
  const [label, input, found] = ["label", "input", "output"].map((tag) => document.createElement(tag));
  const rows = [...table.tBodies[0].rows];
  const columns = [...table.tHead.rows[0].cells].map((cell) => plain(cell.textContent));
  const last = columns.findLast((_, column) => rows.some((row) => typeof valueOf(row.cells[column]) === "number"));
  input.type = "search";
  const example = columns.includes("dice") ? "dice<0.8" : last && `${last}>10`;
  input.placeholder = ["words", example].filter(Boolean).join(", or ");
  label.className = "filter";
  label.append("Filter ", input, found);
  table.closest(".scroll").before(label);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) row.hidden = !words.every((word) => fits(row, word, columns));
    const shown = rows.filter((row) => !row.hidden).length;
    found.textContent = words.length ? `${shown} of ${rows.length}` : "";
  });
}

function open(element) {
  for (let at = element; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
}

/** Show what the address names, also where it is folded. */
function follow() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  open(target);
  target.tabIndex = -1;
  target.focus({ preventScroll: true });
  target.scrollIntoView();
}

/** The case after (1) or before (-1) the one that the address names, or that is on top of the window. */
function step(by) {
  const cases = [...document.querySelectorAll(".case[id]")];
  const named = cases.findIndex((own) => `#${own.id}` === location.hash);
  const below = cases.findIndex((own) => own.getBoundingClientRect().top > 1);
  const next = named >= 0 ? named + by : by > 0 ? below : (below < 0 ? cases.length : below) - 1;
  if (cases[next]) location.replace(`#${cases[next].id}`);
}

const KEYS = {
  j: () => step(1),
  k: () => step(-1),
  "/": () => {
    const input = document.querySelector(".filter input");
    open(input);
    input?.focus();
  },
};

document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll("table.filterable").forEach(makeFilterable);
// Not every browser lets the arrow keys scroll what has no focus.
const scrolling = new ResizeObserver((entries) => {
  for (const { target } of entries) target.tabIndex = target.scrollWidth > target.clientWidth ? 0 : -1;
});
document.querySelectorAll(".scroll").forEach((box) => scrolling.observe(box));
document.querySelectorAll(".keys").forEach((keys) => (keys.hidden = false));
addEventListener("hashchange", follow);
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input")) return;
  if (!(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key]();
});

// Paper has nothing to unfold.
let unfolded = [];
addEventListener("beforeprint", () => {
  unfolded = [...document.querySelectorAll("details:not([open])")];
  unfolded.forEach((part) => (part.open = true));
});
addEventListener("afterprint", () => unfolded.forEach((part) => (part.open = false)));
follow();

"use strict";

// Tables are sorted by the buttons in their heads.
const value = (row, place) => {
  const cell = row.children[place];
  const number = Number(cell.dataset.value ?? cell.textContent.replaceAll(",", ""));
  return cell.textContent.trim() !== "" && Number.isFinite(number) ? number : cell.textContent.trim();
};
const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  if (body.rows.length < 2) continue;
  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const down = now ? now === "ascending" : typeof value(body.rows[0], place) === "number";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].sort((a, b) => compare(value(a, place), value(b, place)));
      body.append(...(down ? rows.reverse() : rows));
    });
  });
}

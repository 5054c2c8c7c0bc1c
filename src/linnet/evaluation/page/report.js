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

// The worst utterances are found by text and kind, and put in another order.
const controls = document.getElementById("controls");
if (controls) {
  const [find, kind, order, shown, list] = ["find", "kind", "order", "shown", "utterances"].map((id) => document.getElementById(id));
  const articles = [...list.children];
  const texts = new Map(articles.map((one) => [one, one.textContent.toLowerCase()]));
  const names = new Map([...list.querySelectorAll("[data-kind]")].map((tag) => [tag.dataset.kind, tag.textContent]));
  names.forEach((name, key) => kind.append(new Option(name, key)));
  kind.parentElement.hidden = names.size === 0;
  const update = () => {
    const wanted = find.value.toLowerCase().trim();
    const key = order.value;
    const sign = key === "row" ? 1 : -1;
    list.append(...articles.sort((a, b) => sign * (a.dataset[key] - b.dataset[key])));
    for (const one of articles) {
      const fits = !kind.value || one.dataset.kinds.split(" ").includes(kind.value);
      one.hidden = !(fits && texts.get(one).includes(wanted));
    }
    shown.value = `${articles.filter((one) => !one.hidden).length} of ${articles.length}`;
  };
  controls.addEventListener("input", update);
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.hidden = false;
  update();
}

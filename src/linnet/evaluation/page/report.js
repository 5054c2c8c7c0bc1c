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
